//! The doors in memory: names from a table, connections to scripted peers, time that jumps to the
//! next timer, numbers from a seed. Files are real, in a temporary folder that the test names.
#![allow(clippy::disallowed_methods, reason = "these are the doors")]

mod disk;
mod node;
pub mod tls;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use posthaste_world::dns::{Answer, Data, Failure, Found, Kind, Security};
use posthaste_world::net::{Endpoint, Listener};
use posthaste_world::work::{JobPanicked, Pool};
use posthaste_world::{BoxFuture, BoxStream, Clock, Dns, Net, Random, Timer, Timestamp, Work};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::time::{Instant, Sleep};

pub use disk::Files;
pub use node::{Node, mailbox};

/// Names: `mx NAME PREFERENCE HOST`, `a NAME ADDRESS`, `txt NAME TEXT`, `exists NAME`,
/// `ptr NAME NAME`, `ns ZONE HOST`, `tlsa NAME USAGE SELECTOR MATCHING OCTET`, `fails NAME`,
/// `cname NAME OTHER`; `secure` for all of them, `silent` for none. What is not in the table
/// does not exist.
#[derive(Default)]
pub struct Names {
    records: BTreeMap<(String, Kind), Vec<Data>>,
    exist: Vec<String>,
    fail: Vec<(String, Option<Kind>)>,
    aliases: BTreeMap<String, String>,
    security: Option<Security>,
    silent: bool,
}

impl Names {
    /// A table in the notation of [`Names`], one entry a line.
    pub fn table(text: &str) -> Arc<Names> {
        let mut names = Names::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match *words.as_slice() {
                [] => {}
                ["mx", name, preference, host] => names.add(
                    name,
                    Kind::Mx,
                    Data::Mx {
                        preference: preference.parse().unwrap(),
                        exchange: host.trim_end_matches('.').to_owned(),
                    },
                ),
                ["a", name, address] => match address.parse().unwrap() {
                    IpAddr::V4(a) => names.add(name, Kind::A, Data::A(a)),
                    IpAddr::V6(a) => names.add(name, Kind::Aaaa, Data::Aaaa(a)),
                },
                ["txt", name, ref text @ ..] => {
                    let text = text.join(" ").into_bytes();
                    names.add(name, Kind::Txt, Data::Txt(text));
                }
                ["ptr", address, name] => {
                    names.add(address, Kind::Ptr, Data::Ptr(name.to_owned()));
                }
                ["ns", zone, host] => names.add(zone, Kind::Ns, Data::Ns(host.to_owned())),
                ["tlsa", name, usage, selector, matching, octet] => names.add(
                    name,
                    Kind::Tlsa,
                    Data::Tlsa {
                        usage: usage.parse().unwrap(),
                        selector: selector.parse().unwrap(),
                        matching: matching.parse().unwrap(),
                        data: vec![octet.parse().unwrap(); 32],
                    },
                ),
                ["secure"] => names.security = Some(Security::Secure),
                ["silent"] => names.silent = true,
                ["exists", name] => names.exist.push(name.to_owned()),
                ["fails", name] => names.fail.push((name.to_owned(), None)),
                ["fails-mx", name] => names.fail.push((name.to_owned(), Some(Kind::Mx))),
                ["fails-a", name] => names.fail.push((name.to_owned(), Some(Kind::A))),
                ["fails-aaaa", name] => names.fail.push((name.to_owned(), Some(Kind::Aaaa))),
                ["cname", name, other] => {
                    names.aliases.insert(name.to_owned(), other.to_owned());
                }
                _ => panic!("not an entry: {line}"),
            }
        }
        Arc::new(names)
    }

    fn add(&mut self, name: &str, kind: Kind, data: Data) {
        self.exist.push(name.to_owned());
        self.records
            .entry((name.to_owned(), kind))
            .or_default()
            .push(data);
    }

    fn answer(&self, name: &str, kind: Kind) -> Result<Arc<Answer>, Failure> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if self.silent {
            return Err(Failure::Timeout);
        }
        let security = self.security.unwrap_or(Security::Insecure);
        let alias = self.aliases.get(&name).filter(|_| kind == Kind::Cname);
        if let Some(alias) = alias {
            return Ok(Arc::new(Answer {
                found: Found::Records(vec![Data::Cname(alias.clone())]),
                canonical: name,
                security,
                ttl: Duration::from_secs(60),
            }));
        }
        let canonical = self
            .aliases
            .get(&name)
            .cloned()
            .unwrap_or_else(|| name.clone());
        let fails = |n: &str| {
            self.fail
                .iter()
                .any(|(f, k)| f == n && k.is_none_or(|k| k == kind))
        };
        if fails(&name) || fails(&canonical) {
            return Err(Failure::Server("SERVFAIL".to_owned()));
        }
        let found = match self.records.get(&(canonical.clone(), kind)) {
            Some(records) => Found::Records(records.clone()),
            None if self.exist.contains(&canonical) => Found::NoData,
            None => Found::NxDomain,
        };
        let ttl = Duration::from_secs(60);
        Ok(Arc::new(Answer {
            found,
            canonical,
            security,
            ttl,
        }))
    }
}

