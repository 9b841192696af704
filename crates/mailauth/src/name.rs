//! Domain names as the methods compare and ask for them: lower-case A-labels, no final dot.
//!
//! Names come from peers with U-labels where SMTPUTF8 or a UTF-8 header is used; RFC 8616 §4 has
//! them converted before anything else is done with them. This module does **not** ask whether a
//! name exists.

/// Most octets of a name, and of one label (RFC 1035 §2.3.4).
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// The form in which `name` is compared and asked for; `None` when it is no domain name: an address
/// literal, an empty label, a label or a name too long, or letters that no A-label stands for.
pub(crate) fn ascii(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let name = if name.is_ascii() {
        name.to_ascii_lowercase()
    } else {
        idna::domain_to_ascii(name).ok()?
    };
    let label = |l: &str| !l.is_empty() && l.len() <= LABEL_MAX;
    let octet = |b: u8| b.is_ascii_graphic() && !matches!(b, b'[' | b']' | b'\\');
    let legal = name.len() <= NAME_MAX && name.split('.').all(label) && name.bytes().all(octet);
    legal.then_some(name)
}

/// Whether `name` is `parent` or below it; both as [`ascii`] gives them.
pub(crate) fn is_within(name: &str, parent: &str) -> bool {
    let above = name.strip_suffix(parent);
    above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::{ascii, is_within};

    #[test]
    fn a_name_is_one_only_if_it_can_be_asked_for() {
        assert_eq!(
            ascii("Mail.Example.ORG.").as_deref(),
            Some("mail.example.org")
        );
        assert_eq!(
            ascii("b\u{fc}cher.example").as_deref(),
            Some("xn--bcher-kva.example")
        );
        assert_eq!(ascii("_dmarc.example").as_deref(), Some("_dmarc.example"));
        let long = "a".repeat(64) + ".example";
        let longer = "a.".repeat(127) + "example";
        for bad in [
            "",
            ".",
            "a..b",
            "[192.0.2.1]",
            "a b.example",
            long.as_str(),
            longer.as_str(),
        ] {
            assert_eq!(ascii(bad), None, "{bad}");
        }
    }

    #[test]
    fn below_means_at_a_dot() {
        assert!(is_within("a.example.org", "example.org"));
        assert!(is_within("example.org", "example.org"));
        assert!(!is_within("badexample.org", "example.org"));
    }
}
