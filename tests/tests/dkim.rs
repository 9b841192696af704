//! Mail that leaves in our name is signed: with keys that the commands make, seen at once by the
//! running server, and good for programs that nobody here wrote.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use posthaste_tests::client::Dialogue;
use posthaste_tests::peer::dkim::{IMPLEMENTATIONS, Keys};
use posthaste_tests::peer::{Nsd, Tree};
use posthaste_tests::server::Server;
use posthaste_tests::{SOON, mailbox, messages, until};
use serde_json::Value;

/// Submission and other servers' mail on loopback. What leaves goes to a port where nobody is.
const CONFIG: &str = r#"
hostname = "mx.example.org"
data_dir = "data"
postmaster = "alice@example.org"
user = "nobody"

[dns]
servers = ["DNS"]

[[listener]]
address = "127.0.0.1:0"
service = "submission"
tls = "none"
auth_without_tls = true

[[listener]]
address = "127.0.0.1:0"
service = "mx"
tls = "none"

[[domain]]
name = "example.org"
mailboxes = ["alice", "bob"]
deliver = "maildir:mail/{local}"

[[domain]]
name = "tenant.example"
mailboxes = ["eve"]
deliver = "maildir:mail/{local}"
"#;
/// NUL, an address, NUL, a password: alice's and eve's.
const ALICE: &str = "AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHBlbmNpbA==";
const EVE: &str = "AUTH PLAIN AGV2ZUB0ZW5hbnQuZXhhbXBsZQBwZW5jaWw=";
/// No `Date` and no `Message-ID`, and a `Bcc`: all of that is seen to before it is signed.
const MESSAGE: &str = "From: Alice <alice@example.org>\r\nTo: bob@example.org\r\n\
    Bcc: carol@example.net\r\nSubject: \t hi  there\r\n\r\nhello \r\n\r\n.\r\n\r\n";

fn config(dns: &str, more: &str) -> String {
    CONFIG.replace("DNS", dns) + more
}

/// A server that does not run yet, with the accounts of alice and eve.
fn server(more: &str) -> Server {
    let server = Server::with(&config("127.0.0.1:9", more));
    for account in ["alice@example.org", "eve@tenant.example"] {
        let told = server.command_with("pencil\n", &["user", "add", account]);
        assert!(told.status.success(), "{}", told.err);
    }
    server
}

fn run(server: &Server, words: &[&str]) -> String {
    let told = server.command(words);
    assert!(told.status.success(), "{words:?}: {}", told.err);
    told.out
}

