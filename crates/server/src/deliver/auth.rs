//! Mechanisms of AUTH, the client's side (RFC 4954, RFC 5802, RFC 7677, RFC 4616, RFC 2195).
//!
//! An [`Exchange`] is one login with one mechanism: octets in, octets out. The strongest that both
//! sides have is taken, in the order of [`ORDER`]. With SCRAM the server has to prove, too, that it
//! knows the password: one that says yes without is not believed.
//!
//! This module does **not** decide whether a connection is fit for secrets, and knows no base64 of
//! the dialogue: the session has it.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::authenticate::name::Password;
use crate::authenticate::secret::cram_md5;
use crate::authenticate::secret::scram::{KEY, mac};

/// Octets of the randomness in our nonce.
pub const NONCE: usize = 18;
/// Fewest iterations that a server may ask for (RFC 7677 §4).
const ITERATIONS_MIN: u32 = 4_096;
/// Most iterations that a server may ask for: they are computed here, at every login.
const ITERATIONS_MAX: u32 = 2_000_000;

/// The mechanisms, the one to be preferred first. EXTERNAL is for those who have shown a
/// certificate and have no password.
const ORDER: [Mechanism; 6] = [
    Mechanism::ScramPlus,
    Mechanism::Scram,
    Mechanism::Plain,
    Mechanism::Login,
    Mechanism::CramMd5,
    Mechanism::External,
];

/// Who we are to a server.
#[derive(Clone)]
pub struct Secret {
    /// The user's name there.
    pub user: Box<str>,
    /// The password.
    pub password: Password,
}

/// The password is nobody's business.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.user)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    ScramPlus,
    Scram,
    Plain,
    Login,
    CramMd5,
    External,
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Mechanism::ScramPlus => "SCRAM-SHA-256-PLUS",
            Mechanism::Scram => "SCRAM-SHA-256",
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::CramMd5 => "CRAM-MD5",
            Mechanism::External => "EXTERNAL",
        }
    }
}

/// What a login can be made of.
pub struct Means<'a> {
    /// The mechanisms that the server offers.
    pub offered: &'a [Box<str>],
    /// User and password, where there are some.
    pub secret: Option<&'a Secret>,
    /// Whether a certificate of ours was shown in the handshake.
    pub certificate: bool,
    /// What binds to the TLS channel (RFC 9266).
    pub binding: Option<[u8; 32]>,
    /// Randomness for a nonce.
    pub random: [u8; NONCE],
}

/// What is wrong with a server that takes us for whoever we say we are.
pub const UNPROVED: Flaw = "it does not prove that it knows the password";

/// Why an exchange cannot go on; the text says what the server did.
pub type Flaw = &'static str;

/// One login.
#[derive(Debug)]
pub struct Exchange {
    mechanism: Mechanism,
    state: State,
}

/// What the next challenge is to be.
#[derive(Debug)]
enum State {
    /// None: the initial response said it all.
    Said,
    /// LOGIN asks for the user.
    User(Secret),
    /// Anything: the password is next.
    Password(Secret),
    /// CRAM-MD5's only one.
    Digest(Secret),
    /// SCRAM's first message of the server.
    ServerFirst(Box<ScramFirst>),
    /// SCRAM's last, which must prove this.
    ServerFinal([u8; KEY]),
    /// The server has proved itself.
    Proved,
}

#[derive(Debug)]
struct ScramFirst {
    secret: Secret,
    /// What our last message repeats: header and channel.
    bound: Vec<u8>,
    nonce: String,
    /// Our first message without its header.
    bare: String,
}

impl Exchange {
    /// The best login that is possible; none when both sides have no mechanism in common.
    #[must_use]
    pub fn choose(means: &Means<'_>) -> Option<Exchange> {
        let offers = |m: Mechanism| {
            means
                .offered
                .iter()
                .any(|o| o.eq_ignore_ascii_case(m.name()))
        };
        let mechanism = ORDER.into_iter().find(|m| offers(*m) && means.allow(*m))?;
        let state = match (mechanism, means.secret) {
            (Mechanism::External, _) | (_, None) => State::Said,
            (Mechanism::Plain, Some(secret)) | (Mechanism::Login, Some(secret)) => {
                State::User(secret.clone())
            }
            (Mechanism::CramMd5, Some(secret)) => State::Digest(secret.clone()),
            (Mechanism::Scram | Mechanism::ScramPlus, Some(secret)) => {
                State::ServerFirst(Box::new(means.scram(mechanism, secret)?))
            }
        };
        Some(Exchange { mechanism, state })
    }

