//! Nobody relays through us but those who may: every form of address that ever opened a relay, from
//! every place a peer can come from.
//!
//! Each form is also sent from a relay network, where it must be accepted, or is refused as it is
//! everywhere: so a form that is refused outside is refused because of who sends it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use std::net::IpAddr;

use posthaste_tests::client::Dialogue;
use posthaste_tests::server::Server;

/// Ours is `local.example` with one mailbox, and `backup.example`, whose next server decides. The
/// proxies are themselves in a relay network: who comes through them must not gain by it.
const CONFIG: &str = r#"
hostname = "mx.local.example"
data_dir = "data"
postmaster = "alice@local.example"
user = "nobody"

[[domain]]
name = "local.example"
mailboxes = ["alice"]
deliver = "discard:"
subaddress = "+"

[[domain]]
name = "backup.example"
mailboxes = ["*"]
deliver = "smtp://127.0.0.1:1"

[relay]
networks = ["127.0.0.16/28", "192.0.2.0/24", "2001:db8:1::/64"]

[[route]]
recipients = ["*"]
via = "discard:"

[limits]
errors = 1000
refused_recipients = 1000

[[listener]]
address = ["127.0.0.1:0", "[::1]:0"]
service = "mx"
tls = "none"
proxy_protocol_from = ["127.0.0.17"]
"#;

/// What a relay network gets for a form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Inside {
    /// It is accepted.
    Relays,
    /// It is accepted where MAIL said SMTPUTF8, and refused where not.
    RelaysUtf8,
    /// Nobody may send there: it is no address, or nobody of ours.
    Refused,
}
use Inside::{Refused, Relays, RelaysUtf8};

/// Arguments of `RCPT TO:`.
const FORMS: [(&str, Inside); 70] = [
    // Plain, and how the domain may be written.
    ("<user@victim.example>", Relays),
    ("<USER@VICTIM.EXAMPLE>", Relays),
    ("<user@victim.example.>", Refused),
    ("<user@local.example.>", Refused),
    ("<user@LOCAL.EXAMPLE>", Refused),
    ("<user@victim..example>", Refused),
    ("<user@.victim.example>", Refused),
    ("<postmaster@victim.example>", Relays),
    ("<user@victim.example> NOTIFY=NEVER", Relays),
    (
        "<user@victim.example> ORCPT=rfc822;alice@local.example",
        Relays,
    ),
    // Source routes are dropped (RFC 5321 appendix C), whoever is named in them.
    ("<@local.example:user@victim.example>", Relays),
    ("<@mx.local.example:user@victim.example>", Relays),
    (
        "<@local.example,@backup.example:user@victim.example>",
        Relays,
    ),
    ("<@[127.0.0.1]:user@victim.example>", Refused),
    (
        "<@victim.example:user%victim.example@local.example>",
        Refused,
    ),
    (
        "<@local.example:@victim.example:user@victim.example>",
        Refused,
    ),
    (
        "<@victim.example:alice@local.example:user@victim.example>",
        Refused,
    ),
    // The percent hack and bang paths: the local part is a name and no route.
    ("<user%victim.example@local.example>", Refused),
    ("<user%victim.example@[127.0.0.1]>", Refused),
    ("<user%victim.example@mx.local.example>", Refused),
    ("<user%victim.example%local.example@local.example>", Refused),
    ("<user%victim.example>", Refused),
    ("<victim.example!user@local.example>", Refused),
    ("<local.example!user@victim.example>", Relays),
    ("<victim.example!local.example!user@local.example>", Refused),
    ("<victim.example!user>", Refused),
    ("<alice+user%victim.example@victim.example>", Relays),
    // The same to a domain whose next server might read them.
    ("<user%victim.example@backup.example>", Relays),
    ("<victim.example!user@backup.example>", Relays),
    ("<\"user@victim.example\"@backup.example>", Relays),
    ("<\"user\\@victim.example\"@backup.example>", Relays),
    // Several @, quoted and not.
    ("<user@victim.example@local.example>", Refused),
    ("<user@local.example@victim.example>", Refused),
    ("<\"user@victim.example\"@local.example>", Refused),
    ("<\"user%victim.example\"@local.example>", Refused),
    ("<\"alice@local.example\"@victim.example>", Relays),
    ("<\"alice@local.example>,<user\"@victim.example>", Relays),
    ("<\"user@victim.example\">", Refused),
    ("<\"user\"@victim.example>", Relays),
    ("<\"user\\\"@victim.example>", Refused),
    ("<user\\@victim.example@local.example>", Refused),
    // Address literals, ours among them.
    ("<user@[198.51.100.99]>", Relays),
    ("<user@[IPv6:2001:db8::99]>", Relays),
    ("<user@[IPv6:::ffff:198.51.100.99]>", Relays),
    ("<user@[127.0.0.1]>", Refused),
    ("<user@[IPv6:::1]>", Refused),
    ("<user@[IPv6:::ffff:127.0.0.1]>", Refused),
    ("<user@[127.1]>", Refused),
    ("<user@[local.example]>", Refused),
    ("<user@198.51.100.99>", Relays),
    ("<user@2130706433>", Relays),
    // Names near ours.
    ("<user@local.example.victim.example>", Relays),
    ("<user@sub.local.example>", Relays),
    ("<user@notlocal.example>", Relays),
    ("<user@loca1.example>", Relays),
    ("<user@localhost>", Relays),
    ("<alice@l\u{43e}cal.example>", RelaysUtf8),
    ("<alice@xn--lcal-55d.example>", Relays),
    ("<user@local\u{3002}example>", Refused),
    ("<\u{ff41}lice@victim.example>", RelaysUtf8),
    // Octets that end a text elsewhere.
    ("<user@victim.example%00@local.example>", Refused),
    ("<user@victim.example\0@local.example>", Refused),
    ("<alice%00@victim.example>", Relays),
    ("<alice@local.example%0d%0auser@victim.example>", Refused),
    // What is no path.
    ("user@victim.example", Refused),
    ("<<user@victim.example>>", Refused),
    ("<alice@local.example,user@victim.example>", Refused),
    ("<alice@local.example>,<user@victim.example>", Refused),
    ("<user@victim.example(local.example)>", Refused),
    ("<alice@local.example> <user@victim.example>", Refused),
];