fn listed(server: &Server, words: &[&str]) -> Vec<Value> {
    let lines = run(server, words);
    let lines = lines.lines();
    lines.map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// Sends a message to bob; gives what then lies in his mailbox last.
fn sent(dialogue: &mut Dialogue, server: &Server, from: &str, message: &str) -> String {
    let bob = server.dir().join("mail/bob");
    let before = mailbox::messages(&bob);
    let answer = dialogue.deliver(from, &["bob@example.org"], message.as_bytes());
    assert_eq!(answer.code, 250, "{answer:?}");
    let mut after = mailbox::wait(&bob, before.len() + 1, SOON);
    after.retain(|m| !before.contains(m));
    String::from_utf8(after.remove(0)).unwrap()
}

fn as_user(server: &Server, who: &str) -> Dialogue {
    let mut dialogue = Dialogue::open(server.addresses[0]);
    assert_eq!(dialogue.ask(who).code, 235);
    dialogue
}

/// Selectors and domains of the signatures on a message.
fn signatures(message: &str) -> Vec<(String, String)> {
    let tag = |field: &str, name: &str| {
        let start = field.find(&format!("{name}=")).unwrap() + name.len() + 1;
        field[start..].split(';').next().unwrap().trim().to_owned()
    };
    let fields = message.split("DKIM-Signature:").skip(1);
    fields.map(|f| (tag(f, "s"), tag(f, "d"))).collect()
}

/// A zone with the records of keys as `list` gives them.
fn zone(keys: &[Value]) -> String {
    let record = |key: &Value| {
        let (name, text) = (
            key["name"].as_str().unwrap(),
            key["record"].as_str().unwrap(),
        );
        let strings: Vec<_> = text
            .as_bytes()
            .chunks(255)
            .map(|c| format!("\"{}\"", String::from_utf8_lossy(c)))
            .collect();
        format!("{name}. TXT {}\n", strings.join(" "))
    };
    keys.iter().map(record).collect()
}

#[test]
fn a_running_server_signs_with_new_keys_at_once_and_others_verify_it() {
    let mut server = server("");
    server.run();
    let mut alice = as_user(&server, ALICE);
    let before = sent(&mut alice, &server, "alice@example.org", MESSAGE);
    assert_eq!(signatures(&before), []);
    let shown = run(&server, &["dkim", "generate", "example.org"]);
    let keys = listed(&server, &["dkim", "list", "--json"]);
    assert_eq!(keys.len(), 2);
    for key in &keys {
        assert!(shown.contains(key["name"].as_str().unwrap()), "{shown}");
    }
    let algorithms: Vec<_> = keys
        .iter()
        .map(|k| k["algorithm"].as_str().unwrap())
        .collect();
    assert_eq!(algorithms, ["rsa-sha256", "ed25519-sha256"]);
    let after = sent(&mut alice, &server, "alice@example.org", MESSAGE);
    let selectors: Vec<_> = signatures(&after).into_iter().map(|(s, _)| s).collect();
    let made: Vec<_> = keys
        .iter()
        .map(|k| k["selector"].as_str().unwrap())
        .collect();
    assert_eq!(selectors, made);
    let Some(dns) = Nsd::start(&zone(&keys)) else {
        return;
    };
    let file = server.dir().join("message");
    std::fs::write(&file, &after).unwrap();
    let (dns, file) = (dns.address.to_string(), file.display().to_string());
    let told = run(&server, &["verify", "--json", "--dns", &dns, &file]);
    let judged: Value = serde_json::from_str(&told).unwrap();
    for at in 0..2 {
        assert_eq!(judged["dkim"][at]["result"], "pass", "{judged}");
    }
    assert_eq!(judged["dkim"][0]["domain"], "example.org");
    // Without keys there are no signatures.
    run(&server, &["dkim", "remove", "example.org"]);
    let last = sent(
        &mut alice,
        &server,
        "alice@example.org",
        "From: alice@example.org\r\n\r\n",
    );
    assert_eq!(signatures(&last), []);
    assert!(!server.command(&["dkim", "list"]).status.success());
}

#[test]
fn only_who_may_speak_for_a_domain_has_mail_signed() {
    let mut server = server("");
    run(&server, &["dkim", "generate", "example.org"]);
    server.run();
    let mut alice = as_user(&server, ALICE);
    let below = MESSAGE.replace("<alice@example.org>", "<alice@shop.example.org>");
    let others = MESSAGE.replace("<alice@example.org>", "<alice@elsewhere.example>");
    let two = format!("From: mallory@example.net\r\n{MESSAGE}");
    for (message, count) in [(&*below, 2), (&*others, 0), (&*two, 0), (MESSAGE, 2)] {
        let got = sent(&mut alice, &server, "alice@example.org", message);
        assert_eq!(signatures(&got).len(), count, "{got}");
    }
    // A receipt has the null reverse-path; the account's own domain then counts.
    let got = sent(&mut alice, &server, "", MESSAGE);
    assert_eq!(signatures(&got).len(), 2);
    // Another domain's user is not example.org, whatever the From field says.
    let mut eve = as_user(&server, EVE);
    for from in ["eve@tenant.example", ""] {
        let got = sent(&mut eve, &server, from, MESSAGE);
        assert_eq!(signatures(&got), []);
    }
    let mut stranger = Dialogue::open(server.addresses[1]);
    let got = sent(&mut stranger, &server, "alice@example.org", MESSAGE);
    assert_eq!(signatures(&got), []);
}

#[test]
fn mail_of_relay_networks_and_our_own_is_signed() {
    let relay = "[relay]\nnetworks = [\"127.0.0.0/8\"]\n\
                 [[route]]\nrecipients = [\"gone.example\"]\nvia = \"discard:\"\n";
    let mut server = server(relay);
    run(&server, &["dkim", "generate", "example.org"]);
    server.run();
    let mut host = Dialogue::open(server.addresses[1]);
    let got = sent(&mut host, &server, "app@example.org", MESSAGE);
    assert_eq!(signatures(&got).len(), 2);
    assert!(
        got.contains("carol@example.net"),
        "a relay changes no field: {got}"
    );
    // The report of a delivery is From our hostname, which is below the domain.
    let begun = host.ask("MAIL FROM:<bob@example.org>");
    assert_eq!(begun.code, 250);
    let to = host.ask("RCPT TO:<x@gone.example> NOTIFY=SUCCESS");
    assert_eq!(to.code, 250, "{to:?}");
    assert_eq!(host.ask("DATA").code, 354);
    host.send(b"Subject: x\r\n\r\n");
    assert_eq!(host.ask(".").code, 250);
    let bob = mailbox::wait(&server.dir().join("mail/bob"), 2, SOON);
    let report = bob.iter().map(|m| String::from_utf8_lossy(m));
    let report = report.into_iter().find(|m| m.contains("multipart/report"));
    assert_eq!(signatures(&report.unwrap()).len(), 2);
    let told = server.command_with(MESSAGE, &["send", "alice@example.org"]);
    assert!(told.status.success(), "{}", told.err);
    let handed = mailbox::wait(&server.dir().join("mail/alice"), 1, SOON).remove(0);
    assert_eq!(signatures(&String::from_utf8_lossy(&handed)).len(), 2);
}

/// Gives the keys of the server the selectors that the peers know, and tells the peers the keys.
fn known_to_peers(server: &Server) -> Keys {
    let keys = listed(server, &["dkim", "list", "--json"]);
    let folder = server.dir().join("data/dkim");
    let list = folder.join("keys");
    let mut text = std::fs::read_to_string(&list).unwrap();
    let mut private = Vec::new();
    for (key, name) in keys.iter().zip(["r", "e"]) {
        let selector = key["selector"].as_str().unwrap();
        let file = |name: &str| folder.join(format!("example.org/{name}.pem"));
        std::fs::rename(file(selector), file(name)).unwrap();
        private.push(std::fs::read_to_string(file(name)).unwrap());
        text = text.replace(&format!(" {selector} "), &format!(" {name} "));
    }
    let owner = std::fs::metadata(&list).unwrap();
    std::fs::write(&list, text).unwrap();
    chown(&list, Some(owner.uid()), Some(owner.gid())).unwrap();
    let record = |at: usize| keys[at]["record"].as_str().unwrap().to_owned();
    Keys {
        private: private.try_into().unwrap(),
        records: [record(0), record(1)],
    }
}

#[test]
fn dkimpy_opendkim_and_mail_dkim_verify_what_users_submit() {
    let Some(tree) = Tree::require("dkim") else {
        return;
    };
    let mut server = server("");
    run(&server, &["dkim", "generate", "example.org"]);
    let keys = known_to_peers(&server);
    server.run();
    let mut alice = as_user(&server, ALICE);
    let message = sent(&mut alice, &server, "alice@example.org", MESSAGE);
    assert!(!message.contains("carol@"), "{message}");
    let message = message.replace('\n', "\r\n");
    let changed = message.replace("hello", "hullo");
    for peer in &IMPLEMENTATIONS {
        let both = [message.clone().into_bytes(), changed.clone().into_bytes()];
        let verdicts = peer.verify(&tree, &keys, &both);
        let good = [true, peer.ed25519];
        assert_eq!(verdicts[0], good, "{}", peer.name);
        assert_eq!(verdicts[1], [false, false], "{}", peer.name);
    }
}

#[test]
fn check_says_of_each_record_whether_it_is_right() {
    let server = server("");
    run(&server, &["dkim", "generate", "example.org"]);
    let keys = listed(&server, &["dkim", "list", "--json"]);
    let again = server.command(&["dkim", "generate", "Example.Org."]);
    assert!(
        !again.status.success() && again.err.contains("keys already"),
        "{}",
        again.err
    );
    let check = |records: &str| {
        let dns = Nsd::start(records)?;
        server.configure(&config(&dns.address.to_string(), ""));
        let told = server.command(&["dkim", "check", "--json"]);
        let words: Vec<Value> = told
            .out
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        let dns = words.iter().map(|w| w["dns"].as_str().unwrap().to_owned());
        Some((dns.collect::<Vec<_>>(), told.status.success()))
    };
    let Some(right) = check(&zone(&keys)) else {
        return;
    };
    assert_eq!(right, (vec!["right".into(), "right".into()], true));
    let missing = check(&zone(&keys[..1])).unwrap();
    assert_eq!(missing, (vec!["right".into(), "missing".into()], false));
    let name = keys[0]["name"].as_str().unwrap();
    let cut = format!("{name}. TXT \"v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0B\"\n");
    let wrong = check(&format!("{cut}{}", zone(&keys[1..]))).unwrap();
    assert_eq!(wrong, (vec!["wrong".into(), "right".into()], false));
    server.configure(&config("127.0.0.1:9", ""));
    let told = server.command(&["dkim", "check", "example.org"]);
    assert!(
        !told.status.success() && told.out.contains("unknown: "),
        "{}",
        told.out
    );
}

/// Every file and folder below `folder`.
fn below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(below(&path)),
            false => found.push(path),
        }
    }
    found
}

