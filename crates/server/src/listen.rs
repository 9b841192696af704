//! Stage 1, listen: sockets, and how many connections may be open.
//!
//! A connection beyond the limits is told so with 421 and costs nothing more. Each accepted one
//! becomes a task that runs [`receive::serve`] with the reception and the listener's settings that
//! are current when it begins, so that a reload changes new connections only. A proxy that the
//! listener names first says whom it speaks for ([`proxy`]); nobody else is believed.
//!
//! This module does **not** speak SMTP beyond that one refusal.

pub mod proxy;

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use posthaste_smtp::reply::Reply;
use posthaste_world::net::{self, Endpoint};
use posthaste_world::{BoxStream, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::config::{Listener, ListenerTls, Service};
use crate::policy::rates::{Hit, Rates};
use crate::receive::{self, Arrival, Reception, visit};
use crate::shutdown::Shutdown;
use crate::telemetry::{self, Log};

use proxy::Progress;

/// How long to wait before accepting again after the system refused to (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How long a proxy may take to name its client. It connects for a client that is there already.
const PROXY_TIME: Duration = Duration::from_secs(10);
/// How long a connection over the limit may take to read its refusal.
const REFUSAL_TIME: Duration = Duration::from_secs(2);

/// What is shared by all listeners of a node.
pub struct Gate {
    world: World,
    log: Arc<Log>,
    shutdown: Shutdown,
    reception: RwLock<Arc<Reception>>,
    /// Connections that are being served.
    inside: AtomicUsize,
    /// Connections turned away since there was much room.
    turned_away: AtomicU32,
    rates: Arc<Rates>,
    number: AtomicU64,
}

impl Gate {
    /// A gate with nobody inside.
    #[must_use]
    pub fn new(
        world: World,
        log: Arc<Log>,
        shutdown: Shutdown,
        reception: Arc<Reception>,
    ) -> Arc<Self> {
        Arc::new(Gate {
            world,
            log,
            shutdown,
            reception: RwLock::new(reception),
            inside: AtomicUsize::new(0),
            turned_away: AtomicU32::new(0),
            rates: Arc::default(),
            number: AtomicU64::new(0),
        })
    }

    /// From now on new connections meet this reception.
    pub fn replace(&self, reception: Arc<Reception>) {
        *self
            .reception
            .write()
            .unwrap_or_else(PoisonError::into_inner) = reception;
    }

    /// The reception that new connections meet.
    #[must_use]
    pub fn current(&self) -> Arc<Reception> {
        self.reception
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A bound socket that does not accept yet.
pub struct Bound {
    asked: Endpoint,
    settings: Arc<Listener>,
    socket: Box<dyn net::Listener>,
}

impl Bound {
    /// Where it is bound.
    #[must_use]
    pub fn local(&self) -> Endpoint {
        self.socket.local()
    }
}

/// An open listener. It stops accepting when it is dropped.
pub struct Open {
    /// Where it was asked to listen.
    pub asked: Endpoint,
    /// Where it listens.
    pub local: Endpoint,
    settings: Arc<RwLock<Arc<Listener>>>,
    closing: Shutdown,
}

impl Open {
    /// What it serves.
    #[must_use]
    pub fn service(&self) -> Service {
        now(&self.settings).service
    }

    /// From now on new connections to it meet these settings.
    pub fn replace(&self, settings: Arc<Listener>) {
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// The same, for the log.
    #[must_use]
    pub fn record(&self) -> telemetry::Bound {
        telemetry::Bound {
            service: self.service().name(),
            address: self.local.to_string(),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.closing.begin();
    }
}

fn now(settings: &RwLock<Arc<Listener>>) -> Arc<Listener> {
    settings
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// Binds `at`, one of the addresses of `settings`.
///
/// # Errors
/// Whatever the system says.
pub fn bind(world: &World, at: &Endpoint, settings: Arc<Listener>) -> io::Result<Bound> {
    let socket = world.net.listen(at)?;
    if let Endpoint::Unix(path) = at {
        // As on loopback, every user of this machine may hand mail in; it goes to mailboxes of
        // ours only.
        world.net.open_to_all(path)?;
    }
    Ok(Bound {
        asked: at.clone(),
        settings,
        socket,
    })
}

/// Accepts connections on `bound` until the result is dropped or the node stops.
#[must_use]
pub fn open(gate: &Arc<Gate>, bound: Bound) -> Open {
    let open = Open {
        asked: bound.asked,
        local: bound.socket.local(),
        settings: Arc::new(RwLock::new(bound.settings)),
        closing: Shutdown::default(),
    };
    let (settings, closing) = (open.settings.clone(), open.closing.clone());
    let accepting = accept(gate.clone(), bound.socket, settings, closing);
    gate.world.work.spawn("listen", Box::pin(accepting));
    open
}

async fn accept(
    gate: Arc<Gate>,
    socket: Box<dyn net::Listener>,
    settings: Arc<RwLock<Arc<Listener>>>,
    closing: Shutdown,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = gate.shutdown.stopping() => return,
            () = closing.stopping() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => welcome(&gate, stream, peer, now(&settings)),
            Err(fault) => {
                gate.log.fault("accepting a connection", &fault);
                gate.world.clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A place among the connections that are served; given back when it is dropped.
struct Place(Arc<Gate>);

impl Place {
    fn take(gate: &Arc<Gate>, most: usize) -> Result<Self, Hit> {
        let before = gate.inside.fetch_add(1, Ordering::Relaxed);
        let place = Place(gate.clone());
        if before < most {
            if before < most / 2 {
                gate.turned_away.store(0, Ordering::Relaxed);
            }
            return Ok(place);
        }
        let text = "too many connections to this server at once; try again later";
        Err(Hit {
            limit: "connections",
            reply: Reply::new(421, (4, 3, 2), text),
            times: gate.turned_away.fetch_add(1, Ordering::Relaxed) + 1,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

fn welcome(gate: &Arc<Gate>, stream: BoxStream, peer: Endpoint, listener: Arc<Listener>) {
    let arrival = Arrival {
        stream,
        address: peer.ip(),
        peer,
        listener,
        number: gate.number.fetch_add(1, Ordering::Relaxed) + 1,
    };
    let reception = gate.current();
    let place = Place::take(gate, reception.policy.limits.connections);
    let (gate, busy) = (gate.clone(), gate.shutdown.busy());
    let work = gate.world.work.clone();
    let task = async move {
        match place {
            Ok(_place) => admit(&gate, arrival, &reception).await,
            Err(hit) => refuse(arrival, &hit, &reception).await,
        }
        drop(busy);
    };
    work.spawn("session", Box::pin(task));
}

/// Serves an arrival, unless its proxy does not name it or its address has too many connections.
async fn admit(gate: &Gate, arrival: Arrival, stages: &Reception) {
    let Some(arrival) = introduced(arrival, stages).await else {
        return;
    };
    let now = stages.world.clock.elapsed();
    match stages.policy.seat(arrival.address, now, &gate.rates) {
        Ok(seat) => receive::serve(arrival, seat, stages).await,
        Err(hit) => refuse(arrival, &hit, stages).await,
    }
}

/// The arrival as its client, when it comes from a proxy that names it. A connection that the
/// proxy makes for itself, or for somebody whom it does not know, keeps the proxy's name and has
/// no address that could be granted anything.
async fn introduced(mut arrival: Arrival, stages: &Reception) -> Option<Arrival> {
    let proxies = &arrival.listener.proxies;
    if !arrival.address.is_some_and(|ip| proxies.contain(ip)) {
        return Some(arrival);
    }
    let read = tokio::select! {
        read = read_header(&mut arrival.stream) => read,
        () = stages.world.clock.sleep(PROXY_TIME) => Err("no PROXY header came in time".into()),
        () = stages.shutdown.stopping() => Err("the server stops".into()),
    };
    match read {
        Ok(Some(client)) => {
            arrival.address = Some(client.ip());
            arrival.peer = Endpoint::Tcp(client);
        }
        Ok(None) => arrival.address = None,
        Err(why) => {
            visit::not_introduced(&arrival, &why, stages);
            return None;
        }
    }
    Some(arrival)
}

/// Reads a PROXY header and not one octet more: the client it names, or why there is none.
async fn read_header(stream: &mut BoxStream) -> Result<Option<SocketAddr>, Cow<'static, str>> {
    let mut octets = Vec::new();
    loop {
        let missing = match proxy::parse(&octets) {
            Progress::Need(missing) => missing,
            Progress::Done(header) => return Ok(header.client),
            Progress::Bad(why) => return Err(why.into()),
        };
        let have = octets.len();
        octets.resize(have + missing, 0);
        let space = octets.get_mut(have..).unwrap_or_default();
        let n = stream.read(space).await.map_err(|e| e.to_string())?;
        if n == 0 {
            return Err("the connection ended within the PROXY header".into());
        }
        octets.truncate(have + n);
    }
}

/// Turns an arrival away with what it met. One that waits for a handshake would not understand it:
/// it learns as much from the end of the connection.
async fn refuse(mut arrival: Arrival, hit: &Hit, stages: &Reception) {
    visit::turned_away(&arrival, hit, stages);
    if arrival.listener.tls == ListenerTls::Implicit {
        return;
    }
    let mut text = Vec::new();
    hit.reply.render(&mut text);
    tokio::select! {
        // The peer may be gone already; it learns nothing then, and needs to learn nothing.
        _ = arrival.stream.write_all(&text) => {}
        () = stages.world.clock.sleep(REFUSAL_TIME) => {}
    }
}
