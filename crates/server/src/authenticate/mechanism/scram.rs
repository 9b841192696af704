//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the server's side (RFC 5802, RFC 7677; RFC 9266).
//!
//! Both sides prove that they know the password, or what was made of it, and neither sends it. With
//! -PLUS both also prove to see the same TLS channel (`tls-exporter`), so that nobody stands
//! between. A client that could have bound the channel and says that we did not offer it is told
//! no: somebody took the offer out (RFC 5802 §6).
//!
//! A user that is not there is asked as one that is ([`Stored::known`]); only the end differs from
//! a right password's. Not here: mandatory extensions (there are none), acting for another user.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Channel, Step};
use crate::authenticate::name::Claimed;
use crate::authenticate::secret::scram::{KEY, Keys};

/// Longest nonce of a client in octets.
const NONCE_MAX: usize = 512;
/// Octets of the randomness in a nonce of ours.
pub const NONCE: usize = 18;

/// The text of a nonce of ours.
#[must_use]
pub fn nonce(random: [u8; NONCE]) -> String {
    BASE64.encode(random)
}

/// The client's first message.
#[derive(Clone, Debug)]
pub struct ClientFirst {
    claimed: Claimed,
    nonce: Box<str>,
    /// Without its header: what both sides sign.
    bare: Box<str>,
    /// What the client must repeat in its last message: header and channel.
    bound: Box<[u8]>,
}

/// What is stored for a user.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The keys of each of its secrets; at least one, all with one salt.
    pub keys: Vec<Keys>,
    /// Whether there is such a user; else the keys are made up.
    pub known: bool,
}

/// The server between its first message and the client's last.
#[derive(Debug)]
pub struct Server {
    claimed: Claimed,
    stored: Stored,
    nonce: String,
    bound: Box<[u8]>,
    /// The client's first message and ours, each with a comma behind it.
    signed: String,
}

impl ClientFirst {
    /// Reads the message.
    ///
    /// # Errors
    /// The step that ends the exchange.
    pub(super) fn parse(message: &[u8], plus: bool, channel: &Channel) -> Result<Self, Step> {
        let malformed = Step::Malformed;
        let Ok(text) = std::str::from_utf8(message) else {
            return Err(malformed("SCRAM is UTF-8"));
        };
        let mut parts = text.splitn(3, ',');
        let (Some(flag), Some(acting), Some(bare)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed("the header of SCRAM has two commas"));
        };
        let mut bound = format!("{flag},{acting},").into_bytes();
        match (flag.split_once('='), &channel.exporter) {
            (Some(("p", "tls-exporter")), Some(exporter)) if plus => bound.extend(exporter),
            (Some(("p", _)), _) if plus => {
                return Err(malformed("this channel can be bound by tls-exporter only"));
            }
            (None, _) if !plus && matches!(flag, "n" | "y") => {}
            _ => {
                return Err(malformed(
                    "the flag of the channel does not fit the mechanism",
                ));
            }
        }
        let mut attributes = bare.split(',');
        let user = attributes.next().and_then(|a| a.strip_prefix("n="));
        let Some(claimed) = user.and_then(decoded) else {
            return Err(malformed(
                "the user is missing, or an extension is mandatory",
            ));
        };
        let nonce = attributes.next().and_then(|a| a.strip_prefix("r="));
        let Some(nonce) = nonce.filter(|nonce| is_nonce(nonce)) else {
            return Err(malformed(
                "the nonce is missing, too long, or not printable",
            ));
        };
        let (nonce, bare, bound) = (nonce.into(), bare.into(), bound.into());
        if flag == "y" && channel.plus_offered {
            return Err(Step::Wrong(
                claimed,
                "the offer of -PLUS did not reach the client",
            ));
        }
        let acting = match acting {
            "" => None,
            acting => Some(acting.strip_prefix("a=").and_then(decoded)),
        };
        match acting {
            Some(None) => Err(malformed("the user to act for is not readable")),
            Some(Some(other)) if !other.is(&claimed) => {
                Err(Step::Wrong(claimed, "it wants to act for another user"))
            }
            _ => Ok(ClientFirst {
                claimed,
                nonce,
                bare,
                bound,
            }),
        }
    }

    /// Who the client says it is.
    #[must_use]
    pub fn claimed(&self) -> &Claimed {
        &self.claimed
    }
}

