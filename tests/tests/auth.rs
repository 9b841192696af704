//! Users log in: real clients with each mechanism that they have, over STARTTLS and TLS from the
//! start; what is said when it goes wrong; and who must wait.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_precision_loss
)]
#![allow(missing_docs)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use posthaste_tests::client::Dialogue;
use posthaste_tests::peer::client;
use posthaste_tests::server::{Server, Told, told};
use posthaste_tests::{SOON, mailbox, root, until};
use serde_json::Value;

/// Submission with STARTTLS, with TLS, and in clear on loopback; other servers' mail.
const SUBMISSION: &str = r#"
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
service = "submission"
tls = "none"
auth_without_tls = true

[[listener]]
address = "127.0.0.1:0"
service = "mx"

[accounts]
mechanisms = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"]

[[domain]]
name = "local.example"
mailboxes = ["alice"]
deliver = "maildir:mail/{local}"
"#;

const STARTTLS: usize = 0;
const IMPLICIT: usize = 1;
const CLEAR: usize = 2;
const MX: usize = 3;

const CAROL: &str = "carol@local.example";
const LETTER: &str = "From: carol@local.example\nTo: alice@local.example\nSubject: in\n\nhello\n";

/// A server with carol's account.
fn server() -> Server {
    let mut server = Server::with(SUBMISSION);
    let added = with_input(&server, &["user", "add", CAROL, "--cram-md5"], "pencil\n");
    assert!(added.status.success(), "{}", added.err);
    server.run();
    server
}

/// Runs a command of the program with something on its standard input.
fn with_input(server: &Server, words: &[&str], input: &str) -> Told {
    server.command_with(input, words)
}

fn port(server: &Server, listener: usize) -> String {
    server.addresses[listener].port().to_string()
}

fn logins(server: &Server, mechanism: &str) -> usize {
    let accepted = |record: &&Value| {
        record["event"] == "auth"
            && record["mechanism"] == mechanism
            && record["account"] == CAROL
            && record["result"] == "accepted"
    };
    server.records().iter().filter(accepted).count()
}

/// Lets a client log in and send a letter, with each mechanism and kind of TLS. Its script gets the
/// port, `starttls` or `implicit`, the mechanism, and the letter's file.
fn sends_with_each(name: &str, mechanisms: &[&str], script: &str) {
    if !client::is_there(name) {
        return;
    }
    let server = server();
    let letter = server.dir().join("letter");
    std::fs::write(&letter, LETTER).unwrap();
    let letter = letter.display().to_string();
    let mut sent = 0;
    for mechanism in mechanisms {
        for (listener, mode) in [(STARTTLS, "starttls"), (IMPLICIT, "implicit")] {
            let before = logins(&server, mechanism);
            let words = [&port(&server, listener), mode, mechanism, &letter];
            let told = told(&mut client::command(name, script, &words));
            let said = format!("{name} {mode} {mechanism}: {} {}", told.out, told.err);
            assert!(told.status.success(), "{said}");
            sent += 1;
            until(&format!("the login: {said}"), SOON, || {
                (logins(&server, mechanism) == before + 1).then_some(())
            });
            let arrived = mailbox::wait(&server.dir().join("mail/alice"), sent, SOON);
            assert_eq!(arrived.len(), sent, "{said}");
        }
    }
    let letters = mailbox::messages(&server.dir().join("mail/alice"));
    let with = |letter: &Vec<u8>| String::from_utf8_lossy(letter).contains("with ESMTPSA id");
    assert!(letters.iter().all(with));
}

#[test]
fn python_smtplib_logs_in() {
    let script = "exec python3 - \"$@\" <<'END'
import smtplib, ssl, sys
port, mode, mechanism, letter = sys.argv[1:]
context = ssl._create_unverified_context()
if mode == 'implicit':
    client = smtplib.SMTP_SSL('127.0.0.1', int(port), context=context)
else:
    client = smtplib.SMTP('127.0.0.1', int(port))
    client.starttls(context=context)
with client:
    client.ehlo()
    client.user, client.password = 'carol@local.example', 'pencil'
    client.auth(mechanism, getattr(client, 'auth_' + mechanism.lower().replace('-', '_')))
    client.sendmail('carol@local.example', ['alice@local.example'], open(letter).read())
END";
    sends_with_each("python3", &["PLAIN", "LOGIN", "CRAM-MD5"], script);
}

