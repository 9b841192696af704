//! A simulated network: hosts with one IPv4 address each, streams between them.
//!
//! * What is written arrives later, in order, in pieces of any size.
//! * A connection may be reset at any write: then what is under way, and what was not read, is
//!   lost, for both ends.
//! * A link between two hosts may be cut for a while: nothing arrives until it is mended, and
//!   nobody is told.
//! * A host without power sends nothing, not even the end of its streams; one whose process was
//!   killed closes them.
//!
//! It does **not** lose, repeat or reorder octets of a stream: TCP does not either.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use posthaste_world::net::{Endpoint, Listener};
use posthaste_world::{BoxFuture, BoxStream, Clock, Net, Timer, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::letter;
use super::meddler::{Meddler, STARTTLS};
use crate::clock::{Alarm, SimClock};
use crate::rng::Rng;
use crate::trace::Trace;

/// Octets under way in one direction before a writer has to wait.
const WINDOW: usize = 128 * 1024;
/// Connections that wait to be accepted; further ones are refused.
const BACKLOG: usize = 128;

/// How the network is, for now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    /// Longest way of a piece, in milliseconds.
    pub(super) latency_ms: u64,
    /// Of a thousand writes, so many reset their connection.
    pub(super) resets: u64,
    /// Of a thousand reads, so many get a few octets only.
    pub(super) crumbs: u64,
    /// Of a thousand connections between hosts that speak TLS, somebody meddles with so many.
    pub(super) meddling: u64,
}

/// A simulated network. Clones are the same network.
#[derive(Clone)]
pub(super) struct SimNet {
    state: Arc<Mutex<State>>,
    clock: SimClock,
}

struct State {
    rng: Rng,
    weather: Weather,
    ears: BTreeMap<(IpAddr, Endpoint), Arc<Mutex<Ear>>>,
    /// Pairs of hosts between which nothing arrives, and since when.
    cut: BTreeMap<(IpAddr, IpAddr), Timestamp>,
    /// Hosts without power.
    dark: BTreeSet<IpAddr>,
    next_port: u16,
    /// Streams by the host that made them and the host they lead to.
    open: BTreeMap<(IpAddr, IpAddr), usize>,
    /// Ways over which content passed in clear.
    clear: BTreeSet<(IpAddr, IpAddr)>,
    /// Connections that were reset since somebody asked.
    resets: Vec<(IpAddr, IpAddr)>,
    trace: Trace,
}

/// What connects to a listener.
struct Ear {
    waiting: VecDeque<(End, Endpoint)>,
    waker: Option<Waker>,
    closed: bool,
}

impl SimNet {
    pub(super) fn new(clock: SimClock, rng: Rng, trace: Trace) -> Self {
        let state = State {
            rng,
            weather: Weather::default(),
            ears: BTreeMap::new(),
            cut: BTreeMap::new(),
            dark: BTreeSet::new(),
            next_port: 20_000,
            open: BTreeMap::new(),
            clear: BTreeSet::new(),
            resets: Vec::new(),
            trace,
        };
        let state = Arc::new(Mutex::new(state));
        SimNet { state, clock }
    }

    /// The door of a host.
    pub(super) fn door(&self, host: IpAddr) -> Arc<Door> {
        let net = self.clone();
        Arc::new(Door { net, host })
    }

    pub(super) fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// Cuts the link between two hosts.
    pub(super) fn cut(&self, a: IpAddr, b: IpAddr) {
        let now = self.clock.now();
        let mut state = self.state();
        for link in [(a, b), (b, a)] {
            state.cut.entry(link).or_insert(now);
        }
    }

    /// Since when two hosts are cut off from each other, if they are.
    pub(super) fn cut_since(&self, a: IpAddr, b: IpAddr) -> Option<Timestamp> {
        self.state().cut.get(&(a, b)).copied()
    }

    /// Mends all links.
    pub(super) fn mend(&self) {
        self.state().cut.clear();
    }