impl Server {
    /// The server's first message, and the server after it.
    pub(super) fn begin(first: ClientFirst, stored: Stored, nonce: &str) -> (Server, Vec<u8>) {
        let nonce = format!("{}{nonce}", first.nonce);
        let message = match stored.keys.first() {
            Some(Keys { salt, .. }) => {
                let (text, iterations) = (BASE64.encode(&salt.octets), salt.iterations);
                format!("r={nonce},s={text},i={iterations}")
            }
            None => String::new(),
        };
        let server = Server {
            claimed: first.claimed,
            stored,
            nonce,
            bound: first.bound,
            signed: format!("{},{message},", first.bare),
        };
        (server, message.into_bytes())
    }

    /// Takes the client's last message: the user, the number of its secret, and our last message.
    ///
    /// # Errors
    /// The step that ends the exchange.
    pub(super) fn finish(self, message: &[u8]) -> Result<(Claimed, usize, Vec<u8>), Step> {
        let malformed = Step::Malformed;
        let Ok(text) = std::str::from_utf8(message) else {
            return Err(malformed("SCRAM is UTF-8"));
        };
        let Some((unsigned, proof)) = text.rsplit_once(",p=") else {
            return Err(malformed("the proof is missing"));
        };
        let mut attributes = unsigned.split(',');
        let binding = attributes.next().and_then(|a| a.strip_prefix("c="));
        let nonce = attributes.next().and_then(|a| a.strip_prefix("r="));
        let (Some(binding), Some(nonce)) = (binding, nonce) else {
            return Err(malformed("the channel or the nonce is missing"));
        };
        let proof: Option<[u8; KEY]> = BASE64.decode(proof).ok().and_then(|p| p.try_into().ok());
        let Some(proof) = proof else {
            return Err(malformed("the proof is not base64 of 32 octets"));
        };
        let signed = format!("{}{unsigned}", self.signed);
        // All are tried, so that how long it takes tells nothing of which.
        let keys = self.stored.keys.iter().enumerate();
        let proven = keys.fold(None, |found, (at, keys)| {
            let proven = keys.proven(signed.as_bytes(), &proof);
            found.or(proven.then(|| (at, keys.signature(signed.as_bytes()))))
        });
        let wrong = |why| Err(Step::Wrong(self.claimed.clone(), why));
        match proven {
            _ if binding != BASE64.encode(&self.bound) => wrong("the channel is another one"),
            _ if nonce != self.nonce => wrong("the nonce is another one"),
            Some((at, signature)) if self.stored.known => {
                let last = format!("v={}", BASE64.encode(signature));
                Ok((self.claimed, at, last.into_bytes()))
            }
            _ if self.stored.known => wrong("the password is wrong"),
            _ => wrong("there is no such user, or it has nothing stored for SCRAM"),
        }
    }
}

/// A user's name without its escapes (RFC 5802 §5.1); `None` when it is empty or badly escaped.
fn decoded(text: &str) -> Option<Claimed> {
    let mut name = String::new();
    let mut parts = text.split('=');
    name.push_str(parts.next()?);
    for part in parts {
        let (with, rest) = match part.split_at_checked(2)? {
            ("2C", rest) => (',', rest),
            ("3D", rest) => ('=', rest),
            _ => return None,
        };
        name.push(with);
        name.push_str(rest);
    }
    (!name.is_empty() && !name.contains('\0')).then(|| Claimed::new(name.as_bytes()))
}