#[test]
fn curl_logs_in() {
    let script = "test $2 = implicit && scheme=smtps || scheme=smtp
        exec curl --silent --show-error --crlf --insecure --ssl-reqd \
         \"$scheme://127.0.0.1:$1/client.example\" --login-options \"AUTH=$3\" \
         --user carol@local.example:pencil --mail-from carol@local.example \
         --mail-rcpt alice@local.example --upload-file \"$4\"";
    sends_with_each("curl", &["PLAIN", "LOGIN", "CRAM-MD5"], script);
}

#[test]
fn swaks_logs_in() {
    let script = "test $2 = implicit && tls=--tls-on-connect || tls=--tls
        exec swaks --silent 2 --server 127.0.0.1 --port $1 --helo client.example $tls \
         --auth $3 --auth-user carol@local.example --auth-password pencil \
         --from carol@local.example --to alice@local.example --data \"@$4\"";
    sends_with_each("swaks", &["PLAIN", "LOGIN", "CRAM-MD5"], script);
}

#[test]
fn msmtp_logs_in() {
    let script = "test $2 = implicit && starttls=off || starttls=on
        auth=$(echo $3 | tr A-Z a-z)
        exec msmtp --file=/dev/null --host=127.0.0.1 --port=$1 --domain=client.example \
         --tls=on --tls-starttls=$starttls --tls-certcheck=off --auth=$auth \
         --user=carol@local.example --passwordeval='echo pencil' \
         --from=carol@local.example alice@local.example <\"$4\"";
    let mechanisms = ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"];
    sends_with_each("msmtp", &mechanisms, script);
}

#[test]
fn s_nail_logs_in() {
    let script = "test $2 = implicit && scheme=submissions || scheme=submission
        auth=$(echo $3 | tr A-Z a-z)
        exec s-nail -n -S v15-compat=y -S sendwait -S tls-verify=ignore -S smtp-use-starttls \
         -S hostname=client.example -S \"smtp-auth=$auth\" -S from=carol@local.example \
         -S \"mta=$scheme://carol%40local.example:pencil@127.0.0.1:$1\" \
         -s in alice@local.example <\"$4\"";
    sends_with_each("s-nail", &["PLAIN", "LOGIN", "CRAM-MD5"], script);
}

#[test]
fn nodemailer_logs_in() {
    let modules = root().join("target/peers/clients/node_modules");
    if !modules.join("nodemailer").exists() {
        return posthaste_tests::skip("nodemailer: not fetched; `cargo xtask peers` says why");
    }
    let modules = modules.display();
    let script = format!(
        "NODE_PATH={modules} exec node - \"$@\" <<'END'
const [port, mode, authMethod, letter] = process.argv.slice(2);
const transport = require('nodemailer').createTransport({{
  host: '127.0.0.1', port: Number(port), secure: mode === 'implicit', requireTLS: true, authMethod,
  auth: {{ user: 'carol@local.example', pass: 'pencil' }}, tls: {{ rejectUnauthorized: false }},
}});
const envelope = {{ from: 'carol@local.example', to: 'alice@local.example' }};
const raw = require('fs').readFileSync(letter);
transport.sendMail({{ envelope, raw }}).catch((e) => {{ console.error(e); process.exit(1); }});
END"
    );
    sends_with_each("node", &["PLAIN", "LOGIN", "CRAM-MD5"], &script);
}

