//! Whatever happens to the machine: sudden deaths at every moment, a full disk, few descriptors,
//! little memory, a clock that jumps, a next hop that freezes. What got a 250 arrives, what did not
//! may not arrive, and the server's books balance at all times.
//!
//! `KILLS` says how many deaths; `cargo xtask torture` asks for 200. The trouble of a round follows
//! from its number, so a round can be thought about again; what the machine's scheduler does,
//! cannot.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, clippy::print_stdout, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use posthaste_tests::client::Dialogue;
use posthaste_tests::hop::{NextHop, mark};
use posthaste_tests::messages::{large, sample};
use posthaste_tests::server::{Server, Told, program, told};
use posthaste_tests::{SOON, mailbox, root, setup, skip, until};

/// Deaths when nobody says how many.
const KILLS: usize = 24;
/// Octets of a message that is to fill the disk.
const HEAVY: usize = 512 * 1024;
const RECIPIENTS: [&str; 2] = ["somebody@remote.example", "alice@local.example"];
/// Clients at once.
const CLIENTS: usize = 8;
/// Attempts in flight at a death: the default limit of one destination, and there are two.
const IN_FLIGHT_MAX: usize = 40;
const DRAINED: Duration = Duration::from_secs(180);
/// The disk of the queue: three segments and a little.
const DISK_MIB: usize = 224;
/// Descriptors of a process that has few: less than the clients and workers want.
const FEW_DESCRIPTORS: u32 = 48;
/// Address space of a process that has little, in KiB.
const LITTLE_MEMORY: u32 = 700 * 1024;
/// How far the clock jumps, in hours; further than any timer of a round.
const JUMPS: [i32; 3] = [-3, 2, 30];

/// What a round does to the server before it kills it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trouble {
    /// Nothing but the load.
    Load,
    /// It dies while it starts.
    Starting,
    /// It dies while it drains.
    Draining,
    /// The next hop stops in the middle of what it does.
    Frozen,
    /// The disk of the queue is full.
    FullDisk,
    /// Few descriptors.
    Descriptors,
    /// Little memory.
    Memory,
    /// The clock jumps.
    Clock,
}

const TROUBLES: [Trouble; 8] = [
    Trouble::Load,
    Trouble::Starting,
    Trouble::Draining,
    Trouble::Frozen,
    Trouble::FullDisk,
    Trouble::Descriptors,
    Trouble::Memory,
    Trouble::Clock,
];

#[test]
fn what_got_a_250_arrives_whatever_happens_to_the_machine() {
    let Some(disk) = Disk::mount() else { return };
    let kills: usize =
        std::env::var("KILLS").map_or(KILLS, |text| text.parse().expect("KILLS is a number"));
    let hop = NextHop::start(&["PIPELINING"]);
    let mut house = House::new(&disk, &hop);
    let book = Book::default();
    let mut rounds: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..kills {
        let trouble = TROUBLES[round % TROUBLES.len()];
        house.live_and_die(round, trouble, &book, &hop);
        *rounds.entry(format!("{trouble:?}")).or_default() += 1;
    }
    house.start(Trouble::Load);
    until("an empty queue", DRAINED, || {
        (house.books()["messages"] == 0).then_some(())
    });
    let looks = house.looks;
    let arrived = hop.arrived();
    let at_home = mailbox::messages(&house.server.dir().join("mail/alice"));
    let arrived = arrived.into_iter().chain(at_home.iter().map(|m| mark(m)));
    let mut copies: BTreeMap<String, usize> = BTreeMap::new();
    arrived.for_each(|mark| *copies.entry(mark).or_default() += 1);
    let promised = book.promised.lock().unwrap();
    let refused = book.refused.lock().unwrap();
    let lost: Vec<_> = promised
        .iter()
        .filter(|m| !copies.contains_key(*m))
        .collect();
    let false_ones: Vec<_> = refused.iter().filter(|m| copies.contains_key(*m)).collect();
    let twice: usize = copies.values().map(|count| count - 1).sum();
    println!(
        "{kills} kills {rounds:?}: {} acknowledged, {} of them lost; {} refused, {} of them \
         arrived; {} arrived, {twice} second copies; the books balanced in {looks} looks",
        promised.len(),
        lost.len(),
        refused.len(),
        false_ones.len(),
        copies.len(),
    );
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(
        false_ones.is_empty(),
        "refused and delivered: {false_ones:?}"
    );
    assert!(twice <= kills * IN_FLIGHT_MAX, "{twice} second copies");
}

/// What the clients were told, by the marks of their messages.
#[derive(Default)]
struct Book {
    promised: Mutex<BTreeSet<String>>,
    refused: Mutex<BTreeSet<String>>,
}

/// The server and where it lives.
struct House<'a> {
    server: Server,
    disk: &'a Disk,
    /// Looks at the books that found them in balance.
    looks: usize,
    /// Hours that its clock is ahead.
    ahead: i32,
    /// How often its clock has jumped.
    jumps: usize,
    faketime: Option<PathBuf>,
}