fn is_nonce(text: &str) -> bool {
    (1..=NONCE_MAX).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authenticate::mechanism::{Exchange, Mechanism};
    use crate::authenticate::secret::scram::{Salt, mac};

    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

    fn salt() -> Salt {
        Salt {
            iterations: 4096,
            octets: BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().into(),
        }
    }

    fn stored(passwords: &[&str], known: bool) -> Stored {
        let keys = passwords.iter().map(|p| Keys::derive(p.as_bytes(), salt()));
        Stored {
            keys: keys.collect(),
            known,
        }
    }

    fn begin(plus: bool, first: &str, channel: &Channel) -> (Exchange, Step) {
        let mechanism = match plus {
            true => Mechanism::ScramSha256Plus,
            false => Mechanism::ScramSha256,
        };
        Exchange::begin(mechanism, Some(first.as_bytes()), channel, "")
    }

    fn text(step: &Step) -> &str {
        match step {
            Step::Challenge(octets) => std::str::from_utf8(octets).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// What a client answers that knows `password` and sees `channel` (RFC 5802 §3).
    fn client(first: &str, challenge: &str, password: &str, channel: &[u8]) -> String {
        let bare = first.splitn(3, ',').nth(2).unwrap();
        let header = &first[..first.len() - bare.len()];
        let nonce = challenge.split(',').next().unwrap();
        let binding = BASE64.encode([header.as_bytes(), channel].concat());
        let unsigned = format!("c={binding},{nonce}");
        let signed = format!("{bare},{challenge},{unsigned}");
        let keys = Keys::derive(password.as_bytes(), salt());
        let mut salted = [0; 32];
        aws_lc_rs::pbkdf2::derive(
            aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256,
            std::num::NonZeroU32::new(4096).unwrap(),
            &salt().octets,
            password.as_bytes(),
            &mut salted,
        );
        let mut proof = mac(&salted, b"Client Key");
        for (octet, with) in proof.iter_mut().zip(mac(&keys.stored, signed.as_bytes())) {
            *octet ^= with;
        }
        format!("{unsigned},p={}", BASE64.encode(proof))
    }

    /// The last step of an exchange with a client that knows `password` and sees `seen`.
    fn exchanged(plus: bool, first: &str, password: &str, channels: (&Channel, &[u8])) -> Step {
        let (channel, seen) = channels;
        let (mut exchange, step) = begin(plus, first, channel);
        let Step::Scram(asked) = &step else {
            return step;
        };
        assert_eq!(asked.claimed().shown(), "user");
        let step = exchange.scram(stored(&["pencil", "other"], true), NONCE);
        let answer = client(first, text(&step), password, seen);
        match exchange.respond(answer.as_bytes(), channel) {
            Step::Challenge(last) => {
                assert!(last.starts_with(b"v="));
                exchange.respond(b"", channel)
            }
            step => step,
        }
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let channel = Channel::default();
        let (mut exchange, _) = begin(false, FIRST, &channel);
        let step = exchange.scram(stored(&["pencil"], true), NONCE);
        assert_eq!(
            text(&step),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                     p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let step = exchange.respond(last, &channel);
        assert_eq!(
            text(&step),
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        assert!(matches!(
            exchange.respond(b"", &channel),
            Step::Proven(_, 0)
        ));
    }

    #[test]
    fn each_of_several_passwords_proves_the_account() {
        let channel = Channel::default();
        for (password, at) in [("pencil", 0), ("other", 1)] {
            let step = exchanged(false, FIRST, password, (&channel, b""));
            assert!(
                matches!(step, Step::Proven(_, found) if found == at),
                "{step:?}"
            );
        }
        let step = exchanged(false, FIRST, "Pencil", (&channel, b""));
        assert!(matches!(step, Step::Wrong(..)));
    }

    #[test]
    fn a_user_that_is_not_there_fails_at_the_end_only() {
        let channel = Channel::default();
        let (mut exchange, _) = begin(false, FIRST, &channel);
        let step = exchange.scram(stored(&["pencil"], false), NONCE);
        let answer = client(FIRST, text(&step), "pencil", b"");
        assert!(matches!(
            exchange.respond(answer.as_bytes(), &channel),
            Step::Wrong(..)
        ));
    }

    #[test]
    fn a_bound_channel_is_the_same_at_both_ends() {
        let first = "p=tls-exporter,,n=user,r=abc";
        let channel = Channel {
            exporter: Some([5; 32]),
            plus_offered: true,
            ..Channel::default()
        };
        let step = exchanged(true, first, "pencil", (&channel, &[5; 32]));
        assert!(matches!(step, Step::Proven(_, 0)), "{step:?}");
        // Somebody stands between: the client sees another channel.
        let step = exchanged(true, first, "pencil", (&channel, &[6; 32]));
        assert!(
            matches!(step, Step::Wrong(_, "the channel is another one")),
            "{step:?}"
        );
    }

    #[test]
    fn an_offer_that_was_taken_out_is_noticed() {
        let first = "y,,n=user,r=abc";
        let mut channel = Channel {
            exporter: Some([5; 32]),
            plus_offered: true,
            ..Channel::default()
        };
        let step = exchanged(false, first, "pencil", (&channel, b""));
        assert!(matches!(step, Step::Wrong(..)), "{step:?}");
        // Without an offer of ours the client is right to say so.
        channel.plus_offered = false;
        let step = exchanged(false, first, "pencil", (&channel, b""));
        assert!(matches!(step, Step::Proven(_, 0)), "{step:?}");
    }

    #[test]
    fn first_messages_that_break_the_rules_are_malformed() {
        let channel = Channel {
            exporter: Some([5; 32]),
            ..Channel::default()
        };
        for (plus, wrong) in [
            (false, ""),
            (false, "n"),
            (false, "n,"),
            (false, "n,,"),
            (false, "n,,n=user"),
            (false, "n,,n=,r=abc"),
            (false, "n,,n=user,r="),
            (false, "n,,n=user,r=a\u{e9}"),
            (false, "n,,n=us=er,r=abc"),
            (false, "n,,n=us=2cer,r=abc"),
            (false, "n,,m=x,n=user,r=abc"),
            (false, "n,b=x,n=user,r=abc"),
            (false, "p=tls-exporter,,n=user,r=abc"),
            (false, "x,,n=user,r=abc"),
            (true, "n,,n=user,r=abc"),
            (true, "y,,n=user,r=abc"),
            (true, "p=tls-unique,,n=user,r=abc"),
            (true, "p=tls-server-end-point,,n=user,r=abc"),
        ] {
            let (_, step) = begin(plus, wrong, &channel);
            assert!(matches!(step, Step::Malformed(_)), "{wrong}: {step:?}");
        }
        let (_, step) = begin(true, "p=tls-exporter,,n=user,r=abc", &Channel::default());
        assert!(matches!(step, Step::Malformed(_)));
        let long = format!("n,,n=user,r={}", "x".repeat(NONCE_MAX + 1));
        assert!(matches!(
            begin(false, &long, &channel).1,
            Step::Malformed(_)
        ));
    }

    #[test]
    fn names_are_unescaped_and_the_acting_user_is_the_user() {
        let channel = Channel::default();
        for (first, shown) in [
            ("n,,n=a=2Cb=3Dc,r=abc", "a,b=c"),
            ("n,a=user,n=User,r=abc", "user"),
            ("n,,n=user,r=abc,x=extension", "user"),
        ] {
            match begin(false, first, &channel).1 {
                Step::Scram(asked) => assert_eq!(asked.claimed().shown(), shown),
                other => panic!("{first}: {other:?}"),
            }
        }
        let (_, step) = begin(false, "n,a=root,n=user,r=abc", &channel);
        assert!(matches!(step, Step::Wrong(..)));
    }

    #[test]
    fn last_messages_that_differ_from_what_was_agreed_are_wrong() {
        let channel = Channel::default();
        let answered = |change: &dyn Fn(String) -> String| {
            let (mut exchange, _) = begin(false, FIRST, &channel);
            let step = exchange.scram(stored(&["pencil"], true), NONCE);
            let answer = change(client(FIRST, text(&step), "pencil", b""));
            exchange.respond(answer.as_bytes(), &channel)
        };
        assert!(matches!(answered(&|a| a), Step::Challenge(_)));
        // The client's own nonce alone, another header, a proof of other words.
        assert!(matches!(
            answered(&|a| a.replace(NONCE, "")),
            Step::Wrong(..)
        ));
        assert!(matches!(
            answered(&|a| a.replace("biws", "eSws")),
            Step::Wrong(..)
        ));
        assert!(matches!(
            answered(&|a| a.replace(",p=", ",x=y,p=")),
            Step::Wrong(..)
        ));
        for wrong in [
            "",
            "p=",
            "c=biws,p=AAAA",
            "c=biws,r=abc",
            "c=biws,r=abc,p=*",
        ] {
            let step = answered(&|_| wrong.into());
            assert!(matches!(step, Step::Malformed(_)), "{wrong}: {step:?}");
        }
    }

    #[test]
    fn what_follows_the_servers_proof_is_empty() {
        let channel = Channel::default();
        let (mut exchange, _) = begin(false, FIRST, &channel);
        let step = exchange.scram(stored(&["pencil"], true), NONCE);
        let answer = client(FIRST, text(&step), "pencil", b"");
        exchange.respond(answer.as_bytes(), &channel);
        assert!(matches!(
            exchange.respond(b"x", &channel),
            Step::Malformed(_)
        ));
    }
}