#[test]
fn lettre_logs_in() {
    use lettre::transport::smtp::authentication::{Credentials, Mechanism};
    use lettre::transport::smtp::client::{Tls, TlsParameters};
    use lettre::{SmtpTransport, Transport as _};
    let server = server();
    let address = |text: &str| text.parse::<lettre::Address>().unwrap();
    let to = vec![address("alice@local.example")];
    let envelope = lettre::address::Envelope::new(Some(address(CAROL)), to).unwrap();
    let parameters = TlsParameters::builder("127.0.0.1".into());
    let parameters = parameters
        .dangerous_accept_invalid_certs(true)
        .dangerous_accept_invalid_hostnames(true)
        .build_rustls()
        .unwrap();
    let mut sent = 0;
    for (mechanism, name) in [(Mechanism::Plain, "PLAIN"), (Mechanism::Login, "LOGIN")] {
        for (listener, tls) in [
            (STARTTLS, Tls::Required(parameters.clone())),
            (IMPLICIT, Tls::Wrapper(parameters.clone())),
        ] {
            let transport = SmtpTransport::builder_dangerous("127.0.0.1")
                .port(server.addresses[listener].port())
                .tls(tls)
                .authentication(vec![mechanism])
                .credentials(Credentials::new(CAROL.into(), "pencil".into()))
                .build();
            let letter = LETTER.replace('\n', "\r\n");
            transport.send_raw(&envelope, letter.as_bytes()).unwrap();
            sent += 1;
            let arrived = mailbox::wait(&server.dir().join("mail/alice"), sent, SOON);
            assert_eq!(arrived.len(), sent);
        }
        assert_eq!(logins(&server, name), 2);
    }
}

/// GNU SASL's own client: an implementation of SCRAM, and of its channel binding, that nobody here
/// wrote. Its SCRAM-SHA-256 without -PLUS needs `--no-cb`.
#[test]
fn gsasl_binds_scram_to_the_channel() {
    if !client::is_there("gsasl") {
        return;
    }
    let server = server();
    let script = "exec gsasl --smtp --mechanism \"$2\" $3 --authentication-id \"$4\" \
                  --password \"$5\" --x509-ca-file= 127.0.0.1 \"$1\" </dev/null";
    let run = |mechanism: &str, binding: &str, user: &str, password: &str| {
        let words = [&port(&server, STARTTLS), mechanism, binding, user, password];
        told(&mut client::command("gsasl", script, &words))
    };
    for (mechanism, binding) in [
        ("SCRAM-SHA-256-PLUS", ""),
        ("SCRAM-SHA-256", "--no-cb"),
        ("CRAM-MD5", ""),
        ("PLAIN", ""),
        ("LOGIN", ""),
    ] {
        let told = run(mechanism, binding, CAROL, "pencil");
        assert!(
            told.status.success(),
            "{mechanism}: {} {}",
            told.out,
            told.err
        );
        assert!(
            told.out.contains("\n235 2.7.0 "),
            "{mechanism}: {}",
            told.out
        );
        until(mechanism, SOON, || {
            (logins(&server, mechanism) == 1).then_some(())
        });
    }
    for (user, password) in [(CAROL, "Pencil"), ("nobody@local.example", "pencil")] {
        for mechanism in ["SCRAM-SHA-256-PLUS", "PLAIN"] {
            let told = run(mechanism, "", user, password);
            assert!(!told.status.success(), "{mechanism} {user}");
            let said = format!("{}{}", told.out, told.err);
            assert!(said.contains("535 5.7.8 "), "{mechanism} {user}: {said}");
        }
    }
}

