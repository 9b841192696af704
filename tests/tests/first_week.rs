//! A newcomer's first week: what goes wrong, and what the program says about it. The words stand in
//! `tests/transcripts`; each names the cause and what to do next.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use posthaste_tests::client::Dialogue;
use posthaste_tests::messages::{large, sample};
use posthaste_tests::peer::Nsd;
use posthaste_tests::server::{Server, program, told};
use posthaste_tests::tls::Authority;
use posthaste_tests::transcript::compare;
use posthaste_tests::{SOON, free_address, root, setup, until};

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

#[test]
fn the_configuration_of_the_readme_is_right() {
    let readme = readme();
    let (_, block) = readme.split_once("```toml\n").unwrap();
    let (configuration, _) = block.split_once("```").unwrap();
    // The default folder belongs to an installed server.
    let server = Server::with(&format!(
        "data_dir = \"data\"\nuser = \"nobody\"\n{configuration}"
    ));
    let told = server.command(&["check"]);
    assert!(told.status.success(), "{} {}", told.out, told.err);
    assert!(
        configuration
            .lines()
            .filter(|line| !line.is_empty())
            .count()
            <= 10
    );
}

#[test]
fn the_guides_example_is_right() {
    let guide = root().join("docs/guide");
    let server = Server::with("");
    for file in ["posthaste.toml", "aliases"] {
        let text = std::fs::read_to_string(guide.join(file)).unwrap();
        let text = text
            .replace("/var/lib/posthaste", "data")
            .replace("\"posthaste\"", "\"nobody\"");
        std::fs::write(server.dir().join(file), text).unwrap();
    }
    let names = ["mx.example.org"];
    Authority::new().certify(server.dir(), "cert", &names);
    std::fs::rename(server.dir().join("cert.key"), server.dir().join("key.pem")).unwrap();
    let told = server.command(&["check"]);
    assert!(told.status.success(), "{} {}", told.out, told.err);
}

