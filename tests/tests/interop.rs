//! The interop matrix: what goes between the program and those that nobody here wrote, in both
//! directions, as a table. `cargo xtask interop` runs it and writes `docs/reference/interop.md`.
//!
//! A cell is an exchange whose end is looked at on both sides: the message arrived as it was sent,
//! and the program's own records say that it came or went in the way that the column names. What a
//! peer does not have is said in words. The tests beside this one look closer at single peers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, clippy::print_stdout, missing_docs)]

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use posthaste_tests::client::Dialogue;
use posthaste_tests::messages::{large, sample};
use posthaste_tests::peer::{Dovecot, Exim, OpenSmtpd, Postfix, Script, client};
use posthaste_tests::server::{Server, program, told};
use posthaste_tests::tls::Authority;
use posthaste_tests::{folder, free_address, mailbox, root, setup};
use serde_json::Value;

#[path = "interop/lettre.rs"]
mod with_lettre;

/// What an exchange may take: 25 MiB go through programs in Python, too.
const PATIENCE: Duration = Duration::from_secs(120);
const LARGE: usize = 25 << 20;
const RECIPIENTS: usize = 100;
/// Messages that wait for each other, so that they go in flights.
const MANY: usize = 40;

/// What a cell says: it works, or the peer does not have that, or it failed.
enum Cell {
    Works,
    Absent(&'static str),
    Failed(String),
}

struct Row {
    peer: String,
    cells: Vec<(&'static str, Cell)>,
}

#[test]
#[ignore = "a table: cargo xtask interop"]
fn interop() {
    let keys = Keys::new();
    let clients = clients();
    let senders = senders();
    let next_hops = next_hops(&keys);
    let date = told(Command::new("date").arg("+%F")).out;
    let mut text = format!(
        "# Interoperation\n\n<!-- written by `cargo xtask interop` on {} -->\n\n\
         Exchanges with programs that nobody here wrote, of {}, each with a message that arrived \
         as it was sent. A dash: the peer does not have that.\n",
        date.trim(),
        date.trim()
    );
    let mut failures = Vec::new();
    for (title, rows) in [
        ("Clients that send to Posthaste", &clients),
        ("Servers that relay to Posthaste", &senders),
        ("Servers that Posthaste sends to", &next_hops),
    ] {
        table(&mut text, title, rows);
        for row in rows {
            for (column, cell) in &row.cells {
                if let Cell::Failed(why) = cell {
                    failures.push(format!("{}, {column}: {why}", row.peer));
                }
            }
        }
    }
    println!("{text}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    std::fs::write(root().join("docs/reference/interop.md"), text).unwrap();
}

fn table(text: &mut String, title: &str, rows: &[Row]) {
    let Some(first) = rows.first() else { return };
    let columns: Vec<_> = first.cells.iter().map(|(column, _)| *column).collect();
    let _ = write!(text, "\n## {title}\n\n| | {} |\n", columns.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(columns.len()));
    let mut notes = Vec::new();
    for row in rows {
        let cells = row.cells.iter().map(|(column, cell)| match cell {
            Cell::Works => "yes".to_owned(),
            Cell::Failed(_) => "FAILED".to_owned(),
            Cell::Absent("") => "–".to_owned(),
            Cell::Absent(why) => {
                notes.push(format!("{}, {column}: {why}", row.peer));
                format!("– ({})", notes.len())
            }
        });
        let cells: Vec<_> = cells.collect();
        let _ = writeln!(text, "| {} | {} |", row.peer, cells.join(" | "));
    }
    if !notes.is_empty() {
        text.push('\n');
    }
    for (number, note) in notes.iter().enumerate() {
        let _ = writeln!(text, "{}. {note}", number + 1);
    }
}

/// Runs an exchange; a panic in it is a failure of its cell alone.
fn cell(exchange: impl FnOnce() + std::panic::UnwindSafe) -> Cell {
    match std::panic::catch_unwind(exchange) {
        Ok(()) => Cell::Works,
        Err(why) => {
            let text = why.downcast_ref::<String>().cloned();
            let text = text.or_else(|| why.downcast_ref::<&str>().map(ToString::to_string));
            Cell::Failed(text.unwrap_or_default().chars().take(400).collect())
        }
    }
}

/// The first line that a command says about itself, from its first digit on.
fn version(name: &str, mut command: Command) -> String {
    let told = told(&mut command);
    let text = told.out + &told.err;
    let line = text
        .lines()
        .find(|line| line.contains(|c: char| c.is_ascii_digit()));
    let line = line.unwrap_or_default();
    let from = line.find(|c: char| c.is_ascii_digit()).unwrap_or(0);
    let number = line[from..]
        .split([' ', ',', ')'])
        .next()
        .unwrap_or_default();
    format!("{name} {number}")
}

// What comes to us.

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
const MX_CLEAR: usize = 2;

fn inbound() -> Server {
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

fn clients() -> Vec<Row> {
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
                None => (mode, cell(|| client_sends(&client, mode))),
            });
        }
        rows.push(Row { peer, cells });
    }
    rows.push(lettre());
    rows
}