#[test]
fn a_certificate_of_the_users_authority_stands_for_a_password() {
    let there = ["curl", "gsasl", "openssl"]
        .into_iter()
        .all(client::is_there);
    if !there {
        return;
    }
    let with = "mechanisms = [\"EXTERNAL\", ";
    let configuration = SUBMISSION.replacen("mechanisms = [", with, 1);
    let mut server = Server::with(&format!("{configuration}\n[tls]\nclient_ca = \"ca.pem\"\n"));
    let dir = server.dir().display().to_string();
    let make = "cd \"$1\"
        new='openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -batch'
        for ca in ca other; do
            $new -x509 -keyout $ca.key -out $ca.pem -subj /CN=$ca -days 2
        done
        issue() {
            $new -keyout $1.key -out $1.csr -subj /CN=$1
            printf 'subjectAltName=email:%s\\nextendedKeyUsage=clientAuth\\n' $2 >$1.ext
            openssl x509 -req -in $1.csr -CA $3.pem -CAkey $3.key -CAcreateserial -out $1.pem \\
                -days 2 -extfile $1.ext
        }
        issue carol Carol@local.example ca
        issue mallory mallory@local.example ca
        issue forged carol@local.example other";
    let made = told(&mut client::command("openssl", make, &[&dir]));
    assert!(made.status.success(), "{}", made.err);
    assert!(
        with_input(&server, &["user", "add", CAROL], "pencil\n")
            .status
            .success()
    );
    server.run();
    std::fs::write(server.dir().join("letter"), LETTER).unwrap();
    let curl = "exec curl --silent --show-error --crlf --insecure --ssl-reqd \
         --cert \"$2/$3.pem\" --key \"$2/$3.key\" --login-options AUTH=EXTERNAL \
         --user carol@local.example: \"smtp://127.0.0.1:$1/client.example\" \
         --mail-from carol@local.example --mail-rcpt alice@local.example \
         --upload-file \"$2/letter\"";
    let gsasl = "exec gsasl --smtp --mechanism EXTERNAL --authorization-id= --x509-ca-file= \
         --x509-cert-file \"$2/$3.pem\" --x509-key-file \"$2/$3.key\" 127.0.0.1 \"$1\" </dev/null";
    for (name, script, logins_then) in [("curl", curl, 1), ("gsasl", gsasl, 2)] {
        let port = port(&server, STARTTLS);
        let run = |whose| told(&mut client::command(name, script, &[&port, &dir, whose]));
        let done = run("carol");
        assert!(done.status.success(), "{name}: {} {}", done.out, done.err);
        until(name, SOON, || {
            (logins(&server, "EXTERNAL") == logins_then).then_some(())
        });
        for whose in ["mallory", "forged"] {
            assert!(!run(whose).status.success(), "{name} {whose}");
        }
    }
    assert_eq!(logins(&server, "EXTERNAL"), 2);
}

/// A dialogue in clear, after EHLO, from an address of loopback.
fn clear(server: &Server, from: &str) -> Dialogue {
    let from: IpAddr = from.parse().unwrap();
    let mut dialogue = Dialogue::connect_from(from, server.addresses[CLEAR]);
    assert_eq!(dialogue.answer().code, 220);
    assert_eq!(dialogue.ask("EHLO client.example").code, 250);
    dialogue
}

fn plain(user: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", base64(&format!("\0{user}\0{password}")))
}

fn base64(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for group in text.as_bytes().chunks(3) {
        let octet = |n: usize| u32::from(group.get(n).copied().unwrap_or(0));
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for n in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * n) & 63) as usize];
            encoded.push(if n > group.len() {
                '='
            } else {
                char::from(letter)
            });
        }
    }
    encoded
}

fn code(server: &Server, from: &str, user: &str, password: &str) -> u16 {
    clear(server, from).ask(&plain(user, password)).code
}