impl Dns for Names {
    fn query<'a>(
        &'a self,
        name: &'a str,
        kind: Kind,
    ) -> BoxFuture<'a, Result<Arc<Answer>, Failure>> {
        Box::pin(async move { self.answer(name, kind) })
    }
}

/// Numbers from a seed (xorshift).
pub struct Numbers(Mutex<u64>);

impl Numbers {
    /// The numbers of `seed`.
    pub fn of(seed: u64) -> Arc<Numbers> {
        Arc::new(Numbers(Mutex::new(
            seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        )))
    }
}

impl Random for Numbers {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap();
        for byte in bytes {
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            *byte = u8::try_from(*state >> 56).unwrap();
        }
    }
}

/// Tokio's time, which a test pauses.
pub struct TestClock(Instant);

impl TestClock {
    /// Starts at 2026-11-24T10:00:00Z.
    pub fn start() -> Arc<TestClock> {
        Arc::new(TestClock(Instant::now()))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_795_514_400) + self.elapsed()
    }
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(d))
    }
    fn timer(&self) -> Box<dyn Timer> {
        Box::new(TestTimer(None))
    }
}

struct TestTimer(Option<Pin<Box<Sleep>>>);

impl Timer for TestTimer {
    fn set(&mut self, d: Duration) {
        self.0 = Some(Box::pin(tokio::time::sleep(d)));
    }
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

/// Work that runs where it is asked for.
pub struct Inline;

impl Work for Inline {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
    fn dedicated(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
    fn run(
        &self,
        _pool: Pool,
        job: Box<dyn FnOnce() + Send>,
    ) -> BoxFuture<'static, Result<(), JobPanicked>> {
        job();
        Box::pin(async { Ok(()) })
    }
}

/// Hosts by endpoint, each with a script; what is not in the table refuses connections.
#[derive(Default)]
pub struct Hosts {
    scripts: Mutex<BTreeMap<Endpoint, Vec<&'static str>>>,
    /// What peers heard: one entry a connection, in order of connecting.
    pub heard: Arc<Mutex<Vec<String>>>,
    /// Every endpoint that was tried, in order.
    pub tried: Mutex<Vec<Endpoint>>,
}

impl Hosts {
    /// No hosts.
    pub fn none() -> Arc<Hosts> {
        Arc::default()
    }

