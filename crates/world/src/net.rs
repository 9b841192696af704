//! The net door: listening, connecting, and boxed streams.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::BoxFuture;

/// Where a stream begins or ends.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Endpoint {
    /// An IP address and a port. Addresses mapped from IPv4 are given as IPv4.
    Tcp(SocketAddr),
    /// A Unix-domain socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// The IP address, when there is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Endpoint::Tcp(a) => Some(a.ip()),
            Endpoint::Unix(_) => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(a) => a.fmt(f),
            Endpoint::Unix(p) => write!(f, "unix:{}", p.display()),
        }
    }
}

/// A stream of octets in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream of whatever kind.
pub type BoxStream = Box<dyn Stream>;

/// The network.
pub trait Net: Send + Sync {
    /// Listens. IPv6 sockets are IPv6 only; a Unix socket's stale file is replaced, and until
    /// [`Net::open_to_all`] only this process's user may connect to it.
    fn listen(&self, at: &Endpoint) -> io::Result<Box<dyn Listener>>;
    /// Lets every user of this machine connect to the Unix socket at `path`.
    fn open_to_all(&self, path: &Path) -> io::Result<()>;
    /// Connects, from the address `from` when given. The caller sets the time limit.
    fn connect<'a>(
        &'a self,
        to: &'a Endpoint,
        from: Option<IpAddr>,
    ) -> BoxFuture<'a, io::Result<BoxStream>>;
}

/// A bound socket.
pub trait Listener: Send + Sync {
    /// The next connection and the peer's end of it. TCP connections have `TCP_NODELAY` set.
    fn accept(&self) -> BoxFuture<'_, io::Result<(BoxStream, Endpoint)>>;
    /// Where it listens; the bound port when port 0 was asked for.
    fn local(&self) -> Endpoint;
}