#[test]
fn an_exchange_that_goes_wrong_gets_the_right_code() {
    let server = server();
    let mut dialogue = clear(&server, "127.0.0.1");
    let wrong = dialogue.ask(&plain(CAROL, "Pencil"));
    assert_eq!(wrong.code, 535);
    assert!(wrong.lines[0].starts_with("5.7.8 "), "{wrong:?}");
    for user in ["nobody@local.example", "*)(uid=*", "\"", "a\u{1}b"] {
        assert_eq!(dialogue.ask(&plain(user, "pencil")), wrong, "{user}");
    }
    let mut dialogue = clear(&server, "127.0.0.1");
    for (line, code, enhanced) in [
        ("MAIL FROM:<carol@local.example>", 530, "5.7.0 "),
        ("AUTH DIGEST-MD5", 504, "5.5.4 "),
        ("AUTH SCRAM-SHA-256-PLUS", 504, "5.5.4 "),
        ("AUTH PLAIN !", 501, "5.5.2 "),
        ("AUTH PLAIN AAAA", 501, "5.5.2 "),
        ("AUTH CRAM-MD5 =", 501, "5.5.2 "),
    ] {
        let answer = dialogue.ask(line);
        assert_eq!(answer.code, code, "{line}: {answer:?}");
        assert!(answer.lines[0].starts_with(enhanced), "{line}: {answer:?}");
    }
    let mut dialogue = clear(&server, "127.0.0.1");
    for line in [
        "AUTH PLAIN",
        "AUTH LOGIN",
        "AUTH CRAM-MD5",
        "AUTH SCRAM-SHA-256",
    ] {
        assert_eq!(dialogue.ask(line).code, 334, "{line}");
        assert_eq!(dialogue.ask("*").code, 501, "{line}");
    }
    // The exchange is over, and another one may begin.
    assert_eq!(dialogue.ask("AUTH LOGIN").code, 334);
    assert_eq!(dialogue.ask(&base64(CAROL)).code, 334);
    assert_eq!(dialogue.ask(&base64("pencil")).code, 235);
    assert_eq!(dialogue.ask("AUTH LOGIN").code, 503);
    let sent = dialogue.deliver(CAROL, &["someone@elsewhere.example"], b"Subject: x\r\n\r\n");
    assert_eq!(sent.code, 250);
    let mut dialogue = clear(&server, "127.0.0.1");
    let long = format!("AUTH PLAIN {}", "A".repeat(20_000));
    assert_eq!(dialogue.ask(&long).code, 500);
}

#[test]
fn before_tls_there_is_no_auth_and_without_auth_no_mail() {
    let server = server();
    let mut dialogue = Dialogue::open(server.addresses[STARTTLS]);
    let offered = dialogue.ask("EHLO client.example").lines.join(" ");
    assert!(
        offered.contains("STARTTLS") && !offered.contains("AUTH"),
        "{offered}"
    );
    assert_eq!(dialogue.ask(&plain(CAROL, "pencil")).code, 538);
    assert_eq!(dialogue.ask("MAIL FROM:<carol@local.example>").code, 530);
    let mut dialogue = Dialogue::open(server.addresses[MX]);
    let offered = dialogue.ask("EHLO client.example").lines.join(" ");
    assert!(!offered.contains("AUTH"), "{offered}");
    assert_eq!(dialogue.ask(&plain(CAROL, "pencil")).code, 502);
    assert_eq!(dialogue.ask("MAIL FROM:<carol@local.example>").code, 250);
    assert_eq!(
        dialogue.ask("RCPT TO:<someone@elsewhere.example>").code,
        550
    );
}

