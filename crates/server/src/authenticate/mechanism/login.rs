//! LOGIN (draft-murchison-sasl-login): asks for the user, then for the password.
//!
//! Obsolete, and still what some clients want. The prompts are those that clients know by heart; an
//! initial response is the user. Not here: the exchange itself, which is two lines of
//! [`Exchange`](super::Exchange).

/// What asks for the user.
pub(super) const NAME: &str = "Username:";
/// What asks for the password.
pub(super) const PASSWORD: &str = "Password:";

#[cfg(test)]
mod tests {
    use crate::authenticate::mechanism::{Channel, Exchange, Mechanism, Step};
    use crate::authenticate::name::Password;

    #[test]
    fn it_asks_for_the_user_and_then_for_the_password() {
        let channel = Channel::default();
        let (mut exchange, step) = Exchange::begin(Mechanism::Login, None, &channel, "");
        assert!(matches!(step, Step::Challenge(c) if c == b"Username:"));
        let step = exchange.respond(b"alice@example.org", &channel);
        assert!(matches!(step, Step::Challenge(c) if c == b"Password:"));
        let Step::Password(claimed, password) = exchange.respond(b"secret", &channel) else {
            panic!()
        };
        assert_eq!(claimed.shown(), "alice@example.org");
        assert_eq!(password, Password::new(b"secret"));
    }

    #[test]
    fn an_initial_response_is_the_user() {
        let channel = Channel::default();
        let (_, step) = Exchange::begin(Mechanism::Login, Some(b"alice"), &channel, "");
        assert!(matches!(step, Step::Challenge(c) if c == b"Password:"));
    }
}
