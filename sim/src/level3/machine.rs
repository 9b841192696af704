//! A machine with one of our servers on it: the whole program, on a simulated disk, network, clock
//! and resolver, that is started, killed, and loses its power.

use std::io::{self, IoSlice, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use posthaste::config::Config;
use posthaste::serve::{self, Node};
use posthaste::telemetry::Log;
use posthaste_queue::invariants::{self, Broken};
use posthaste_world::disk::Open;
use posthaste_world::net::Endpoint;
use posthaste_world::{Disk, World};

use super::dns::address;
use super::letter;
use super::scene::Scene;
use crate::disk::SimDisk;
use crate::rng::{Rng, SeededRandom};
use crate::tasks::SimTasks;
use crate::trace::Trace;

/// Where its mailboxes are.
const MAIL: &str = "/mail";
/// Its configuration.
const FILE: &str = "/etc/posthaste.toml";
/// Its certificate and key. Ed25519: its signatures are all of one length, so that what passes the
/// network has the same lengths whenever a seed is run, whatever randomness TLS draws.
const CERTIFICATE: [(&str, &str); 2] = [
    (
        "/etc/posthaste.crt",
        include_str!("../../certificate/certificate.pem"),
    ),
    (
        "/etc/posthaste.key",
        include_str!("../../certificate/key.pem"),
    ),
];
/// Connections to one destination that it has at once: few, so that messages wait for each other.
const CONNECTIONS: usize = 2;
/// Largest file that is read back.
const FILE_MAX: u64 = 16 << 20;
/// Room on its disk.
const ROOM: u64 = 1 << 40;

/// One of our servers.
pub(super) struct Machine {
    pub(super) host: IpAddr,
    pub(super) name: String,
    scene: Arc<Scene>,
    tasks: Arc<SimTasks>,
    process: u32,
    disk: SimDisk,
    random: Arc<SeededRandom>,
    configuration: String,
    node: Option<Node>,
    log: Records,
}

/// The records of a server, kept when somebody reads along.
#[derive(Clone)]
struct Records(Option<Arc<Mutex<Vec<u8>>>>);

impl Write for Records {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if let Some(kept) = &self.0 {
            crate::locked(kept).extend_from_slice(octets);
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How a server ends without being asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Crash {
    /// The process is killed.
    Kill,
    /// The power goes.
    Power,
}

impl Machine {
    /// A machine that is switched off. `number` is its process, and its place in the world.
    pub(super) fn new(
        scene: &Arc<Scene>,
        tasks: &Arc<SimTasks>,
        (process, host, name): (u32, IpAddr, &str),
        configuration: String,
        (rng, keep_text): (&mut Rng, bool),
    ) -> Self {
        let disk = SimDisk::new(Path::new("/"), ROOM, rng.fork(), Trace::new(keep_text));
        Machine {
            host,
            name: name.to_owned(),
            scene: scene.clone(),
            tasks: tasks.clone(),
            process,
            disk,
            random: Arc::new(SeededRandom::new(rng.fork())),
            configuration,
            node: None,
            log: Records(keep_text.then(Arc::default)),
        }
    }

    /// Whether the server runs.
    pub(super) fn is_up(&self) -> bool {
        self.node.is_some()
    }

    /// Starts the server.
    ///
    /// # Errors
    /// It does not start, on a disk that is in order.
    pub(super) fn start(&mut self) -> Result<(), String> {
        self.scene.net.set_power(self.host, true);
        self.write_configuration().map_err(|e| e.to_string())?;
        let world = World {
            clock: Arc::new(self.scene.clock.clone()),
            disk: Arc::new(self.disk.clone()),
            net: self.scene.net.door(self.host),
            dns: Arc::new(self.scene.dns.clone()),
            random: self.random.clone(),
            work: self.tasks.process(self.process),
        };
        let loaded = Config::load(Path::new(FILE), &self.disk).map_err(|findings| {
            let texts = findings.iter().map(ToString::to_string);
            texts.collect::<Vec<_>>().join("\n")
        })?;
        let log = Log::new(Box::new(self.log.clone()), world.clock.clone());
        let running = log.clone().run(world.work.clone());
        world.work.spawn("log", Box::pin(running));
        let sockets = serve::bind(&world, &loaded.config).map_err(|f| f.to_string())?;
        let node = Node::start(&world, &log, &loaded.config, (sockets, Vec::new()));
        self.node = Some(node.map_err(|f| f.to_string())?);
        Ok(())
    }

    fn write_configuration(&self) -> io::Result<()> {
        for folder in ["/etc", MAIL, "/data"] {
            self.disk.create_dir(Path::new(folder))?;
        }
        let configuration = (FILE, self.configuration.as_str());
        for (file, text) in CERTIFICATE.into_iter().chain([configuration]) {
            let file = Path::new(file);
            if self.disk.read(file, FILE_MAX).is_ok() {
                continue;
            }
            let open = self.disk.open(file, Open::CreateNew)?;
            open.write_at(0, &[IoSlice::new(text.as_bytes())])?;
            open.sync()?;
        }
        for folder in ["/etc", "/"] {
            self.disk.sync_dir(Path::new(folder))?;
        }
        Ok(())
    }

    /// The power goes at the `calls`-th call of the disk from now.
    pub(super) fn power_goes_in(&self, calls: Option<u64>) {
        self.disk.crash_in(calls);
    }

    /// Whether the power went by itself.
    pub(super) fn lost_power(&self) -> bool {
        self.disk.crashed()
    }

    /// Ends the server where it stands.
    pub(super) fn crash(&mut self, how: Crash) {
        if how == Crash::Power {
            self.scene.net.set_power(self.host, false);
        }
        self.tasks.kill(self.process);
        self.node = None;
        self.tasks.kill(self.process);
        match how {
            Crash::Kill => self.disk.restart_process(),
            Crash::Power => self.disk.restart(),
        }
    }

    /// The control socket's count of messages, asked of the running server.
    pub(super) fn queued(&self) -> Option<usize> {
        self.node.as_ref().map(Node::messages)
    }

    /// That every recipient is somewhere, as the running server's own books have it.
    ///
    /// # Errors
    /// What does not balance.
    pub(super) fn check_books(&self) -> Result<(), Broken> {
        let accounts = self.node.as_ref().map(Node::accounts);
        accounts.map_or(Ok(()), |accounts| invariants::balanced(&accounts))
    }

    /// Where it takes mail.
    pub(super) fn smtp(&self) -> Endpoint {
        Endpoint::Tcp((self.host, 25).into())
    }

    /// What lies in its mailboxes: the mailbox, and the message as it was sent.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub(super) fn mail(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut found = Vec::new();
        let folder = Path::new(MAIL);
        for path in self.disk.files() {
            let Ok(below) = path.strip_prefix(folder) else {
                continue;
            };
            let parts: Vec<_> = below.iter().filter_map(|p| p.to_str()).collect();
            let [domain, mailbox, "new", _] = parts.as_slice() else {
                continue;
            };
            let stored = self.disk.read(&path, FILE_MAX)?;
            let address = format!("{mailbox}@{domain}");
            found.push((address, letter::with_crlf(&stored)));
        }
        Ok(found)
    }

    /// What the server recorded, line by line; empty unless somebody reads along.
    pub(super) fn records(&self) -> Vec<String> {
        let Some(kept) = &self.log.0 else {
            return Vec::new();
        };
        let text = String::from_utf8_lossy(&crate::locked(kept)).into_owned();
        let disk = self.disk.trace();
        let lines = text.lines().chain(disk.lines().iter().map(String::as_str));
        lines.map(|line| format!("{}: {line}", self.name)).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.tasks.kill(self.process);
        self.node = None;
        self.tasks.kill(self.process);
    }
}

/// The configuration of one of ours.
pub(super) fn configuration(n: u8, name: &str) -> String {
    // What the first one sends to the other must not be seen by anybody.
    let private = match n {
        1 => format!(
            "[[route]]\nrecipients = [\"b.sim\"]\nvia = \"smtp://{}\"\ntls = \"require\"\n",
            address(2)
        ),
        _ => String::new(),
    };
    format!(
        r#"
hostname = "mx.{name}"
data_dir = "/data"
postmaster = "box0@{name}"

[[listener]]
address = "{}:25"
service = "mx"
tls = "starttls"

[tls]
certificate = "/etc/posthaste.crt"
key = "/etc/posthaste.key"

[[domain]]
name = "{name}"
deliver = "maildir:/mail/{{domain}}/{{local}}"
mailboxes = ["box0", "box1", "box2"]
subaddress = "+"

[relay]
networks = ["{}"]

[limits]
connections_per_destination = {CONNECTIONS}

# Those that the operator names get several messages in one flight.
[[route]]
recipients = ["d0.sim", "d1.sim"]
via = ["smtp://{}", "smtp://{}"]

{private}
[retry]
intervals = ["1m", "5m", "15m"]
expire_after = "2d"
delay_notice_after = "4h"
"#,
        address(n),
        address(30),
        address(10),
        address(11),
    )
}
