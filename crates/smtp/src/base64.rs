//! Base64 as AUTH uses it (RFC 4954 §4, RFC 4648 §4): standard alphabet, padded, no line breaks.
//!
//! Strict: what decodes has exactly one encoding, so nothing can hide in stray bits or padding.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends the encoding of `octets`.
pub(crate) fn encode(octets: &[u8], out: &mut Vec<u8>) {
    for group in octets.chunks(3) {
        let octet = |n: usize| u32::from(group.get(n).copied().unwrap_or(0));
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for n in 0..4u8 {
            let sextet = bits >> (18 - 6 * n) & 0x3f;
            let letter = usize::try_from(sextet).ok().and_then(|at| ALPHABET.get(at));
            let used = usize::from(n) <= group.len();
            out.push(letter.copied().filter(|_| used).unwrap_or(b'='));
        }
    }
}

/// The octets that `text` stands for; `None` if it is not the encoding of any. No text is the
/// encoding of no octets.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut octets = Vec::with_capacity(text.len() / 4 * 3);
    let mut groups = text.chunks(4).peekable();
    while let Some(group) = groups.next() {
        let last = groups.peek().is_none();
        let padding = group.iter().rev().take_while(|c| **c == b'=').count();
        if padding > 2 || (padding > 0 && !last) {
            return None;
        }
        let letters = group.get(..4 - padding)?;
        let bits = letters.iter().try_fold(0u32, |bits, letter| {
            Some(bits << 6 | u32::from(sextet(*letter)?))
        })?;
        let [_, a, b, c] = (bits << (6 * padding)).to_be_bytes();
        let (kept, dropped) = match padding {
            0 => (&[a, b, c][..], &[][..]),
            1 => (&[a, b][..], &[c][..]),
            _ => (&[a][..], &[b, c][..]),
        };
        if dropped.iter().any(|octet| *octet != 0) {
            return None;
        }
        octets.extend_from_slice(kept);
    }
    Some(octets)
}

fn sextet(letter: u8) -> Option<u8> {
    Some(match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(octets: &[u8]) -> String {
        let mut out = Vec::new();
        encode(octets, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_vectors_of_the_standard_go_both_ways() {
        // RFC 4648 §10.
        for (octets, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encoded(octets.as_bytes()), text);
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(octets.as_bytes()));
        }
        assert_eq!(encoded(&[0xff, 0xef, 0xbe]), "/+++");
    }

    #[test]
    fn what_is_no_encoding_is_not_read() {
        for bad in [
            "Z", "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "=", "Zg==Zg==", "Zm9v\r\n", " Zm9v",
            "Zm 9v", "Zm9-", "Zm9_", "Zg=a", "\0\0\0\0", "Zm9vé",
        ] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn octets_come_back(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode(encoded(&octets).as_bytes()), Some(octets));
        }

        #[test]
        fn a_text_that_decodes_is_the_only_one_that_does(text in "[A-Za-d+/=]{0,12}") {
            if let Some(octets) = decode(text.as_bytes()) {
                prop_assert_eq!(encoded(&octets), text);
            }
        }
    }
}
