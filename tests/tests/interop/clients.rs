//! Clients that send to us.

use std::net::SocketAddr;

use posthaste_tests::messages::{large, sample};
use posthaste_tests::peer::client;
use posthaste_tests::server::{Server, told};
use posthaste_tests::wire::Wire;
use posthaste_tests::{mailbox, root};
use serde_json::Value;

use super::{
    Cell, LARGE, PATIENCE, RECIPIENTS, Row, attempt, cell, theirs, used, version, with_lettre,
};

/// Submission with STARTTLS and with TLS from the start, and other servers' mail.
const INBOUND: &str = r#"
hostname = "mx.local.example"
data_dir = "data"
postmaster = "alice@local.example"
user = "nobody"

[[listener]]
address = "127.0.0.1:0"
service = "submission"

[[listener]]
address = "127.0.0.1:0"
service = "submission"
tls = "implicit"

[[listener]]
address = "127.0.0.1:0"
service = "mx"
tls = "none"

[[listener]]
address = "127.0.0.1:0"
service = "mx"

[accounts]
mechanisms = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"]

[[domain]]
name = "local.example"
mailboxes = ["alice"]
catch_all = "alice@local.example"
deliver = "maildir:mail/{local}"
"#;
pub(super) const MX_CLEAR: usize = 2;
pub(super) const MX_TLS: usize = 3;
/// Recipients of the message by which is seen how a client uses the wire.
const SEVERAL: usize = 5;

pub(super) fn inbound() -> Server {
    let mut server = Server::with(INBOUND);
    let words = ["user", "add", "carol@local.example", "--cram-md5"];
    let added = server.command_with("pencil\n", &words);
    assert!(added.status.success(), "{}", added.err);
    server.run();
    server
}

/// The record of the one accepted message.
fn accepted(server: &Server) -> Value {
    posthaste_tests::until("an accepted message", PATIENCE, || {
        server
            .records()
            .into_iter()
            .find(|record| record["event"] == "transaction" && record["result"] == "accepted")
    })
}

/// What a client is asked to do; its script gets the mode, the ports of STARTTLS, TLS and MX, the
/// file, and the number of recipients.
const MODES: [&str; 9] = [
    "plain", "STARTTLS", "TLS", "PLAIN", "LOGIN", "CRAM-MD5", "SMTPUTF8", "DSN", "25 MiB",
];

struct Client {
    name: &'static str,
    /// Its program.
    program: &'static str,
    version: &'static str,
    script: String,
    /// What it does not have.
    lacks: &'static [(&'static str, &'static str)],
    /// It adds a line end, whether or not there is one.
    adds_line_end: bool,
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for client in the_clients() {
        if !client::is_there(client.program) {
            continue;
        }
        let about = client::command(client.program, client.version, &[]);
        let peer = version(client.name, about);
        println!("{peer}");
        let mut cells = Vec::new();
        for mode in MODES.into_iter().chain(["100 recipients"]) {
            let lack = client.lacks.iter().find(|(lacking, _)| *lacking == mode);
            cells.push(match lack {
                Some((_, why)) => (mode, Cell::Absent(why)),
                None => (
                    mode,
                    cell(&attempt(|| client_sends(&client, mode, recipients(mode)))),
                ),
            });
        }
        cells.extend(used(
            &attempt(|| client_sends(&client, "plain", SEVERAL)),
            theirs,
        ));
        rows.push(Row { peer, cells });
    }
    rows.push(lettre());
    rows
}

fn lettre() -> Row {
    let peer = format!("lettre {}", with_lettre::version());
    println!("{peer}");
    let send = |mode, many| {
        client_exchange(mode, many, true, |server, mx, message| {
            let ports = [server.addresses[0], server.addresses[1], mx].map(|at| at.port());
            // It adds a line end, whether or not there is one.
            let message = message.strip_suffix(b"\r\n").unwrap_or(message);
            with_lettre::send(mode, ports, message, many);
        })
    };
    let sends = |mode| match mode {
        "CRAM-MD5" | "DSN" => Cell::Absent(""),
        _ => cell(&attempt(|| send(mode, recipients(mode)))),
    };
    let modes = MODES.into_iter().chain(["100 recipients"]);
    let mut cells: Vec<_> = modes.map(|mode| (mode, sends(mode))).collect();
    cells.extend(used(&attempt(|| send("plain", SEVERAL)), theirs));
    Row { peer, cells }
}