impl<'a> House<'a> {
    fn new(disk: &'a Disk, hop: &NextHop) -> Self {
        let base = setup::BASE.replace(
            "data_dir = \"data\"",
            &format!("data_dir = {:?}", disk.path().display()),
        );
        let more = format!(
            "[[route]]\nrecipients = [\"*\"]\nvia = \"smtp://{}\"\n\
             [retry]\nintervals = [\"1s\"]\n",
            hop.address
        );
        let faketime = root().join("target/peers/faketime");
        let library = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
            .map(|arch| faketime.join(format!("usr/lib/{arch}/faketime/libfaketimeMT.so.1")));
        let faketime = library.into_iter().find(|path| path.exists());
        if faketime.is_none() {
            skip("faketime: not fetched, the clock does not jump; `cargo xtask peers` says why");
        }
        House {
            server: Server::with(&format!("{base}\n{more}")),
            disk,
            looks: 0,
            ahead: 0,
            jumps: 0,
            faketime,
        }
    }

    /// The program, on the disk of its queue, with the limits that the trouble asks for.
    fn program(&self, trouble: Trouble) -> Command {
        let limit = match trouble {
            Trouble::Descriptors => format!("ulimit -n {FEW_DESCRIPTORS}; "),
            Trouble::Memory => format!("ulimit -v {LITTLE_MEMORY}; "),
            _ => String::new(),
        };
        let mut command = self.disk.inside();
        command.args(["sh", "-ec", &format!("{limit}exec \"$@\"")]);
        command.arg("sh").arg(program());
        if let Some(library) = &self.faketime {
            let ahead = self.server.dir().join("ahead");
            std::fs::write(&ahead, format!("{:+}h", self.ahead)).expect("a file");
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", ahead)
                .env("FAKETIME_NO_CACHE", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("FAKETIME_DISABLE_SHM", "1");
        }
        command
    }

    fn start(&mut self, trouble: Trouble) {
        let mut command = self.program(trouble);
        command
            .args(["serve", "--config"])
            .arg(self.server.config());
        self.server.run_as(command);
    }

    /// Runs one of the program's commands where the server is.
    fn ask(&self, words: &[&str]) -> Told {
        let mut command = self.disk.inside();
        command.arg(program()).args(words);
        told(command.arg("--config").arg(self.server.config()))
    }

    /// The books, which must balance.
    fn books(&mut self) -> serde_json::Value {
        let Told { out, err, .. } = self.ask(&["queue", "count", "--json"]);
        let books: serde_json::Value =
            serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out} {err}"));
        assert_eq!(books["difference"], 0, "{books}");
        let of = |names: &[&str]| -> i64 { names.iter().filter_map(|n| books[n].as_i64()).sum() };
        let came_in = of(&["recovered", "accepted"]);
        let known = of(&[
            "delivered",
            "bounced",
            "expired",
            "removed",
            "queued",
            "held",
        ]);
        assert_eq!(came_in, known, "{books}");
        self.looks += 1;
        books
    }

    fn live_and_die(&mut self, round: usize, trouble: Trouble, book: &Book, hop: &NextHop) {
        if trouble == Trouble::Starting {
            self.die_while_starting(round);
        }
        self.start(trouble);
        let load = Load::start(self.server.address(), (round, trouble), book);
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let load = &load;
                scope.spawn(move || load.client(client));
            }
            // Each round dies after another number of messages, in the middle of others.
            let enough = 10 + round * 17 % 61;
            let _end = load.ends_with_this();
            load.wait(enough);
            self.trouble(trouble, &load, hop);
            if trouble != Trouble::Descriptors {
                // With few descriptors the server may have none left for who asks.
                self.books();
            }
            if trouble == Trouble::Draining {
                self.server.signal("TERM");
                pause(round);
            }
            self.server.kill();
        });
        hop.thaw();
        self.disk.empty();
        let fault = self.server.records().into_iter().find(|record| {
            record["event"] == "fault" && record["doing"] == "keeping the books of the queue"
        });
        assert_eq!(fault, None);
    }

    /// What happens in the midst of the load.
    fn trouble(&mut self, trouble: Trouble, load: &Load<'_>, hop: &NextHop) {
        match trouble {
            Trouble::Frozen => {
                hop.freeze();
                load.wait(load.done() + 30);
            }
            Trouble::FullDisk => {
                // Nothing leaves, so that the room within the log is used up, too.
                hop.freeze();
                self.disk.fill();
                // Full is told to whoever brings something.
                until("a refusal for want of room", SOON, || {
                    (load.refused.load(Ordering::Relaxed) > 0).then_some(())
                });
            }
            Trouble::Clock if self.faketime.is_some() => {
                self.ahead += JUMPS[self.jumps % JUMPS.len()];
                self.jumps += 1;
                let ahead = self.server.dir().join("ahead");
                std::fs::write(&ahead, format!("{:+}h", self.ahead)).expect("a file");
                load.wait(load.done() + 30);
            }
            _ => {}
        }
    }

    /// Kills it before it is ready, or soon after.
    fn die_while_starting(&mut self, round: usize) {
        let mut command = self.program(Trouble::Starting);
        command
            .args(["serve", "--config"])
            .arg(self.server.config());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::null()).spawn().expect("the program");
        pause(round);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Lets a moment pass that is another one each time. It says when death comes; nothing waits for
