//! A node: the stages wired together over a world, from start to stop.
//!
//! [`Node::start`] opens the queue, binds the listeners and begins; [`Node::reload`] exchanges what
//! a configuration decides; [`Node::stop`] drains. Nothing here is a static: two nodes can live in
//! one process, and the simulator runs them over its own world.
//!
//! This module does **not** read files of configuration or signals: `main` does.

mod certificates;
mod wiring;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use posthaste_queue::Queue;
use posthaste_queue::accounts::Accounts;
use posthaste_world::World;
use posthaste_world::net::Endpoint;
use posthaste_world::work::Pool;
use rustls::RootCertStore;

use crate::acme::authority::{self, Authority};
use crate::acme::challenge;
use crate::authenticate::Guard;
use crate::authenticate::accounts::store::Store;
use crate::authenticate::failures::file;
use crate::config::{Config, Listener};
use crate::control::Control;
use crate::deliver::helper::Helpers;
use crate::deliver::outbound::Credentials;
use crate::dispatch::Dispatch;
use crate::fault::Fault;
use crate::feedback::Feedback;
use crate::forward::Forwarding;
use crate::listen::{self, Bound, Gate, Open};
use crate::policy::senders::Senders;
use crate::shutdown::{DRAIN_TIME, Shutdown};
use crate::sign::Signatures;
use crate::sign::rotation::Rotation;
use crate::telemetry::{self, Event, Log};
use crate::tls::certificates::Certificates;
use crate::tls::server::Acceptor;
use crate::tls::watch;

use certificates::{asking, certificate_files, client_roots, uses_tls};
use wiring::{Names, Wiring, feedback_settings, rotation_schedule, schedule_settings};

/// How long the last records may take to be read.
const FLUSH_TIME: Duration = Duration::from_secs(1);
/// The port of other servers (RFC 5321 §4.5.4.2).
const SMTP_PORT: u16 = 25;

/// What is had before privileges are dropped: the sockets of a configuration, bound but not yet
/// accepting, and the certificates and passwords that it names.
pub struct Sockets {
    bound: Vec<Bound>,
    visited: Vec<challenge::Bound>,
    certificates: Arc<Certificates>,
    credentials: Credentials,
    client_roots: Option<Arc<RootCertStore>>,
}

/// A running server.
pub struct Node {
    world: World,
    log: Arc<Log>,
    shutdown: Shutdown,
    names: Arc<Names>,
    queue: Arc<Queue>,
    gate: Arc<Gate>,
    dispatch: Arc<Dispatch>,
    open: Vec<Open>,
    config: Config,
    parts: Parts,
    certificates: Arc<Certificates>,
    authority: Authority,
}

/// What outlives a configuration.
struct Parts {
    helpers: Vec<Arc<Helpers>>,
    acceptor: Acceptor,
    credentials: Credentials,
    /// One that asks clients for a certificate.
    asking: Option<Acceptor>,
    guard: Arc<Guard>,
    accounts: Arc<Store>,
    senders: Arc<Senders>,
    signatures: Arc<Signatures>,
    rotation: Arc<Rotation>,
    feedback: Arc<Feedback>,
    forwarding: Arc<Forwarding>,
}

impl Parts {
    fn new(
        world: &World,
        log: &Arc<Log>,
        config: &Config,
        (sockets, helpers): (&Sockets, Vec<Arc<Helpers>>),
    ) -> Result<Self, Fault> {
        let certificates = &sockets.certificates;
        if config.certificates.is_empty() || config.acme.is_some() {
            certificates.exchange(&certificate_files(world, config)?, &*world.disk)?;
        }
        Ok(Parts {
            helpers,
            acceptor: Acceptor::new(certificates.clone(), None, world.clock.clone())?,
            asking: asking(world, certificates, sockets.client_roots.clone())?,
            credentials: sockets.credentials.clone(),
            guard: Arc::new(Guard::open(world, &config.data_dir)?),
            accounts: store(world, log, config),
            senders: senders(world, config)?,
            forwarding: Arc::new(Forwarding::open(world, &config.data_dir)?),
            signatures: Arc::new(Signatures::new(world, log, &config.data_dir)),
            feedback: Arc::new(Feedback::new(
                world,
                log,
                &config.data_dir,
                feedback_settings(config),
            )),
            rotation: Arc::new(Rotation::new(
                world,
                log,
                config.data_dir.clone(),
                rotation_schedule(config),
            )),
        })
    }
}

