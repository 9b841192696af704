//! A raw SMTP dialogue: lines out, replies in, nothing checked but what the test checks.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use rustls::{ClientConnection, StreamOwned};

use crate::SOON;
use crate::tls::Trust;

/// One connection.
pub struct Dialogue {
    stream: BufReader<Stream>,
}

/// In clear or in TLS.
enum Stream {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Clear(stream) => stream.read(octets),
            Stream::Tls(stream) => stream.read(octets),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Clear(stream) => stream.write(octets),
            Stream::Tls(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Clear(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

/// What the server said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The code.
    pub code: u16,
    /// The text of each line, without the code.
    pub lines: Vec<String>,
}

impl Dialogue {
    /// Connects, and reads nothing yet.
    ///
    /// # Panics
    /// When nobody accepts the connection.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        Dialogue::over(TcpStream::connect(address).expect("a connection"))
    }

    /// As [`Dialogue::connect`], from an address of this machine.
    ///
    /// # Panics
    /// When nobody accepts the connection, or `from` is not an address of this machine.
    #[must_use]
    pub fn connect_from(from: IpAddr, to: SocketAddr) -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let family = match from {
            IpAddr::V4(_) => AddressFamily::INET,
            IpAddr::V6(_) => AddressFamily::INET6,
        };
        let stream = socket(family, SocketType::STREAM, None).expect("a socket");
        bind(&stream, &SocketAddr::new(from, 0)).expect("an address of this machine");
        connect(&stream, &to).expect("a connection");
        Dialogue::over(TcpStream::from(stream))
    }

