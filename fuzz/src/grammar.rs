//! The grammar of SMTP: addresses, command lines, replies.

use posthaste_smtp::address::{ForwardPath, Mailbox, ReversePath, Utf8};
use posthaste_smtp::command::{self, Hello, Mail, Rcpt, Verb};
use posthaste_smtp::reply::{EnhancedCode, Reply};

/// An address that parses renders to a text that parses to the same address, on one line.
pub fn address(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    for utf8 in [Utf8::Refused, Utf8::Allowed] {
        if let Ok(mailbox) = Mailbox::parse(text, utf8) {
            let wire = mailbox.to_string();
            assert_wire(&wire, utf8);
            assert_eq!(Mailbox::parse(&wire, utf8).as_ref(), Ok(&mailbox), "{wire}");
            assert_eq!(mailbox.needs_utf8(), !wire.is_ascii());
        }
        if let Ok(path) = ReversePath::parse(text, utf8) {
            let wire = path.to_string();
            assert_wire(&wire, utf8);
            assert_eq!(
                ReversePath::parse(&wire, utf8).as_ref(),
                Ok(&path),
                "{wire}"
            );
        }
        if let Ok(path) = ForwardPath::parse(text, utf8) {
            let wire = path.to_string();
            assert_wire(&wire, utf8);
            assert_eq!(
                ForwardPath::parse(&wire, utf8).as_ref(),
                Ok(&path),
                "{wire}"
            );
        }
    }
}

fn assert_wire(wire: &str, utf8: Utf8) {
    assert!(
        !wire.chars().any(|c| c.is_ascii_control()),
        "control character in {wire:?}"
    );
    assert!(
        matches!(utf8, Utf8::Allowed) || wire.is_ascii(),
        "not ASCII: {wire:?}"
    );
}

/// A command line is understood or refused with a permanent reply; never both, never a panic.
pub fn command(octets: &[u8]) {
    let (verb, argument) = match command::split(octets) {
        Ok(parts) => parts,
        Err(refusal) => return assert!(refusal.is_permanent(), "{refusal}"),
    };
    assert!(
        !argument.chars().any(|c| c.is_ascii_control()),
        "{argument:?}"
    );
    for utf8 in [Utf8::Refused, Utf8::Allowed] {
        let refusal = match verb {
            Verb::Helo => Hello::parse(argument, false).err(),
            Verb::Ehlo | Verb::Lhlo => Hello::parse(argument, true).err(),
            Verb::Mail => Mail::parse(argument, utf8).err(),
            Verb::Rcpt => Rcpt::parse(argument, utf8).err(),
            _ => None,
        };
        if let Some(refusal) = refusal {
            assert!(refusal.is_permanent(), "{refusal}");
        }
    }
}

/// A reply that parses renders to whole lines that parse to a reply of the same codes; a second
/// time nothing changes any more (the first time, long lines are cut and odd octets replaced).
pub fn reply(octets: &[u8]) {
    if let Some(code) = std::str::from_utf8(octets)
        .ok()
        .and_then(EnhancedCode::parse)
    {
        assert_eq!(EnhancedCode::parse(&code.to_string()), Some(code));
    }
    let Some(reply) = Reply::parse(octets) else {
        return;
    };
    let again = rendered(&reply);
    assert_eq!(
        (again.code(), again.enhanced()),
        (reply.code(), reply.enhanced())
    );
    assert_eq!(rendered(&again), again);
}

/// A reply after a way over the wire.
fn rendered(reply: &Reply) -> Reply {
    let mut wire = Vec::new();
    reply.render(&mut wire);
    assert_lines(&wire);
    Reply::parse(&wire).unwrap_or_else(|| panic!("no reply: {}", wire.escape_ascii()))
}

/// Octets that we send as replies are whole lines of the grammar of RFC 5321 §4.2.
pub fn assert_lines(wire: &[u8]) {
    let shown = || wire.escape_ascii().to_string();
    assert!(
        wire.is_empty() || wire.ends_with(b"\r\n"),
        "no whole line: {}",
        shown()
    );
    for line in wire.split_inclusive(|&b| b == b'\n') {
        let text = line
            .strip_suffix(b"\r\n")
            .unwrap_or_else(|| panic!("bare LF: {}", shown()));
        let [a, b, c, rest @ ..] = text else {
            panic!("short line: {}", shown())
        };
        assert!(
            [a, b, c].iter().all(|d| d.is_ascii_digit()),
            "no code: {}",
            shown()
        );
        assert!(
            matches!(rest, [] | [b' ' | b'-', ..]),
            "no separator: {}",
            shown()
        );
        assert!(
            !text.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)),
            "{}",
            shown()
        );
        assert!(
            line.len() <= 512,
            "RFC 5321 §4.5.3.1.5: {} octets",
            line.len()
        );
    }
}
