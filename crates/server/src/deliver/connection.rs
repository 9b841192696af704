//! One connection to a next hop: moves octets between a stream and a client session, and owns its
//! patience.
//!
//! A worker keeps its connection between messages. Whatever goes wrong on it ends as an event of
//! the session, so that every begun transaction gets exactly one outcome per recipient.
//!
//! It does **not** know the protocol (the session does), nor which host to try next
//! ([`super::smtp`]).

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use posthaste_smtp::address::ForwardPath;
use posthaste_smtp::client::{Closed, Event, Options, RecipientOutcome, Session, Stage};
use posthaste_smtp::client::{Transaction, Unsuitable};
use posthaste_smtp::extension::Extensions;
use posthaste_smtp::reply::Reply;
use posthaste_world::{BoxStream, Clock, Timer};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::TakenOver;
use super::greeting::Protection;
use super::parcel::Parcel;
use crate::route::NextHop;

/// How long to wait for a connection to be made. The system's own limit is minutes, and there are
/// other addresses to try.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// Transactions on one connection. Servers commonly allow between 100 and 1,000.
pub const TRANSACTIONS_MAX: u32 = 500;
/// How long a connection may stay unused and still be used again. Servers wait at least five
/// minutes (RFC 5321 §4.5.3.2.7), but a slot at theirs is not ours to hold.
pub const IDLE_MAX: Duration = Duration::from_secs(5);
/// How long to wait for the answer to QUIT: nothing depends on it.
pub(super) const QUIT_PATIENCE: Duration = Duration::from_secs(2);
/// Octets of content that gather before they are written, so that a small message with its final
/// dot is one write.
const WRITE_AT: usize = 64 * 1024;

/// Why a host could not be used at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// No connection, or one that was lost before the host was ready; the text says why.
    Unreachable(String),
    /// The host answered, and refused the connection.
    Refused(Stage, Reply),
    /// There is no TLS with it as it must be; our own finding, as a 4yz.
    NoTls(Reply),
    /// It did not take us for who we are, or may not hear it; our own finding, as a 4yz.
    NoLogin(Reply),
}

/// What became of a transaction.
#[derive(Debug)]
pub struct Transacted {
    /// One per recipient, in order.
    pub outcomes: Vec<RecipientOutcome>,
    /// Why the connection ended, when it did; the connection is of no more use then.
    pub lost: Option<String>,
    /// Whether the host got any of the content, so that it may be the content it ended for.
    pub content_begun: bool,
}

/// An open dialogue with a host that is ready for a transaction.
pub struct Connection {
    hop: NextHop,
    pub(super) stream: BoxStream,
    pub(super) timer: Box<dyn Timer>,
    pub(super) session: Session,
    pub(super) peer: Extensions,
    pub(super) protection: Protection,
    transactions: u32,
    /// A message went well on it.
    proven: bool,
    clock: Arc<dyn Clock>,
    used_at: Duration,
    /// Why the stream ended; nothing is read or written any more.
    broken: Option<String>,
}

impl Connection {
    /// A dialogue over a stream that was just opened; the host is not ready yet.
    pub(super) fn new(
        (hop, clock): (NextHop, Arc<dyn Clock>),
        stream: BoxStream,
        timer: Box<dyn Timer>,
        session: Session,
    ) -> Connection {
        Connection {
            hop,
            stream,
            timer,
            session,
            peer: Extensions::default(),
            protection: Protection::default(),
            transactions: 0,
            proven: false,
            used_at: clock.elapsed(),
            clock,
            broken: None,
        }
    }

    /// Where it leads.
    #[must_use]
    pub fn hop(&self) -> &NextHop {
        &self.hop
    }

    /// What the host calls itself.
    #[must_use]
    pub fn peer_name(&self) -> &str {
        &self.peer.name
    }

    /// What of a sender's wishes the host takes over with a message.
    #[must_use]
    pub fn takes_over(&self) -> TakenOver {
        TakenOver {
            reports: self.peer.dsn,
            deliver_by: self.peer.deliver_by.is_some(),
        }
    }