/// it.
fn pause(round: usize) {
    let ms = u64::try_from(round * 7 % 50).unwrap_or(0);
    std::thread::sleep(Duration::from_millis(ms));
}

/// Clients that send as fast as they can.
struct Load<'a> {
    to: SocketAddr,
    round: usize,
    /// Sent along with each message.
    ballast: Vec<u8>,
    /// Recipients, in turn.
    to_whom: &'static [&'static str],
    book: &'a Book,
    stop: AtomicBool,
    /// The connections of the clients, for the end: a connection that was made while the server
    /// died may be known to the client alone, which would wait for a greeting.
    sockets: Mutex<BTreeMap<usize, TcpStream>>,
    accepted: AtomicUsize,
    refused: AtomicUsize,
}

impl<'a> Load<'a> {
    fn start(to: SocketAddr, (round, trouble): (usize, Trouble), book: &'a Book) -> Self {
        let (ballast, to_whom) = match trouble {
            Trouble::FullDisk => (large(HEAVY), &RECIPIENTS[..1]),
            _ => (Vec::new(), &RECIPIENTS[..]),
        };
        Load {
            to,
            round,
            ballast,
            to_whom,
            book,
            stop: AtomicBool::new(false),
            sockets: Mutex::default(),
            accepted: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        }
    }

    /// Stops the clients when it is dropped, whether the round went well or not.
    fn ends_with_this(&self) -> impl Drop {
        struct End<'a, 'b>(&'a Load<'b>);
        impl Drop for End<'_, '_> {
            fn drop(&mut self) {
                let sockets = self.0.sockets.lock();
                self.0.stop.store(true, Ordering::Relaxed);
                for socket in sockets.iter().flat_map(|sockets| sockets.values()) {
                    let _ = socket.shutdown(std::net::Shutdown::Both);
                }
            }
        }
        End(self)
    }

    /// A connection that ends with the round.
    fn connect(&self, client: usize) -> Option<Dialogue> {
        let socket = TcpStream::connect(self.to).ok()?;
        {
            let mut sockets = self.sockets.lock().unwrap();
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            sockets.insert(client, socket.try_clone().ok()?);
        }
        Dialogue::try_over(socket)
    }

    fn done(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    fn wait(&self, enough: usize) {
        until("messages under load", DRAINED, || {
            (self.done() >= enough).then_some(())
        });
    }

    fn client(&self, client: usize) {
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let Some(mut dialogue) = self.connect(client) else {
                std::thread::yield_now();
                continue;
            };
            // A refused client goes on over the same connection, until the server ends it.
            while !self.stop.load(Ordering::Relaxed) {
                number += 1;
                let mark = format!("mark-{}-{client}-{number}.", self.round);
                let to = self.to_whom[number % self.to_whom.len()];
                let body = [&self.ballast, format!("{mark}\r\n").as_bytes()].concat();
                let message = sample("mark", &body).octets;
                match dialogue.try_deliver("bob@local.example", to, &message) {
                    Some(answer) if answer.code == 250 => {
                        self.book.promised.lock().unwrap().insert(mark);
                        self.accepted.fetch_add(1, Ordering::Relaxed);
                    }
                    Some(answer) => {
                        assert!((400..500).contains(&answer.code), "{answer:?}");
                        self.book.refused.lock().unwrap().insert(mark);
                        self.refused.fetch_add(1, Ordering::Relaxed);
                    }
                    None => break,
                }
            }
        }
    }
}

/// A small file system in a mount namespace that lives as long as this.
struct Disk {
    holder: Child,
    folder: tempfile::TempDir,
}

impl Disk {
    /// None, and a visible `SKIP`, where that is not allowed.
    fn mount() -> Option<Disk> {
        let folder = posthaste_tests::folder();
        let script = format!(
            "mkdir $0/data; mount -t tmpfs -o size={DISK_MIB}m,mode=777 tmpfs $0/data; \
             echo mounted; exec cat"
        );
        let holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-ec", &script])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut holder = holder.expect("unshare");
        let mut said = String::new();
        let output = holder.stdout.as_mut().expect("its output");
        let _ = BufReader::new(output).read_line(&mut said);
        if said != "mounted\n" {
            let _ = holder.wait();
            skip("a small disk: needs a mount namespace of its own, which needs root");
            return None;
        }
        Some(Disk { holder, folder })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A command in the namespace; its words follow.
    fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()));
        command
    }

    /// The disk as this process sees it.
    fn outside(&self) -> PathBuf {
        let inside = self.path();
        let below = inside.strip_prefix("/").unwrap_or(&inside).to_path_buf();
        Path::new(&format!("/proc/{}/root", self.holder.id())).join(below)
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut filler = std::fs::File::create(self.outside().join("filler")).expect("a file");
        while filler.write_all(&[0; 4096]).is_ok() {}
    }

    fn empty(&self) {
        let _ = std::fs::remove_file(self.outside().join("filler"));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The namespace, and the disk in it, end with its last process.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