/// Binds the listeners of a configuration, and reads the certificates and passwords that it names.
///
/// # Errors
/// The first that cannot be bound or read, with what to do.
pub fn bind(world: &World, config: &Config) -> Result<Sockets, Fault> {
    let mut bound = Vec::new();
    for (at, settings) in wanted(config) {
        bound.push(bind_one(world, &at, settings)?);
    }
    let certificates = Arc::new(Certificates::default());
    if uses_tls(config) {
        certificates.exchange(&config.certificates, &*world.disk)?;
    }
    let (credentials, _) = Credentials::read(config, &*world.disk, &Credentials::default())?;
    Ok(Sockets {
        bound,
        visited: authority::bind(world, config.acme.as_ref())?,
        certificates,
        credentials,
        client_roots: client_roots(world, config)?,
    })
}

/// Whether mail that goes by MX could come to this listener. At an address of this machine alone,
/// and at all addresses, another program may have the port that MX means.
fn takes_mail_by_mx(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Tcp(at) => {
            let shared = at.ip().is_loopback() || at.ip().is_unspecified();
            at.port() == SMTP_PORT || !shared
        }
        Endpoint::Unix(_) => false,
    }
}

fn wanted(config: &Config) -> Vec<(Endpoint, Arc<Listener>)> {
    let each = |l: &Listener| {
        let settings = Arc::new(l.clone());
        let with = |a: &Endpoint| (a.clone(), settings.clone());
        l.addresses.iter().map(with).collect::<Vec<_>>()
    };
    config.listeners.iter().flat_map(each).collect()
}

fn bind_one(world: &World, at: &Endpoint, settings: Arc<Listener>) -> Result<Bound, Fault> {
    listen::bind(world, at, settings).map_err(|e| {
        let fix = match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                "stop the program that has this port (`ss -ltnp` names it), or change `address`"
            }
            std::io::ErrorKind::PermissionDenied => {
                "ports below 1024 need root: start as root (the server then becomes `user`)"
            }
            std::io::ErrorKind::AddrNotAvailable => "name an address of this machine",
            _ => "see `address` of this [[listener]]",
        };
        Fault::new(format!("listening on {at}"), e).fix(fix)
    })
}

fn open_control(control: Control, data_dir: &Path) -> Result<(), Fault> {
    let socket = crate::control::socket(data_dir);
    control.open(data_dir).map_err(|e| {
        Fault::new(format!("listening on {}", socket.display()), e)
            .fix("give the server's user the folder `data_dir`, with a path below 100 characters")
    })
}

impl Node {
    /// Opens the queue and begins to serve, with what was had before privileges were dropped.
    ///
    /// # Errors
    /// What the operator must mend before the server can run.
    pub fn start(
        world: &World,
        log: &Arc<Log>,
        config: &Config,
        (sockets, helpers): (Sockets, Vec<Arc<Helpers>>),
    ) -> Result<Node, Fault> {
        let shutdown = Shutdown::default();
        let parts = Parts::new(world, log, config, (&sockets, helpers))?;
        let visited = (sockets.visited, &shutdown);
        let certificates = sockets.certificates;
        let authority = Authority::new((world, log), config, &certificates, visited)?;
        let wiring = Wiring::new(world, log, config, &parts);
        let names = Arc::new(Names::new(wiring.directory.clone()));
        let queue = wiring.open_queue(&names)?;
        let listening: Vec<_> = sockets.bound.iter().map(Bound::local).collect();
        let stages = wiring.stages(&listening)?;
        let (clone, down) = (queue.clone(), shutdown.clone());
        let dispatch = Dispatch::new(world.clone(), log.clone(), clone, down, stages);
        let reception = wiring.reception(&queue, &shutdown);
        let gate = Gate::new(world.clone(), log.clone(), shutdown.clone(), reception);
        let control = Control {
            world: world.clone(),
            log: log.clone(),
            queue: queue.clone(),
            dispatch: dispatch.clone(),
            gate: gate.clone(),
            shutdown: shutdown.clone(),
            failures: parts.guard.failures.clone(),
            signatures: parts.signatures.clone(),
            feedback: parts.feedback.clone(),
            hostname: config.hostname.to_string(),
        };
        open_control(control, &config.data_dir)?;
        world
            .work
            .spawn("dispatch", Box::pin(dispatch.clone().run()));
        let open = sockets
            .bound
            .into_iter()
            .map(|bound| listen::open(&gate, bound))
            .collect();
        let (world, log) = (world.clone(), log.clone());
        let node = Node {
            world,
            log,
            shutdown,
            names,
            queue,
            gate,
            dispatch,
            open,
            config: config.clone(),
            parts,
            certificates,
            authority,
        };
        node.begin();
        Ok(node)
    }