fn lettre() -> Row {
    let peer = format!("lettre {}", with_lettre::version());
    println!("{peer}");
    let sends = |mode| match mode {
        "CRAM-MD5" | "DSN" => Cell::Absent(""),
        _ => cell(|| {
            client_exchange(mode, true, |server, message, many| {
                let ports = [0, 1, MX_CLEAR].map(|at| server.addresses[at].port());
                // It adds a line end, whether or not there is one.
                let message = message.strip_suffix(b"\r\n").unwrap_or(message);
                with_lettre::send(mode, ports, message, many);
            });
        }),
    };
    let modes = MODES.into_iter().chain(["100 recipients"]);
    Row {
        peer,
        cells: modes.map(|mode| (mode, sends(mode))).collect(),
    }
}

fn client_sends(client: &Client, mode: &str) {
    client_exchange(mode, client.name != "s-nail", |server, message, many| {
        let file = server.dir().join("message");
        let mut given = mailbox::with_lf(message);
        if client.adds_line_end {
            given.truncate(given.len() - 1);
        }
        std::fs::write(&file, given).unwrap();
        let file = file.display().to_string();
        let ports = [0, 1, MX_CLEAR].map(|at| server.addresses[at].port().to_string());
        let many = many.to_string();
        let words = [mode, &ports[0], &ports[1], &ports[2], &file, &many];
        let told = told(&mut client::command(client.program, &client.script, &words));
        assert!(told.status.success(), "{} {}", told.out, told.err);
    });
}

/// What one cell of a client's row asks: `send` gets the server, the message, and the number of
/// recipients. `as_given` says whether the client sends the message as it was given.
fn client_exchange(mode: &str, as_given: bool, send: impl FnOnce(&Server, &[u8], usize)) {
    let server = inbound();
    let body = match mode {
        "25 MiB" => large(LARGE),
        _ => b"Gr\xc3\xbc\xc3\x9fe\r\n..dots\r\n".to_vec(),
    };
    let message = sample("interop", &body).octets;
    let many = match mode {
        "100 recipients" => RECIPIENTS,
        _ => 1,
    };
    send(&server, &message, many);
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
        read("python3", include_str!("interop/smtplib.py")),
        read("node", include_str!("interop/nodemailer.js")),
    );
    let curl = shell(include_str!("interop/curl.sh"));
    let swaks = shell(include_str!("interop/swaks.sh"));
    let msmtp = shell(include_str!("interop/msmtp.sh"));
    let s_nail = shell(include_str!("interop/s-nail.sh"));
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

/// Servers that hand mail on to us.
fn senders() -> Vec<Row> {
    let mut rows = Vec::new();
    type Start = fn(SocketAddr, SocketAddr) -> Option<Box<dyn std::any::Any>>;
    let peers: [(&str, &str, Start); 3] = [
        ("Postfix", "postfix", |at, to| {
            let next = format!(
                "virtual_mailbox_domains =\nrelayhost = [127.0.0.1]:{}",
                to.port()
            );
            Postfix::start(at, &next).map(|p| Box::new(p) as _)
        }),
        ("Exim", "exim", |at, to| {
            Exim::relaying(at, to).map(|p| Box::new(p) as _)
        }),
        ("OpenSMTPD", "opensmtpd", |at, to| {
            OpenSmtpd::relaying(at, to).map(|p| Box::new(p) as _)
        }),
    ];
    for (name, tree, start) in peers {
        let peer = format!("{name} {}", package(tree));
        println!("{peer}");
        let mut cells = Vec::new();
        for mode in ["plain", "25 MiB", "100 recipients", "40 at once"] {
            let exchange = || {
                let server = inbound();
                let address = free_address();
                let running = start(address, server.addresses[MX_CLEAR]);
                assert!(running.is_some(), "it does not start");
                sender_sends(mode, address, &server);
            };
            cells.push((mode, cell(std::panic::AssertUnwindSafe(exchange))));
        }
        rows.push(Row { peer, cells });
    }
    rows
}

