//! lettre, the mail library of Rust programs, as a client.

use lettre::address::{Address, Envelope};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{SmtpTransport, Transport as _};

/// The version that this is built with.
pub(crate) fn version() -> String {
    let lock = std::fs::read_to_string(posthaste_tests::root().join("Cargo.lock")).unwrap();
    let (_, about) = lock.split_once("name = \"lettre\"\nversion = \"").unwrap();
    about.split('"').next().unwrap_or_default().to_owned()
}

/// Sends `message` in the way that `mode` names; `ports` are those of STARTTLS, TLS and MX.
pub(crate) fn send(mode: &str, ports: [u16; 3], message: &[u8], many: usize) {
    let trusting = TlsParameters::builder("127.0.0.1".into())
        .dangerous_accept_invalid_certs(true)
        .dangerous_accept_invalid_hostnames(true)
        .build_rustls()
        .unwrap();
    let (port, tls) = match mode {
        "plain" => (ports[2], Tls::None),
        "TLS" => (ports[1], Tls::Wrapper(trusting)),
        _ => (ports[0], Tls::Required(trusting)),
    };
    let mut transport = SmtpTransport::builder_dangerous("127.0.0.1")
        .port(port)
        .tls(tls);
    if mode != "plain" {
        let mechanism = match mode {
            "LOGIN" => Mechanism::Login,
            _ => Mechanism::Plain,
        };
        transport = transport
            .authentication(vec![mechanism])
            .credentials(Credentials::new(
                "carol@local.example".into(),
                "pencil".into(),
            ));
    }
    let address = |text: &str| text.parse::<Address>().unwrap();
    let to = match (mode, many) {
        ("SMTPUTF8", _) => vec![address("gr\u{fc}n@local.example")],
        (_, 1) => vec![address("alice@local.example")],
        _ => {
            let numbered = (0..many).map(|n| format!("r{n}@local.example"));
            numbered.map(|to| address(&to)).collect()
        }
    };
    let envelope = Envelope::new(Some(address("carol@local.example")), to).unwrap();
    transport.build().send_raw(&envelope, message).unwrap();
}
