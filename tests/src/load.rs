//! Load for the benchmarks: many clients that send at once, and a next hop that counts.
//!
//! One thread a connection, with a small stack, so that what is measured is mostly the
//! program between the two. The sink takes whatever it is given: it is **not** a
//! test of the protocol, and keeps no message.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Room for a thread that only moves octets.
const STACK: usize = 128 * 1024;
/// A peer that is silent for so long ends the benchmark.
const SILENCE: Duration = Duration::from_secs(120);
/// Connections that may wait to be accepted.
const QUEUE: i32 = 4096;
const END_OF_DATA: &[u8] = b"\r\n.\r\n";

/// A next hop that accepts all mail, counts it and forgets it.
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    taken: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Sink {
    /// Listens at `address`; port 0 is one of the system's choice.
    ///
    /// # Panics
    /// When it cannot listen there.
    #[must_use]
    pub fn start(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("an address for the sink");
        // A thousand clients come at once; the standard queue holds 128.
        rustix::net::listen(&listener, QUEUE).expect("a longer queue");
        let sink = Sink {
            address: listener.local_addr().expect("its address"),
            taken: Arc::default(),
            over: Arc::default(),
        };
        let (taken, over) = (sink.taken.clone(), sink.over.clone());
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let taken = taken.clone();
                spawn(move || drop(take(socket, &taken)));
            }
        });
        sink
    }

    /// How many messages it has taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the listener, so that it sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(STACK);
    thread.spawn(work).expect("a thread");
}

/// One connection of the sink, until the client goes.
fn take(mut socket: TcpStream, taken: &AtomicUsize) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.write_all(b"220 sink.example ESMTP\r\n")?;
    let mut buffer = vec![0; 64 * 1024];
    let (mut filled, mut in_data) = (0, false);
    let mut replies = Vec::with_capacity(512);
    loop {
        let more = socket.read(&mut buffer[filled..])?;
        if more == 0 {
            return Ok(());
        }
        filled += more;
        let mut done = 0;
        loop {
            let rest = &buffer[done..filled];
            if in_data {
                let Some(end) = find(rest, END_OF_DATA) else {
                    // What may be the beginning of the end stays.
                    done = filled.saturating_sub(END_OF_DATA.len() - 1).max(done);
                    break;
                };
                done += end + END_OF_DATA.len();
                in_data = false;
                taken.fetch_add(1, Ordering::Relaxed);
                replies.extend_from_slice(b"250 2.0.0 taken\r\n");
            } else {
                let Some(end) = find(rest, b"\r\n") else {
                    break;
                };
                let verb: &[u8] = rest.get(..4).unwrap_or_default();
                let reply: &[u8] = match verb {
                    b"EHLO" => b"250-sink.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
                    b"DATA" => b"354 go on\r\n",
                    b"QUIT" => b"221 bye\r\n",
                    _ => b"250 ok\r\n",
                };
                in_data = verb == b"DATA";
                replies.extend_from_slice(reply);
                done += end + 2;
            }
        }
        buffer.copy_within(done..filled, 0);
        filled -= done;
        if !replies.is_empty() {
            socket.write_all(&replies)?;
            replies.clear();
        }
    }
}

fn find(within: &[u8], what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    let mut from = 0;
    while let Some(at) = within[from..].iter().position(|&octet| octet == first) {
        if within[from + at..].starts_with(what) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// Messages to send, and how.
#[derive(Clone, Copy)]
pub struct Load<'a> {
    /// The server.
    pub to: SocketAddr,
    /// Clients that send at once, each over one connection at a time.
    pub clients: usize,
    /// Messages in all.
    pub messages: usize,
    /// Messages before a client opens a new connection.
    pub each_connection: usize,
    /// The recipient of message number `n`.
    pub recipient: &'a (dyn Fn(usize) -> String + Sync),
    /// The message, with CRLF; must end with a line end and have no line that begins with a dot.
    pub message: &'a [u8],
}

impl Load<'_> {
    /// Sends all; returns when the last has its 250.
    ///
    /// # Panics
    /// When the server gives another answer, or none.
    pub fn send(self) {
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..self.clients {
                let thread = thread::Builder::new().stack_size(STACK);
                let client = || {
                    let ended = self.client(&next);
                    assert!(ended.is_ok(), "a client of {}: {ended:?}", self.to);
                };
                thread.spawn_scoped(scope, client).expect("a thread");
            }
        });
    }

    fn client(self, next: &AtomicUsize) -> std::io::Result<()> {
        let mut line = String::new();
        loop {
            let mut number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.messages {
                return Ok(());
            }
            let mut socket = TcpStream::connect(self.to)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(SILENCE))?;
            let mut replies = BufReader::new(socket.try_clone()?);
            expect(&mut replies, &mut line, "220")?;
            socket.write_all(b"EHLO client.example\r\n")?;
            expect(&mut replies, &mut line, "250")?;
            for nth in 1.. {
                let to = (self.recipient)(number);
                let begin =
                    format!("MAIL FROM:<load@client.example>\r\nRCPT TO:<{to}>\r\nDATA\r\n");
                socket.write_all(begin.as_bytes())?;
                for code in ["250", "250", "354"] {
                    expect(&mut replies, &mut line, code)?;
                }
                socket.write_all(self.message)?;
                socket.write_all(b".\r\n")?;
                expect(&mut replies, &mut line, "250")?;
                if nth >= self.each_connection {
                    break;
                }
                number = next.fetch_add(1, Ordering::Relaxed);
                if number >= self.messages {
                    break;
                }
            }
            socket.write_all(b"QUIT\r\n")?;
            expect(&mut replies, &mut line, "221")?;
        }
    }
}

/// Reads one reply to its last line.
fn expect(replies: &mut impl BufRead, line: &mut String, code: &str) -> std::io::Result<()> {
    loop {
        line.clear();
        if replies.read_line(line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if !line.starts_with(code) {
            return Err(std::io::Error::other(line.clone()));
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}
