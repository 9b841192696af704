//! The control socket: how the command line steers the running server.
//!
//! A Unix socket in `data_dir`, for the server's user alone. One request a connection, see
//! [`wire`]. The verbs of the queue are in [`queue`], a message handed in is [`send`]'s; the
//! command line's end is [`client`].
//!
//! This module does **not** decide what the verbs mean for a message: the queue does.

pub mod client; // the command line's end
pub mod failures; // failed logins, seen and lifted
pub mod queue; // look at and change queued messages
pub mod send; // a message from a local user
pub mod wire; // frames

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use posthaste_queue::Queue;
use posthaste_world::net::{Endpoint, Listener};
use posthaste_world::{BoxStream, World};
use tokio::sync::Semaphore;

use crate::authenticate::failures::Failures;
use crate::dispatch::Dispatch;
use crate::feedback::Feedback;
use crate::listen::Gate;
use crate::shutdown::Shutdown;
use crate::sign::Signatures;
use crate::telemetry::Log;

use wire::{Answer, Request};

/// Connections to the control socket that are served at once; others wait.
const CLIENTS_MAX: usize = 16;
/// How long to wait before accepting again after the system refused to.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// How long a client may take to say what it wants. Clients that say nothing must not keep out the
/// operator's.
const ASKING_TIME: Duration = Duration::from_secs(10);
/// How long one request may take in all; a client that stands still holds nothing for longer.
const REQUEST_TIME: Duration = Duration::from_secs(600);

/// Where the control socket of a server is.
#[must_use]
pub fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

/// What the control socket works on.
pub struct Control {
    /// The outside.
    pub world: World,
    /// Records.
    pub log: Arc<Log>,
    /// The queue.
    pub queue: Arc<Queue>,
    /// Who bounces, and knows the current directory.
    pub dispatch: Arc<Dispatch>,
    /// Who knows the limits that hold now.
    pub gate: Arc<Gate>,
    /// Whether the server stops.
    pub shutdown: Shutdown,
    /// Failed logins.
    pub failures: Arc<Failures>,
    /// Reports that came.
    pub feedback: Arc<Feedback>,
    /// What signs mail that is handed in.
    pub signatures: Arc<Signatures>,
    /// Our own name.
    pub hostname: String,
}

impl Control {
    /// Listens on the control socket in `data_dir` and serves it until the server stops.
    ///
    /// # Errors
    /// Whatever the system says to binding it.
    pub fn open(self, data_dir: &Path) -> io::Result<()> {
        let listener = self.world.net.listen(&Endpoint::Unix(socket(data_dir)))?;
        let work = self.world.work.clone();
        work.spawn("control", Box::pin(Arc::new(self).accept(listener)));
        Ok(())
    }

    async fn accept(self: Arc<Self>, listener: Box<dyn Listener>) {
        let places = Arc::new(Semaphore::new(CLIENTS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                biased;
                () = self.shutdown.stopping() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(fault) => {
                    self.log.fault("accepting a control connection", &fault);
                    self.world.clock.sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let control = self.clone();
            let client = async move {
                control.serve(stream).await;
                drop(place);
            };
            self.world.work.spawn("control-client", Box::pin(client));
        }
    }

    async fn serve(&self, mut stream: BoxStream) {
        let answered = async {
            let request: Request = tokio::select! {
                request = wire::read(&mut stream) => request?,
                () = self.world.clock.sleep(ASKING_TIME) => return Ok(()),
            };
            let answer = match request {
                Request::Queue {
                    verb,
                    filter,
                    dry_run,
                } => queue::run(self, &mut stream, verb, &filter, dry_run).await?,
                Request::Failures { clear } => {
                    failures::run(self, &mut stream, clear.as_deref()).await?
                }
                Request::Reports { domain } => reports(self, &mut stream, domain).await?,
                Request::Send { from, recipients } => {
                    send::run(self, &mut stream, from, recipients).await?
                }
            };
            wire::write(&mut stream, &answer).await
        };
        tokio::select! {
            // The client may be gone; it learns nothing then, and nothing is half done.
            _ = answered => {}
            () = self.world.clock.sleep(REQUEST_TIME) => {}
        }
    }
}

/// `posthaste reports`: what others have reported.
async fn reports(
    control: &Control,
    stream: &mut BoxStream,
    domain: Option<String>,
) -> io::Result<Answer> {
    let kept = match control.feedback.received(domain).await {
        Ok(kept) => kept,
        Err(why) => return Ok(failed(why)),
    };
    for report in &kept {
        wire::write(stream, &Answer::Report(report.clone())).await?;
    }
    Ok(Answer::Done(u64::try_from(kept.len()).unwrap_or(u64::MAX)))
}

fn failed(why: impl std::fmt::Display) -> Answer {
    Answer::Failed(why.to_string())
}
