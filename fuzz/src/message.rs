//! Messages: the header scan and delivery reports.

use posthaste_message::dsn::{Kind, Original, Reason, Recipient, Report};
use posthaste_message::fields;
use posthaste_message::header::{MAX_VALUE, Scan};
use posthaste_message::received::{Protocol, Received};
use posthaste_message::{address_list, date, trace};
use posthaste_smtp::reply::EnhancedCode;

use crate::choices::{Choices, seeds};

/// A field gives at most as many addresses as it has octets, none of them empty.
pub fn addresses(octets: &[u8]) {
    let field = String::from_utf8_lossy(octets);
    let found = address_list::parse(&field);
    assert!(found.len() <= address_list::MAX_ADDRESSES.min(field.len()));
    assert!(found.iter().all(|address| !address.is_empty()), "{found:?}");
    assert!(found.iter().map(String::len).sum::<usize>() <= field.len());
}

/// How the octets are split never changes the facts, and the facts are true of the octets.
pub fn header_scan(octets: &[u8]) {
    let Some(([seed], message)) = seeds(octets) else {
        return;
    };
    let mut choices = Choices::new(seed.into());
    let mut split = Scan::new();
    let mut rest = message;
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(choices.piece(rest.len()));
        split.push(piece);
        rest = tail;
    }
    let mut whole = Scan::new();
    whole.push(message);
    let facts = whole.finish();
    assert_eq!(split.finish(), facts);

    let header_end = usize::try_from(facts.header_end.unwrap()).unwrap();
    let body_start = usize::try_from(facts.body_start.unwrap()).unwrap();
    assert!(matches!(
        &message[header_end..body_start],
        b"" | b"\n" | b"\r\n"
    ));
    assert_eq!(facts.eight_bit(), !message.is_ascii());
    assert!(
        facts
            .message_id
            .iter()
            .chain(&facts.subject)
            .all(|v| !v.contains(char::is_control))
    );
    // A replacement character takes three octets where it replaces one.
    assert!(facts.subject.iter().all(|v| v.len() <= 3 * MAX_VALUE));
    let lines = message
        .split(|&b| b == b'\n')
        .map(|l| l.strip_suffix(b"\r").unwrap_or(l).len());
    assert_eq!(facts.longest_line, lines.max().unwrap_or(0) as u64);

    let block = &message[..header_end];
    assert_eq!(fields::split(block).concat(), block);
    let _ = date::parse(&message[body_start..]);
}

/// Whatever the texts are, a report is lines that end in CRLF, with the structure that it should
/// have, and a trace field is one field.
pub fn dsn(octets: &[u8]) {
    let Some(([kind, class], texts)) = seeds(octets) else {
        return;
    };
    // 255 is in no UTF-8 text, so it separates them.
    let mut texts: Vec<String> = texts
        .split(|&b| b == 255)
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect();
    texts.resize(TEXTS, String::new());
    report(kind, class, &texts);
    trace_fields(class % 2 == 1, &texts);
}

const TEXTS: usize = 8;
const KINDS: [Kind; 5] = [
    Kind::Failed,
    Kind::Delayed,
    Kind::Delivered,
    Kind::Relayed,
    Kind::Expanded,
];

fn report(kind: u8, class: u8, texts: &[String]) {
    let body = texts[7].replace(['\r', '\0'], "").replace('\n', "\r\n");
    let remote = Recipient {
        original: Some(&texts[0]),
        address: &texts[1],
        status: EnhancedCode {
            class: 2 + class % 4,
            subject: class.into(),
            detail: kind.into(),
        },
        reason: Some(Reason::Remote {
            host: &texts[2],
            reply: &texts[3],
        }),
        last_attempt_s: Some(kind.into()),
        retry_until_s: Some(class.into()),
    };
    let local = Recipient {
        original: None,
        reason: Some(Reason::Local(&texts[3])),
        ..remote.clone()
    };
    let whole = class % 2 == 0;
    let report = Report {
        kind: KINDS[usize::from(kind) % KINDS.len()],
        reporting_mta: &texts[4],
        to: &texts[1],
        envelope_id: Some(&texts[5]),
        queue_id: &texts[6],
        message_id: &texts[2],
        arrival_s: 0,
        unix_s: u64::MAX,
        recipients: &[remote, local],
        original: match whole {
            true => Original::Whole(body.as_bytes()),
            false => Original::Headers(body.as_bytes()),
        },
    };
    let rendered = report.render();
    assert_report(&rendered.message, &body, whole);
    assert_eq!(rendered.eight_bit, !rendered.message.is_ascii());
}

fn trace_fields(utf8: bool, texts: &[String]) {
    let received = Received {
        hello: &texts[2],
        peer: None,
        reverse_name: Some(&texts[3]),
        by: &texts[4],
        protocol: Protocol::Esmtp,
        tls: None,
        authenticated: false,
        utf8,
        id: &texts[6],
        recipient: Some(&texts[1]),
        unix_s: 0,
    };
    assert_field(&received.render());
    assert_field(&trace::return_path(&texts[1]));
    assert_field(&trace::delivered_to(&texts[1]));
}

/// One field: a line end only at its end or before white space that more than white space follows.
fn assert_field(field: &str) {
    let value = field.strip_suffix("\r\n").expect("a field ends in CRLF");
    for (i, line) in value.split("\r\n").enumerate() {
        assert!(i == 0 || line.starts_with([' ', '\t']), "{field:?}");
        assert!(!line.trim().is_empty(), "{field:?}");
        assert!(line.len() <= 998, "{field:?}");
        assert!(
            !line.contains(|c: char| c.is_control() && c != '\t'),
            "{field:?}"
        );
    }
}

fn assert_report(message: &[u8], body: &str, whole: bool) {
    let text = std::str::from_utf8(message).expect("UTF-8 in, UTF-8 out");
    assert!(!text.replace("\r\n", "").contains(['\r', '\n', '\0']));
    let (head, _) = text.split_once("\r\n\r\n").unwrap();
    let boundary = head
        .split("\r\n\tboundary=\"") // not what a Message-ID may say
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let parts: Vec<&str> = text.split(&format!("\r\n--{boundary}")).collect();
    assert_eq!((parts.len(), parts.last()), (5, Some(&"--\r\n")));
    let groups = parts[2].trim_end_matches("\r\n").split("\r\n\r\n");
    assert_eq!(groups.count(), 4); // the part's own fields, the message, two recipients
    if whole {
        let (_, returned) = parts[3].split_once("\r\n\r\n").unwrap();
        assert_eq!(
            returned.strip_suffix("\r\n"),
            Some(body.strip_suffix("\r\n").unwrap_or(body))
        );
    }
}