    /// Whether the host can be asked for TLS all the way (RFC 8689 §2).
    #[must_use]
    pub fn offers_require_tls(&self) -> bool {
        self.peer.require_tls && self.protection.tls.is_some()
    }

    /// What protects it.
    #[must_use]
    pub fn protection(&self) -> &Protection {
        &self.protection
    }

    /// How many of `recipients`, from the first on, the host takes in one transaction.
    #[must_use]
    pub fn takes(&self, recipients: &[ForwardPath]) -> usize {
        self.peer.takes(recipients)
    }

    /// Whether another transaction may be begun on it: the host may have named a limit
    /// (RFC 9422 §4.1).
    #[must_use]
    pub fn takes_another(&self) -> bool {
        let most = self.peer.limits.mail_max.unwrap_or(TRANSACTIONS_MAX);
        self.broken.is_none()
            && self.session.can_begin()
            && self.transactions < most.min(TRANSACTIONS_MAX)
    }

    /// Whether another message may be sent on it at `now` (elapsed time).
    #[must_use]
    pub fn is_reusable(&self, now: Duration) -> bool {
        self.takes_another() && now.saturating_sub(self.used_at) <= IDLE_MAX
    }

    /// Whether a message was sent on it before, so that the host may have grown tired of it.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.transactions > 0
    }

    /// Whether a message went well on it.
    #[must_use]
    pub(super) fn is_proven(&self) -> bool {
        self.proven
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// The host cannot take this message; nothing was sent, and the connection is as before.
    pub(super) fn begin(
        &mut self,
        transaction: Transaction,
        options: Options,
    ) -> Result<(), Unsuitable> {
        self.session.begin_with(transaction, options)?;
        self.transactions += 1;
        Ok(())
    }

    /// Notes that it was used just now.
    pub(super) fn used(&mut self) {
        self.used_at = self.clock.elapsed();
    }

    /// Sends one message.
    ///
    /// # Errors
    /// The host cannot take this message; nothing was sent, and the connection is as before.
    pub async fn transact(
        &mut self,
        (transaction, options): (Transaction, Options),
        parcel: &mut Parcel<'_>,
    ) -> Result<Transacted, Unsuitable> {
        self.begin(transaction, options)?;
        let mut done = Transacted {
            outcomes: Vec::new(),
            lost: None,
            content_begun: false,
        };
        loop {
            match self.event().await {
                Some(Event::SendBody) => {
                    done.content_begun = true;
                    self.send_body(parcel).await;
                }
                Some(Event::Finished(all)) => {
                    let accepted = |o: &_| matches!(o, RecipientOutcome::Accepted(_));
                    self.proven |= all.iter().all(accepted);
                    done.outcomes = all;
                    self.used();
                    // A host that also closes says so in the same breath (421), and a session that
                    // can begin again has nothing more to say.
                    if self.session.can_begin() {
                        return Ok(done);
                    }
                }
                Some(Event::Closed(closed)) => {
                    let why = self.why(&closed);
                    self.broken.get_or_insert_with(|| why.clone());
                    done.lost = Some(why);
                    return Ok(done);
                }
                Some(_) if done.outcomes.is_empty() => {}
                Some(_) => return Ok(done),
                None => {
                    done.lost = Some(self.why(&Closed::PeerClosed));
                    return Ok(done);
                }
            }
        }
    }

    /// Streams the content. When it cannot be read, or the host stops taking it, the connection is
    /// cut before the final dot: the host then has no message (RFC 5321 §4.1.1.4).
    pub(super) async fn send_body(&mut self, parcel: &mut Parcel<'_>) {
        parcel.rewind();
        loop {
            let piece = match parcel.next().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(e) => return self.cut(format!("the message cannot be read: {e}")),
            };
            for part in piece.chunks(WRITE_AT) {
                self.session.body(part);
                if self.session.output().len() < WRITE_AT {
                    continue;
                }
                self.timer.set(self.session.patience());
                if let Err(why) = self.write().await {
                    self.hear_last_words().await;
                    return self.cut(why);
                }
            }
        }
        self.session.end_body();
    }

    /// A host that refuses in the midst of the content may have said why before it closed.
    async fn hear_last_words(&mut self) {
        self.timer.set(QUIT_PATIENCE);
        let read = |cx: &mut Context<'_>| match self.poll_read(cx) {
            Poll::Pending => self.poll_patience(cx),
            ready => ready,
        };
        // Silence changes nothing: the connection is lost either way.
        let _ = poll_fn(read).await;
    }

    /// Says QUIT and closes. Nothing is lost when the host does not answer.
    pub async fn close(mut self) {
        if self.broken.is_some() {
            return;
        }
        self.session.quit();
        self.timer.set(QUIT_PATIENCE);
        while self.session.next().is_none() && self.exchange().await.is_ok() {}
    }

    /// The next event; `None` when the session has nothing more to tell.
    pub(super) async fn event(&mut self) -> Option<Event> {
        self.timer.set(self.session.patience());
        loop {
            if let Some(event) = self.session.next() {
                return Some(event);
            }
            if self.broken.is_some() {
                return None;
            }
            if let Err(why) = self.exchange().await {
                self.cut(why);
            }
        }
    }

    pub(super) fn cut(&mut self, why: String) {
        self.broken.get_or_insert(why);
        self.session.peer_closed();
    }

    pub(super) fn why(&self, closed: &Closed) -> String {
        match (closed, &self.broken) {
            (Closed::ShuttingDown(reply), _) => format!("the host closed the connection: {reply}"),
            (Closed::Malformed(_), _) => "the host broke the protocol".to_owned(),
            (Closed::Unsendable, _) => "the message has bare CR, bare LF or NUL".to_owned(),
            (_, Some(why)) => why.clone(),
            _ => "the host closed the connection".to_owned(),
        }
    }

    /// Writes what is to be written.
    pub(super) async fn write(&mut self) -> Result<(), String> {
        poll_fn(|cx| match self.poll_write(cx) {
            Poll::Pending => self.poll_patience(cx),
            ready => ready,
        })
        .await
    }

    /// Writes what is to be written, then reads once.
    pub(super) async fn exchange(&mut self) -> Result<(), String> {
        poll_fn(|cx| {
            // A host that no longer reads may have said why: what it said is heard first.
            let _ = self.poll_write(cx);
            match self.poll_read(cx) {
                Poll::Pending => self.poll_patience(cx),
                ready => ready,
            }
        })
        .await
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        while !self.session.output().is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, self.session.output())) {
                Ok(0) => return Poll::Ready(Err("the host closed the connection".to_owned())),
                Ok(n) => self.session.wrote(n),
                Err(e) => return Poll::Ready(Err(format!("the connection was lost: {e}"))),
            }
        }
        Pin::new(&mut self.stream)
            .poll_flush(cx)
            .map_err(|e| format!("the connection was lost: {e}"))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        let mut room = ReadBuf::new(self.session.input_space());
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room));
        let n = room.filled().len();
        Poll::Ready(match read {
            Ok(()) if n > 0 => {
                self.session.input_filled(n);
                Ok(())
            }
            Ok(()) => Err("the host closed the connection".to_owned()),
            Err(e) => Err(format!("the connection was lost: {e}")),
        })
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        ready!(self.timer.poll_expired(cx));
        let owed = self.session.expected().front().map(|e| format!("{e:?}"));
        let what = owed.map_or_else(|| "to take data".to_owned(), |e| format!("to {e}"));
        Poll::Ready(Err(no_answer(&what, self.session.patience())))
    }
}

pub(super) fn no_answer(to: &str, patience: Duration) -> String {
    format!(
        "the host did not answer {to} within {} s",
        patience.as_secs()
    )
}

/// What `future` gives, or nothing when the timer goes off first.
pub(super) async fn or_expired<T>(
    timer: &mut dyn Timer,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => timer.poll_expired(cx).map(|()| None),
    })
    .await
}
