//! Asking one question of the servers in turn, over UDP and, where that is cut short, over TCP.
//!
//! Every question has a random id and a socket, hence a source port, of its own; what does not
//! match the question is not an answer (RFC 5452). A server that says it failed, refuses, or talks
//! nonsense is followed by the next one; one that is silent or cannot be reached is also asked
//! last for a while.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder};
use domain::net::client::protocol::{AsyncConnect, TcpConnect};
use domain::net::client::request::{
    ComposeRequest, Error, GetResponse, RequestMessage, RequestMessageMulti, SendRequest,
};
use domain::net::client::{dgram, stream};

use super::Settings;
use super::datagram::Datagrams;
use super::reading::{Name, Reading, Step, rtype};
use crate::Clock;
use crate::dns::{Failure, Kind};

/// Octets of an answer over UDP that we offer to take: more might be sent in fragments (RFC 9715).
const PAYLOAD_SIZE: u16 = 1232;
/// Octets that we do take, from servers that send more.
const DATAGRAM_SIZE: usize = 4096;
/// How often a server is asked that lets its time pass.
const ROUNDS: usize = 2;
/// A server that was silent is asked last for this long.
const SULK: Duration = Duration::from_secs(30);

/// How long an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For one server's answer over UDP.
    pub(super) datagram: Duration,
    /// For one server's answer over TCP.
    pub(super) stream: Duration,
    /// For everything: all servers, rounds and CNAMEs.
    pub(super) in_all: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            datagram: Duration::from_secs(3),
            stream: Duration::from_secs(5),
            in_all: Duration::from_secs(20),
        }
    }
}

type Request = RequestMessage<Vec<u8>>;

pub(super) struct Servers {
    settings: Settings,
    clock: Arc<dyn Clock>,
    patience: Patience,
    /// Servers that were silent, and until when they are asked last: at most all that are known.
    silent: Mutex<Vec<(SocketAddr, Duration)>>,
}

