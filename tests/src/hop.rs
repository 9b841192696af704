//! A next hop that keeps the marks of what it took, and can be frozen. It says nothing about the
//! protocol: real servers stand in [`crate::peer`].

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// A next hop, as long as the test runs.
pub struct NextHop {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Hop>,
}

#[derive(Default)]
struct Hop {
    /// What it says to EHLO.
    hello: String,
    arrived: Mutex<Vec<String>>,
    frozen: Mutex<bool>,
    thawed: Condvar,
}

impl NextHop {
    /// Listens; `keywords` is what it offers.
    ///
    /// # Panics
    /// When the machine has no port left.
    #[must_use]
    pub fn start(keywords: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its number");
        let shared = Arc::new(Hop {
            hello: format!(
                "250-hop.example\r\n250-{}\r\n250 HELP\r\n",
                keywords.join("\r\n250-")
            ),
            ..Hop::default()
        });
        let hop = shared.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let hop = hop.clone();
                std::thread::spawn(move || hop.serve(&socket));
            }
        });
        NextHop { address, shared }
    }

    /// Says nothing more until it is thawed.
    ///
    /// # Panics
    /// When one of its threads has.
    pub fn freeze(&self) {
        *self.shared.frozen.lock().unwrap() = true;
    }

    /// Goes on.
    ///
    /// # Panics
    /// When one of its threads has.
    pub fn thaw(&self) {
        *self.shared.frozen.lock().unwrap() = false;
        self.shared.thawed.notify_all();
    }

    /// The marks of what it took, as often as it did.
    ///
    /// # Panics
    /// When one of its threads has.
    #[must_use]
    pub fn arrived(&self) -> Vec<String> {
        self.shared.arrived.lock().unwrap().clone()
    }
}

/// The mark of a message: its last line.
#[must_use]
pub fn mark(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    text.lines().last().unwrap_or_default().to_owned()
}

impl Hop {
    fn wait_while_frozen(&self) {
        let frozen = self.frozen.lock().unwrap();
        drop(self.thawed.wait_while(frozen, |frozen| *frozen).unwrap());
    }

    fn took(&self, mark: String) {
        self.arrived.lock().unwrap().push(mark);
    }

    /// One connection, until the other side goes.
    fn serve(&self, socket: &TcpStream) -> Option<()> {
        let mut out = socket;
        let mut lines = BufReader::new(socket);
        let mut say = |text: &str| out.write_all(text.as_bytes()).ok();
        say("220 hop.example\r\n")?;
        let mut last = String::new();
        let mut in_data = false;
        loop {
            let mut line = Vec::new();
            if lines.read_until(b'\n', &mut line).ok()? == 0 {
                return None;
            }
            self.wait_while_frozen();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if in_data && line == "." {
                in_data = false;
                self.took(last.clone());
                say("250 2.0.0 taken\r\n")?;
                continue;
            } else if in_data {
                last = line;
                continue;
            }
            match line.get(..4).unwrap_or_default() {
                "EHLO" => say(&self.hello)?,
                "DATA" => {
                    in_data = true;
                    say("354 go on\r\n")?;
                }
                "BDAT" => {
                    let size = line.split(' ').nth(1)?.parse().ok()?;
                    let mut content = vec![0; size];
                    lines.read_exact(&mut content).ok()?;
                    self.took(mark(&content));
                    say("250 2.0.0 taken\r\n")?;
                }
                "QUIT" => return say("221 bye\r\n"),
                _ => say("250 ok\r\n")?,
            }
        }
    }
}