#[test]
fn what_the_operator_changes_holds_at_once() {
    let server = server();
    let (dave, home) = ("dave@local.example", "127.0.0.1");
    let user = |words: &[&str], input: &str| {
        let words = [&["user"], words].concat();
        let told = with_input(&server, &words, input);
        (told.status.success(), told.out + &told.err)
    };
    assert_eq!(code(&server, home, dave, "one"), 535);
    assert!(user(&["add", dave], "one\n").0);
    assert_eq!(code(&server, home, dave, "one"), 235);
    // An account is a mailbox of its domain, too.
    let mut sender = clear(&server, home);
    assert_eq!(sender.ask(&plain(CAROL, "pencil")).code, 235);
    until("dave's mailbox", SOON, || {
        let mut other = Dialogue::open(server.addresses[MX]);
        assert_eq!(other.ask("MAIL FROM:<a@b.example>").code, 250);
        (other.ask("RCPT TO:<dave@local.example>").code == 250).then_some(())
    });
    assert!(user(&["add", dave, "--label", "phone"], "two\n").0);
    assert_eq!(code(&server, home, dave, "two"), 235);
    let (_, listed) = user(&["list", dave], "");
    assert!(listed.contains("dave@local.example  [phone]  PLAIN LOGIN SCRAM-SHA-256"));
    assert!(user(&["passwd", dave], "three\n").0);
    assert_eq!(code(&server, home, dave, "one"), 535);
    assert_eq!(code(&server, home, dave, "three"), 235);
    assert!(user(&["remove", dave, "--label", "phone"], "").0);
    assert_eq!(code(&server, home, dave, "two"), 535);
    // Who is logged in is not let go on.
    let mut open = clear(&server, home);
    assert_eq!(open.ask(&plain(dave, "three")).code, 235);
    assert_eq!(open.ask("MAIL FROM:<dave@local.example>").code, 250);
    assert_eq!(open.ask("RSET").code, 250);
    assert!(user(&["remove", dave], "").0);
    assert_eq!(code(&server, home, dave, "three"), 535);
    let revoked = open.ask("MAIL FROM:<dave@local.example>");
    assert_eq!((revoked.code, &revoked.lines[0][..5]), (421, "4.7.0"));
    assert!(open.rest().is_empty());
    let (done, said) = user(&["add", CAROL], "x\n");
    assert!(!done && said.contains("is there already"), "{said}");
    let (done, said) = user(&["remove", dave], "");
    assert!(!done && said.contains("there is no account"), "{said}");
    let (done, said) = user(&["add", "not a name"], "x\n");
    assert!(!done && said.contains("write an address"), "{said}");
    assert!(
        !std::fs::read_to_string(server.dir().join("users"))
            .unwrap()
            .contains("pencil")
    );
}

#[test]
fn who_guesses_waits_and_an_owner_gets_in_from_where_he_was() {
    let mut server = server();
    assert_eq!(code(&server, "127.0.0.1", CAROL, "pencil"), 235);
    let guess = |server: &Server, from: &str| code(server, from, CAROL, "guess");
    let codes: Vec<_> = (0..30).map(|_| guess(&server, "127.0.0.2")).collect();
    assert_eq!(codes[..10], [535; 10]);
    assert!(codes.contains(&421), "{codes:?}");
    // From ever new addresses the account itself must wait, but not where it was before.
    let mut fresh = (3..250).map(|n| format!("127.0.0.{n}"));
    until("an account that must wait", SOON, || {
        guess(&server, &fresh.next()?);
        (code(&server, &fresh.next()?, CAROL, "pencil") == 454).then_some(())
    });
    assert_eq!(code(&server, "127.0.0.1", CAROL, "pencil"), 235);
    let failures = |server: &Server, words: &[&str]| {
        let words = [&["user", "failures"], words].concat();
        server.command(&words).out
    };
    let of_carol = |listed: &str| {
        let lines = listed
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap());
        let mut of_carol = lines.filter(|l| l["account"] == CAROL && l["address"].is_null());
        of_carol
            .next()
            .map_or(0, |l| l["failures"].as_u64().unwrap())
    };
    let listed = failures(&server, &["--json"]);
    let counted = of_carol(&listed);
    assert!(counted >= 20, "{listed}");
    assert!(listed.contains("\"address\":\"127.0.0.2\""), "{listed}");
    // A server that is killed remembers.
    until("the file of failures", SOON, || {
        let file = std::fs::read_to_string(server.dir().join("data/auth/failures")).ok()?;
        file.contains(&format!("account {CAROL} {counted} "))
            .then_some(())
    });
    server.kill();
    server.run();
    assert_eq!(of_carol(&failures(&server, &["--json"])), counted);
    assert_eq!(code(&server, "127.0.0.1", CAROL, "pencil"), 235);
    assert!(failures(&server, &["--clear", CAROL]).contains("1 forgotten"));
    assert_eq!(of_carol(&failures(&server, &["--json"])), 0);
    assert_eq!(code(&server, &fresh.next().unwrap(), CAROL, "pencil"), 235);
    assert!(failures(&server, &["--clear", "all"]).contains("forgotten"));
    assert_eq!(failures(&server, &[]), "no failed login\n");
}

