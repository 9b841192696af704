//! CRAM-MD5 (RFC 2195): the client answers a challenge that never comes twice with a keyed digest.
//!
//! Served only when it is listed, because what it needs stored is as good as the password.

use super::Step;
use crate::authenticate::name::Claimed;
use crate::authenticate::secret::cram_md5::DIGEST;

/// A challenge in the form of a message id (RFC 2195 §2).
#[must_use]
pub fn challenge(random: u64, unix_s: u64, hostname: &str) -> String {
    format!("<{random}.{unix_s}@{hostname}>")
}

/// Reads `user SP digest`; the user may hold spaces.
pub(super) fn parse(response: &[u8], challenge: Box<[u8]>) -> Step {
    let wrong = Step::Malformed("CRAM-MD5 is answered with a user, a space and 32 digits");
    let Some(at) = response.iter().rposition(|octet| *octet == b' ') else {
        return wrong;
    };
    let (user, digits) = response.split_at(at);
    match (user, digest(digits.get(1..).unwrap_or_default())) {
        ([], _) | (_, None) => wrong,
        (user, Some(digest)) => Step::Digest(Claimed::new(user), challenge, digest),
    }
}

fn digest(digits: &[u8]) -> Option<[u8; DIGEST]> {
    let text = std::str::from_utf8(digits).ok()?;
    if digits.len() != 2 * DIGEST || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let number = u128::from_str_radix(text, 16).ok()?;
    Some(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authenticate::mechanism::{Channel, Exchange, Mechanism};
    use crate::authenticate::secret::cram_md5::Key;

    #[test]
    fn the_example_of_rfc_2195() {
        let unique = "<1896.697170952@postoffice.reston.mci.net>";
        let channel = Channel::default();
        let (mut exchange, step) = Exchange::begin(Mechanism::CramMd5, None, &channel, unique);
        assert!(matches!(step, Step::Challenge(c) if c == unique.as_bytes()));
        let step = exchange.respond(b"tim b913a602c7eda7a495b4e6e7334d3890", &channel);
        let Step::Digest(claimed, challenge, digest) = step else {
            panic!()
        };
        assert_eq!(claimed.shown(), "tim");
        assert!(Key::derive(b"tanstaaftanstaaf").answers(&challenge, &digest));
        assert!(!Key::derive(b"tanstaaftanstaa").answers(&challenge, &digest));
    }

    #[test]
    fn an_answer_without_user_or_digest_is_malformed() {
        for wrong in [
            "",
            "tim",
            "tim ",
            " b913a602c7eda7a495b4e6e7334d3890",
            "tim b913",
            "tim +913a602c7eda7a495b4e6e7334d3890",
            "tim b913a602c7eda7a495b4e6e7334d38900",
        ] {
            let step = parse(wrong.as_bytes(), Box::default());
            assert!(matches!(step, Step::Malformed(_)), "{wrong}");
        }
    }

    #[test]
    fn an_initial_response_is_against_the_rules() {
        let (_, step) =
            Exchange::begin(Mechanism::CramMd5, Some(b""), &Channel::default(), "<1@x>");
        assert!(matches!(step, Step::Malformed(_)));
    }

    #[test]
    fn a_challenge_is_a_message_id() {
        assert_eq!(
            challenge(1896, 697_170_952, "mx.example.org"),
            "<1896.697170952@mx.example.org>"
        );
    }
}