    /// Waits longer for each reply than [`SOON`].
    ///
    /// # Panics
    /// When the system does not let it.
    pub fn wait_at_most(&mut self, limit: std::time::Duration) {
        let socket = match self.stream.get_ref() {
            Stream::Clear(stream) => stream,
            Stream::Tls(stream) => &stream.sock,
        };
        socket.set_read_timeout(Some(limit)).expect("a limit");
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(SOON)).expect("a limit");
        stream.set_nodelay(true).expect("no delay");
        Dialogue {
            stream: BufReader::new(Stream::Clear(stream)),
        }
    }

    /// Shakes hands, as after 220 to STARTTLS or on a port of implicit TLS, asking for `name`.
    ///
    /// # Errors
    /// There is no TLS: what rustls or the connection says.
    ///
    /// # Panics
    /// When it is in TLS already, or the server has said something that was not read.
    pub fn secure(self, trust: &Trust, name: &str) -> io::Result<Self> {
        assert!(self.stream.buffer().is_empty(), "octets behind the reply");
        let Stream::Clear(mut stream) = self.stream.into_inner() else {
            panic!("in TLS already");
        };
        let mut connection = trust.connection(name);
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        let stream = Stream::Tls(Box::new(StreamOwned::new(connection, stream)));
        Ok(Dialogue {
            stream: BufReader::new(stream),
        })
    }

    /// As [`Dialogue::open`], and then all again inside of TLS.
    ///
    /// # Panics
    /// When there is no TLS.
    #[must_use]
    pub fn open_tls(address: SocketAddr, trust: &Trust, name: &str) -> Self {
        let mut dialogue = Dialogue::open(address);
        assert_eq!(dialogue.ask("STARTTLS").code, 220);
        let mut dialogue = dialogue.secure(trust, name).expect("TLS");
        assert_eq!(dialogue.ask("EHLO client.example").code, 250);
        dialogue
    }

    /// The connection's TLS.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn tls(&self) -> &ClientConnection {
        match self.stream.get_ref() {
            Stream::Tls(stream) => &stream.conn,
            Stream::Clear(_) => panic!("in clear"),
        }
    }

    /// Connects, reads the greeting, says EHLO.
    ///
    /// # Panics
    /// When the server does not greet.
    #[must_use]
    pub fn open(address: SocketAddr) -> Self {
        let mut dialogue = Dialogue::connect(address);
        assert_eq!(dialogue.answer().code, 220);
        assert_eq!(dialogue.ask("EHLO client.example").code, 250);
        dialogue
    }

    /// As [`Dialogue::open`], with a server that may die.
    #[must_use]
    pub fn try_open(address: SocketAddr) -> Option<Self> {
        Dialogue::try_over(TcpStream::connect(address).ok()?)
    }

    /// As [`Dialogue::try_open`], over a connection that was made.
    #[must_use]
    pub fn try_over(stream: TcpStream) -> Option<Self> {
        stream.set_read_timeout(Some(SOON)).ok()?;
        let mut dialogue = Dialogue {
            stream: BufReader::new(Stream::Clear(stream)),
        };
        dialogue.try_answer()?;
        dialogue.try_ask("EHLO client.example")?;
        Some(dialogue)
    }

    /// Sends octets as they are.
    ///
    /// # Panics
    /// When the connection is lost.
    pub fn send(&mut self, octets: &[u8]) {
        self.stream
            .get_mut()
            .write_all(octets)
            .expect("a connection that takes octets");
    }

    /// Sends octets to a server that may have gone.
    ///
    /// # Errors
    /// It has gone.
    pub fn try_send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(octets)
    }

    /// Says that TLS ends, sends `octets` in clear, and reads what comes in clear: not the answer
    /// to the end of TLS, which is inside of TLS.
    ///
    /// # Panics
    /// When it is in clear already.
    #[must_use]
    pub fn end_tls(self, octets: &[u8]) -> Vec<u8> {
        let Stream::Tls(mut tls) = self.stream.into_inner() else {
            panic!("in clear already");
        };
        tls.conn.send_close_notify();
        let _ = tls.flush();
        // A server that has closed already refuses them.
        let _ = tls.sock.write_all(octets);
        let mut rest = Vec::new();
        let _ = tls.read_to_end(&mut rest);
        let _ = tls.sock.read_to_end(&mut rest);
        rest
    }

    /// The socket alone: the connection stays open, and nothing more is said on it.
    #[must_use]
    pub fn into_socket(self) -> TcpStream {
        match self.stream.into_inner() {
            Stream::Clear(stream) => stream,
            Stream::Tls(tls) => tls.sock,
        }
    }

    /// Sends a command and reads its reply.
    pub fn ask(&mut self, command: &str) -> Answer {
        self.send(format!("{command}\r\n").as_bytes());
        self.answer()
    }

    /// As [`Dialogue::ask`], of a server that may have gone.
    pub fn try_ask(&mut self, command: &str) -> Option<Answer> {
        let stream = self.stream.get_mut();
        stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        self.try_answer()
    }

    /// Reads one reply.
    ///
    /// # Panics
    /// When what comes is no reply.
    pub fn answer(&mut self) -> Answer {
        self.try_answer().expect("a reply")
    }

    /// Reads one reply; none when the connection ends before it.
    pub fn try_answer(&mut self) -> Option<Answer> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).ok()?;
            let text = line.strip_suffix("\r\n")?;
            let code = text.get(..3)?.parse().ok()?;
            lines.push(text.get(4..).unwrap_or_default().to_owned());
            if text.get(3..4) != Some("-") {
                return Some(Answer { code, lines });
            }
        }
    }

    /// Sends a whole message in one transaction and gives the reply to its final dot.
    ///
    /// # Panics
    /// When a command before it is refused.
    pub fn deliver(&mut self, from: &str, to: &[&str], message: &[u8]) -> Answer {
        assert_eq!(self.ask(&format!("MAIL FROM:<{from}>")).code, 250);
        for recipient in to {
            assert_eq!(
                self.ask(&format!("RCPT TO:<{recipient}>")).code,
                250,
                "{recipient}"
            );
        }
        assert_eq!(self.ask("DATA").code, 354);
        self.send(&stuffed(message));
        self.answer()
    }

    /// As [`Dialogue::deliver`] with one recipient, in one write, with a server that may die: none
    /// when the connection ends before the last reply. The reply is the first refusal, or the last.
    pub fn try_deliver(&mut self, from: &str, to: &str, message: &[u8]) -> Option<Answer> {
        let commands = format!("MAIL FROM:<{from}>\r\nRCPT TO:<{to}>\r\nDATA\r\n");
        self.stream.get_mut().write_all(commands.as_bytes()).ok()?;
        let (mail, recipient, data) = (self.try_answer()?, self.try_answer()?, self.try_answer()?);
        if data.code != 354 {
            return [mail, recipient, data]
                .into_iter()
                .find(|answer| answer.code >= 400);
        }
        self.stream.get_mut().write_all(&stuffed(message)).ok()?;
        self.try_answer()
    }

    /// Reads to the end of the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }

    /// Reads exactly `count` octets.
    ///
    /// # Panics
    /// When fewer come.
    pub fn some(&mut self, count: usize) -> Vec<u8> {
        let mut octets = vec![0; count];
        self.stream.read_exact(&mut octets).expect("octets");
        octets
    }

    /// Ends the connection the way a crashed client does.
    pub fn drop_hard(self) {
        drop(self);
    }
}

/// A message as it goes over the wire after DATA: dots stuffed, the final dot added.
#[must_use]
pub fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + 16);
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        if line.first() == Some(&b'.') {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    if !wire.is_empty() && !wire.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b".\r\n");
    wire
}