#[test]
fn nobody_else_can_read_a_key() {
    let server = server("");
    run(&server, &["dkim", "generate", "example.org"]);
    let data = server.dir().join("data");
    let owner = std::fs::metadata(&data).unwrap().uid();
    let found = below(&data.join("dkim"));
    assert!(found.len() >= 5, "{found:?}");
    for path in found {
        let metadata = std::fs::metadata(&path).unwrap();
        let mode = metadata.permissions().mode() & 0o7777;
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(
            (mode, metadata.uid()),
            (wanted, owner),
            "{}",
            path.display()
        );
    }
}

#[test]
fn a_key_that_cannot_be_read_is_told_and_mail_goes_on() {
    let mut server = server("");
    run(&server, &["dkim", "generate", "example.org"]);
    let keys = listed(&server, &["dkim", "list", "--json"]);
    let selector = keys[0]["selector"].as_str().unwrap();
    let file = format!("data/dkim/example.org/{selector}.pem");
    std::fs::write(server.dir().join(file), "nonsense").unwrap();
    server.run();
    let mut alice = as_user(&server, ALICE);
    sent(&mut alice, &server, "alice@example.org", MESSAGE);
    let told = server.record("a fault that names the key", |record| {
        record["event"] == "fault" && record.to_string().contains(selector)
    });
    assert!(told.to_string().contains("PEM"), "{told}");
}

