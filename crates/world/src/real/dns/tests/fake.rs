//! A scripted DNS server on loopback, UDP and TCP on one port, and a clock that is set by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::message_builder::AnswerBuilder;
use domain::base::name::Name;
use domain::base::{Message, MessageBuilder, Record, Serial, Ttl};
use domain::rdata::{A, Aaaa, AllRecordData, Cname, Mx, Ns, Ptr, Soa, Tlsa, Txt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::{BoxFuture, Timer, Timestamp};

/// What a script is asked.
pub(super) struct Query {
    pub(super) message: Message<Vec<u8>>,
    pub(super) name: String,
    pub(super) rtype: Rtype,
    pub(super) tcp: bool,
}

impl Query {
    pub(super) fn read(octets: &[u8], tcp: bool) -> Query {
        let message = Message::from_octets(octets.to_vec()).unwrap();
        let question = message.sole_question().unwrap();
        Query {
            name: question.qname().to_string().to_lowercase(),
            rtype: question.qtype(),
            message,
            tcp,
        }
    }

    /// An answer with `code`, further made by `make`.
    pub(super) fn reply(
        &self,
        code: Rcode,
        make: impl FnOnce(&mut AnswerBuilder<Vec<u8>>),
    ) -> AnswerBuilder<Vec<u8>> {
        let message = MessageBuilder::new_vec();
        let mut answer = message.start_answer(&self.message, code).unwrap();
        answer.header_mut().set_ra(true);
        make(&mut answer);
        answer
    }

    /// A usual answer with these records.
    pub(super) fn records(&self, records: &[Rr]) -> Vec<Vec<u8>> {
        let reply = self.reply(Rcode::NOERROR, |a| records.iter().for_each(|r| r.push(a)));
        vec![reply.finish()]
    }

    /// No records, with a SOA of this lifetime and minimum.
    pub(super) fn nothing(&self, code: Rcode, ttl: u32, minimum: u32) -> Vec<Vec<u8>> {
        let mut authority = self.reply(code, |_| ()).authority();
        let (zone, n) = (name("test"), Ttl::from_secs(1));
        let minimum = Ttl::from_secs(minimum);
        let soa = Soa::new(zone.clone(), zone.clone(), Serial(1), n, n, n, minimum);
        authority.push((zone, Ttl::from_secs(ttl), soa)).unwrap();
        vec![authority.finish()]
    }

    pub(super) fn cut_short(&self) -> Vec<Vec<u8>> {
        vec![
            self.reply(Rcode::NOERROR, |a| a.header_mut().set_tc(true))
                .finish(),
        ]
    }
}

type Rdata = AllRecordData<Vec<u8>, Name<Vec<u8>>>;

/// One record of an answer.
#[derive(Clone)]
pub(super) struct Rr(Record<Name<Vec<u8>>, Rdata>);

impl Rr {
    fn new(owner: &str, ttl: u32, data: impl Into<Rdata>) -> Rr {
        let ttl = Ttl::from_secs(ttl);
        Rr(Record::new(name(owner), Class::IN, ttl, data.into()))
    }
    pub(super) fn a(owner: &str, ttl: u32, address: &str) -> Rr {
        Rr::new(owner, ttl, A::new(address.parse().unwrap()))
    }
    pub(super) fn aaaa(owner: &str, ttl: u32, address: &str) -> Rr {
        Rr::new(owner, ttl, Aaaa::new(address.parse().unwrap()))
    }
    pub(super) fn cname(owner: &str, ttl: u32, target: &str) -> Rr {
        Rr::new(owner, ttl, Cname::new(name(target)))
    }
    pub(super) fn mx(owner: &str, preference: u16, exchange: &str) -> Rr {
        Rr::new(owner, 60, Mx::new(preference, name(exchange)))
    }
    pub(super) fn ptr(owner: &str, target: &str) -> Rr {
        Rr::new(owner, 60, Ptr::new(name(target)))
    }
    pub(super) fn ns(owner: &str, server: &str) -> Rr {
        Rr::new(owner, 60, Ns::new(name(server)))
    }
    pub(super) fn txt(owner: &str, text: &[u8]) -> Rr {
        Rr::new(owner, 60, Txt::build_from_slice(text).unwrap())
    }
    pub(super) fn tlsa(owner: &str, data: &[u8]) -> Rr {
        let data = Tlsa::new(3.into(), 1.into(), 2.into(), data.to_vec());
        Rr::new(owner, 60, data)
    }
    pub(super) fn push(&self, answer: &mut AnswerBuilder<Vec<u8>>) {
        answer.push(self.0.clone()).unwrap();
    }
}

pub(super) fn name(text: &str) -> Name<Vec<u8>> {
    Name::vec_from_str(text).unwrap()
}

/// A server; it ends with the test's runtime.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Server {
    /// Answers every question with the messages that `script` gives, in this order.
    pub(super) async fn start(
        script: impl Fn(&Query) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Server {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // Somebody else may have the TCP port of this number.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let (script, count) = (Arc::new(script), asked.clone());
        let for_streams = script.clone();
        tokio::spawn(async move {
            let mut octets = vec![0; 65_536];
            while let Ok((n, from)) = udp.recv_from(&mut octets).await {
                count.fetch_add(1, Ordering::SeqCst);
                for message in script(&Query::read(&octets[..n], false)) {
                    let _ = udp.send_to(&message, from).await;
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                serve(stream, &*for_streams).await;
            }
        });
        Server { address, asked }
    }

    /// Questions over UDP so far.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// One question a stream; no messages close it.
async fn serve(mut stream: TcpStream, script: &(impl Fn(&Query) -> Vec<Vec<u8>> + Send + Sync)) {
    let Ok(len) = stream.read_u16().await else {
        return;
    };
    let mut octets = vec![0; usize::from(len)];
    if stream.read_exact(&mut octets).await.is_err() {
        return;
    }
    for message in script(&Query::read(&octets, true)) {
        let len = u16::try_from(message.len()).unwrap();
        let _ = stream
            .write_all(&[&len.to_be_bytes(), &*message].concat())
            .await;
    }
    // Closed by the client, or by what there is not to say.
    let _ = stream.shutdown().await;
}

/// A clock that stands still until it is moved.
#[derive(Default)]
pub(super) struct HandClock(AtomicU64);

impl HandClock {
    pub(super) fn forward(&self, d: Duration) {
        self.0
            .fetch_add(u64::try_from(d.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl crate::Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::EPOCH + self.elapsed()
    }
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
    fn timer(&self) -> Box<dyn Timer> {
        unreachable!("the resolver sets no timer")
    }
}