/// The first command of the README, up to the message that the server sends itself. Cargo has built
/// the program already, so it is run as cargo would run it.
#[test]
fn the_demo_delivers_its_message_and_says_where_it_is() {
    assert!(readme().contains("\n    cargo run --release -- demo\n"));
    let folder = posthaste_tests::folder();
    // The demo has fixed ports, so that a newcomer can try it: another program may have one.
    let ports = [2525, 2587, 2465];
    let taken = ports
        .into_iter()
        .find(|p| TcpListener::bind(("127.0.0.1", *p)).is_err());
    let mut command = Command::new(program());
    command
        .args(["demo", "--dir"])
        .arg(folder.path().join("demo"));
    if let Some(port) = taken {
        let told = told(&mut command);
        assert!(
            !told.status.success() && told.err.contains(&port.to_string()),
            "{} {}",
            told.out,
            told.err
        );
        return;
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (lines, said) = mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
    let mut heard = String::new();
    let delivered = until("the demo's message", SOON, || {
        heard.extend(said.try_iter().map(|line| line + "\n"));
        find_message(&folder.path().join("demo"))
    });
    let maildir = delivered.parent().unwrap().parent().unwrap();
    until("where it is", SOON, || {
        heard.extend(said.try_iter().map(|line| line + "\n"));
        heard.contains(&maildir.display().to_string()).then_some(())
    });
    assert!(heard.contains("127.0.0.1:2525"), "{heard}");
    let interrupt = format!("kill -INT {}", child.id());
    assert!(
        Command::new("sh")
            .args(["-c", &interrupt])
            .status()
            .unwrap()
            .success()
    );
    let status = until("the demo's end", SOON, || child.try_wait().unwrap());
    assert!(status.success(), "{status}: {heard}");
}

/// A file in some folder `new` below `folder`.
fn find_message(folder: &std::path::Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find_map(|path| {
            if path.is_dir() {
                find_message(&path)
            } else {
                path.parent()
                    .is_some_and(|parent| parent.ends_with("new"))
                    .then_some(path)
            }
        })
}

#[test]
fn a_mistyped_key() {
    let server = Server::with(&setup::BASE.replace("hostname", "hostnam"));
    compare("mistyped-key", &server);
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let mut server = Server::with(&setup::BASE.replace("127.0.0.1:0", &address.to_string()));
    server.addresses = vec![address];
    compare("port-in-use", &server);
}

#[test]
fn an_unreadable_spool_folder() {
    let server = Server::with(setup::BASE);
    std::fs::write(server.dir().join("data"), "a file, not a folder").unwrap();
    compare("unreadable-spool", &server);
}

#[test]
fn an_unresolvable_next_hop() {
    let Some(nsd) = Nsd::start("") else { return };
    let configuration = format!(
        "[dns]\nservers = [\"{}\"]\n\n[[route]]\nrecipients = [\"*\"]\nvia = \"smtp://nosuch.example\"\n",
        nsd.address
    );
    let server = Server::start(&setup::with(&configuration));
    waits(&server, "state      deferred");
    compare("unresolvable-next-hop", &server);
}

#[test]
fn a_message_stuck_for_hours() {
    let address = free_address();
    let route = format!("[[route]]\nrecipients = [\"*\"]\nvia = \"smtp://{address}\"\n");
    let mut server = Server::start(&setup::with(&route));
    waits(&server, "state      deferred");
    server.addresses.push(address);
    compare("stuck", &server);
}

/// Hands in a message that cannot go, and waits until the queue says why.
fn waits(server: &Server, why: &str) {
    let mut dialogue = Dialogue::open(server.address());
    let message = sample("stuck", b"hello\r\n").octets;
    let answer = dialogue.deliver("bob@local.example", &["x@remote.example"], &message);
    assert_eq!(answer.code, 250);
    until("the reason", SOON, || {
        server
            .command(&["queue", "show"])
            .out
            .contains(why)
            .then_some(())
    });
}

#[test]
fn a_full_disk_gets_452_and_the_server_goes_on_when_there_is_room() {
    let dead = "[[route]]\nrecipients = [\"*\"]\nvia = \"smtp://127.0.0.1:9\"\n";
    let Some(server) = on_a_small_disk(&setup::with(dead)) else {
        return;
    };
    let data = format!("/proc/{}/root{}/data", server.pid(), server.dir().display());
    // The disk fills up with something else, and then with mail that cannot go.
    let filler = format!("{data}/filler");
    assert!(
        std::fs::write(&filler, vec![0; SMALL_DISK_MIB * MIB]).is_err(),
        "a disk without end"
    );
    let mut dialogue = Dialogue::open(server.address());
    let message = sample("full", &large(MIB - 4096)).octets;
    let mut deliver = || {
        let to = "x@remote.example";
        dialogue
            .try_deliver("bob@local.example", to, &message)
            .expect("a server that stays")
    };
    let refused = (0..SMALL_DISK_MIB)
        .map(|_| deliver())
        .find(|answer| answer.code != 250);
    let refused = refused.expect("a full disk");
    assert_eq!(refused.code, 452, "{refused:?}");
    assert!(refused.lines[0].starts_with("4.3.1 "), "{refused:?}");
    let fault = server.record("a fault for the operator", |record| {
        record["event"] == "fault"
    });
    assert!(
        fault["cause"].as_str().unwrap().contains("No space left"),
        "{fault}"
    );
    std::fs::remove_file(&filler).unwrap();
    // Who asks so often on one connection would be sent away.
    until("room again", SOON, || {
        let mut dialogue = Dialogue::open(server.address());
        let answer = dialogue.try_deliver("bob@local.example", "x@remote.example", &message)?;
        (answer.code == 250).then_some(())
    });
}

const MIB: usize = 1024 * 1024;
/// Three segments of the spool, and room for the small files beside it.
const SMALL_DISK_MIB: usize = 224;

/// A server whose `data_dir` is a small disk that only it sees.
fn on_a_small_disk(configuration: &str) -> Option<Server> {
    let able = Command::new("unshare").args(["--mount", "true"]).status();
    if !able.is_ok_and(|status| status.success()) {
        posthaste_tests::skip("a small disk: needs a mount namespace of its own, which needs root");
        return None;
    }
    let mut server = Server::with(configuration);
    let script = format!(
        "mkdir $1/data; mount -t tmpfs -o size={SMALL_DISK_MIB}m,mode=777 tmpfs $1/data\n\
         exec \"$0\" serve --config $1/posthaste.toml"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", &script]);
    command.arg(program()).arg(server.dir());
    server.run_as(command);
    Some(server)
}
