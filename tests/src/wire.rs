//! What goes over a connection in the clear, as somebody between the two sees it: a proxy that
//! keeps the octets of both sides in their order. It delays and loses nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A way to a server that remembers what it carried.
pub struct Wire {
    /// Where the server seems to listen.
    pub address: SocketAddr,
    carried: Arc<Mutex<Vec<Piece>>>,
}

/// What one side sent before the other one said something.
struct Piece {
    connection: usize,
    by_client: bool,
    octets: Vec<u8>,
}

impl Wire {
    /// A way to the server at `to`.
    ///
    /// # Panics
    /// When the machine has no port left.
    #[must_use]
    pub fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its number");
        let carried = Arc::new(Mutex::new(Vec::new()));
        let kept = carried.clone();
        thread::spawn(move || {
            let clients = listener.incoming().map_while(Result::ok);
            for (connection, client) in clients.enumerate() {
                let Ok(server) = TcpStream::connect(to) else {
                    return;
                };
                for (by_client, from, to) in [(true, &client, &server), (false, &server, &client)] {
                    let ways = (from.try_clone(), to.try_clone());
                    let (Ok(from), Ok(to)) = ways else { return };
                    let kept = kept.clone();
                    thread::spawn(move || carry(&kept, connection, by_client, from, to));
                }
            }
        });
        Wire { address, carried }
    }

    /// Whether some client sent several commands without waiting for the replies between them.
    #[must_use]
    pub fn pipelined(&self) -> bool {
        let commands = |piece: &Piece| {
            let text = String::from_utf8_lossy(&piece.octets).to_ascii_uppercase();
            let mark = |line: &&str| line.starts_with("MAIL FROM:") || line.starts_with("RCPT TO:");
            text.lines().filter(mark).count()
        };
        self.any(|piece| piece.by_client && commands(piece) > 1)
    }

    /// Whether some client sent a message in chunks (RFC 3030).
    #[must_use]
    pub fn chunked(&self) -> bool {
        self.any(|piece| piece.by_client && has(&piece.octets, b"BDAT "))
    }

    /// Whether the server offers `keyword`.
    #[must_use]
    pub fn offers(&self, keyword: &str) -> bool {
        let line = format!("250-{keyword}\r\n");
        let last = format!("250 {keyword}\r\n");
        self.any(|piece| {
            let has = |line: &str| has(&piece.octets, line.as_bytes());
            !piece.by_client && (has(&line) || has(&last))
        })
    }

    fn any(&self, is_so: impl FnMut(&Piece) -> bool) -> bool {
        let carried = self.carried.lock().unwrap_or_else(PoisonError::into_inner);
        carried.iter().any(is_so)
    }
}

fn has(octets: &[u8], wanted: &[u8]) -> bool {
    octets.windows(wanted.len()).any(|window| window == wanted)
}

fn carry(
    kept: &Mutex<Vec<Piece>>,
    connection: usize,
    by_client: bool,
    mut from: TcpStream,
    mut to: TcpStream,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let octets = &buffer[..length];
        // Kept before it is sent: the answer cannot overtake it.
        keep(kept, connection, by_client, octets);
        if to.write_all(octets).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn keep(kept: &Mutex<Vec<Piece>>, connection: usize, by_client: bool, octets: &[u8]) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let last = kept
        .iter_mut()
        .rfind(|piece| piece.connection == connection);
    match last {
        Some(last) if last.by_client == by_client => last.octets.extend_from_slice(octets),
        _ => kept.push(Piece {
            connection,
            by_client,
            octets: octets.to_vec(),
        }),
    }
}
