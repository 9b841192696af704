//! One connection: moves octets between a peer's stream and a session, exchanges the stream for an
//! encrypted one when TLS begins, and owns the peer's patience.
//!
//! The end of TLS is the end of the connection: the stream in clear is inside the encrypted one and
//! nothing can reach it any more.
//!
//! It does **not** know the protocol: what the octets mean is the session's business.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use posthaste_smtp::reply::Reply;
use posthaste_smtp::server::{Closed, Session};
use posthaste_world::net::Endpoint;
use posthaste_world::{BoxStream, Timer};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::pace::Slow;
use crate::shutdown::Shutdown;
use crate::tls::server::Acceptor;
use crate::tls::{Facts, Failed};

/// How long a peer may take to accept our replies. A peer that never reads holds nothing for
/// longer.
const WRITE_TIME: Duration = Duration::from_secs(60);

/// Why a connection ended without the session's consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disconnect {
    /// The peer closed or reset it.
    Lost,
    /// The peer was silent for longer than the session's patience.
    Timeout,
    /// The peer was slower than a limit permits.
    Slow(Slow),
}

/// How much of a peer's patience is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// All of it: the peer has just completed what it was waited for.
    Fresh,
    /// What is left of it: the peer has sent a part only. A command that comes an octet at a time
    /// has no more time than one that does not come.
    Running,
}

/// A peer's stream and what it takes to serve it.
pub struct Connection {
    stream: BoxStream,
    timer: Box<dyn Timer>,
    peer: Endpoint,
    shutdown: Shutdown,
    received: u64,
}

impl Connection {
    /// Takes over an accepted stream.
    #[must_use]
    pub fn new(
        stream: BoxStream,
        timer: Box<dyn Timer>,
        peer: Endpoint,
        shutdown: Shutdown,
    ) -> Self {
        Connection {
            stream,
            timer,
            peer,
            shutdown,
            received: 0,
        }
    }

    /// The other end.
    #[must_use]
    pub fn peer(&self) -> &Endpoint {
        &self.peer
    }

    /// Octets that have come from it.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Sends the greeting. What the peer has sent before it could read it is read first, so that
    /// the session knows an early talker.
    ///
    /// # Errors
    /// The connection is lost, or the peer's time is up.
    pub async fn greet(&mut self, session: &mut Session) -> Result<(), Disconnect> {
        self.timer.set(WRITE_TIME);
        poll_fn(|cx| {
            if let Poll::Ready(Err(end)) = self.poll_read(cx, session) {
                return Poll::Ready(Err(end));
            }
            self.poll_flush(cx, session)
        })
        .await
    }

    /// Sends the replies that are ready, in one write where the kernel takes them at once, then
    /// waits for input. A peer that closes its end is told to the session, and so is a stop of the
    /// server between two transactions, so that both end in order. The peer has no longer than
    /// `most`, however patient the session is.
    ///
    /// # Errors
    /// The connection is lost, or the peer's time is up.
    pub async fn exchange(
        &mut self,
        session: &mut Session,
        patience: Patience,
        most: Duration,
    ) -> Result<(), Disconnect> {
        let replied = self.flush(session).await?;
        if replied || patience == Patience::Fresh {
            self.timer.set(session.patience().min(most));
        }
        let shutdown = self.shutdown.clone();
        let mut stopping = std::pin::pin!(shutdown.stopping());
        let mut listens = !session.in_transaction();
        poll_fn(|cx| {
            if let Poll::Ready(done) = self.poll_read(cx, session) {
                return Poll::Ready(done);
            }
            if listens && stopping.as_mut().poll(cx).is_ready() {
                listens = false;
                let reply = Reply::shutting_down(&session.settings().hostname);
                session.close(reply);
                return Poll::Ready(Ok(()));
            }
            Poll::Pending
        })
        .await
    }

    /// Begins TLS: says what is ready (the reply to STARTTLS), shakes hands, and tells the session
    /// that all begins anew. Whatever the peer sent in clear behind its STARTTLS is no handshake,
    /// and ends the connection.
    ///
    /// # Errors
    /// Why there is no TLS; the peer is gone then, and the session knows it.
    pub async fn secure(
        &mut self,
        session: &mut Session,
        acceptor: &Acceptor,
    ) -> Result<Facts, Failed> {
        let secured = match self.flush(session).await {
            Ok(_) => self.shake_hands(acceptor).await,
            Err(Disconnect::Timeout | Disconnect::Slow(_)) => Err(Failed::Timeout),
            Err(Disconnect::Lost) => Err(Failed::Lost),
        };
        match &secured {
            Ok(_) => session.tls_started(),
            Err(_) => session.peer_closed(),
        }
        secured
    }

