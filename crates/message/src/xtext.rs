//! xtext, the form in which ORCPT and ENVID travel in SMTP commands (RFC 3461 §4).
//!
//! This module does **not** bound what it is given: a command line does.

use std::fmt::Write as _;

/// Whether this octet stands for itself.
fn plain(octet: u8) -> bool {
    octet.is_ascii_graphic() && octet != b'+' && octet != b'='
}

/// Writes octets as xtext.
#[must_use]
pub fn encode(octets: &[u8]) -> String {
    let mut out = String::with_capacity(octets.len());
    for &octet in octets {
        if plain(octet) {
            out.push(char::from(octet));
        } else {
            let _ = write!(out, "+{octet:02X}");
        }
    }
    out
}

/// Reads xtext; `None` when it is not. Hexadecimal digits are upper case, as the grammar has them.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b'+' => out.push(digit(octets.next()?)? * 16 + digit(octets.next()?)?),
            _ if plain(octet) => out.push(octet),
            _ => return None,
        }
    }
    Some(out)
}

fn digit(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn special_octets_are_hexadecimal() {
        assert_eq!(encode(b"bob+1=a b"), "bob+2B1+3Da+20b");
        assert_eq!(decode("bob+2B1").as_deref(), Some(&b"bob+1"[..]));
        for bad in ["+", "+2", "+2b", "+GG", "a b", "a=b", "\u{e4}"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_back(octets in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decode(&encode(&octets)), Some(octets));
        }

        #[test]
        fn no_text_makes_the_decoder_panic(text in "\\PC{0,40}") {
            let _ = decode(&text);
        }
    }
}