    /// The mechanism's registered name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.mechanism.name()
    }

    /// What to send with AUTH; none when the server begins.
    #[must_use]
    pub fn initial(&mut self) -> Option<Vec<u8>> {
        match (self.mechanism, &self.state) {
            // The certificate says who we are (RFC 4422, appendix A).
            (Mechanism::External, _) => Some(Vec::new()),
            (Mechanism::Plain, State::User(secret)) => {
                let mut message = vec![0];
                message.extend_from_slice(secret.user.as_bytes());
                message.push(0);
                message.extend_from_slice(&raw(&secret.password));
                self.state = State::Said;
                Some(message)
            }
            (_, State::ServerFirst(first)) => {
                let header = first.bound.split(|octet| *octet == b',').take(2);
                let mut message = header.collect::<Vec<_>>().join(&b',');
                message.push(b',');
                message.extend_from_slice(first.bare.as_bytes());
                Some(message)
            }
            _ => None,
        }
    }

    /// The response to a challenge. It may compute for a tenth of a second.
    ///
    /// # Errors
    /// The server's part is wrong; cancel.
    pub fn answer(&mut self, challenge: &[u8]) -> Result<Vec<u8>, Flaw> {
        match std::mem::replace(&mut self.state, State::Said) {
            State::Said | State::Proved => Err("it asks for more than the mechanism has"),
            State::User(secret) => {
                let user = secret.user.as_bytes().to_vec();
                self.state = State::Password(secret);
                Ok(user)
            }
            State::Password(secret) => Ok(raw(&secret.password)),
            State::Digest(secret) => {
                let digest = cram_md5::Key::derive(&raw(&secret.password)).digest(challenge);
                let hex: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
                Ok(format!("{} {hex}", secret.user).into_bytes())
            }
            State::ServerFirst(first) => {
                let (last, expected) = first.answer(challenge)?;
                self.state = State::ServerFinal(expected);
                Ok(last)
            }
            State::ServerFinal(expected) => {
                let text = std::str::from_utf8(challenge).unwrap_or_default();
                let verifier = text.strip_prefix("v=").and_then(|v| v.split(',').next());
                let verifier = verifier.and_then(|v| BASE64.decode(v).ok());
                let proved =
                    verifier.is_some_and(|v| verify_slices_are_equal(&v, &expected).is_ok());
                if !proved {
                    return Err(UNPROVED);
                }
                self.state = State::Proved;
                Ok(Vec::new())
            }
        }
    }

    /// Whether a yes of the server can be believed: with SCRAM only once it has proved itself.
    #[must_use]
    pub fn is_satisfied(&self) -> bool {
        !matches!(self.state, State::ServerFirst(_) | State::ServerFinal(_))
    }
}

impl Means<'_> {
    /// Whether there is what a mechanism needs.
    fn allow(&self, mechanism: Mechanism) -> bool {
        match mechanism {
            Mechanism::External => self.certificate && self.secret.is_none(),
            Mechanism::ScramPlus => self.binding.is_some() && self.is_typed(),
            Mechanism::Scram => self.is_typed(),
            Mechanism::Plain | Mechanism::Login | Mechanism::CramMd5 => self.secret.is_some(),
        }
    }

    /// Whether user and password can be prepared (RFC 4013), as SCRAM wants them.
    fn is_typed(&self) -> bool {
        let typed =
            |s: &Secret| s.password.prepared().is_some() && stringprep::saslprep(&s.user).is_ok();
        self.secret.is_some_and(typed)
    }

    fn scram(&self, mechanism: Mechanism, secret: &Secret) -> Option<ScramFirst> {
        let user = stringprep::saslprep(&secret.user).ok()?;
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let nonce = BASE64.encode(self.random);
        let bound = match (mechanism, self.binding) {
            (Mechanism::ScramPlus, Some(binding)) => [b"p=tls-exporter,,", &binding[..]].concat(),
            // The server did not offer what we have: it learns that it seemed so (RFC 5802 §6).
            (_, Some(_)) => b"y,,".to_vec(),
            (_, None) => b"n,,".to_vec(),
        };
        Some(ScramFirst {
            secret: secret.clone(),
            bound,
            bare: format!("n={user},r={nonce}"),
            nonce,
        })
    }
}

