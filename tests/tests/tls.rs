//! TLS as peers meet it: STARTTLS, implicit TLS, certificates by name, and their renewal.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, clippy::print_stdout, missing_docs)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use posthaste_tests::client::Dialogue;
use posthaste_tests::peer::client;
use posthaste_tests::server::{Server, told};
use posthaste_tests::tls::{Authority, Trust};
use posthaste_tests::{SOON, mailbox, setup, until};

/// A new pair is looked for every ten seconds.
const RENEWED: Duration = Duration::from_secs(60);
/// Sessions that are open while a certificate is exchanged, and messages that each sends.
const OPEN: usize = 8;

/// A listener with STARTTLS, one with implicit TLS, and more.
fn both(more: &str) -> String {
    let clear = "tls = \"none\"\n";
    let implicit = "\n[[listener]]\naddress = \"127.0.0.1:0\"\nservice = \"mx\"\n\
                    tls = \"implicit\"\n";
    assert!(setup::BASE.contains(clear));
    let base = setup::BASE.replace(clear, implicit);
    format!("{base}\n{more}\n")
}

/// A server with a certificate for `mx.local.example`, and one for `mail.other.example` and all
/// names below `wild.example`.
fn certified(authority: &Authority) -> Server {
    let server = Server::with(&both(
        "[tls]\ncertificate = \"{dir}/a.pem\"\nkey = \"{dir}/a.key\"\n\
         [[tls.sni]]\ncertificate = \"b.pem\"\nkey = \"b.key\"\n",
    ));
    authority.certify(server.dir(), "a", &["mx.local.example"]);
    let names = ["mail.other.example", "*.wild.example"];
    authority.certify(server.dir(), "b", &names);
    std::fs::write(server.dir().join("root.pem"), authority.pem()).unwrap();
    server
}

fn running(authority: &Authority) -> Server {
    let mut server = certified(authority);
    server.run();
    server
}

/// The addresses with STARTTLS and with implicit TLS.
fn addresses(server: &Server) -> (SocketAddr, SocketAddr) {
    (server.addresses[0], server.addresses[1])
}

/// What `alice` has got, when there is one message for her.
fn the_letter(server: &Server) -> String {
    let found = mailbox::wait(&server.dir().join("mail/alice"), 1, SOON);
    assert_eq!(found.len(), 1);
    String::from_utf8_lossy(&found[0]).replace("\n\t", " ")
}

#[test]
fn without_a_certificate_a_server_makes_one_and_keeps_it() {
    let mut server = Server::start(&both(""));
    let own = server.dir().join("data/tls/self-signed.pem");
    let first = std::fs::read(&own).unwrap();
    let record = server.record("the certificate", |r| r["event"] == "certificate");
    assert_eq!(record["names"][0], "mx.local.example");
    assert_eq!(record["state"], "valid");
    assert!(server.stop().success());
    server.run();
    assert_eq!(std::fs::read(&own).unwrap(), first);

    let told = server.command(&["check"]);
    assert!(told.status.success(), "{}", told.out);
    assert!(
        told.out.contains("[tls] names no certificate"),
        "{}",
        told.out
    );
}

#[test]
fn a_message_through_starttls_is_said_to_be_so_in_its_trace_and_in_the_log() {
    let authority = Authority::new();
    let server = running(&authority);
    let trust = authority.trust();
    let (starttls, _) = addresses(&server);
    let mut dialogue = Dialogue::open_tls(starttls, &trust, "mx.local.example");
    let to = ["alice@local.example"];
    let answer = dialogue.deliver("a@client.example", &to, b"Subject: x\r\n\r\nhello\r\n");
    assert_eq!(answer.code, 250);
    assert_eq!(dialogue.ask("QUIT").code, 221);

    let letter = the_letter(&server);
    let trace = "(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384) by mx.local.example with \
                 ESMTPS id ";
    assert!(letter.contains(trace), "{letter}");
    for event in ["transaction", "connection"] {
        let record = server.record(event, |r| r["event"] == event);
        assert_eq!(record["tls"]["version"], "TLSv1.3", "{record}");
        assert_eq!(
            record["tls"]["cipher"], "TLS_AES_256_GCM_SHA384",
            "{record}"
        );
        assert_eq!(record["tls"]["name"], "mx.local.example", "{record}");
    }
}