fn sender_sends(mode: &str, through: SocketAddr, server: &Server) {
    let mut dialogue = Dialogue::open(through);
    let body = if mode == "25 MiB" {
        large(LARGE)
    } else {
        b"hello\r\n".to_vec()
    };
    let message = sample("interop", &body).octets;
    let to = addresses(mode, "local.example");
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let times = if mode == "40 at once" { MANY } else { 1 };
    dialogue.wait_at_most(PATIENCE);
    for _ in 0..times {
        let answer = dialogue.deliver("bob@sender.example", &to, &message);
        assert_eq!(answer.code, 250, "{answer:?}");
    }
    let arrived = mailbox::wait(&server.dir().join("mail/alice"), times, PATIENCE);
    let below = mailbox::below(&arrived[0], "Subject");
    assert!(below == mailbox::with_lf(&message), "not what was sent");
    posthaste_tests::until("all recipients", PATIENCE, || {
        let records = server.records();
        let taken = records.iter().filter(|r| r["result"] == "accepted");
        let got: usize = taken.map(|r| r["to"].as_array().map_or(0, Vec::len)).sum();
        (got == to.len() * times).then_some(())
    });
}

fn addresses(mode: &str, domain: &str) -> Vec<String> {
    let many = if mode == "100 recipients" {
        RECIPIENTS
    } else {
        1
    };
    (0..many).map(|n| format!("r{n}@{domain}")).collect()
}

/// The version of a peer, as its package's own changelog has it.
fn package(tree: &str) -> String {
    let name = match tree {
        "exim" => "exim4-daemon-heavy",
        "dovecot" => "dovecot-core",
        other => other,
    };
    let peers = root().join("target/peers").join(tree);
    let changelog = peers.join(format!("usr/share/doc/{name}/changelog.Debian.gz"));
    let told = told(Command::new("gzip").arg("-cd").arg(changelog));
    let line = told.out.lines().next().unwrap_or_default();
    let version = line.split(['(', ')']).nth(1).unwrap_or_default();
    version.split('-').next().unwrap_or_default().to_owned()
}

// What goes from us.

/// An authority that the program trusts, and a certificate of it for peers at `localhost`.
struct Keys {
    folder: tempfile::TempDir,
}

