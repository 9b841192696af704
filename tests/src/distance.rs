//! A way between two programs that takes time, and on which connections are lost: a proxy in user
//! space, since the round trip of loopback cannot be changed without privileges.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

const STACK: usize = 128 * 1024;

/// A distant server, as long as the test runs.
pub struct Distant {
    /// Where it seems to listen.
    pub address: SocketAddr,
    way: Arc<Way>,
}

struct Way {
    to: SocketAddr,
    /// One way.
    delay: Duration,
    /// Of a thousand pieces, so many reset their connection.
    resets: u64,
    /// What is counted in what the server says.
    counted: &'static [u8],
    count: AtomicUsize,
    connections: AtomicUsize,
    lost: AtomicUsize,
    pieces: AtomicU64,
}

impl Distant {
    /// The server at `to`, `delay` away in each direction.
    ///
    /// # Panics
    /// When the machine has no port left.
    #[must_use]
    pub fn new(to: SocketAddr, delay: Duration, resets: u64, counted: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its number");
        let way = Arc::new(Way {
            to,
            delay,
            resets,
            counted: counted.as_bytes(),
            count: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            pieces: AtomicU64::new(0),
        });
        let shared = way.clone();
        spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let way = shared.clone();
                spawn(move || drop(way.join(&socket)));
            }
        });
        Distant { address, way }
    }

    /// How often the server said what is counted.
    #[must_use]
    pub fn count(&self) -> usize {
        self.way.count.load(Ordering::Relaxed)
    }

    /// Connections so far, and how many of them were reset.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        let all = self.way.connections.load(Ordering::Relaxed);
        (all, self.way.lost.load(Ordering::Relaxed))
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(STACK);
    thread.spawn(work).expect("a thread");
}

impl Way {
    fn join(self: &Arc<Self>, client: &TcpStream) -> std::io::Result<()> {
        let server = TcpStream::connect(self.to)?;
        for socket in [client, &server] {
            socket.set_nodelay(true)?;
        }
        for (from, to, says) in [(client, &server, false), (&server, client, true)] {
            let (pieces, due) = channel();
            let (reader, writer) = (from.try_clone()?, to.try_clone()?);
            let (here, there) = (self.clone(), self.clone());
            let both = [client.try_clone()?, server.try_clone()?];
            spawn(move || here.read(reader, &pieces, says, &both));
            spawn(move || there.write(writer, &due));
        }
        Ok(())
    }

    fn read(
        &self,
        mut from: TcpStream,
        pieces: &Sender<(Instant, Vec<u8>)>,
        says: bool,
        both: &[TcpStream; 2],
    ) {
        let mut buffer = vec![0; 64 * 1024];
        let mut tail = Vec::new();
        while let Ok(n) = from.read(&mut buffer) {
            if n == 0 {
                break;
            }
            if says {
                tail.extend_from_slice(&buffer[..n]);
                let found = tail.windows(self.counted.len());
                let found = found.filter(|window| *window == self.counted).count();
                self.count.fetch_add(found, Ordering::Relaxed);
                // The rest is shorter than what is counted.
                let keep = tail.len().min(self.counted.len().saturating_sub(1));
                tail.drain(..tail.len() - keep);
            }
            if self.unlucky() {
                self.lost.fetch_add(1, Ordering::Relaxed);
                for socket in both {
                    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
                    let _ = socket.shutdown(Shutdown::Both);
                }
                return;
            }
            if pieces
                .send((Instant::now() + self.delay, buffer[..n].to_vec()))
                .is_err()
            {
                return;
            }
        }
    }

    fn write(&self, mut to: TcpStream, due: &Receiver<(Instant, Vec<u8>)>) {
        while let Ok((at, piece)) = due.recv() {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                return;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    /// Every so-many-th piece, whatever connection it belongs to: so there are always some.
    fn unlucky(&self) -> bool {
        let piece = self.pieces.fetch_add(1, Ordering::Relaxed) + 1;
        self.resets > 0 && piece.is_multiple_of(1000 / self.resets)
    }
}
