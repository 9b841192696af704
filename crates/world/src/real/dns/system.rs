//! What the machine's own files say: `/etc/resolv.conf` and `/etc/hosts`.
//!
//! `localhost` and what ends in it is this machine, whatever anybody says (RFC 6761 §6.3). A name
//! in the hosts file is answered from there alone, for both kinds of address; names of addresses,
//! and all other kinds, are not. Lines that make no sense are passed over. The files are read again
//! when they changed, at most once in a while.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::dns::{Answer, Data, Found, Kind, Security};

/// Octets read of a file; the rest is passed over.
const FILE_SIZE_MAX: u64 = 1024 * 1024;
/// Servers taken from the file, as the system's own resolver does (`MAXNS`).
const SERVERS_MAX: usize = 3;
/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Lifetime of answers from here.
const TTL: Duration = Duration::from_secs(10);

/// The machine's files.
pub(super) struct System {
    resolv_conf: PathBuf,
    hosts: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    looked: Option<Instant>,
    changed: [Option<SystemTime>; 2],
    content: Arc<Content>,
}

/// What the files say.
#[derive(Default, Debug, PartialEq, Eq)]
struct Content {
    servers: Vec<SocketAddr>,
    hosts: HashMap<String, Vec<IpAddr>>,
}

impl System {
    /// Reads the files of this machine when they are first needed.
    pub(super) fn new() -> Self {
        Self::with("/etc/resolv.conf".into(), "/etc/hosts".into())
    }

    pub(super) fn with(resolv_conf: PathBuf, hosts: PathBuf) -> Self {
        System {
            resolv_conf,
            hosts,
            seen: Mutex::default(),
        }
    }

    /// The recursive servers; the one on this machine when none is named.
    pub(super) fn servers(&self) -> Vec<SocketAddr> {
        match self.content().servers.as_slice() {
            [] => vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53)],
            servers => servers.to_vec(),
        }
    }

    /// What this machine itself knows of `name` (lower case, without the final dot).
    pub(super) fn answer(&self, name: &str, kind: Kind) -> Option<Answer> {
        if !matches!(kind, Kind::A | Kind::Aaaa) {
            return None;
        }
        let local = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let content = self.content();
        let addresses = match name == "localhost" || name.ends_with(".localhost") {
            true => local.as_slice(),
            false => content.hosts.get(name)?,
        };
        let wanted = addresses.iter().filter_map(|address| match address {
            IpAddr::V4(a) if kind == Kind::A => Some(Data::A(*a)),
            IpAddr::V6(a) if kind == Kind::Aaaa => Some(Data::Aaaa(*a)),
            _ => None,
        });
        let records: Vec<Data> = wanted.collect();
        Some(Answer {
            found: match records.is_empty() {
                true => Found::NoData,
                false => Found::Records(records),
            },
            canonical: name.to_owned(),
            security: Security::Insecure,
            ttl: TTL,
        })
    }

    fn content(&self) -> Arc<Content> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.looked.is_some_and(|at| at.elapsed() < LOOK_INTERVAL) {
            return seen.content.clone();
        }
        let files = [&self.resolv_conf, &self.hosts];
        let changed = files.map(|path| std::fs::metadata(path).and_then(|m| m.modified()).ok());
        if seen.looked.is_none() || changed != seen.changed {
            let [servers, hosts] = files.map(read);
            seen.content = Arc::new(Content {
                servers: servers_in(&servers),
                hosts: hosts_in(&hosts),
            });
        }
        seen.looked = Some(Instant::now());
        seen.changed = changed;
        seen.content.clone()
    }
}

/// The text of a file as far as it is text; a file that cannot be read says nothing.
fn read(path: &PathBuf) -> String {
    let mut text = Vec::new();
    if let Ok(file) = File::open(path) {
        // What was read before an error still counts.
        let _ = file.take(FILE_SIZE_MAX).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// `nameserver ADDRESS` lines (resolv.conf(5)). Options are not ours: they are for other programs'
/// patience.
fn servers_in(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = words
            .next()
            .filter(|w| *w == "nameserver")
            .and(words.next())?;
        // A link-local address names its interface, which a socket address can hold by number only.
        Some(SocketAddr::new(address.parse().ok()?, 53))
    };
    text.lines().filter_map(server).take(SERVERS_MAX).collect()
}

/// `ADDRESS NAME…` lines (hosts(5)).
fn hosts_in(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
            continue;
        };
        for name in words {
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            let addresses = hosts.entry(name).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_the_first_three_that_make_sense() {
        let text = "# nameserver 192.0.2.9\nsearch example.org\nnameserver 192.0.2.1\n\
            nameserver nonsense\n nameserver 2001:db8::1 # second\nnameservers 192.0.2.8\n\
            options trust-ad\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n";
        let wanted = ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.3:53"];
        assert_eq!(servers_in(text), wanted.map(|s| s.parse().unwrap()));
        assert_eq!(servers_in("\0\n nameserver"), []);
    }

    #[test]
    fn files_are_read_once_they_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let system = System::with(dir.path().join("resolv.conf"), dir.path().join("hosts"));
        assert_eq!(system.servers(), ["127.0.0.1:53".parse().unwrap()]);
        std::fs::write(&system.resolv_conf, "nameserver 192.0.2.7").unwrap();
        system.seen.lock().unwrap().looked = Instant::now().checked_sub(LOOK_INTERVAL);
        assert_eq!(system.servers(), ["192.0.2.7:53".parse().unwrap()]);
    }

    #[test]
    fn names_in_the_hosts_file_are_answered_for_both_kinds_of_address() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = dir.path().join("hosts");
        let text = "192.0.2.1 Mail.Example.ORG mail # comment other\n192.0.2.2\tmail\nbad line\n\
            2001:db8::1 six.\n192.0.2.1 mail\n";
        std::fs::write(&hosts, text).unwrap();
        let system = System::with(dir.path().join("none"), hosts);
        let found = |name, kind| system.answer(name, kind).map(|answer| answer.found);
        let a = |a: &str| Data::A(a.parse().unwrap());
        let one = Found::Records(vec![a("192.0.2.1")]);
        let two = Found::Records(vec![a("192.0.2.1"), a("192.0.2.2")]);
        assert_eq!(found("mail.example.org", Kind::A), Some(one));
        assert_eq!(found("mail", Kind::A), Some(two));
        assert_eq!(found("mail", Kind::Aaaa), Some(Found::NoData));
        assert_eq!(found("six", Kind::A), Some(Found::NoData));
        assert_eq!(found("mail", Kind::Mx), None);
        assert_eq!(found("line", Kind::A), None);
        assert_eq!(found("other", Kind::A), None);
        let local = Found::Records(vec![a("127.0.0.1")]);
        assert_eq!(found("localhost", Kind::A), Some(local.clone()));
        assert_eq!(found("a.localhost", Kind::A), Some(local));
        assert!(matches!(
            found("localhost", Kind::Aaaa),
            Some(Found::Records(_))
        ));
    }
}