impl ScramFirst {
    /// Our last message, and what the server's last must have.
    fn answer(&self, challenge: &[u8]) -> Result<(Vec<u8>, [u8; KEY]), Flaw> {
        let text = std::str::from_utf8(challenge).map_err(|_| "its message is not UTF-8")?;
        let mut parts = text.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name));
        let nonce = part("r=").ok_or("its message has no nonce")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("its nonce does not continue ours");
        }
        let salt = part("s=").and_then(|salt| BASE64.decode(salt).ok());
        let salt = salt.ok_or("its message has no salt")?;
        let iterations = part("i=")
            .and_then(|i| i.parse().ok())
            .filter(|i| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(i))
            .and_then(NonZeroU32::new)
            .ok_or("it asks for less than 4096 or more than 2000000 iterations")?;
        let password = self
            .secret
            .password
            .prepared()
            .ok_or("the password cannot be prepared")?;
        let mut salted = [0; KEY];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(
            algorithm,
            iterations,
            &salt,
            password.as_bytes(),
            &mut salted,
        );
        let last = format!("c={},r={nonce}", BASE64.encode(&self.bound));
        let signed = format!("{},{text},{last}", self.bare);
        let client = mac(&salted, b"Client Key");
        let stored = digest::digest(&digest::SHA256, &client);
        let signature = mac(stored.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let expected = mac(&mac(&salted, b"Server Key"), signed.as_bytes());
        let last = format!("{last},p={}", BASE64.encode(proof));
        Ok((last.into_bytes(), expected))
    }
}