/// Reverse-paths and hello names that somebody might trust.
const CLAIMS: [(&str, &str); 4] = [
    ("client.example", "<a@sender.example>"),
    ("mx.local.example", "<alice@local.example>"),
    ("[192.0.2.9]", "<>"),
    ("localhost", "<postmaster@mx.local.example>"),
];

/// A peer: where it connects from, to which listener, and what it says before the greeting.
struct Peer {
    what: &'static str,
    from: &'static str,
    first: Vec<u8>,
    /// What it sends as its first command.
    forged: Option<Vec<u8>>,
}

impl Peer {
    fn direct(what: &'static str, from: &'static str) -> Peer {
        let (first, forged) = (Vec::new(), None);
        Peer {
            what,
            from,
            first,
            forged,
        }
    }

    fn proxied(what: &'static str, first: impl Into<Vec<u8>>) -> Peer {
        let first = first.into();
        let from = "127.0.0.17";
        Peer {
            first,
            ..Peer::direct(what, from)
        }
    }

    fn forging(mut self, header: impl Into<Vec<u8>>) -> Peer {
        self.forged = Some(header.into());
        self
    }

    fn open(&self, server: &Server, hello: &str) -> Dialogue {
        let from: IpAddr = self.from.parse().unwrap();
        let to = server.addresses[usize::from(from.is_ipv6())];
        let mut dialogue = Dialogue::connect_from(from, to);
        dialogue.send(&self.first);
        assert_eq!(dialogue.answer().code, 220, "{}", self.what);
        if let Some(header) = &self.forged {
            dialogue.send(header);
            // A line or several, none of them is a command; then whatever is left of the last one.
            for _ in header.iter().filter(|octet| **octet == b'\n') {
                assert!(dialogue.answer().code >= 500, "{}", self.what);
            }
            if !header.ends_with(b"\r\n") {
                dialogue.send(b"\r\n");
            }
        }
        assert_eq!(
            dialogue.ask(&format!("EHLO {hello}")).code,
            250,
            "{}",
            self.what
        );
        dialogue
    }
}

fn v1(client: &str) -> Vec<u8> {
    let family = if client.contains(':') { "TCP6" } else { "TCP4" };
    let ours = if client.contains(':') {
        "::1"
    } else {
        "127.0.0.1"
    };
    format!("PROXY {family} {client} {ours} 4711 25\r\n").into_bytes()
}

