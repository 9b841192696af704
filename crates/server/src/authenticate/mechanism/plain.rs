//! PLAIN (RFC 4616): `[authorization identity] NUL user NUL password`.
//!
//! Exactly two NULs. To act for another user needs a right that no account has, so an authorization
//! identity is empty or the user itself.

use super::Step;
use crate::authenticate::name::{Claimed, Password};

/// Reads the one message of the client.
pub(super) fn parse(message: &[u8]) -> Step {
    let mut parts = message.split(|octet| *octet == 0);
    let (Some(acting), Some(user), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Step::Malformed("PLAIN has three parts with NUL between");
    };
    let claimed = Claimed::new(user);
    if !acting.is_empty() && !Claimed::new(acting).is(&claimed) {
        return Step::Wrong(claimed, "it wants to act for another user");
    }
    match (user, password) {
        ([], _) => Step::Malformed("the user is missing"),
        (_, []) => Step::Malformed("the password is missing"),
        _ => Step::Password(claimed, Password::new(password)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authenticate::mechanism::{Channel, Exchange, Mechanism};

    fn parsed(message: &[u8]) -> Result<(String, Password), &'static str> {
        match parse(message) {
            Step::Password(claimed, password) => Ok((claimed.shown().into_owned(), password)),
            Step::Malformed(why) | Step::Wrong(_, why) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_examples_of_rfc_4616_and_rfc_4954() {
        let tim = parsed(b"\0tim\0tanstaaftanstaaf").unwrap();
        assert_eq!(tim, ("tim".into(), Password::new(b"tanstaaftanstaaf")));
        let test = parsed(b"test\0test\x001234").unwrap();
        assert_eq!(test, ("test".into(), Password::new(b"1234")));
        // RFC 4616 §4: Kurt may not act for Ursel here.
        assert!(parsed(b"Ursel\0Kurt\0xipj3plmq").is_err());
    }

    #[test]
    fn there_are_exactly_two_nuls() {
        for wrong in [
            &b""[..],
            b"a",
            b"a\0b",
            b"\0a\0b\0",
            b"\0a\0b\0c",
            b"\0\0",
            b"\0\0x",
            b"\0x\0",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_acting_user_may_be_written_in_another_way() {
        assert!(parsed(b"Alice@Example.org\0alice@example.ORG\0x").is_ok());
    }

    #[test]
    fn without_an_initial_response_the_client_is_asked() {
        let channel = Channel::default();
        let (mut exchange, step) = Exchange::begin(Mechanism::Plain, None, &channel, "");
        assert!(matches!(step, Step::Challenge(c) if c.is_empty()));
        assert!(matches!(
            exchange.respond(b"\0a\0b", &channel),
            Step::Password(..)
        ));
        assert!(matches!(
            exchange.respond(b"\0a\0b", &channel),
            Step::Malformed(_)
        ));
    }
}