#[test]
fn a_password_never_stands_in_the_log() {
    let server = server();
    code(&server, "127.0.0.1", CAROL, "correct-horse");
    code(
        &server,
        "127.0.0.1",
        "correct-horse@local.example",
        "battery-staple",
    );
    let mut dialogue = clear(&server, "127.0.0.1");
    dialogue.ask("AUTH PLAIN");
    dialogue.ask("battery-staple");
    drop(dialogue);
    server.record("the last connection", |r| {
        r["event"] == "connection" && r["session"] == 3
    });
    let log: String = server.records().iter().map(ToString::to_string).collect();
    let encoded = base64(&format!("\0{CAROL}\0correct-horse"));
    for secret in ["battery-staple", &encoded, "correct-horse\""] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[test]
fn the_file_of_accounts_is_for_the_server_and_nobody_else() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let server = server();
    let file = std::fs::metadata(server.dir().join("users")).unwrap();
    let mode = file.permissions().mode() & 0o777;
    let expected = if file.uid() == 0 { 0o640 } else { 0o600 };
    assert_eq!(mode, expected, "{mode:o}");
}

/// Durations in order, for figures.
struct Times(Vec<Duration>);

impl Times {
    fn sorted(mut times: Vec<Duration>) -> Self {
        times.sort();
        Times(times)
    }

    /// The time that so many of a thousand did not take longer than.
    fn at(&self, per_mille: usize) -> f64 {
        let at = (self.0.len() * per_mille / 1000).min(self.0.len() - 1);
        self.0[at].as_secs_f64() * 1e3
    }

    fn mean(&self) -> f64 {
        self.0.iter().sum::<Duration>().as_secs_f64() * 1e3 / self.0.len() as f64
    }
}

/// Prints how long a wrong password and an unknown user take. Reported, not judged: time on a
/// shared machine is noise. Run it with `--ignored --nocapture`.
#[test]
#[ignore = "a benchmark"]
fn figures_of_a_wrong_password_and_an_unknown_user() {
    const ROUNDS: usize = 200;
    let server = server();
    for n in 0..ROUNDS / 10 {
        let name = format!("user{n}@local.example");
        assert!(
            with_input(&server, &["user", "add", &name], "pencil\n")
                .status
                .success()
        );
    }
    let timed = |n: usize, user: &str| {
        // Each from an address of its own, so that none has to wait.
        let mut dialogue = clear(&server, &format!("127.9.{}.{}", n / 250, n % 250 + 1));
        let begun = Instant::now();
        let answer = dialogue.ask(&plain(user, "guess"));
        let took = begun.elapsed();
        assert_eq!(answer.code, 535, "{answer:?}");
        took
    };
    let (mut wrong, mut unknown) = (Vec::new(), Vec::new());
    for n in 0..ROUNDS {
        let somebody = format!("user{}@local.example", n % (ROUNDS / 10));
        let nobody = format!("nobody{n}@local.example");
        // In turns, so that whatever follows the other meets both.
        if n % 2 == 0 {
            wrong.push(timed(2 * n, &somebody));
            unknown.push(timed(2 * n + 1, &nobody));
        } else {
            unknown.push(timed(2 * n, &nobody));
            wrong.push(timed(2 * n + 1, &somebody));
        }
    }
    for (what, times) in [("wrong password", wrong), ("unknown user", unknown)] {
        let times = Times::sorted(times);
        println!(
            "{what}: p10 {:.2} ms, median {:.2} ms, p90 {:.2} ms, mean {:.2} ms, {ROUNDS} logins",
            times.at(100),
            times.at(500),
            times.at(900),
            times.mean()
        );
    }
}

/// Answers AUTH at once and knows nothing: what the attacker itself costs the machine.
fn bare_sink() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let _ = writer.write_all(b"220 sink\r\n");
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let reply: &[u8] = match line.starts_with("EHLO") {
                        true => b"250 sink\r\n",
                        false => b"535 5.7.8 no\r\n",
                    };
                    if writer.write_all(reply).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Guesses as fast as it can, from ever new addresses or from one, until told to stop; how often.
