//! Whether octets are a text: lines that end in CRLF, and no NUL (RFC 5321 §2.3.8).
//!
//! What comes with `BODY=BINARYMIME` (RFC 3030 §3) may be anything. If in truth it is a text, every
//! next hop can have it; else only one that takes binary content too.
//!
//! This module does **not** measure lines or look at what they say.

/// Looks at octets as they come. How they are split never changes what is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineEnds {
    last: Option<u8>,
    flawed: bool,
}

impl LineEnds {
    /// Looks at the next octets.
    pub fn push(&mut self, octets: &[u8]) {
        if self.flawed {
            return;
        }
        let mut last = self.last;
        for octet in octets {
            self.flawed |= *octet == 0 || (last == Some(b'\r')) != (*octet == b'\n');
            last = Some(*octet);
        }
        self.last = last;
    }

    /// Whether all of it is lines that end in CRLF, the last one too.
    #[must_use]
    pub fn is_text(&self) -> bool {
        !self.flawed && matches!(self.last, None | Some(b'\n'))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_text(octets: &[u8]) -> bool {
        let mut ends = LineEnds::default();
        ends.push(octets);
        ends.is_text()
    }

    #[test]
    fn a_text_has_whole_lines_and_no_nul() {
        for text in [&b""[..], b"\r\n", b"a\r\nb\r\n", b"\r\n\r\n.\r\n\xff\r\n"] {
            assert!(is_text(text), "{text:?}");
        }
        for binary in [
            &b"a"[..],
            b"a\r",
            b"a\n",
            b"\n",
            b"a\r\r\n",
            b"a\n\r\n",
            b"\0\r\n",
            b"a\r\nb",
            b"a\rb\r\n",
            b"a\r\n\n",
        ] {
            assert!(!is_text(binary), "{binary:?}");
        }
    }

    proptest! {
        #[test]
        fn splitting_changes_nothing(
            octets in proptest::collection::vec(
                prop_oneof![3 => Just(b'\r'), 3 => Just(b'\n'), 1 => any::<u8>()],
                0..12,
            ),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(octets.len() + 1);
            let mut ends = LineEnds::default();
            ends.push(&octets[..cut]);
            ends.push(&octets[cut..]);
            prop_assert_eq!(ends.is_text(), is_text(&octets));
            let text = String::from_utf8_lossy(&octets);
            let whole = text.replace("\r\n", "").chars().all(|c| !"\r\n\0".contains(c))
                && (octets.is_empty() || text.ends_with("\r\n"));
            prop_assert_eq!(ends.is_text(), whole);
        }
    }
}