/// A header of version 2 that names an inside client.
fn v2(command: u8, family: u8) -> Vec<u8> {
    let mut octets = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    octets.extend([
        command, family, 0, 12, 192, 0, 2, 9, 127, 0, 0, 1, 1, 2, 0, 25,
    ]);
    octets
}

fn outside() -> Vec<Peer> {
    vec![
        Peer::direct("a host of IPv4", "127.0.0.1"),
        Peer::direct("a host of IPv6", "::1"),
        Peer::direct("beside the relay network", "127.0.0.32"),
        Peer::direct("the gateway of a private network", "127.0.0.3"),
        Peer::direct("a forged header", "127.0.0.3").forging(v1("192.0.2.9")),
        Peer::direct("a forged header of IPv6", "::1").forging(v1("2001:db8:1::9")),
        Peer::direct("a forged binary header", "127.0.0.1").forging(v2(0x21, 0x11)),
        Peer::proxied("through the proxy", v1("198.51.100.9")),
        Peer::proxied("through the proxy, mapped", v1("::ffff:198.51.100.9")),
        Peer::proxied("through the proxy, IPv6", v1("2001:db8:2::9")),
        Peer::proxied("through the proxy, loopback", v1("127.0.0.1")),
        Peer::proxied("a second header", v1("198.51.100.9")).forging(v1("192.0.2.9")),
        Peer::proxied(
            "nobody knows whom",
            "PROXY UNKNOWN 192.0.2.9 127.0.0.1 1 25\r\n",
        ),
        Peer::proxied("the proxy itself", v2(0x20, 0x11)),
        Peer::proxied("of no family", v2(0x21, 0x00)),
    ]
}

fn inside() -> Vec<Peer> {
    vec![
        Peer::direct("a relay host", "127.0.0.18"),
        Peer::proxied("through the proxy", v1("192.0.2.9")),
        Peer::proxied("through the proxy, binary", v2(0x21, 0x11)),
        Peer::proxied("through the proxy, mapped", v1("::ffff:192.0.2.9")),
        Peer::proxied("through the proxy, IPv6", v1("2001:db8:1::9")),
    ]
}

/// The codes that the peer gets for each form.
fn try_all(server: &Server, peer: &Peer, claim: (&str, &str), parameters: &str) -> Vec<u16> {
    let mut dialogue = peer.open(server, claim.0);
    let mail = format!("MAIL FROM:{}{parameters}", claim.1);
    assert_eq!(dialogue.ask(&mail).code, 250, "{} {mail}", peer.what);
    let codes = FORMS
        .iter()
        .map(|(form, _)| dialogue.ask(&format!("RCPT TO:{form}")).code);
    let codes = codes.collect::<Vec<_>>();
    if codes.iter().all(|code| *code >= 500) {
        assert!(dialogue.ask("DATA").code >= 500, "{}", peer.what);
    }
    codes
}

#[test]
fn every_form_of_address_is_refused_to_strangers_wherever_they_come_from() {
    let server = Server::start(CONFIG);
    let mut tried = 0;
    for peer in outside() {
        for (claim, parameters) in CLAIMS.iter().flat_map(|c| [(*c, ""), (*c, " SMTPUTF8")]) {
            let codes = try_all(&server, &peer, claim, parameters);
            for ((form, _), code) in FORMS.iter().zip(codes) {
                let about = format!("{} as {claim:?}{parameters}: {form}: {code}", peer.what);
                assert!((500..600).contains(&code), "{about}");
                tried += 1;
            }
        }
    }
    assert_eq!(server.queued(), 0);
    let accepted = |r: &serde_json::Value| r["event"] == "transaction" && r["result"] == "accepted";
    assert!(!server.records().iter().any(accepted));
    println!(
        "open relay: {} forms, {} peers, {tried} attempts, none relayed",
        FORMS.len(),
        outside().len()
    );
}

#[test]
fn each_form_is_accepted_from_a_relay_network_or_is_nobodys_address() {
    let server = Server::start(CONFIG);
    let mut wrong = Vec::new();
    for peer in inside() {
        for parameters in ["", " SMTPUTF8"] {
            let codes = try_all(&server, &peer, CLAIMS[0], parameters);
            for ((form, expected), code) in FORMS.iter().zip(codes) {
                let relays = match expected {
                    Relays => true,
                    RelaysUtf8 => !parameters.is_empty(),
                    Refused => false,
                };
                if relays != (code == 250) {
                    wrong.push(format!("{}{parameters}: {form}: {code}", peer.what));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
