//! One server's delivery over doors in memory: a configuration, a spool, and attempts one by one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthaste::config::Config;
use posthaste::deliver::local::Local;
use posthaste::deliver::outbound::{Credentials, Outbound};
use posthaste::deliver::smtp::Smtp;
use posthaste::deliver::{Attempted, Connection, Delivery, attempt};
use posthaste::forward::Forwarding;
use posthaste::lookup::Directory;
use posthaste::receive::content_facts;
use posthaste::report::Reports;
use posthaste::route::mx::{Mx, Ourselves};
use posthaste::route::{Route, SMTP_PORT};
use posthaste::sign::Signatures;
use posthaste::telemetry::Log;
use posthaste_message::header::Scan;
use posthaste_queue::QueueId;
use posthaste_queue::envelope::{Envelope, Message, Recipient};
use posthaste_queue::schedule::{Purpose, Work};
use posthaste_queue::spool::{Body, Change, NewMessage, Prelude, Settings, Store, Stored};
use posthaste_smtp::address::{Mailbox, ReversePath, Utf8};
use posthaste_world::World;

use super::{Files, Hosts, Inline, Names, Numbers, TestClock};

const CONFIG: &str = r#"
hostname = "mx.ours.test"
data_dir = "/data"
[[listener]]
address = "198.51.100.1:25"
service = "mx"
tls = "none"
[[domain]]
name = "ours.test"
deliver = "maildir:/m/{domain}/{local}"
mailboxes = ["alice", "bob"]
"#;

/// One server's delivery.
pub struct Node {
    /// Its doors.
    pub world: World,
    /// Its files.
    pub files: Arc<Files>,
    /// The hosts it can reach.
    pub hosts: Arc<Hosts>,
    /// Its spool.
    pub spool: Store,
    /// Its stages.
    pub delivery: Delivery,
    /// Its reports.
    pub reports: Reports,
    /// The connection that its only worker keeps.
    pub connection: Option<Connection>,
}

impl Node {
    /// A node with more configuration than the least, that finds `dns` and `hosts`.
    pub fn start(more: &str, dns: &str, hosts: Arc<Hosts>) -> Node {
        Node::start_with("", more, dns, hosts)
    }

    /// The same, with settings that stand before the first table.
    pub fn start_with(first: &str, more: &str, dns: &str, hosts: Arc<Hosts>) -> Node {
        Node::start_having(&[], &format!("{first}{CONFIG}{more}"), dns, hosts)
    }

    /// The same, with more configuration, and files that it names.
    pub fn start_files(files: &[(&str, &str)], more: &str, dns: &str, hosts: Arc<Hosts>) -> Node {
        Node::start_having(files, &format!("{CONFIG}{more}"), dns, hosts)
    }

    fn start_having(named: &[(&str, &str)], config: &str, dns: &str, hosts: Arc<Hosts>) -> Node {
        let files = Files::with(&["/data", "/m", "/etc"]);
        for (path, text) in named {
            files.put(path, text);
        }
        files.put("/etc/posthaste.toml", config);
        let world = World {
            clock: TestClock::start(),
            disk: files.clone(),
            net: hosts.clone(),
            dns: Names::table(dns),
            random: Numbers::of(1),
            work: Arc::new(Inline),
        };
        let config = Config::load(Path::new("/etc/posthaste.toml"), &*files)
            .unwrap()
            .config;
        let directory = Arc::new(Directory::new(&config));
        let ourselves = Ourselves::new(
            [config.hostname.to_string()],
            config
                .listeners
                .iter()
                .flat_map(|l| l.addresses.iter().filter_map(|a| a.ip())),
        );
        let mx = Mx::new(
            world.dns.clone(),
            world.random.clone(),
            ourselves,
            SMTP_PORT,
        );
        let hostname = config.hostname.to_string();
        let none = Credentials::default();
        let (credentials, _) = Credentials::read(&config, &*files, &none).unwrap();
        let roots = Arc::new(hosts.roots());
        let outbound = Outbound::new(&config, &credentials, &roots, &world.clock).unwrap();
        let delivery = Delivery {
            route: Route::new(directory.clone(), mx),
            forwarding: Arc::new(Forwarding::open(&world, Path::new("/data")).unwrap()),
            smtp: Smtp::new(world.clone(), &hostname, outbound),
            local: Local::new(world.clone(), &hostname),
        };
        let days = |n: u64| Duration::from_secs(n * 24 * 3600);
        let log = Log::new(Box::new(std::io::sink()), world.clock.clone());
        let signatures = Arc::new(Signatures::new(&world, &log, Path::new("/data")));
        let reports = Reports::new(world.clone(), directory, &hostname, days(5), signatures);
        let dir = Path::new("/data/spool");
        let (disk, random) = (world.disk.clone(), world.random.clone());
        let key = |_: &Recipient| String::new();
        // Small, since these files are memory.
        let settings = Settings {
            segment: 4 << 20,
            spare: 1,
            ..Settings::default()
        };
        let (spool, _) = Store::open(disk, random, dir, &settings, &key).unwrap();
        Node {
            world,
            files,
            hosts,
            spool,
            delivery,
            reports,
            connection: None,
        }
    }

