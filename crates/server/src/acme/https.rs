//! HTTPS to an authority, over the doors of the world: one connection a request.
//!
//! The authority's certificate is verified by the system's roots and by those of `ca`. A request
//! has a limit of time and its answer one of size. It follows no redirections.

use std::future::Future;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use posthaste_world::dns::{Data, Kind};
use posthaste_world::net::Endpoint;
use posthaste_world::{BoxStream, World};

use crate::tls::client::Connector;

/// What one request may take.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// What one connection may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(15);
/// Longest answer, in octets.
const ANSWER_MAX: usize = 1024 * 1024;
/// Addresses of a host that are tried.
const ADDRESSES_MAX: usize = 6;
/// The port of HTTPS.
const HTTPS_PORT: u16 = 443;

/// A client of HTTPS.
#[derive(Clone)]
pub struct Https {
    world: World,
    connector: Connector,
}

impl Https {
    /// A client that trusts what `connector` trusts.
    #[must_use]
    pub fn new(world: &World, connector: Connector) -> Self {
        Https {
            world: world.clone(),
            connector,
        }
    }

    async fn ask(self, mut request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, String> {
        let uri = request.uri().clone();
        let (host, port) = destination(&uri)?;
        let authority = uri.authority().map_or("", |a| a.as_str());
        let value = HeaderValue::from_str(authority).map_err(|e| e.to_string())?;
        request.headers_mut().insert(HOST, value);
        // To a server (and not a proxy) the target is the path alone (RFC 9112 §3.2.1).
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().map_err(|_| format!("{path} is no path"))?;
        let stream = self.connect(&host, port).await?;
        let (stream, _) = self
            .connector
            .connect(stream, &host)
            .await
            .map_err(|e| e.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| e.to_string())?;
        let answered = async move {
            let answer = sender.send_request(request).await;
            let (parts, body) = answer.map_err(|e| e.to_string())?.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await;
            let body: Bytes = body.map_err(|e| e.to_string())?.to_bytes();
            let body = Box::new(body);
            Ok(BytesResponse { parts, body })
        };
        let (mut answered, mut connection) = (std::pin::pin!(answered), std::pin::pin!(connection));
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                answer = &mut answered => return answer,
                // It may end before the answer is looked at, which then says what happened.
                _ = &mut connection, if open => open = false,
            }
        }
    }

    async fn connect(&self, host: &str, port: u16) -> Result<BoxStream, String> {
        let mut last = format!("{host} has no address");
        for ip in self.addresses(host).await?.into_iter().take(ADDRESSES_MAX) {
            let at = Endpoint::Tcp(SocketAddr::new(ip, port));
            let connected = tokio::select! {
                connected = self.world.net.connect(&at, None) => connected,
                () = self.world.clock.sleep(CONNECT_TIME) => Err(ErrorKind::TimedOut.into()),
            };
            match connected {
                Ok(stream) => return Ok(stream),
                Err(e) => last = format!("connecting to {at}: {e}"),
            }
        }
        Err(last)
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![ip]);
        }
        let dns = &self.world.dns;
        let (six, four) = tokio::join!(dns.query(host, Kind::Aaaa), dns.query(host, Kind::A));
        if let (Err(failure), Err(_)) = (&four, &six) {
            return Err(format!("looking up {host}: {failure}"));
        }
        let mut found = Vec::new();
        for answer in [six, four].into_iter().flatten() {
            found.extend(answer.records().iter().filter_map(|data| match data {
                Data::A(ip) => Some(IpAddr::V4(*ip)),
                Data::Aaaa(ip) => Some(IpAddr::V6(*ip)),
                _ => None,
            }));
        }
        Ok(found)
    }
}

impl HttpClient for Https {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (this, clock) = (self.clone(), self.world.clock.clone());
        Box::pin(async move {
            tokio::select! {
                answer = this.ask(request) => answer,
                () = clock.sleep(REQUEST_TIME) => Err("the authority took too long".to_string()),
            }
            .map_err(|why| Error::Other(why.into()))
        })
    }
}

/// Host and port of a URL. Only HTTPS is spoken (RFC 8555 §6.1).
fn destination(uri: &Uri) -> Result<(String, u16), String> {
    let host = uri.host().filter(|_| uri.scheme_str() == Some("https"));
    let host = host.ok_or_else(|| format!("{uri} is no https URL"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_string(), uri.port_u16().unwrap_or(HTTPS_PORT)))
}