/// Forgets the most memory that the server has had, takes a large message, and gives how much more
/// it then had, in KiB.
fn memory_for(server: &Server, message: &[u8]) -> u64 {
    let refs = format!("/proc/{}/clear_refs", server.pid());
    std::fs::write(refs, "5").unwrap();
    let (before, _) = server.memory();
    let mut host = Dialogue::open(server.addresses[1]);
    let answer = host.deliver("app@example.org", &["alice@example.org"], message);
    assert_eq!(answer.code, 250, "{answer:?}");
    server.memory().1.saturating_sub(before)
}

#[test]
fn a_message_of_48_mebibytes_is_signed_in_two_more() {
    const SIZE: usize = 48 << 20;
    const MORE_KIB: u64 = 2 * 1024;
    let mut server = server("[relay]\nnetworks = [\"127.0.0.0/8\"]\n");
    server.run();
    let mut message = b"From: app@example.org\r\n\r\n".to_vec();
    message.extend(messages::large(SIZE));
    // The first pays for what later ones find there.
    memory_for(&server, &message);
    let unsigned = memory_for(&server, &message);
    run(&server, &["dkim", "generate", "example.org"]);
    let signed = memory_for(&server, &message);
    let alice = mailbox::wait(&server.dir().join("mail/alice"), 3, SOON);
    let of = |m: &Vec<u8>| signatures(&String::from_utf8_lossy(&m[..4_000])).len();
    let mut counts: Vec<_> = alice.iter().map(of).collect();
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 2]);
    println!("{SIZE} octets: {unsigned} KiB unsigned, {signed} KiB signed");
    assert!(
        signed <= unsigned + MORE_KIB,
        "{signed} KiB, {unsigned} KiB"
    );
}

#[test]
fn new_keys_wait_for_their_records_while_the_old_ones_sign() {
    let mut server = server("");
    run(&server, &["dkim", "generate", "example.org"]);
    let none = server.command(&["dkim", "rotate", "tenant.example"]);
    assert!(none.err.contains("there are none"), "{}", none.err);
    let first = listed(&server, &["dkim", "list", "--json"]);
    // A selector holds the second in which it was made.
    until("another selector", SOON, || {
        let told = server.command(&["dkim", "rotate", "example.org"]);
        told.status.success().then_some(())
    });
    let again = server.command(&["dkim", "rotate", "example.org"]);
    assert!(
        again.err.contains("there are new keys already"),
        "{}",
        again.err
    );
    let all = listed(&server, &["dkim", "list", "--json"]);
    let states: Vec<_> = all.iter().map(|k| k["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["active", "active", "published", "published"]);

    let Some(nsd) = Nsd::start(&zone(&all)) else {
        return;
    };
    server.configure(&config(&nsd.address.to_string(), ""));
    server.run();
    let seen = until("the new records to be seen", SOON, || {
        let all = listed(&server, &["dkim", "list", "--json"]);
        all[2..].iter().all(|k| !k["seen"].is_null()).then_some(all)
    });
    assert_eq!(seen[2]["state"], "published", "for an hour");
    let mut alice = as_user(&server, ALICE);
    let message = sent(&mut alice, &server, "alice@example.org", MESSAGE);
    let selectors: Vec<_> = signatures(&message).into_iter().map(|(s, _)| s).collect();
    let old: Vec<_> = first
        .iter()
        .map(|k| k["selector"].as_str().unwrap())
        .collect();
    assert_eq!(selectors, old);
    let list = run(&server, &["dkim", "list"]);
    assert!(list.contains("seen in the DNS since"), "{list}");
}