    /// Keeps a message; `from` is empty for the null reverse-path.
    pub fn keep(&mut self, from: &str, to: &[&str], message: &[u8]) -> Stored {
        let recipients = to.iter().map(|t| Recipient::new(mailbox(t))).collect();
        self.keep_for(from, recipients, message)
    }

    /// Keeps a message for recipients with wishes or history.
    pub fn keep_for(&mut self, from: &str, to: Vec<Recipient>, message: &[u8]) -> Stored {
        self.keep_as(from, to, message, |_| {})
    }

    /// The same, with what all recipients share.
    pub fn keep_as(
        &mut self,
        from: &str,
        to: Vec<Recipient>,
        message: &[u8],
        share: impl FnOnce(&mut Message),
    ) -> Stored {
        let mut scan = Scan::new();
        scan.push(message);
        let facts = scan.finish();
        let now = self.world.clock.now();
        let mut shared = Message::ours(now, content_facts(&facts));
        if !from.is_empty() {
            shared.reverse_path = ReversePath::Mailbox(mailbox(from));
        }
        share(&mut shared);
        let id = QueueId::new(now, &*self.world.random);
        let envelope = Envelope {
            id,
            message: shared,
            recipients: to,
        };
        let prelude = Prelude::trace(b"Received: by mx.ours.test\r\n".to_vec());
        let body = match message.len() <= posthaste_queue::spool::INLINE_MAX {
            true => Body::Inline(Bytes::copy_from_slice(message)),
            false => Body::Large(self.spool.large_body(message).unwrap()),
        };
        self.commit(NewMessage {
            envelope,
            prelude,
            body,
        })
    }

    /// Keeps a message that was made.
    pub fn commit(&mut self, message: NewMessage) -> Stored {
        let id = message.envelope.id;
        for made in self.spool.write(&[Change::Commit(Box::new(message))]) {
            made.unwrap();
        }
        self.spool.read(id).unwrap()
    }

    /// Attempts all recipients of a message that share the first one's destination, over the kept
    /// connection.
    pub async fn attempt(&mut self, stored: &Stored) -> Attempted {
        let first = &stored.envelope().recipients[0].address;
        let work = Work {
            id: stored.envelope().id,
            destination: self.delivery.route.destination(first).into(),
            recipients: stored.envelope().open().map(|(index, _)| index).collect(),
            purpose: Purpose::Attempt,
        };
        attempt(&work, stored, &self.delivery, &mut self.connection).await
    }

    /// Keeps and attempts one message.
    pub async fn send(&mut self, to: &[&str], message: &[u8]) -> Attempted {
        let stored = self.keep("s@sender.test", to, message);
        self.attempt(&stored).await
    }
}

/// A mailbox.
pub fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text, Utf8::Allowed).unwrap()
}