#[test]
fn nothing_of_before_starttls_is_known_after_it() {
    let authority = Authority::new();
    let server = running(&authority);
    let (starttls, _) = addresses(&server);
    let mut dialogue = Dialogue::open(starttls);
    let offered = dialogue.ask("EHLO before.example").lines;
    assert!(offered.contains(&"STARTTLS".to_owned()), "{offered:?}");
    assert_eq!(dialogue.ask("STARTTLS").code, 220);
    let trust = authority.trust();
    let mut dialogue = dialogue.secure(&trust, "mx.local.example").unwrap();
    assert_eq!(dialogue.ask("MAIL FROM:<a@client.example>").code, 503);
    let offered = dialogue.ask("EHLO after.example").lines;
    assert!(!offered.contains(&"STARTTLS".to_owned()), "{offered:?}");
    assert_eq!(dialogue.ask("STARTTLS").code, 503);
    assert_eq!(dialogue.ask("QUIT").code, 221);
    let record = server.record("the connection", |r| r["event"] == "connection");
    assert_eq!(record["hello"], "after.example");
}

/// Whatever is sent in clear behind STARTTLS, in one write or in two with the cut anywhere, is
/// never answered, neither in clear nor inside of TLS.
#[test]
fn commands_injected_behind_starttls_are_never_heard() {
    let authority = Authority::new();
    let server = running(&authority);
    let (starttls, _) = addresses(&server);
    let trust = authority.trust();
    let sent: &[u8] = b"STARTTLS\r\nMAIL FROM:<eve@injected.example>\r\n";
    let behind = b"STARTTLS\r\n".len();
    for cut in 1..=sent.len() {
        let mut dialogue = Dialogue::open(starttls);
        dialogue.send(&sent[..cut]);
        if cut >= behind {
            // The reply is read first, so that the rest cannot come with the command.
            let _ = dialogue.try_answer();
        }
        if dialogue.try_send(&sent[cut..]).is_ok() && cut < behind {
            let _ = dialogue.try_answer();
        }
        let ended = dialogue.secure(&trust, "mx.local.example");
        assert!(ended.is_err(), "TLS in spite of {cut} octets and the rest");
    }
    let count = |end: &str| {
        let ended = |r: &&serde_json::Value| r["event"] == "connection" && r["end"] == end;
        server.records().iter().filter(ended).count()
    };
    until("the end of every connection", SOON, || {
        (count("injected") + count("no-tls") >= sent.len()).then_some(())
    });
    assert!(count("injected") > 0 && count("no-tls") > 0);
    assert!(server.records().iter().all(|r| r["event"] != "transaction"));
}

#[test]
fn the_end_of_tls_ends_a_message_without_keeping_it() {
    let authority = Authority::new();
    let server = running(&authority);
    let (starttls, _) = addresses(&server);
    let trust = authority.trust();
    for chunked in [false, true] {
        let mut dialogue = Dialogue::open_tls(starttls, &trust, "mx.local.example");
        assert_eq!(dialogue.ask("MAIL FROM:<a@client.example>").code, 250);
        assert_eq!(dialogue.ask("RCPT TO:<alice@local.example>").code, 250);
        if chunked {
            dialogue.send(b"BDAT 100 LAST\r\nSubject: half\r\n");
        } else {
            assert_eq!(dialogue.ask("DATA").code, 354);
            dialogue.send(b"Subject: half\r\n");
        }
        let rest = dialogue.end_tls(b"\r\n.\r\nMAIL FROM:<eve@clear.example>\r\n");
        assert_eq!(rest, b"", "something was said in clear");
    }
    until("two lost transactions", SOON, || {
        let lost = |r: &&serde_json::Value| r["event"] == "transaction" && r["result"] == "lost";
        (server.records().iter().filter(lost).count() == 2).then_some(())
    });
    assert_eq!(server.queued(), 0);
}