    /// The power of a host goes, or comes back.
    pub(super) fn set_power(&self, host: IpAddr, on: bool) {
        let mut state = self.state();
        if on {
            state.dark.remove(&host);
            return;
        }
        state.dark.insert(host);
        state.ears.retain(|(at, _), _| *at != host);
    }

    /// Streams that `from` made to `to` and has not closed.
    pub(super) fn open_streams(&self, from: IpAddr, to: IpAddr) -> usize {
        self.state().open.get(&(from, to)).copied().unwrap_or(0)
    }

    /// Whether content ever passed in clear over connections that one host made to another.
    pub(super) fn seen_in_clear(&self, way: (IpAddr, IpAddr)) -> bool {
        self.state().clear.contains(&way)
    }

    /// The hosts whose connections were reset since the last time.
    pub(super) fn take_resets(&self) -> Vec<(IpAddr, IpAddr)> {
        std::mem::take(&mut self.state().resets)
    }

    /// What happened so far.
    pub(super) fn trace(&self) -> Trace {
        self.state().trace.clone()
    }

    /// Notes something in the record of the run.
    pub(super) fn note(&self, words: &[u64], text: impl FnOnce() -> String) {
        let at = self.clock.now().as_millis();
        let mut state = self.state();
        state.trace.note(&[at]);
        state.trace.note(words);
        state.trace.line(|| {
            let ms = self.clock.elapsed().as_millis();
            format!("{:8}.{:03} {}", ms / 1000, ms % 1000, text())
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        crate::locked(&self.state)
    }

    /// When a piece that leaves now arrives.
    fn arrival(&self, (from, to): (IpAddr, IpAddr)) -> Timestamp {
        let mut state = self.state();
        let latency = state.weather.latency_ms;
        let ms = if from == to {
            0
        } else {
            state.rng.below(latency + 1)
        };
        self.clock.now() + Duration::from_millis(ms)
    }
}

impl State {
    fn port(&mut self) -> u16 {
        self.next_port = self.next_port.checked_add(1).unwrap_or(20_000);
        self.next_port
    }

    fn is_cut(&self, a: IpAddr, b: IpAddr) -> bool {
        self.cut.contains_key(&(a, b)) || self.dark.contains(&a) || self.dark.contains(&b)
    }
}

/// The net door of one host.
pub(super) struct Door {
    net: SimNet,
    host: IpAddr,
}

impl Net for Door {
    fn listen(&self, at: &Endpoint) -> io::Result<Box<dyn Listener>> {
        let mut state = self.net.state();
        let key = (self.host, at.clone());
        if state.ears.contains_key(&key) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let ear = Arc::new(Mutex::new(Ear {
            waiting: VecDeque::new(),
            waker: None,
            closed: false,
        }));
        state.ears.insert(key, ear.clone());
        Ok(Box::new(Listening {
            net: self.net.clone(),
            host: self.host,
            at: at.clone(),
            ear,
        }))
    }

    fn open_to_all(&self, _: &std::path::Path) -> std::io::Result<()> {
        Ok(())
    }

    fn connect<'a>(
        &'a self,
        to: &'a Endpoint,
        _: Option<IpAddr>,
    ) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            let there = to.ip().unwrap_or(self.host);
            let arrives = self.net.arrival((self.host, there));
            let mut way = self.net.clock.alarm();
            way.set_at(arrives);
            way.await;
            if self.net.state().is_cut(self.host, there) {
                std::future::pending::<()>().await;
            }
            self.join(to, there)
        })
    }
}