impl Servers {
    pub(super) fn new(settings: Settings, clock: Arc<dyn Clock>, patience: Patience) -> Self {
        Servers {
            settings,
            clock,
            patience,
            silent: Mutex::default(),
        }
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    /// Asks for `answer.name` and goes on in `answer`; `system` are the machine's own servers.
    pub(super) async fn ask(
        &self,
        system: &[SocketAddr],
        answer: &mut Reading,
        kind: Kind,
    ) -> Result<Step, Failure> {
        let mut servers = self.in_order(match self.settings.servers.as_slice() {
            [] => system,
            servers => servers,
        });
        let mut failure = Failure::Unreachable("no server is known".to_owned());
        for _ in 0..ROUNDS {
            let mut timed_out = Vec::new();
            for server in servers {
                let trusted = self.settings.trusts(server.ip());
                let asked = self.exchange(server, &answer.name, kind).await;
                let this = match asked.and_then(|message| answer.go(&message, kind, trusted)) {
                    Ok(step) => return Ok(step),
                    // Nobody else's word makes such data good.
                    Err(Failure::Bogus) => return Err(Failure::Bogus),
                    Err(this) => this,
                };
                if matches!(this, Failure::Timeout) {
                    timed_out.push(server);
                }
                if !spoke(&this) {
                    self.remember_silence(server);
                }
                // What a server said tells more than another one's silence.
                if spoke(&this) || !spoke(&failure) {
                    failure = this;
                }
            }
            // Only a lost datagram is worth a second try.
            servers = timed_out;
        }
        Err(failure)
    }

    /// The servers as they are listed, those lately silent last.
    fn in_order(&self, servers: &[SocketAddr]) -> Vec<SocketAddr> {
        let now = self.clock.elapsed();
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.retain(|(_, until)| *until > now);
        let mut servers = servers.to_vec();
        servers.sort_by_key(|server| silent.iter().any(|(s, _)| s == server));
        servers
    }

    fn remember_silence(&self, server: SocketAddr) {
        let until = self.clock.elapsed() + SULK;
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.retain(|(s, _)| *s != server);
        silent.push((server, until));
    }

    async fn exchange(
        &self,
        server: SocketAddr,
        name: &Name,
        kind: Kind,
    ) -> Result<Message<Bytes>, Failure> {
        let message = self.transfer(server, request(name, kind, true)?).await?;
        // A server from before EDNS says that it does not understand (RFC 6891 §7).
        let code = message.header().rcode();
        if matches!(code, Rcode::FORMERR | Rcode::NOTIMP) && message.opt().is_none() {
            return self.transfer(server, request(name, kind, false)?).await;
        }
        Ok(message)
    }

    async fn transfer(
        &self,
        server: SocketAddr,
        request: Request,
    ) -> Result<Message<Bytes>, Failure> {
        let mut config = dgram::Config::new();
        config.set_read_timeout(self.patience.datagram);
        config.set_max_retries(0);
        config.set_udp_payload_size(request.dnssec_ok().then_some(PAYLOAD_SIZE));
        config.set_recv_size(DATAGRAM_SIZE);
        let datagrams = dgram::Connection::with_config(Datagrams(server), config);
        let message = datagrams.send_request(request.clone()).get_response().await;
        match message.map_err(|e| failure(server, &e)) {
            Ok(message) if message.header().tc() => {
                let streamed = self.over_stream(server, request);
                let streamed = tokio::time::timeout(self.patience.stream, streamed).await;
                streamed.unwrap_or(Err(Failure::Timeout))
            }
            message => message,
        }
    }

    async fn over_stream(
        &self,
        server: SocketAddr,
        request: Request,
    ) -> Result<Message<Bytes>, Failure> {
        let stream = TcpConnect::new(server).connect().await;
        let stream = stream.map_err(|e| Failure::Unreachable(format!("{server} over TCP: {e}")))?;
        let mut config = stream::Config::new();
        config.set_response_timeout(self.patience.stream);
        let (connection, transport) =
            stream::Connection::<Request, RequestMessageMulti<Vec<u8>>>::with_config(
                stream, config,
            );
        // It ends with the connection, which this function holds.
        let transport = tokio::spawn(transport.run());
        let message = connection.get_request(request).get_response().await;
        transport.abort();
        message.map_err(|e| failure(server, &e))
    }
}

/// Whether it was the server that told us of the failure.
fn spoke(failure: &Failure) -> bool {
    !matches!(failure, Failure::Timeout | Failure::Unreachable(_))
}

/// A recursive question. With `modern`, EDNS: DO and AD ask for the result of validation
/// (RFC 3225, RFC 6840 §5.7).
fn request(name: &Name, kind: Kind, modern: bool) -> Result<Request, Failure> {
    let mut message = MessageBuilder::new_vec();
    message.header_mut().set_rd(true);
    message.header_mut().set_ad(modern);
    let mut message = message.question();
    let too_long = |_| Failure::BadName("it does not fit into a question".to_owned());
    message.push((name, rtype(kind))).map_err(too_long)?;
    let request = RequestMessage::new(message.into_message());
    let mut request = request.map_err(|e| Failure::BadName(e.to_string()))?;
    if modern {
        request.set_udp_payload_size(PAYLOAD_SIZE);
        request.set_dnssec_ok(true);
    }
    Ok(request)
}

fn failure(server: SocketAddr, error: &Error) -> Failure {
    match error {
        Error::Dgram(error) if matches!(error.kind(), dgram::QueryErrorKind::Timeout) => {
            Failure::Timeout
        }
        Error::StreamReadTimeout => Failure::Timeout,
        Error::Dgram(error) => Failure::Unreachable(format!("{server}: {error}")),
        Error::MessageParseError | Error::ShortMessage | Error::WrongReplyForQuery => {
            Failure::Malformed(format!("{server}: {error}"))
        }
        error => Failure::Unreachable(format!("{server} over TCP: {error}")),
    }
}