#[test]
fn a_peer_that_speaks_smtp_to_implicit_tls_is_told_nothing_and_recorded() {
    let server = Server::start(&both(""));
    let (_, implicit) = addresses(&server);
    let mut dialogue = Dialogue::connect(implicit);
    dialogue.send(b"EHLO client.example\r\n");
    let rest = dialogue.rest();
    assert!(!String::from_utf8_lossy(&rest).contains("220"), "{rest:?}");
    let record = server.record("the connection", |r| r["event"] == "connection");
    assert_eq!(record["end"], "no-tls");
    let why = "the TLS handshake failed: what the peer sent is not TLS";
    assert_eq!(record["tls_failed"], why);
}

/// The names of the certificate that a handshake shows.
fn shown(server: &Server, trust: &Trust, name: &str) -> Result<Vec<u8>, String> {
    let (_, implicit) = addresses(server);
    let dialogue = Dialogue::connect(implicit).secure(trust, name);
    let mut dialogue = dialogue.map_err(|fault| fault.to_string())?;
    assert_eq!(dialogue.answer().code, 220);
    let chain = dialogue.tls().peer_certificates().unwrap().to_vec();
    assert_eq!(dialogue.ask("QUIT").code, 221);
    Ok(chain[0].to_vec())
}

#[test]
fn the_certificate_follows_the_name_that_is_asked_for() {
    let authority = Authority::new();
    let server = running(&authority);
    let trust = authority.trust();
    let first = shown(&server, &trust, "mx.local.example").unwrap();
    let second = shown(&server, &trust, "mail.other.example").unwrap();
    assert_ne!(first, second);
    assert_eq!(shown(&server, &trust, "any.wild.example").unwrap(), second);
    // The client verifies, so the default certificate shows itself as one for another name.
    let fault = shown(&server, &trust, "unknown.example").unwrap_err();
    assert!(fault.contains("not valid for name"), "{fault}");
    server.record("the alert", |r| {
        let why = r["tls_failed"].as_str().unwrap_or_default();
        why.contains("the peer sent the alert bad_certificate")
    });
}

/// Sends messages over one connection until told to stop; how many.
fn keep_sending(dialogue: &mut Dialogue, stop: &AtomicBool, sent: &AtomicUsize) -> usize {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) || count == 0 {
        let to = ["alice@local.example"];
        let answer = dialogue.deliver("a@client.example", &to, b"Subject: x\r\n\r\nhello\r\n");
        assert_eq!(answer.code, 250);
        count += 1;
        sent.fetch_add(1, Ordering::Relaxed);
    }
    assert_eq!(dialogue.ask("QUIT").code, 221);
    count
}