    /// Starts what goes on beside the mail, and says that all is ready.
    fn begin(&self) {
        self.watch_certificates();
        self.keep_failures();
        self.keep_senders();
        self.keep_forwarding();
        self.rotate_keys();
        self.keep_feedback();
        self.ready();
    }

    fn watch_certificates(&self) {
        let now = self.world.clock.now();
        let served = self.certificates.served();
        served.iter().for_each(|s| watch::tell(s, &self.log, now));
        let (certificates, world) = (self.certificates.clone(), self.world.clone());
        let watching = watch::run(certificates, world, self.log.clone(), self.shutdown.clone());
        self.world.work.spawn("certificates", Box::pin(watching));
        self.authority.keep(&self.shutdown);
    }

    /// Remembers failed logins for the next start.
    fn keep_failures(&self) {
        let (guard, world) = (&self.parts.guard, self.world.clone());
        let path = guard.failures_file();
        let (log, stop) = (self.log.clone(), self.shutdown.clone());
        let keeping = file::keep(guard.failures.clone(), world, log, path, stop);
        self.world.work.spawn("failures", Box::pin(keeping));
    }

    /// Remembers what accounts have sent for the next start.
    fn keep_senders(&self) {
        let path = senders_file(&self.config);
        let (world, log, stop) = (self.world.clone(), self.log.clone(), self.shutdown.clone());
        let keeping = self.parts.senders.clone().keep(world, log, path, stop);
        self.world.work.spawn("senders", Box::pin(keeping));
    }

    /// Replaces the secret of forwarded mail in time.
    fn keep_forwarding(&self) {
        let (log, stop) = (self.log.clone(), self.shutdown.clone());
        let keeping = self.parts.forwarding.clone().keep(log, stop);
        self.world.work.spawn("forwarding", Box::pin(keeping));
    }

    /// Counts what other domains want to know, and tells them.
    fn keep_feedback(&self) {
        let (feedback, dispatch) = (self.parts.feedback.clone(), self.dispatch.clone());
        let keeping = feedback.keep(dispatch, self.shutdown.clone());
        self.world.work.spawn("feedback", Box::pin(keeping));
    }

    /// Lets the keys that sign our mail take over from each other.
    fn rotate_keys(&self) {
        let rotating = self.parts.rotation.clone().keep(self.shutdown.clone());
        self.world.work.spawn("rotation", Box::pin(rotating));
    }

    fn ready(&self) {
        let listeners: Vec<_> = self.listeners().collect();
        self.log.emit(&Event::Ready {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            listeners: &listeners,
        });
        self.log.flush();
    }

    /// Where the node listens.
    pub fn listeners(&self) -> impl Iterator<Item = telemetry::Bound> {
        self.open.iter().map(Open::record)
    }

    /// Where the recipients are that came in since it started.
    #[must_use]
    pub fn accounts(&self) -> Accounts {
        self.queue.accounts()
    }