    async fn shake_hands(&mut self, acceptor: &Acceptor) -> Result<Facts, Failed> {
        let clear = std::mem::replace(&mut self.stream, Box::new(tokio::io::empty()));
        // Boxed, so that an idle session does not keep room for a handshake.
        let handshake = Box::pin(acceptor.accept(clear));
        let (stream, facts) = tokio::select! {
            biased;
            done = handshake => done?,
            () = self.shutdown.stopping() => return Err(Failed::Refused("the server stops".into())),
        };
        self.stream = stream;
        Ok(facts)
    }

    /// Says the last replies and ends; `end` is how the dialogue ended.
    ///
    /// # Errors
    /// The connection was lost, or the peer's time was up.
    pub async fn farewell(
        &mut self,
        session: &mut Session,
        end: Result<Closed, Disconnect>,
    ) -> Result<Closed, Disconnect> {
        if end == Err(Disconnect::Lost) {
            return end;
        }
        let hostname = &session.settings().hostname;
        let reply = match end {
            Err(Disconnect::Timeout) => Some(Reply::timed_out(hostname)),
            Err(Disconnect::Slow(slow)) => Some(slow.reply(hostname)),
            Err(Disconnect::Lost) | Ok(_) => None,
        };
        if let Some(reply) = reply {
            session.close(reply);
        }
        let said = self.flush(session).await;
        if said.is_ok() {
            self.shut_down().await;
        }
        end.and_then(|end| said.map(|_| end))
    }

    /// Ends our side of the stream, if the peer takes that in time: the end of TLS has to be sent.
    async fn shut_down(&mut self) {
        self.timer.set(WRITE_TIME);
        // The peer may have closed already; there is nothing left to lose.
        let _ = poll_fn(|cx| match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Ready(_) => Poll::Ready(Ok(())),
            Poll::Pending => self.expired(cx),
        })
        .await;
    }

    /// Sends the replies that are ready; whether there were any.
    async fn flush(&mut self, session: &mut Session) -> Result<bool, Disconnect> {
        if session.output().is_empty() {
            return Ok(false);
        }
        self.timer.set(WRITE_TIME);
        poll_fn(|cx| self.poll_flush(cx, session)).await?;
        Ok(true)
    }

    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
    ) -> Poll<Result<(), Disconnect>> {
        while !session.output().is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, session.output()) {
                Poll::Ready(Ok(n)) if n > 0 => session.wrote(n),
                Poll::Ready(_) => return Poll::Ready(Err(Disconnect::Lost)),
                Poll::Pending => return self.expired(cx),
            }
        }
        // TLS takes what is written before the socket does: only here it is seen to wait.
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(done) => Poll::Ready(done.map_err(|_| Disconnect::Lost)),
            Poll::Pending => self.expired(cx),
        }
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
    ) -> Poll<Result<(), Disconnect>> {
        let mut room = ReadBuf::new(session.input_space());
        match Pin::new(&mut self.stream).poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) => {
                let n = room.filled().len();
                if n == 0 {
                    session.peer_closed();
                } else {
                    self.received += n as u64;
                    session.input_filled(n);
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(Disconnect::Lost)),
            Poll::Pending => self.expired(cx),
        }
    }

    /// Ready when the peer's time is up.
    fn expired(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Disconnect>> {
        let expired = self.timer.poll_expired(cx);
        expired.map(|()| Err(Disconnect::Timeout))
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::task::Waker;

    use posthaste_smtp::server::Settings;
    use tokio::io::{AsyncRead, AsyncWrite};

    use super::*;

    /// A peer that reads nothing, as TLS shows it: what is written is taken, and stays there.
    struct Deaf;

    impl AsyncRead for Deaf {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Deaf {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            octets: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(octets.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    /// Goes off as soon as it is set.
    struct AtOnce(bool);

    impl Timer for AtOnce {
        fn set(&mut self, _: Duration) {
            self.0 = true;
        }

        fn poll_expired(&mut self, _: &mut Context<'_>) -> Poll<()> {
            match self.0 {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }
    }

    fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
        std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_peer_that_reads_nothing_holds_no_connection_for_ever() {
        let (timer, peer) = (Box::new(AtOnce(false)), Endpoint::Unix("peer".into()));
        let mut connection = Connection::new(Box::new(Deaf), timer, peer, Shutdown::default());
        let mut session = Session::new(Settings::new("mx.ours.test"));
        assert!(session.next().is_some());
        session.answer(Reply::greeting("mx.ours.test"));
        let waited = poll(connection.exchange(&mut session, Patience::Fresh, Duration::MAX));
        assert_eq!(waited, Poll::Ready(Err(Disconnect::Timeout)));
        // Nothing is left to say, and TLS cannot be ended either.
        let end = poll(connection.farewell(&mut session, Ok(Closed::Quit)));
        assert_eq!(end, Poll::Ready(Ok(Closed::Quit)));
        let end = poll(connection.farewell(&mut session, Err(Disconnect::Timeout)));
        assert_eq!(end, Poll::Ready(Err(Disconnect::Timeout)));
    }
}
