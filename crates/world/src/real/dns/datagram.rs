//! A UDP socket that hears when nobody listens at the other end.
//!
//! The runtime wakes a reader for data only, so a plain socket would learn of a closed port no
//! sooner than at the end of its patience.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use domain::net::client::protocol::{AsyncConnect, AsyncDgramRecv, AsyncDgramSend};
use tokio::io::{Interest, ReadBuf};
use tokio::net::UdpSocket;

/// Makes a socket, and so a source port, for every question to one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagrams(pub(super) SocketAddr);

type Waiting<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + Sync>>;

pub(super) struct Socket {
    socket: Arc<UdpSocket>,
    /// Ends when the socket has an error to tell.
    failing: Mutex<Pin<Box<dyn Future<Output = io::Error> + Send>>>,
}

impl AsyncConnect for Datagrams {
    type Connection = Socket;
    type Fut = Waiting<Socket>;

    fn connect(&self) -> Waiting<Socket> {
        Box::pin(open(self.0))
    }
}

async fn open(server: SocketAddr) -> io::Result<Socket> {
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        SocketAddr::V6(_) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
    };
    let socket = Arc::new(UdpSocket::bind(any).await?);
    socket.connect(server).await?;
    let watched = socket.clone();
    let failing = async move {
        match watched.ready(Interest::ERROR).await {
            Err(e) => e,
            Ok(_) => match watched.take_error() {
                Ok(Some(e)) | Err(e) => e,
                Ok(None) => std::future::pending().await,
            },
        }
    };
    Ok(Socket {
        socket,
        failing: Mutex::new(Box::pin(failing)),
    })
}

impl AsyncDgramRecv for Socket {
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), io::Error>> {
        if let Poll::Ready(result) = self.socket.poll_recv(cx, buf) {
            return Poll::Ready(result);
        }
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        failing.as_mut().poll(cx).map(Err)
    }
}

impl AsyncDgramSend for Socket {
    fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize, io::Error>> {
        self.socket.poll_send(cx, buf)
    }
}