#[test]
fn certificates_are_exchanged_under_load_without_a_lost_session() {
    let authority = Authority::new();
    let server = running(&authority);
    let (starttls, _) = addresses(&server);
    let trust = authority.trust();
    let before = shown(&server, &trust, "mx.local.example").unwrap();
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let after = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..OPEN)
            .map(|_| {
                let mut dialogue = Dialogue::open_tls(starttls, &trust, "mx.local.example");
                let (stop, sent) = (&stop, &sent);
                scope.spawn(move || keep_sending(&mut dialogue, stop, sent))
            })
            .collect();
        authority.certify(server.dir(), "a", &["mx.local.example"]);
        let after = until("the new certificate", RENEWED, || {
            let now = shown(&server, &trust, "mx.local.example").unwrap();
            (now != before).then_some(now)
        });
        // Sessions of before the exchange still send after it.
        let seen = sent.load(Ordering::Relaxed);
        until("messages after the exchange", SOON, || {
            (sent.load(Ordering::Relaxed) >= seen + 2 * OPEN).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        let counts: Vec<_> = senders.into_iter().map(|s| s.join().unwrap()).collect();
        println!("messages of each session during the exchange: {counts:?}");
        after
    });

    // A certificate without its key changes nothing, however often it is looked at.
    let good = std::fs::read(server.dir().join("a.key")).unwrap();
    std::fs::copy(server.dir().join("b.key"), server.dir().join("a.key")).unwrap();
    server.signal("HUP");
    let why = "the key does not belong to the certificate";
    server.record("the fault", |r| {
        r["event"] == "fault" && r["cause"].as_str().is_some_and(|c| c.starts_with(why))
    });
    server.record("the reload", |r| r["event"] == "reloaded");
    assert_eq!(shown(&server, &trust, "mx.local.example").unwrap(), after);
    let told = server.command(&["check"]);
    assert!(
        !told.status.success() && told.out.contains(why),
        "{}",
        told.out
    );

    std::fs::write(server.dir().join("a.key"), good).unwrap();
    authority.certify(server.dir(), "a", &["mx.local.example"]);
    until("the next certificate", RENEWED, || {
        let now = shown(&server, &trust, "mx.local.example").unwrap();
        (now != after).then_some(())
    });
}

