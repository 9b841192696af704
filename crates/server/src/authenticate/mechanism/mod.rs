//! SASL mechanisms (RFC 4422) as state machines without I/O: what a client says goes in, the next
//! [`Step`] comes out.
//!
//! A mechanism knows neither accounts nor time: where it needs them it asks with a step. Octets are
//! those after base64; a response of any content and length has an answer, and what cannot be
//! parsed is [`Step::Malformed`].

pub mod cram_md5;
pub mod login;
pub mod plain;
pub mod scram;

use super::name::{Claimed, Password};
use super::secret::cram_md5::DIGEST;

/// A mechanism.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mechanism {
    /// SCRAM-SHA-256 bound to the TLS channel (RFC 7677, RFC 9266).
    ScramSha256Plus,
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
    /// PLAIN (RFC 4616).
    Plain,
    /// LOGIN (draft-murchison-sasl-login).
    Login,
    /// CRAM-MD5 (RFC 2195).
    CramMd5,
    /// EXTERNAL (RFC 4422 appendix A): the client's certificate.
    External,
}

impl Mechanism {
    /// All, best first.
    pub const ALL: [Mechanism; 6] = [
        Mechanism::ScramSha256Plus,
        Mechanism::ScramSha256,
        Mechanism::Plain,
        Mechanism::Login,
        Mechanism::CramMd5,
        Mechanism::External,
    ];

    /// Its name in EHLO and in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::CramMd5 => "CRAM-MD5",
            Mechanism::External => "EXTERNAL",
        }
    }

    /// The one of that name, in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Mechanism> {
        let mut all = Mechanism::ALL.into_iter();
        all.find(|m| m.name().eq_ignore_ascii_case(name))
    }
}

/// What the session's TLS channel is good for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Channel {
    /// What `tls-exporter` binds to (RFC 9266 §2); none without TLS, or where TLS 1.2 was made
    /// without an extended master secret.
    pub exporter: Option<[u8; 32]>,
    /// The mail addresses that the client's verified certificate is for.
    pub certificate: Vec<String>,
    /// Whether SCRAM-SHA-256-PLUS was offered.
    pub plus_offered: bool,
}