fn attack(target: SocketAddr, many: bool, stop: &AtomicBool) -> usize {
    let mut guesses = 0;
    while !stop.load(Ordering::Relaxed) {
        let from = match many {
            true => format!("127.8.{}.{}", guesses / 250 % 250, guesses % 250 + 1),
            false => "127.7.7.7".to_string(),
        };
        let mut dialogue = Dialogue::connect_from(from.parse().unwrap(), target);
        if dialogue.try_answer().is_none() {
            continue;
        }
        let mut ask = |line: &str| dialogue.try_ask(line).map(|answer| answer.code);
        for n in 0..5 {
            let line = match n {
                0 => "EHLO attacker.example".to_string(),
                n => plain(
                    &format!("user{guesses}@local.example"),
                    &format!("guess{n}"),
                ),
            };
            match ask(&line) {
                Some(_) => guesses += usize::from(n > 0),
                None => break,
            }
        }
    }
    guesses
}

/// Prints what an attacker at full speed costs an honest user's session, and what the same attacker
/// costs it that guesses at a bare sink on the same machine. Run it with `--ignored --nocapture`.
#[test]
#[ignore = "a benchmark"]
fn figures_of_an_honest_session_while_somebody_guesses() {
    const ATTACKERS: usize = 4;
    const ROUNDS: u32 = 4;
    const TIME: Duration = Duration::from_secs(4);
    let server = server();
    assert_eq!(code(&server, "127.0.0.1", CAROL, "pencil"), 235);
    let sink = bare_sink();
    let honest = || {
        let begun = Instant::now();
        let mut dialogue = clear(&server, "127.0.0.1");
        assert_eq!(dialogue.ask(&plain(CAROL, "pencil")).code, 235);
        let sent = dialogue.deliver(CAROL, &["alice@local.example"], b"Subject: x\r\n\r\nx\r\n");
        assert_eq!(sent.code, 250);
        begun.elapsed()
    };
    let ours = server.addresses[CLEAR];
    let cases = [
        ("nobody guesses", None),
        ("at a bare sink, from one address", Some((sink, false))),
        ("at this server, from one address", Some((ours, false))),
        ("at a bare sink, from many addresses", Some((sink, true))),
        ("at this server, from many addresses", Some((ours, true))),
    ];
    let mut found: Vec<(Vec<Duration>, usize)> = vec![Default::default(); cases.len()];
    // In turns, so that whatever else the machine does meets all of them.
    for _ in 0..ROUNDS {
        for ((_, target), (times, guesses)) in cases.iter().zip(&mut found) {
            let stop = AtomicBool::new(false);
            *guesses += std::thread::scope(|scope| {
                let attackers: Vec<_> = target
                    .iter()
                    .flat_map(|target| std::iter::repeat_n(target, ATTACKERS))
                    .map(|(target, many)| {
                        let stop = &stop;
                        scope.spawn(move || attack(*target, *many, stop))
                    })
                    .collect();
                let begun = Instant::now();
                while begun.elapsed() < TIME {
                    times.push(honest());
                }
                stop.store(true, Ordering::Relaxed);
                attackers
                    .into_iter()
                    .map(|a| a.join().unwrap())
                    .sum::<usize>()
            });
            assert!(
                server
                    .command(&["user", "failures", "--clear", "all"])
                    .status
                    .success()
            );
        }
    }
    for ((what, _), (times, guesses)) in cases.iter().zip(found) {
        let times = Times::sorted(times);
        println!(
            "{what}: honest session median {:.1} ms, p90 {:.1} ms, p99 {:.1} ms ({} sessions), \
             {:.0} guesses/s",
            times.at(500),
            times.at(900),
            times.at(990),
            times.0.len(),
            guesses as f64 / (TIME * ROUNDS).as_secs_f64()
        );
    }
}