    /// Adds a host at `at`. Each script serves one connection, the last one all further ones.
    ///
    /// A script has lines of what the peer does, in order: `S: text` says a line, `C:` hears one
    /// line (`C: PREFIX` checks it), `BODY` hears content up to the final dot, `TLS` and words of
    /// [`tls::acceptor`] shakes hands, `S~ text` says it as it is, with `\r\n` for line ends,
    /// `CLOSE` closes, `HANG` says nothing more.
    pub fn add(&self, at: &str, scripts: &[&'static str]) {
        let mut scripts: Vec<_> = scripts.to_vec();
        scripts.reverse();
        self.scripts
            .lock()
            .unwrap()
            .insert(Endpoint::Tcp(at.parse().unwrap()), scripts);
    }

    /// Whom our side trusts: the issuer of the hosts' certificates.
    pub fn roots(&self) -> rustls::RootCertStore {
        tls::roots()
    }

    /// What all peers heard, connection after connection.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

impl Net for Hosts {
    fn listen(&self, _at: &Endpoint) -> io::Result<Box<dyn Listener>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn open_to_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn connect<'a>(
        &'a self,
        to: &'a Endpoint,
        _from: Option<IpAddr>,
    ) -> BoxFuture<'a, io::Result<BoxStream>> {
        self.tried.lock().unwrap().push(to.clone());
        let mut scripts = self.scripts.lock().unwrap();
        let script = match scripts.get_mut(to) {
            Some(left) if left.len() > 1 => left.pop(),
            Some(left) => left.last().copied(),
            None => None,
        };
        let Some(script) = script else {
            return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
        };
        if script == "BLACKHOLE" {
            return Box::pin(std::future::pending());
        }
        let (ours, theirs) = tokio::io::duplex(16 * 1024);
        let heard = self.heard.clone();
        let mut all = heard.lock().unwrap();
        let index = all.len();
        all.push(String::new());
        drop(all);
        tokio::spawn(play(script, theirs, index, heard));
        Box::pin(async move { Ok(Box::new(ours) as BoxStream) })
    }
}

async fn play(
    script: &'static str,
    stream: DuplexStream,
    index: usize,
    heard: Arc<Mutex<Vec<String>>>,
) {
    let mut stream = BufReader::new(Box::new(stream) as BoxStream);
    let hear = |line: &[u8]| heard.lock().unwrap()[index].push_str(&String::from_utf8_lossy(line));
    for step in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        if let Some(text) = step.strip_prefix("S: ") {
            let _ = stream.write_all(format!("{text}\r\n").as_bytes()).await;
            let _ = stream.flush().await;
        } else if let Some(expected) = step.strip_prefix("C:") {
            let mut line = Vec::new();
            if stream.read_until(b'\n', &mut line).await.unwrap_or(0) == 0 {
                return hear(b"(closed)");
            }
            hear(&line);
            let line = String::from_utf8_lossy(&line).into_owned();
            if !line.starts_with(expected.trim()) {
                return hear(format!("(expected {expected})\n").as_bytes());
            }
        } else if let Some(text) = step.strip_prefix("S~ ") {
            let text = text.replace("\\r\\n", "\r\n");
            let _ = stream.write_all(text.as_bytes()).await;
        } else if let Some(words) = step.strip_prefix("TLS ") {
            match tls::acceptor(words).accept(stream.into_inner()).await {
                Ok(inner) => stream = BufReader::new(Box::new(inner)),
                Err(_) => return hear(b"(no TLS)\n"),
            }
        } else if step == "BODY" {
            let mut line = Vec::new();
            while line != b".\r\n" {
                line.clear();
                if stream.read_until(b'\n', &mut line).await.unwrap_or(0) == 0 {
                    return hear(b"(closed in content)");
                }
                hear(&line);
            }
        } else if step == "HANG" {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            return hear(&rest);
        } else {
            assert_eq!(step, "CLOSE", "not a step");
            return;
        }
    }
    // The script is over: whatever still comes is heard, and QUIT is answered.
    let mut line = Vec::new();
    while stream.read_until(b'\n', &mut line).await.unwrap_or(0) > 0 {
        hear(&line);
        if line == b"QUIT\r\n" {
            let _ = stream.write_all(b"221 2.0.0 bye\r\n").await;
            let _ = stream.flush().await;
            return;
        }
        line.clear();
    }
}