/// What an exchange wants next.
#[derive(Debug)]
pub enum Step {
    /// The client is sent these octets, and its response goes to [`Exchange::respond`].
    Challenge(Vec<u8>),
    /// Is this the user's password? The exchange is over.
    Password(Claimed, Password),
    /// Does what is stored for CRAM-MD5 give this digest of the challenge? The exchange is over.
    Digest(Claimed, Box<[u8]>, [u8; DIGEST]),
    /// What is stored for SCRAM? [`Exchange::scram`] takes the answer and gives the next step.
    Scram(scram::ClientFirst),
    /// The client proved to have the secret of this number among those that were given.
    Proven(Claimed, usize),
    /// The client failed to prove it, and why, for the log.
    Wrong(Claimed, &'static str),
    /// Does the client's certificate stand for this user, or, when it names none, for whom? The
    /// exchange is over.
    Certificate(Option<Claimed>),
    /// The client broke the mechanism's rules: how.
    Malformed(&'static str),
}

/// One exchange, from the AUTH command to its end.
#[derive(Debug)]
pub struct Exchange(State);

#[derive(Debug)]
enum State {
    Plain,
    LoginName,
    LoginPassword(Claimed),
    CramMd5(Box<[u8]>),
    ScramFirst { plus: bool },
    ScramAsked(Box<scram::ClientFirst>),
    ScramFinal(Box<scram::Server>),
    ScramDone(Claimed, usize),
    External,
    Over,
}

impl Exchange {
    /// Begins `mechanism`; `unique` is the challenge of CRAM-MD5, which never comes twice. An
    /// initial response is one that the client sent with the command (RFC 4954 §4).
    #[must_use]
    pub fn begin(
        mechanism: Mechanism,
        initial: Option<&[u8]>,
        channel: &Channel,
        unique: &str,
    ) -> (Exchange, Step) {
        let (state, greeting) = match mechanism {
            Mechanism::Plain => (State::Plain, ""),
            Mechanism::Login => (State::LoginName, login::NAME),
            Mechanism::CramMd5 => (State::CramMd5(unique.as_bytes().into()), unique),
            Mechanism::ScramSha256 => (State::ScramFirst { plus: false }, ""),
            Mechanism::ScramSha256Plus => (State::ScramFirst { plus: true }, ""),
            Mechanism::External => (State::External, ""),
        };
        let mut exchange = Exchange(state);
        let step = match (initial, mechanism) {
            (None, _) => Step::Challenge(greeting.into()),
            // RFC 4954 §4: the server speaks first here.
            (Some(_), Mechanism::CramMd5) => {
                exchange.end(Step::Malformed("CRAM-MD5 has no initial response"))
            }
            (Some(response), _) => exchange.respond(response, channel),
        };
        (exchange, step)
    }

    /// Takes a response.
    pub fn respond(&mut self, response: &[u8], channel: &Channel) -> Step {
        match std::mem::replace(&mut self.0, State::Over) {
            State::Plain => plain::parse(response),
            State::LoginName => {
                self.0 = State::LoginPassword(Claimed::new(response));
                Step::Challenge(login::PASSWORD.into())
            }
            State::LoginPassword(claimed) => Step::Password(claimed, Password::new(response)),
            State::CramMd5(challenge) => cram_md5::parse(response, challenge),
            State::ScramFirst { plus } => {
                match scram::ClientFirst::parse(response, plus, channel) {
                    Ok(first) => {
                        self.0 = State::ScramAsked(Box::new(first.clone()));
                        Step::Scram(first)
                    }
                    Err(step) => step,
                }
            }
            State::ScramFinal(server) => match server.finish(response) {
                Ok((claimed, secret, last)) => {
                    self.0 = State::ScramDone(claimed, secret);
                    Step::Challenge(last)
                }
                Err(step) => step,
            },
            // What we proved needs no answer, so the response is empty (RFC 4422 §3.6).
            State::ScramDone(claimed, secret) if response.is_empty() => {
                Step::Proven(claimed, secret)
            }
            State::ScramDone(..) => Step::Malformed("the last response is not empty"),
            State::External => external(response),
            State::ScramAsked(_) | State::Over => Step::Malformed("the exchange is over"),
        }
    }

    /// Takes what is stored for the user that [`Step::Scram`] named, with a nonce that never comes
    /// twice.
    pub fn scram(&mut self, stored: scram::Stored, nonce: &str) -> Step {
        match std::mem::replace(&mut self.0, State::Over) {
            State::ScramAsked(first) => {
                let (server, challenge) = scram::Server::begin(*first, stored, nonce);
                self.0 = State::ScramFinal(Box::new(server));
                Step::Challenge(challenge)
            }
            _ => Step::Malformed("the exchange is over"),
        }
    }

    fn end(&mut self, step: Step) -> Step {
        self.0 = State::Over;
        step
    }
}

/// EXTERNAL: the response is the authorization identity, or empty (RFC 4422 appendix A.1).
fn external(response: &[u8]) -> Step {
    let named = !response.is_empty();
    Step::Certificate(named.then(|| Claimed::new(response)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::authenticate::secret::scram::{Keys, Salt};

    fn any_mechanism() -> impl Strategy<Value = Mechanism> {
        proptest::sample::select(&Mechanism::ALL)
    }

    fn stored() -> scram::Stored {
        let salt = Salt {
            iterations: 4096,
            octets: b"salt".as_slice().into(),
        };
        scram::Stored {
            keys: vec![Keys::derive(b"pencil", salt)],
            known: true,
        }
    }

    fn response() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            "[nyp],[a=b]{0,4},(m=x,)?n=[a-z=,2CD]{0,8},r=[!-~]{0,20}".prop_map(Into::into),
            "c=[a-zA-Z=]{0,8},r=[!-~]{0,20},p=[a-zA-Z0-9+/=]{0,48}".prop_map(Into::into),
            "[a-z]{0,5}\0[a-z]{0,5}\0[a-z]{0,5}".prop_map(Into::into),
            Just(Vec::new()),
        ]
    }

    proptest! {
        #[test]
        fn no_sequence_of_responses_succeeds_or_panics_without_the_password(
            mechanism in any_mechanism(),
            initial in proptest::option::of(response()),
            responses in proptest::collection::vec(response(), 0..5),
            plus_offered: bool,
        ) {
            let channel = Channel { exporter: Some([1; 32]), plus_offered, ..Channel::default() };
            let (mut exchange, mut step) =
                Exchange::begin(mechanism, initial.as_deref(), &channel, "<1@mx>");
            for response in responses {
                if let Step::Scram(_) = step {
                    step = exchange.scram(stored(), "nonce");
                }
                prop_assert!(!matches!(step, Step::Proven(..)));
                step = exchange.respond(&response, &channel);
            }
            prop_assert!(!matches!(step, Step::Proven(..)));
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        for mechanism in Mechanism::ALL {
            let lower = mechanism.name().to_lowercase();
            assert_eq!(Mechanism::named(&lower), Some(mechanism));
        }
        assert_eq!(Mechanism::named("SCRAM-SHA-1"), None);
    }

    #[test]
    fn external_names_a_user_or_leaves_it_to_the_certificate() {
        let begin =
            |initial| Exchange::begin(Mechanism::External, initial, &Channel::default(), "");
        let (mut exchange, step) = begin(None);
        assert!(matches!(step, Step::Challenge(c) if c.is_empty()));
        assert!(matches!(
            exchange.respond(b"", &Channel::default()),
            Step::Certificate(None)
        ));
        let (_, step) = begin(Some(b"alice@example.org"));
        assert!(matches!(step, Step::Certificate(Some(c)) if c.name().is_some()));
    }
}
