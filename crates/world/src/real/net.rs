//! TCP and Unix-domain sockets of the operating system.
//!
//! TCP streams have `TCP_NODELAY` set: we write whole groups at once, so waiting for more would
//! only cost time. There is no time limit in here; the caller sets it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};

use crate::BoxFuture;
use crate::net::{self, BoxStream, Endpoint};

/// Connections that the system keeps for us until we accept them; it may allow fewer
/// (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;

/// The network of production.
pub(super) struct Net;

impl net::Net for Net {
    fn listen(&self, at: &Endpoint) -> io::Result<Box<dyn net::Listener>> {
        match at {
            Endpoint::Tcp(address) => listen_tcp(*address),
            Endpoint::Unix(path) => listen_unix(path),
        }
    }

    fn open_to_all(&self, path: &Path) -> io::Result<()> {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
    }

    fn connect<'a>(
        &'a self,
        to: &'a Endpoint,
        from: Option<IpAddr>,
    ) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            match to {
                Endpoint::Tcp(address) => connect_tcp(*address, from).await,
                Endpoint::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?) as BoxStream),
            }
        })
    }
}

async fn connect_tcp(to: SocketAddr, from: Option<IpAddr>) -> io::Result<BoxStream> {
    let socket = socket(&to)?;
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

fn socket(address: &SocketAddr) -> io::Result<TcpSocket> {
    if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }
}

fn listen_tcp(address: SocketAddr) -> io::Result<Box<dyn net::Listener>> {
    let socket = socket(&address)?;
    // Without it a restart could not listen while old connections linger.
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let local = Endpoint::Tcp(canonical(listener.local_addr()?));
    Ok(Box::new(Tcp { listener, local }))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

struct Tcp {
    listener: TcpListener,
    local: Endpoint,
}

impl net::Listener for Tcp {
    fn accept(&self) -> BoxFuture<'_, io::Result<(BoxStream, Endpoint)>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((
                Box::new(stream) as BoxStream,
                Endpoint::Tcp(canonical(peer)),
            ))
        })
    }

    fn local(&self) -> Endpoint {
        self.local.clone()
    }
}

/// The socket is made under another name, closed to others, and only then moved to `path`: nobody
/// can connect before its mode is right, and a stale file is replaced in one step.
fn listen_unix(path: &Path) -> io::Result<Box<dyn net::Listener>> {
    refuse_to_replace(path)?;
    let beginning = beginning(path);
    match std::fs::remove_file(&beginning) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&beginning)?;
    let moved = std::fs::set_permissions(&beginning, std::fs::Permissions::from_mode(0o600))
        .and_then(|()| std::fs::rename(&beginning, path));
    if let Err(e) = moved {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&beginning);
        return Err(e);
    }
    Ok(Box::new(Unix {
        listener,
        path: path.to_owned(),
    }))
}

/// A socket that somebody listens on stays, and so does whatever is not a socket.
fn refuse_to_replace(path: &Path) -> io::Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    if !metadata.file_type().is_socket() {
        let why = "a file that is not a socket has this name";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// The name of a socket that is not ready: short, since the system allows 107 octets.
fn beginning(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("+");
    PathBuf::from(name)
}

struct Unix {
    listener: UnixListener,
    path: PathBuf,
}

impl net::Listener for Unix {
    /// Peers have no name of their own, so they are given the listener's.
    fn accept(&self) -> BoxFuture<'_, io::Result<(BoxStream, Endpoint)>> {
        Box::pin(async move {
            let (stream, _) = self.listener.accept().await?;
            Ok((Box::new(stream) as BoxStream, self.local()))
        })
    }

    fn local(&self) -> Endpoint {
        Endpoint::Unix(self.path.clone())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::net::Net as _;

    async fn speak(at: &Endpoint) -> Endpoint {
        let listener = Net.listen(at).unwrap();
        let local = listener.local();
        let (client, server) = tokio::join!(Net.connect(&local, None), listener.accept());
        let (mut client, (mut server, peer)) = (client.unwrap(), server.unwrap());
        client.write_all(b"hello").await.unwrap();
        client.shutdown().await.unwrap();
        let mut said = Vec::new();
        server.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"hello");
        peer
    }

    fn tcp(address: &str) -> Endpoint {
        Endpoint::Tcp(address.parse().unwrap())
    }

    #[tokio::test]
    async fn tcp_streams_carry_octets_and_name_the_peer() {
        let peer = speak(&tcp("127.0.0.1:0")).await;
        assert_eq!(peer.ip(), Some("127.0.0.1".parse().unwrap()));
    }

    #[tokio::test]
    async fn ipv4_and_ipv6_may_share_a_port() {
        let Ok(six) = Net.listen(&tcp("[::]:0")) else {
            println!("SKIP no IPv6 on this machine");
            return;
        };
        let Endpoint::Tcp(six) = six.local() else {
            panic!("not TCP");
        };
        // Were the first socket for both families, this would say that the port is in use.
        let four = Endpoint::Tcp(SocketAddr::new("0.0.0.0".parse().unwrap(), six.port()));
        assert!(Net.listen(&four).is_ok());
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error_that_says_so() {
        let first = Net.listen(&tcp("127.0.0.1:0")).unwrap();
        let second = Net.listen(&first.local()).err().unwrap();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn a_stream_leaves_from_the_address_it_was_told_to() {
        let listener = Net.listen(&tcp("127.0.0.1:0")).unwrap();
        let (local, from) = (listener.local(), "127.0.0.9".parse().unwrap());
        let (client, server) = tokio::join!(Net.connect(&local, Some(from)), listener.accept());
        client.unwrap();
        assert_eq!(server.unwrap().1.ip(), Some(from));
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let mapped = "[::ffff:192.0.2.1]:25".parse().unwrap();
        assert_eq!(canonical(mapped), "192.0.2.1:25".parse().unwrap());
    }

    #[tokio::test]
    async fn a_unix_socket_is_ours_alone_and_a_stale_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        for _ in 0..2 {
            let peer = speak(&Endpoint::Unix(path.clone())).await;
            assert_eq!(peer, Endpoint::Unix(path.clone()));
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_unix_socket_in_use_and_a_file_are_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, file) = (dir.path().join("socket"), dir.path().join("file"));
        let _first = Net.listen(&Endpoint::Unix(socket.clone())).unwrap();
        let second = Net.listen(&Endpoint::Unix(socket)).err().unwrap();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        std::fs::write(&file, "precious").unwrap();
        let third = Net.listen(&Endpoint::Unix(file.clone())).err().unwrap();
        assert_eq!(third.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(file).unwrap(), b"precious");
    }
}