impl Door {
    fn join(&self, to: &Endpoint, there: IpAddr) -> io::Result<BoxStream> {
        let mut state = self.net.state();
        let Some(ear) = state.ears.get(&(there, to.clone())).cloned() else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let mut ear = crate::locked(&ear);
        if ear.closed || ear.waiting.len() >= BACKLOG {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let peer = match to {
            Endpoint::Tcp(_) => Endpoint::Tcp(SocketAddr::new(self.host, state.port())),
            Endpoint::Unix(_) => to.clone(),
        };
        *state.open.entry((self.host, there)).or_default() += 1;
        let meddling = state.weather.meddling;
        let meddler = (meddling > 0 && state.rng.chance(meddling)).then(|| {
            let number = state.rng.index(Meddler::ALL.len());
            Meddler::ALL.get(number).copied().unwrap_or(Meddler::Strips)
        });
        drop(state);
        let wire = Arc::new(Mutex::new(Wire {
            meddler,
            ..Wire::default()
        }));
        let end = |side, hosts| End {
            net: self.net.clone(),
            wire: wire.clone(),
            side,
            hosts,
            alarm: self.net.clock.alarm(),
        };
        ear.waiting.push_back((end(1, (there, self.host)), peer));
        if let Some(waker) = ear.waker.take() {
            waker.wake();
        }
        Ok(Box::new(end(0, (self.host, there))))
    }
}

struct Listening {
    net: SimNet,
    host: IpAddr,
    at: Endpoint,
    ear: Arc<Mutex<Ear>>,
}

impl Listener for Listening {
    fn accept(&self) -> BoxFuture<'_, io::Result<(BoxStream, Endpoint)>> {
        Box::pin(std::future::poll_fn(|cx| {
            let mut ear = crate::locked(&self.ear);
            match ear.waiting.pop_front() {
                Some((end, peer)) => Poll::Ready(Ok((Box::new(end) as BoxStream, peer))),
                None => {
                    ear.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        }))
    }

    fn local(&self) -> Endpoint {
        self.at.clone()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let waiting = {
            let mut ear = crate::locked(&self.ear);
            ear.closed = true;
            std::mem::take(&mut ear.waiting)
        };
        drop(waiting);
        let key = (self.host, self.at.clone());
        let mut state = self.net.state();
        if state
            .ears
            .get(&key)
            .is_some_and(|ear| Arc::ptr_eq(ear, &self.ear))
        {
            state.ears.remove(&key);
        }
    }
}

/// The two directions of a stream; `lanes[side]` carries what that side writes.
#[derive(Default)]
struct Wire {
    lanes: [Lane; 2],
    /// Ends that exist no more.
    gone: [bool; 2],
    reset: bool,
    /// Who stands between the two.
    meddler: Option<Meddler>,
    /// The side that connected has said STARTTLS.
    turns: bool,
}

#[derive(Default)]
struct Lane {
    pieces: VecDeque<(Timestamp, Vec<u8>)>,
    octets: usize,
    /// When the end arrives.
    end: Option<Timestamp>,
    last: Timestamp,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Lane {
    fn wake(&mut self) {
        let wakers = [self.reader.take(), self.writer.take()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

/// One end of a stream.
struct End {
    net: SimNet,
    wire: Arc<Mutex<Wire>>,
    side: usize,
    /// This end's host, and the other's.
    hosts: (IpAddr, IpAddr),
    alarm: Alarm,
}

impl Wire {
    fn lane(&mut self, side: usize) -> &mut Lane {
        let [a, b] = &mut self.lanes;
        if side == 0 { a } else { b }
    }

    fn reset(&mut self) {
        self.reset = true;
        for lane in &mut self.lanes {
            lane.pieces.clear();
            lane.octets = 0;
            lane.wake();
        }
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let end = self.get_mut();
        let (now, cut, most) = {
            let mut state = end.net.state();
            let (weather, hosts) = (state.weather, end.hosts);
            let crumb = weather.crumbs > 0 && state.rng.chance(weather.crumbs);
            let few = 1 + state.rng.index(8);
            let most = if crumb { few } else { usize::MAX };
            let cut = state.is_cut(hosts.0, hosts.1);
            (end.net.clock.now(), cut, most)
        };
        let mut wire = crate::locked(&end.wire);
        if wire.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let lane = wire.lane(1 - end.side);
        lane.reader = Some(cx.waker().clone());
        if cut {
            // Looked at again when the link may have been mended.
            end.alarm.set_at(now + Duration::from_secs(1));
            drop(wire);
            let _ = end.alarm.poll_expired(cx);
            return Poll::Pending;
        }
        let arrives = lane.pieces.front().map(|(at, _)| *at).or(lane.end);
        let Some(arrives) = arrives else {
            return Poll::Pending;
        };
        if arrives > now {
            end.alarm.set_at(arrives);
            drop(wire);
            let _ = end.alarm.poll_expired(cx);
            return Poll::Pending;
        }
        let Some((_, piece)) = lane.pieces.front_mut() else {
            return Poll::Ready(Ok(()));
        };
        let n = piece.len().min(buf.remaining()).min(most);
        buf.put_slice(piece.get(..n).unwrap_or_default());
        piece.drain(..n);
        if piece.is_empty() {
            lane.pieces.pop_front();
        }
        lane.octets = lane.octets.saturating_sub(n);
        if let Some(writer) = lane.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let end = self.get_mut();
        let arrives = end.net.arrival(end.hosts);
        let (here_dark, there_dark, resets) = {
            let mut state = end.net.state();
            let resets = state.weather.resets;
            let tcp = end.hosts.0 != end.hosts.1;
            let resets = tcp && resets > 0 && state.rng.chance(resets);
            if resets {
                state.resets.push(end.hosts);
            }
            let dark = |host| state.dark.contains(&host);
            (dark(end.hosts.0), dark(end.hosts.1), resets)
        };
        if here_dark {
            // Nobody hears a host without power, and it does not live to see that.
            return Poll::Pending;
        }
        let mut wire = crate::locked(&end.wire);
        if resets && !wire.reset {
            wire.reset();
        }
        if wire.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if !there_dark && wire.gone.get(1 - end.side) == Some(&true) {
            // The other host does not know this stream (any more).
            wire.reset();
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let lane = wire.lane(end.side);
        if lane.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if lane.octets >= WINDOW {
            lane.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        lane.last = lane.last.max(arrives);
        let last = lane.last;
        let through = match wire.meddler {
            Some(meddler) => meddler.meddle(end.side, octets, wire.turns),
            None => octets.to_vec(),
        };
        wire.turns |= end.side == 0 && octets == STARTTLS;
        let lane = wire.lane(end.side);
        let len = u64::try_from(through.len()).unwrap_or(u64::MAX);
        lane.octets += through.len();
        lane.pieces.push_back((last, through));
        if let Some(reader) = lane.reader.take() {
            reader.wake();
        }
        drop(wire);
        if end.side == 0 && letter::is_within(octets) {
            end.net.state().clear.insert(end.hosts);
        }
        end.net.note(&[0x3e7, len], || {
            format!("{} to {}: {len} octets", end.hosts.0, end.hosts.1)
        });
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().finish();
        Poll::Ready(Ok(()))
    }
}

impl End {
    /// Says that nothing more comes from this end.
    fn finish(&mut self) {
        let arrives = self.net.arrival(self.hosts);
        let mut wire = crate::locked(&self.wire);
        let lane = wire.lane(self.side);
        if lane.end.is_none() {
            lane.last = lane.last.max(arrives);
            lane.end = Some(lane.last);
            lane.wake();
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if self.side == 0 {
            let mut state = self.net.state();
            if let Some(open) = state.open.get_mut(&self.hosts) {
                *open = open.saturating_sub(1);
            }
        }
        let dark = self.net.state().dark.contains(&self.hosts.0);
        if !dark {
            self.finish();
        }
        let mut wire = crate::locked(&self.wire);
        if let Some(gone) = wire.gone.get_mut(self.side) {
            *gone = true;
        }
        // What nobody will read any more is answered with a reset.
        if !dark && wire.lane(1 - self.side).octets > 0 {
            wire.reset();
        }
        wire.lane(1 - self.side).wake();
    }
}