/// As it is with certbot: root alone may read the key, and the server has given up root.
#[test]
fn a_key_that_only_root_may_read_is_served_and_its_renewal_is_said_to_need_a_restart() {
    use std::os::unix::fs::PermissionsExt as _;
    if !rustix::process::geteuid().is_root() {
        posthaste_tests::skip("a start as root, which needs root");
        return;
    }
    let authority = Authority::new();
    let mut server = certified(&authority);
    let key = server.dir().join("a.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let told = server.command(&["check"]);
    let warning = "`nobody`, whom the server becomes, may not read ";
    assert!(
        told.status.success() && told.out.contains(warning),
        "{}",
        told.out
    );
    server.run();
    let trust = authority.trust();
    let before = shown(&server, &trust, "mx.local.example").unwrap();
    let denied = |r: &serde_json::Value| {
        let cause = r["cause"].as_str().unwrap_or_default();
        r["event"] == "fault" && cause.starts_with("the server's user may not read it")
    };
    until("the fault", RENEWED, || {
        server.records().into_iter().find(denied)
    });
    server.signal("HUP");
    server.record("the reload", |r| r["event"] == "reloaded");
    assert_eq!(shown(&server, &trust, "mx.local.example").unwrap(), before);
}

/// Lets a client send one message over TLS. `$1` is the port, `$2` the root, `$3` a file with the
/// message.
fn a_client_sends(name: &str, implicit: bool, script: &str) {
    if !client::is_there(name) {
        return;
    }
    let authority = Authority::new();
    let server = running(&authority);
    let (starttls, tls) = addresses(&server);
    let port = if implicit { tls } else { starttls }.port().to_string();
    let message = server.dir().join("message");
    std::fs::write(&message, "Subject: over TLS\r\n\r\nhello\r\n").unwrap();
    let root = server.dir().join("root.pem").display().to_string();
    let mut command = client::command(name, script, &[&port, &root, message.to_str().unwrap()]);
    let told = told(&mut command);
    assert!(told.status.success(), "{name}: {} {}", told.out, told.err);
    let letter = the_letter(&server);
    assert!(letter.contains(" with ESMTPS id "), "{letter}");
}

/// The name stands for the loopback address.
const PYTHON: &str = "
import smtplib, socket, ssl, sys
port, root, message = int(sys.argv[1]), sys.argv[2], open(sys.argv[3], 'rb').read()
context = ssl.create_default_context(cafile=root)
class Clear(smtplib.SMTP):
    def _get_socket(self, host, port, timeout):
        return socket.create_connection(('127.0.0.1', port), timeout)
class Implicit(smtplib.SMTP_SSL):
    def _get_socket(self, host, port, timeout):
        plain = socket.create_connection(('127.0.0.1', port), timeout)
        return self.context.wrap_socket(plain, server_hostname=host)
def send(client):
    client.sendmail('a@client.example', ['alice@local.example'], message)
";

#[test]
fn python_verifies_and_sends_over_starttls() {
    let then = "
with Clear('mx.local.example', port) as client:
    client.starttls(context=context)
    send(client)
";
    let script = format!("exec python3 -c \"{PYTHON}{then}\" \"$1\" \"$2\" \"$3\"");
    a_client_sends("python3", false, &script);
}

#[test]
fn python_verifies_and_sends_over_implicit_tls() {
    let then = "
with Implicit('mx.local.example', port, context=context) as client:
    send(client)
";
    let script = format!("exec python3 -c \"{PYTHON}{then}\" \"$1\" \"$2\" \"$3\"");
    a_client_sends("python3", true, &script);
}

#[test]
fn curl_verifies_and_sends_over_starttls() {
    let script = "exec curl --silent --show-error --ssl-reqd --cacert \"$2\" \
         --resolve mx.local.example:$1:127.0.0.1 smtp://mx.local.example:$1/client.example \
         --mail-from a@client.example --mail-rcpt alice@local.example --upload-file \"$3\"";
    a_client_sends("curl", false, script);
}

#[test]
fn curl_verifies_and_sends_over_implicit_tls() {
    let script = "exec curl --silent --show-error --cacert \"$2\" \
         --resolve mx.local.example:$1:127.0.0.1 smtps://mx.local.example:$1/client.example \
         --mail-from a@client.example --mail-rcpt alice@local.example --upload-file \"$3\"";
    a_client_sends("curl", true, script);
}

#[test]
fn swaks_verifies_and_sends_over_starttls() {
    let script = "exec swaks --silent 2 --server 127.0.0.1 --port $1 --helo client.example \
         --tls --tls-verify --tls-ca-path \"$2\" --tls-sni mx.local.example \
         --from a@client.example --to alice@local.example --data \"@$3\"";
    a_client_sends("swaks", false, script);
}

#[test]
fn swaks_verifies_and_sends_over_implicit_tls() {
    let script = "exec swaks --silent 2 --server 127.0.0.1 --port $1 --helo client.example \
         --tls-on-connect --tls-verify --tls-ca-path \"$2\" --tls-sni mx.local.example \
         --from a@client.example --to alice@local.example --data \"@$3\"";
    a_client_sends("swaks", true, script);
}

#[test]
fn msmtp_sends_over_starttls_and_knows_the_certificate_by_its_print() {
    let print = "print=$(openssl x509 -in \"$(dirname \"$2\")/a.pem\" -noout -fingerprint -sha256 \
         | cut -d= -f2)\n";
    let script = "exec msmtp --file=/dev/null --host=127.0.0.1 --port=$1 --domain=client.example \
         --tls=on --tls-starttls=on --tls-fingerprint=$print --from=a@client.example \
         alice@local.example <\"$3\"";
    a_client_sends("msmtp", false, &format!("{print}{script}"));
}

/// Shows a certificate, says what AUTH is offered, and logs in with EXTERNAL where it is.
const EXTERNAL: &str = "
import smtplib, ssl, sys
port, root, own, name = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
context = ssl.create_default_context(cafile=root)
context.check_hostname = False
context.load_cert_chain(own + '.pem', own + '.key')
with smtplib.SMTP_SSL('127.0.0.1', port, context=context) as client:
    client.ehlo()
    offered = client.esmtp_features.get('auth', '').split()
    print('offered', offered)
    if 'EXTERNAL' in offered:
        try:
            print(client.auth('EXTERNAL', lambda challenge=None: name))
            client.sendmail(name, ['alice@local.example'], 'Subject: x\\r\\n\\r\\nhello\\r\\n')
        except smtplib.SMTPAuthenticationError as refused:
            print(refused.smtp_code)
";

#[test]
fn a_client_logs_in_with_a_certificate_of_the_authority_that_is_named() {
    if !client::is_there("python3") {
        return;
    }
    let authority = Authority::new();
    let both = "service = \"submission\"\ntls = \"implicit\"\n\n\
                [[listener]]\naddress = \"127.0.0.1:0\"\nservice = \"mx\"\ntls = \"implicit\"\n";
    let base = setup::BASE.replace("service = \"mx\"\ntls = \"none\"\n", both);
    let mut server = Server::with(&format!(
        "{base}\n[tls]\ncertificate = \"a.pem\"\nkey = \"a.key\"\nclient_ca = \"root.pem\"\n\
         [accounts]\nmechanisms = [\"EXTERNAL\", \"PLAIN\"]\n"
    ));
    let dir = server.dir().to_path_buf();
    authority.certify(&dir, "a", &["mx.local.example"]);
    std::fs::write(dir.join("root.pem"), authority.pem()).unwrap();
    let user = ["user", "add", "carol@local.example"];
    let added = server.command_with("pencil\n", &user);
    assert!(added.status.success(), "{}", added.err);
    authority.certify_client(&dir, "carol", "carol@local.example");
    authority.certify_client(&dir, "dave", "dave@local.example");
    Authority::new().certify_client(&dir, "forged", "carol@local.example");
    server.run();
    let ask = |listener: usize, own: &str, name: &str| {
        let port = server.addresses[listener].port().to_string();
        let (root, own) = (dir.join("root.pem"), dir.join(own));
        let words = [&port, root.to_str().unwrap(), own.to_str().unwrap(), name];
        let script = format!("exec python3 -c \"{EXTERNAL}\" \"$1\" \"$2\" \"$3\" \"$4\"");
        let told = told(&mut client::command("python3", &script, &words));
        assert!(told.status.success(), "{}", told.err);
        told.out
    };
    let carol = "carol@local.example";
    let said = ask(0, "carol", carol);
    assert!(said.contains("EXTERNAL") && said.contains("235"), "{said}");
    assert!(the_letter(&server).contains(" with ESMTPSA id "));
    // Carol's certificate is nobody else's, one without an account is good for nothing, one of
    // another authority proves nothing, and other servers' mail has no AUTH.
    assert!(ask(0, "carol", "alice@local.example").contains("535"));
    for (listener, own) in [(0, "dave"), (0, "forged"), (1, "carol")] {
        let said = ask(listener, own, carol);
        assert!(
            said.contains("offered") && !said.contains("EXTERNAL"),
            "{own}: {said}"
        );
    }
    server.record("a certificate that proves nothing", |r| {
        r["tls"]["peer"] == "the certificate's issuer is not trusted"
    });
}

/// OpenSSL's own view of both listeners.
#[test]
fn openssl_verifies_chain_and_name_in_both_versions_and_no_older_one() {
    if !client::is_there("openssl") {
        return;
    }
    let authority = Authority::new();
    let server = running(&authority);
    let root = server.dir().join("root.pem").display().to_string();
    let (starttls, implicit) = addresses(&server);
    for (address, words) in [(starttls, "-starttls smtp"), (implicit, "")] {
        for (version, works) in [("tls1_3", true), ("tls1_2", true), ("tls1_1", false)] {
            let script = format!(
                "echo QUIT | openssl s_client -connect 127.0.0.1:$1 {words} -{version} \
                 -CAfile \"$2\" -servername mail.other.example -verify_return_error \
                 -verify_hostname mail.other.example -cipher ALL:@SECLEVEL=0 -crlf -quiet"
            );
            let port = address.port().to_string();
            let told = told(&mut client::command("openssl", &script, &[&port, &root]));
            assert_eq!(
                told.status.success(),
                works,
                "{version} {words}: {}",
                told.err
            );
            assert_eq!(told.out.contains("221 2.0.0"), works, "{}", told.out);
            if !works {
                server.record("a refusal of the old version", |r| {
                    let why = r["tls_failed"].as_str().unwrap_or_default();
                    why.contains("the peer speaks nothing that we speak")
                });
            }
        }
    }
}
