//! Stage 1, listen: sockets, and how many connections may be open.
//!
//! A connection beyond the limits is told so with 421 and costs nothing more. Each accepted one
//! becomes a task that runs [`receive::serve`] with the reception that is
//! current when it begins, so that a reload changes new connections only.
//!
//! This module does **not** speak SMTP beyond that one refusal.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use posthaste_world::net::{Endpoint, Listener};
use posthaste_world::{BoxStream, World};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;

use crate::config::Service;
use crate::receive::{self, Arrival, Reception};
use crate::shutdown::Shutdown;
use crate::telemetry::{self, Log};

/// Connections served at once, over all listeners. Each costs a file descriptor and its buffers.
pub const SESSIONS_MAX: usize = 20_000;
/// How long to wait before accepting again after the system refused to (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How long a connection over the limit may take to read its refusal.
const REFUSAL_TIME: Duration = Duration::from_secs(2);

/// What is shared by all listeners of a node.
pub struct Gate {
    world: World,
    log: Arc<Log>,
    shutdown: Shutdown,
    reception: std::sync::RwLock<Arc<Reception>>,
    sessions: Arc<Semaphore>,
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
            reception: std::sync::RwLock::new(reception),
            sessions: Arc::new(Semaphore::new(SESSIONS_MAX)),
            number: AtomicU64::new(0),
        })
    }

    /// From now on new connections meet this reception.
    pub fn replace(&self, reception: Arc<Reception>) {
        *self
            .reception
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = reception;
    }

    /// The reception that new connections meet.
    #[must_use]
    pub fn current(&self) -> Arc<Reception> {
        self.reception
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

/// A bound socket that does not accept yet.
pub struct Bound {
    asked: Endpoint,
    service: Service,
    listener: Box<dyn Listener>,
}

impl Bound {
    /// Where it is bound.
    #[must_use]
    pub fn local(&self) -> Endpoint {
        self.listener.local()
    }
}

/// An open listener. It stops accepting when it is dropped.
pub struct Open {
    /// Where it was asked to listen.
    pub asked: Endpoint,
    /// Where it listens.
    pub local: Endpoint,
    /// What it serves.
    pub service: Service,
    /// The same, for the log.
    pub record: telemetry::Bound,
    closing: Shutdown,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.closing.begin();
    }
}

/// Binds `at` for `service`.
///
/// # Errors
/// Whatever the system says.
pub fn bind(world: &World, at: &Endpoint, service: Service) -> io::Result<Bound> {
    let listener = world.net.listen(at)?;
    Ok(Bound {
        asked: at.clone(),
        service,
        listener,
    })
}

/// Accepts connections on `bound` until the result is dropped or the node stops.
#[must_use]
pub fn open(gate: &Arc<Gate>, bound: Bound) -> Open {
    let Bound {
        asked,
        service,
        listener,
    } = bound;
    let local = listener.local();
    let record = telemetry::Bound {
        service: service.name(),
        address: local.to_string(),
    };
    let closing = Shutdown::default();
    let accepting = accept(gate.clone(), listener, service, closing.clone());
    gate.world.work.spawn("listen", Box::pin(accepting));
    Open {
        asked,
        local,
        service,
        record,
        closing,
    }
}

async fn accept(gate: Arc<Gate>, listener: Box<dyn Listener>, service: Service, closing: Shutdown) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = gate.shutdown.stopping() => return,
            () = closing.stopping() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => welcome(&gate, stream, peer, service),
            Err(fault) => {
                gate.log.fault("accepting a connection", &fault);
                gate.world.clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn welcome(gate: &Arc<Gate>, stream: BoxStream, peer: Endpoint, service: Service) {
    let Ok(place) = gate.sessions.clone().try_acquire_owned() else {
        gate.world
            .work
            .spawn("refuse", Box::pin(refuse(gate.clone(), stream)));
        return;
    };
    let arrival = Arrival {
        stream,
        peer,
        service,
        number: gate.number.fetch_add(1, Ordering::Relaxed) + 1,
    };
    let reception = gate.current();
    let busy = gate.shutdown.busy();
    let task = async move {
        receive::serve(arrival, &reception).await;
        drop((place, busy));
    };
    gate.world.work.spawn("session", Box::pin(task));
}

async fn refuse(gate: Arc<Gate>, mut stream: BoxStream) {
    let text = b"421 4.3.2 Too many connections; try again later\r\n";
    tokio::select! {
        // The peer may be gone already; it learns nothing then, and needs to learn nothing.
        _ = stream.write_all(text) => {}
        () = gate.world.clock.sleep(REFUSAL_TIME) => {}
    }
}