fn recipients(mode: &str) -> usize {
    match mode {
        "100 recipients" => RECIPIENTS,
        _ => 1,
    }
}

fn client_sends(client: &Client, mode: &str, many: usize) -> Wire {
    let as_given = client.name != "s-nail";
    client_exchange(mode, many, as_given, |server, mx, message| {
        let file = server.dir().join("message");
        let mut given = mailbox::with_lf(message);
        if client.adds_line_end {
            given.truncate(given.len() - 1);
        }
        std::fs::write(&file, given).unwrap();
        let file = file.display().to_string();
        let ports = [server.addresses[0], server.addresses[1], mx].map(|at| at.port().to_string());
        let many = many.to_string();
        let words = [mode, &ports[0], &ports[1], &ports[2], &file, &many];
        let told = told(&mut client::command(client.program, &client.script, &words));
        assert!(told.status.success(), "{} {}", told.out, told.err);
    })
}

/// What one cell of a client's row asks: `send` gets the server, the address of its MX without
/// TLS, and the message for `many` recipients. `as_given` says whether the client sends the message
/// as it was given.
fn client_exchange(
    mode: &str,
    many: usize,
    as_given: bool,
    send: impl FnOnce(&Server, SocketAddr, &[u8]),
) -> Wire {
    let server = inbound();
    let wire = Wire::to(server.addresses[MX_CLEAR]);
    let body = match mode {
        "25 MiB" => large(LARGE),
        _ => b"Gr\xc3\xbc\xc3\x9fe\r\n..dots\r\n".to_vec(),
    };
    let message = sample("interop", &body).octets;
    send(&server, wire.address, &message);
    let record = accepted(&server);
    let to = record["to"].as_array().map_or(0, Vec::len);
    assert_eq!(to, many, "{record}");
    let account = record["account"].as_str();
    assert_eq!(account.is_some(), mode != "plain", "{record}");
    if let "PLAIN" | "LOGIN" | "CRAM-MD5" = mode {
        let with = |r: &Value| r["event"] == "auth" && r["mechanism"] == mode;
        assert!(server.records().iter().any(with), "no login with {mode}");
    }
    let arrived = mailbox::wait(&server.dir().join("mail/alice"), 1, PATIENCE);
    if as_given {
        let below = mailbox::below(&arrived[0], "Subject");
        assert!(below == mailbox::with_lf(&message), "not what was sent");
    }
    wire
}

/// Scripts that send with each client: what they get is told by [`client_sends`].
fn the_clients() -> Vec<Client> {
    let of = |name, program, version, script: String, lacks| Client {
        name,
        program,
        version,
        script,
        lacks,
        adds_line_end: name == "swaks",
    };
    let read = |interpreter: &str, text: &str| {
        let modules = root().join("target/peers/clients/node_modules");
        let modules = modules.display();
        format!("NODE_PATH={modules} exec {interpreter} - \"$@\" <<'END'\n{text}END")
    };
    let shell = ToString::to_string;
    let no_dsn: &[_] = &[("DSN", "")];
    let neither: &[_] = &[("SMTPUTF8", ""), ("DSN", "")];
    let (python, node) = (
        read("python3", include_str!("smtplib.py")),
        read("node", include_str!("nodemailer.js")),
    );
    let curl = shell(include_str!("curl.sh"));
    let swaks = shell(include_str!("swaks.sh"));
    let msmtp = shell(include_str!("msmtp.sh"));
    let s_nail = shell(include_str!("s-nail.sh"));
    vec![
        of(
            "Python smtplib",
            "python3",
            "exec python3 --version",
            python,
            &[],
        ),
        of("curl", "curl", "exec curl --version", curl, no_dsn),
        of("swaks", "swaks", "exec swaks --version", swaks, neither),
        of(
            "msmtp",
            "msmtp",
            "exec msmtp --version",
            msmtp,
            &[("SMTPUTF8", "")],
        ),
        of("s-nail", "s-nail", "exec s-nail --version", s_nail, neither),
        of(
            "nodemailer on Node",
            "node",
            "exec node --version",
            node,
            &[],
        ),
    ]
}