impl Keys {
    fn new() -> Keys {
        let folder = folder();
        let authority = Authority::new();
        authority.certify(folder.path(), "peer", &["localhost"]);
        std::fs::write(folder.path().join("roots.pem"), authority.pem()).unwrap();
        Keys { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn start(&self, more: &str) -> Server {
        let mut server = Server::with(&setup::with(more));
        let mut command = Command::new(program());
        command
            .env("SSL_CERT_FILE", self.path("roots.pem"))
            .env_remove("SSL_CERT_DIR")
            .args(["serve", "--config"])
            .arg(server.config());
        server.run_as(command);
        server
    }
}

/// A next hop: what starts it, and where its mail is.
struct Started {
    address: SocketAddr,
    maildir: PathBuf,
    _running: Box<dyn std::any::Any>,
}

type StartHop = fn(&Keys, &str) -> Option<Started>;

struct Hop {
    name: &'static str,
    tree: &'static str,
    start: StartHop,
    lmtp: bool,
    lacks: &'static [(&'static str, &'static str)],
}

const HANDSHAKE: &str = "Debian's build finishes no handshake, whoever the client is";

fn hops() -> Vec<Hop> {
    vec![
        postfix(),
        exim(),
        opensmtpd(),
        dovecot(),
        aiosmtpd(),
        smtp_server(),
    ]
}

fn postfix() -> Hop {
    Hop {
        name: "Postfix",
        tree: "postfix",
        lmtp: false,
        lacks: &[],
        start: |keys, mode| {
            let mut settings = format!(
                "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {}\n\
                 smtpd_tls_key_file = {}\nsmtputf8_enable = yes\n",
                keys.path("peer.pem"),
                keys.path("peer.key")
            );
            if mode == "TLS" {
                settings += "smtpd_tls_wrappermode = yes\n";
            }
            let peer = Postfix::start(free_address(), &settings)?;
            Some(Started {
                address: peer.address,
                maildir: peer.maildir(),
                _running: Box::new(peer),
            })
        },
    }
}

fn exim() -> Hop {
    Hop {
        name: "Exim",
        tree: "exim",
        lmtp: false,
        lacks: &[],
        start: |keys, mode| {
            let address = free_address();
            let mut settings = format!(
                "tls_advertise_hosts = *\ntls_certificate = {}\ntls_privatekey = {}\n\
                 smtputf8_advertise_hosts = *\ndsn_advertise_hosts = *\n",
                keys.path("peer.pem"),
                keys.path("peer.key")
            );
            if mode == "TLS" {
                let _ = writeln!(settings, "tls_on_connect_ports = {}", address.port());
            }
            let peer = Exim::start(address, &settings)?;
            Some(Started {
                address,
                maildir: peer.maildir(),
                _running: Box::new(peer),
            })
        },
    }
}

fn opensmtpd() -> Hop {
    Hop {
        name: "OpenSMTPD",
        tree: "opensmtpd",
        lmtp: false,
        lacks: &[
            ("STARTTLS", HANDSHAKE),
            ("TLS", HANDSHAKE),
            ("SMTPUTF8", ""),
        ],
        start: |_, _| {
            let peer = OpenSmtpd::start(free_address())?;
            Some(Started {
                address: peer.address,
                maildir: peer.maildir(),
                _running: Box::new(peer),
            })
        },
    }
}

fn dovecot() -> Hop {
    Hop {
        name: "Dovecot (LMTP)",
        tree: "dovecot",
        lmtp: true,
        lacks: &[("TLS", ""), ("SMTPUTF8", ""), ("DSN", "")],
        start: |keys, mode| {
            let names: Vec<String> = addresses(mode, "x")
                .iter()
                .filter_map(|a| Some(a.split_once('@')?.0.to_owned()))
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let settings = format!(
                "ssl = yes\nssl_cert = <{}\nssl_key = <{}\n",
                keys.path("peer.pem"),
                keys.path("peer.key")
            );
            let peer = Dovecot::start_with(free_address(), &names, &settings)?;
            Some(Started {
                address: peer.address,
                maildir: peer.maildir("r0"),
                _running: Box::new(peer),
            })
        },
    }
}

fn aiosmtpd() -> Hop {
    Hop {
        name: "aiosmtpd on Python",
        tree: "scripts",
        lmtp: false,
        lacks: &[("TLS", ""), ("DSN", "")],
        start: |keys, _| script(keys, "aiosmtpd"),
    }
}

fn smtp_server() -> Hop {
    Hop {
        name: "smtp-server on Node",
        tree: "scripts",
        lmtp: false,
        lacks: &[("TLS", "")],
        start: |keys, _| script(keys, "smtp-server"),
    }
}

fn script(keys: &Keys, name: &'static str) -> Option<Started> {
    let peer = Script::start(name, &keys.path("peer.pem"), &keys.path("peer.key"))?;
    Some(Started {
        address: peer.address,
        maildir: peer.maildir(),
        _running: Box::new(peer),
    })
}

/// The version of a library, as it says itself.
fn of_script(name: &str) -> String {
    let tree = root().join("target/peers/scripts");
    let file = match name {
        "aiosmtpd on Python" => tree.join("python/aiosmtpd/__init__.py"),
        _ => tree.join("node_modules/smtp-server/package.json"),
    };
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.contains("version"));
    let quoted = line.unwrap_or_default().rsplit(['"', '\'']);
    quoted
        .map(str::to_owned)
        .find(|part| part.contains('.'))
        .unwrap_or_default()
}

fn next_hops(keys: &Keys) -> Vec<Row> {
    let mut rows = Vec::new();
    for hop in hops() {
        let number = match hop.tree {
            "scripts" => of_script(hop.name),
            tree => package(tree),
        };
        let peer = format!("{} {number}", hop.name);
        println!("{peer}");
        let mut cells = Vec::new();
        for mode in [
            "plain",
            "STARTTLS",
            "TLS",
            "SMTPUTF8",
            "DSN",
            "25 MiB",
            "100 recipients",
            "40 at once",
        ] {
            let lack = hop.lacks.iter().find(|(lacking, _)| *lacking == mode);
            cells.push(match lack {
                Some((_, why)) => (mode, Cell::Absent(why)),
                None => {
                    let exchange = || hop_takes(&hop, mode, keys);
                    (mode, cell(std::panic::AssertUnwindSafe(exchange)))
                }
            });
        }
        rows.push(Row { peer, cells });
    }
    rows
}

fn hop_takes(hop: &Hop, mode: &str, keys: &Keys) {
    let started = (hop.start)(keys, mode);
    let Some(started) = started else {
        panic!("it does not start");
    };
    let port = started.address.port();
    let scheme = match (hop.lmtp, mode) {
        (true, _) => "lmtp",
        (false, "TLS") => "smtps",
        (false, _) => "smtp",
    };
    let tls = match mode {
        "STARTTLS" | "TLS" => "verify",
        _ => "none",
    };
    let server = keys.start(&format!(
        "[limits]\nconnections_per_destination = 1\nmessage_size = \"60MiB\"\n\
         [[route]]\nrecipients = [\"*\"]\nvia = \"{scheme}://localhost:{port}\"\ntls = \"{tls}\"\n"
    ));
    hand_over(mode, &server);
    let times = if mode == "40 at once" { MANY } else { 1 };
    let found = mailbox::wait(&started.maildir, times, PATIENCE);
    let sent = mailbox::with_lf(&letter(mode));
    let arrived = found
        .iter()
        .filter(|m| mailbox::below(m, "Subject") == sent);
    assert!(arrived.count() >= times, "not what was sent");
    posthaste_tests::until("an empty queue", PATIENCE, || {
        (server.queued() == 0).then_some(())
    });
    let records = server.records();
    let recipients = records.iter().filter(|r| r["event"] == "recipient");
    for recipient in recipients.filter(|r| r["to"] != "bob@local.example") {
        assert_eq!(recipient["outcome"], "relayed", "{recipient}");
    }
    if tls == "verify" {
        let attempts = records.iter().filter(|r| r["event"] == "attempt");
        for attempt in attempts {
            assert_eq!(attempt["tls"]["peer"], "verified", "{attempt}");
        }
    }
    if mode == "DSN" {
        // Either the next hop reports, or we do that it was relayed.
        let reported = mailbox::messages(&server.dir().join("mail/bob"));
        let relayed = reported
            .iter()
            .any(|r| String::from_utf8_lossy(r).contains("Action: relayed"));
        println!("  DSN: {}", if relayed { "relayed" } else { "passed on" });
    }
}

fn letter(mode: &str) -> Vec<u8> {
    let body = if mode == "25 MiB" {
        large(LARGE)
    } else {
        b"hello\r\n.\r\n..\r\n".to_vec()
    };
    sample("interop", &body).octets
}

/// Gives the program what is to go on.
fn hand_over(mode: &str, server: &Server) {
    let mut dialogue = Dialogue::open(server.address());
    dialogue.wait_at_most(PATIENCE);
    let message = letter(mode);
    match mode {
        "SMTPUTF8" | "DSN" => {
            let (mail, rcpt) = match mode {
                "DSN" => (
                    "MAIL FROM:<bob@local.example> RET=HDRS ENVID=x",
                    "RCPT TO:<r0@remote.example> NOTIFY=SUCCESS ORCPT=rfc822;r0@remote.example",
                ),
                _ => (
                    "MAIL FROM:<bob@local.example> SMTPUTF8 BODY=8BITMIME",
                    "RCPT TO:<gr\u{fc}n@remote.example>",
                ),
            };
            assert_eq!(dialogue.ask(mail).code, 250);
            assert_eq!(dialogue.ask(rcpt).code, 250);
            assert_eq!(dialogue.ask("DATA").code, 354);
            dialogue.send(&posthaste_tests::client::stuffed(&message));
            assert_eq!(dialogue.answer().code, 250);
        }
        _ => {
            let to = addresses(mode, "remote.example");
            let to: Vec<&str> = to.iter().map(String::as_str).collect();
            for _ in 0..if mode == "40 at once" { MANY } else { 1 } {
                let answer = dialogue.deliver("bob@local.example", &to, &message);
                assert_eq!(answer.code, 250, "{answer:?}");
            }
        }
    }
}