    /// Messages in the queue.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.queue.counts().messages
    }

    /// Goes by another configuration: new connections and new attempts follow it. Listeners are
    /// opened and closed as it says; `hostname` and `data_dir` stay until a restart.
    ///
    /// # Errors
    /// A certificate or a password that was not known before and cannot be used, or a listener that
    /// cannot be bound; what depends on it stays as it was.
    pub fn reload(&mut self, config: &Config) -> Result<(), Fault> {
        let disk = &*self.world.disk;
        let (credentials, faults) = Credentials::read(config, disk, &self.parts.credentials)?;
        let roots = client_roots(&self.world, config)?;
        let asking = asking(&self.world, &self.certificates, roots)?;
        self.exchange_certificates(config)?;
        self.authority
            .reload(config.acme.as_ref(), &self.shutdown)?;
        self.listen(wanted(config))?;
        faults.iter().for_each(|f| self.log.fault_of(f));
        self.parts.credentials = credentials;
        self.parts.asking = asking;
        if *self.parts.accounts.path() != config.accounts.file {
            self.parts.accounts = store(&self.world, &self.log, config);
        }
        self.rewire(config.clone())?;
        // What failed may be what was mended; mail whose way changed finds its new one now.
        self.queue.probe_all();
        let file = config.file.display().to_string();
        self.log.emit(&Event::Reloaded {
            config: file.into(),
        });
        Ok(())
    }

    /// Wires the stages anew, by `config` from now on.
    fn rewire(&mut self, config: Config) -> Result<(), Fault> {
        let wiring = Wiring::new(&self.world, &self.log, &config, &self.parts);
        let listening: Vec<_> = self.open.iter().map(|o| o.local.clone()).collect();
        let stages = wiring.stages(&listening)?;
        self.names.replace(wiring.directory.clone());
        self.parts.rotation.replace(rotation_schedule(&config));
        self.parts.feedback.replace(feedback_settings(&config));
        self.queue.set_schedule(schedule_settings(&config));
        self.dispatch.replace(stages);
        self.gate
            .replace(wiring.reception(&self.queue, &self.shutdown));
        self.config = config;
        Ok(())
    }

    /// Ends when the accounts have changed.
    pub async fn accounts_changed(&self) {
        self.parts.accounts.changed().await;
    }

    /// Goes by the accounts as they are now: they are mailboxes, too.
    pub fn renew_accounts(&mut self) {
        let state = self.parts.accounts.last();
        self.log.emit(&Event::Accounts {
            file: self.parts.accounts.path().display().to_string().into(),
            accounts: state.book.accounts().count(),
        });
        let mut config = self.config.clone();
        config.accounts.state = state;
        match self.rewire(config) {
            Ok(()) => self.queue.probe_all(),
            Err(fault) => self.log.fault_of(&fault),
        }
    }

    fn exchange_certificates(&self, config: &Config) -> Result<(), Fault> {
        let files = certificate_files(&self.world, config)?;
        let faults = self.certificates.exchange(&files, &*self.world.disk)?;
        faults.iter().for_each(|f| self.log.fault_of(f));
        let now = self.world.clock.now();
        let served = self.certificates.served();
        served.iter().for_each(|s| watch::tell(s, &self.log, now));
        Ok(())
    }

    /// Listens as wanted: an address that is listened on already keeps its socket.
    fn listen(&mut self, wanted: Vec<(Endpoint, Arc<Listener>)>) -> Result<(), Fault> {
        let mut new = Vec::new();
        let mut kept = vec![None; self.open.len()];
        for (at, settings) in wanted {
            // Port 0 may be asked for several times, so an open one is kept for one only.
            let free = self.open.iter().zip(&mut kept);
            match free.into_iter().find(|(o, k)| o.asked == at && k.is_none()) {
                Some((_, kept)) => *kept = Some(settings),
                None => new.push(bind_one(&self.world, &at, settings)?),
            }
        }
        let open = std::mem::take(&mut self.open).into_iter().zip(kept);
        self.open = open
            .filter_map(|(open, settings)| {
                open.replace(settings?);
                Some(open)
            })
            .chain(new.into_iter().map(|bound| listen::open(&self.gate, bound)))
            .collect();
        Ok(())
    }

    /// Stops: no new connections, transactions and attempts may end for a while, then the queue is
    /// closed. What is queued stays queued.
    pub async fn stop(mut self) {
        self.log.emit(&Event::Stopping {
            connections: self.shutdown.count(),
        });
        self.open.clear();
        self.shutdown.begin();
        self.shutdown.drained(&*self.world.clock, DRAIN_TIME).await;
        self.queue.close().await;
        let guard = &self.parts.guard;
        file::write(
            &guard.failures,
            &self.world,
            &self.log,
            &guard.failures_file(),
        )
        .await;
        let path = senders_file(&self.config);
        self.parts
            .senders
            .write(&self.world, &self.log, &path)
            .await;
        self.log.emit(&Event::Stopped {});
        let log = self.log.clone();
        tokio::select! {
            // Whoever should read our output may not do so any more: that must not keep us.
            _ = self.world.work.on(Pool::Disk, move || log.flush()) => {}
            () = self.world.clock.sleep(FLUSH_TIME) => {}
        }
    }
}

/// Where what accounts have sent is remembered.
fn senders_file(config: &Config) -> PathBuf {
    config.data_dir.join("senders")
}

fn senders(world: &World, config: &Config) -> Result<Arc<Senders>, Fault> {
    let path = senders_file(config);
    let read = Senders::read(&*world.disk, &path).map_err(|e| {
        Fault::new(format!("reading {}", path.display()), e)
            .fix("let the server's user read it, or remove it")
    })?;
    Ok(Arc::new(read))
}

fn store(world: &World, log: &Arc<Log>, config: &Config) -> Arc<Store> {
    let (file, state) = (config.accounts.file.clone(), config.accounts.state.clone());
    Store::new(world.clone(), log.clone(), file, state)
}