/// A password as it was given.
fn raw(password: &Password) -> Vec<u8> {
    let forms = password.forms();
    forms.last().map(|form| form.to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret(user: &str, password: &str) -> Secret {
        Secret {
            user: user.into(),
            password: Password::new(password.as_bytes()),
        }
    }

    fn offered(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|name| Box::from(*name)).collect()
    }

    fn means<'a>(offered: &'a [Box<str>], secret: Option<&'a Secret>) -> Means<'a> {
        Means {
            offered,
            secret,
            certificate: false,
            binding: None,
            random: [7; NONCE],
        }
    }

    fn text(octets: &[u8]) -> String {
        String::from_utf8(octets.to_vec()).unwrap()
    }

    #[test]
    fn the_best_mechanism_that_both_have_is_taken() {
        let secret = secret("user", "pencil");
        let all = [
            "LOGIN",
            "plain",
            "EXTERNAL",
            "CRAM-MD5",
            "SCRAM-SHA-256",
            "SCRAM-SHA-256-PLUS",
            "XOAUTH2",
        ];
        let chosen = |offers: &[&str], binding, certificate, with_secret| {
            let offers = offered(offers);
            let means = Means {
                certificate,
                binding,
                ..means(&offers, Some(&secret).filter(|_| with_secret))
            };
            Exchange::choose(&means).map(|exchange| exchange.name())
        };
        let binding = Some([1; 32]);
        assert_eq!(
            chosen(&all, binding, true, true),
            Some("SCRAM-SHA-256-PLUS")
        );
        assert_eq!(chosen(&all, None, true, true), Some("SCRAM-SHA-256"));
        assert_eq!(chosen(&all[..4], binding, false, true), Some("PLAIN"));
        assert_eq!(
            chosen(&["CRAM-MD5", "LOGIN"], None, false, true),
            Some("LOGIN")
        );
        assert_eq!(chosen(&["CRAM-MD5"], None, false, true), Some("CRAM-MD5"));
        assert_eq!(chosen(&all, binding, true, false), Some("EXTERNAL"));
        assert_eq!(chosen(&all, binding, false, false), None);
        assert_eq!(chosen(&["XOAUTH2"], binding, true, true), None);
    }

    #[test]
    fn plain_and_login_and_cram_md5_say_what_they_should() {
        let tim = secret("tim", "tanstaaftanstaaf");
        let start = |name: &str| Exchange::choose(&means(&offered(&[name]), Some(&tim))).unwrap();
        let mut plain = start("PLAIN");
        assert_eq!(text(&plain.initial().unwrap()), "\0tim\0tanstaaftanstaaf");
        assert!(plain.answer(b"").is_err() && plain.is_satisfied());
        let mut login = start("LOGIN");
        assert_eq!(login.initial(), None);
        assert_eq!(text(&login.answer(b"Username:").unwrap()), "tim");
        assert_eq!(
            text(&login.answer(b"Password:").unwrap()),
            "tanstaaftanstaaf"
        );
        assert!(login.answer(b"More:").is_err());
        // RFC 2195 §2.
        let mut cram = start("CRAM-MD5");
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        let response = "tim b913a602c7eda7a495b4e6e7334d3890";
        assert_eq!(text(&cram.answer(challenge).unwrap()), response);
    }

    #[test]
    fn external_says_nothing_but_its_name() {
        let offers = offered(&["EXTERNAL"]);
        let means = Means {
            certificate: true,
            ..means(&offers, None)
        };
        let mut external = Exchange::choose(&means).unwrap();
        assert_eq!(external.initial(), Some(Vec::new()));
        assert!(external.answer(b"").is_err());
    }

    /// The example of RFC 7677 §3.
    fn rfc7677() -> Exchange {
        let offers = offered(&["SCRAM-SHA-256"]);
        let secret = secret("user", "pencil");
        let mut exchange = Exchange::choose(&means(&offers, Some(&secret))).unwrap();
        let State::ServerFirst(first) = &mut exchange.state else {
            panic!("not SCRAM");
        };
        first.nonce = "rOprNGfwEbeRWgbNEkqO".into();
        first.bare = "n=user,r=rOprNGfwEbeRWgbNEkqO".into();
        exchange
    }

    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn scram_is_as_in_the_example_of_its_rfc() {
        let mut exchange = rfc7677();
        let first = exchange.initial().unwrap();
        assert_eq!(text(&first), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        assert!(!exchange.is_satisfied());
        let last = exchange.answer(SERVER_FIRST.as_bytes()).unwrap();
        assert_eq!(
            text(&last),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(!exchange.is_satisfied());
        let end = exchange.answer(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(end, Ok(Vec::new()));
        assert!(exchange.is_satisfied());
        assert!(exchange.answer(b"").is_err());
    }

    #[test]
    fn a_server_that_does_not_prove_itself_is_not_believed() {
        for end in [
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=",
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95GA=",
            "v=",
            "",
            "e=other-error",
            "x=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ] {
            let mut exchange = rfc7677();
            exchange.answer(SERVER_FIRST.as_bytes()).unwrap();
            assert!(exchange.answer(end.as_bytes()).is_err(), "{end}");
        }
    }

    #[test]
    fn a_first_message_of_the_server_that_is_wrong_ends_the_exchange() {
        let ours = "r=rOprNGfwEbeRWgbNEkqO";
        for first in [
            "".to_owned(),
            "r=other,s=c2FsdA==,i=4096".to_owned(),
            format!("{ours},s=c2FsdA==,i=4096"),
            format!("m=x,{ours}x,s=c2FsdA==,i=4096"),
            format!("{ours}x,i=4096,s=c2FsdA=="),
            format!("{ours}x,s=?,i=4096"),
            format!("{ours}x,s=c2FsdA==,i=4095"),
            format!("{ours}x,s=c2FsdA==,i=2000001"),
            format!("{ours}x,s=c2FsdA==,i=-1"),
            format!("{ours}x,s=c2FsdA=="),
        ] {
            assert!(rfc7677().answer(first.as_bytes()).is_err(), "{first}");
        }
    }

    #[test]
    fn the_channel_is_bound_where_it_can_be_and_an_offer_that_was_taken_out_is_noticed() {
        let secret = secret("a=b,c", "pencil");
        let first = |offers: &[&str], binding| {
            let offers = offered(offers);
            let means = Means {
                binding,
                ..means(&offers, Some(&secret))
            };
            text(&Exchange::choose(&means).unwrap().initial().unwrap())
        };
        let bare = format!("n=a=3Db=2Cc,r={}", BASE64.encode([7; NONCE]));
        let plus = ["SCRAM-SHA-256-PLUS"];
        assert_eq!(
            first(&plus, Some([44; 32])),
            format!("p=tls-exporter,,{bare}")
        );
        assert_eq!(
            first(&["SCRAM-SHA-256"], Some([1; 32])),
            format!("y,,{bare}")
        );
        assert_eq!(first(&["SCRAM-SHA-256"], None), format!("n,,{bare}"));
    }

    proptest! {
        #[test]
        fn any_challenges_are_answered_or_refused(
            mechanism in 0..6usize, challenges in prop::collection::vec(".{0,40}", 0..5),
        ) {
            let secret = secret("user", "pencil");
            let offers = offered(&[ORDER[mechanism].name()]);
            let means = Means {
                certificate: mechanism == 5,
                binding: Some([3; 32]),
                ..means(&offers, Some(&secret).filter(|_| mechanism != 5))
            };
            let mut exchange = Exchange::choose(&means).unwrap();
            let _first = exchange.initial();
            for challenge in challenges {
                let _ = exchange.answer(challenge.as_bytes());
            }
        }
    }
}
