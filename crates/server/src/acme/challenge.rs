//! What an authority finds at our addresses while it checks that a name is ours: a file over HTTP
//! (HTTP-01, RFC 8555 §8.3), or a certificate in a handshake (TLS-ALPN-01, RFC 8737).
//!
//! The addresses are open all the time, since binding them takes privileges that the server gives
//! up; without a challenge there is nothing to be found at them. A visitor has little time, its
//! request little room, and there are few at once. Nothing else is ever served here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use posthaste_world::net::{Endpoint, Listener};
use posthaste_world::{BoxStream, World};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::config::Challenge;
use crate::fault::Fault;
use crate::shutdown::Shutdown;
use crate::telemetry::Log;

/// Visitors that are served at once; others wait.
const VISITORS_MAX: usize = 32;
/// What one visitor may take.
const VISIT_TIME: Duration = Duration::from_secs(10);
/// Longest request, in octets.
const REQUEST_MAX: usize = 8 * 1024;
/// How long to wait before accepting again after the system refused to.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Where the files of HTTP-01 are.
const WELL_KNOWN: &str = "/.well-known/acme-challenge/";
/// The protocol of TLS-ALPN-01 (RFC 8737 §4).
const ALPN: &[u8] = b"acme-tls/1";

/// The answers to the open challenges.
#[derive(Debug, Default)]
pub struct Answers {
    files: Mutex<BTreeMap<String, String>>,
    certificates: Mutex<BTreeMap<String, Arc<CertifiedKey>>>,
}

impl Answers {
    /// The file `token` holds `content`.
    pub fn put_file(&self, token: &str, content: &str) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(token.to_string(), content.to_string());
    }

    /// A handshake that asks for `name` gets a certificate with `digest` in it.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub fn put_certificate(&self, name: &str, digest: &[u8]) -> Result<(), String> {
        let made = certificate(name, digest).map_err(|e| e.to_string())?;
        self.certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_ascii_lowercase(), made);
        Ok(())
    }

    /// There is nothing to be found any more.
    pub fn clear(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.clear();
        let certificates = self.certificates.lock();
        certificates.unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn file(&self, token: &str) -> Option<String> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.get(token).cloned()
    }

    /// The answer to an HTTP request.
    fn http(&self, request: &[u8]) -> String {
        let content = token(request).and_then(|token| self.file(token));
        let (status, body) = match content {
            Some(content) => ("200 OK", content),
            None => ("404 Not Found", "nothing here\n".to_string()),
        };
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }
}

impl ResolvesServerCert for Answers {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_ascii_lowercase();
        let mut offered = hello.alpn()?;
        let certificates = self.certificates.lock();
        let certificates = certificates.unwrap_or_else(PoisonError::into_inner);
        offered
            .any(|protocol| protocol == ALPN)
            .then(|| certificates.get(&name).cloned())?
    }
}

/// The token that a GET for a file of HTTP-01 names.
fn token(request: &[u8]) -> Option<&str> {
    let line = request.split(|c| *c == b'\r' || *c == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if method != "GET" || !version.starts_with("HTTP/1.") {
        return None;
    }
    target.strip_prefix(WELL_KNOWN)
}

/// A certificate for `name` that shows `digest` (RFC 8737 §3).
fn certificate(name: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>, Box<dyn std::error::Error>> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(vec![name.to_string()])?;
    params
        .custom_extensions
        .push(CustomExtension::new_acme_identifier(digest));
    let certificate = params.self_signed(&key)?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let chain = vec![certificate.der().clone()];
    let signing = crate::tls::provider()
        .key_provider
        .load_private_key(private)?;
    // Not `from_der`: it refuses the extension, which is critical and which it does not know.
    Ok(Arc::new(CertifiedKey::new(chain, signing)))
}

/// An address at which an authority comes by: bound, and not yet accepting.
pub struct Bound {
    challenge: Challenge,
    asked: SocketAddr,
    socket: Box<dyn Listener>,
}

/// An open one. It closes when it is dropped.
pub struct Door {
    challenge: Challenge,
    asked: SocketAddr,
    closing: Shutdown,
}

impl Door {
    /// Whether it is this one.
    #[must_use]
    pub fn is(&self, challenge: Challenge, address: SocketAddr) -> bool {
        self.challenge == challenge && self.asked == address
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.closing.begin();
    }
}

/// Binds `asked`.
///
/// # Errors
/// Whatever the system says.
pub fn bind(world: &World, challenge: Challenge, asked: SocketAddr) -> std::io::Result<Bound> {
    let socket = world.net.listen(&Endpoint::Tcp(asked))?;
    Ok(Bound {
        challenge,
        asked,
        socket,
    })
}

/// Serves the answers at `bound` until the result is dropped or the server stops.
///
/// # Errors
/// The cryptographic library does not do its part.
pub fn open(
    bound: Bound,
    answers: &Arc<Answers>,
    (world, log): (&World, &Arc<Log>),
    stop: Shutdown,
) -> Result<Door, Fault> {
    let acceptor = match bound.challenge {
        Challenge::Http01 => None,
        Challenge::TlsAlpn01 => Some(acceptor(answers)?),
    };
    let visitors = Visitors {
        world: world.clone(),
        log: log.clone(),
        answers: answers.clone(),
        acceptor,
    };
    let closing = Shutdown::default();
    let accepting = Arc::new(visitors).accept(bound.socket, (stop, closing.clone()));
    world.work.spawn("challenge", Box::pin(accepting));
    Ok(Door {
        challenge: bound.challenge,
        asked: bound.asked,
        closing,
    })
}

fn acceptor(answers: &Arc<Answers>) -> Result<TlsAcceptor, Fault> {
    let builder = ServerConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| Fault::new("preparing TLS", e))?;
    let mut config = builder
        .with_no_client_auth()
        .with_cert_resolver(answers.clone());
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Who serves the visitors of one door.
struct Visitors {
    world: World,
    log: Arc<Log>,
    answers: Arc<Answers>,
    acceptor: Option<TlsAcceptor>,
}

impl Visitors {
    async fn accept(
        self: Arc<Self>,
        socket: Box<dyn Listener>,
        (stop, closing): (Shutdown, Shutdown),
    ) {
        let places = Arc::new(Semaphore::new(VISITORS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                biased;
                () = stop.stopping() => return,
                () = closing.stopping() => return,
                accepted = socket.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(fault) => {
                    self.log.fault("accepting a visit of an authority", &fault);
                    self.world.clock.sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let this = self.clone();
            let visit = async move {
                tokio::select! {
                    // Whoever came learns what is there, or nothing; nobody else needs to know.
                    _ = this.serve(stream) => {}
                    () = this.world.clock.sleep(VISIT_TIME) => {}
                }
                drop(place);
            };
            self.world.work.spawn("visit", Box::pin(visit));
        }
    }

    async fn serve(&self, mut stream: BoxStream) -> std::io::Result<()> {
        if let Some(acceptor) = &self.acceptor {
            // The handshake is all there is to see.
            return acceptor.accept(stream).await?.shutdown().await;
        }
        let mut request = Vec::new();
        while !request.windows(4).any(|w| w == b"\r\n\r\n") && request.len() < REQUEST_MAX {
            if stream.read_buf(&mut request).await? == 0 {
                break;
            }
        }
        stream
            .write_all(self.answers.http(&request).as_bytes())
            .await?;
        stream.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_file_of_an_open_challenge_is_found() {
        let answers = Answers::default();
        answers.put_file("abc", "abc.thumb");
        let status = |request: &str| answers.http(request.as_bytes())[9..12].to_string();
        let found =
            answers.http(b"GET /.well-known/acme-challenge/abc HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(found.starts_with("HTTP/1.1 200 OK\r\n"), "{found}");
        assert!(found.ends_with("\r\n\r\nabc.thumb"), "{found}");
        for request in [
            "",
            "GET",
            "GET /.well-known/acme-challenge/abc",
            "GET /.well-known/acme-challenge/ HTTP/1.1\r\n\r\n",
            "GET /.well-known/acme-challenge/abd HTTP/1.1\r\n\r\n",
            "GET /.well-known/acme-challenge/../abc HTTP/1.1\r\n\r\n",
            "GET /.well-known/acme-challenge/abc?x HTTP/1.1\r\n\r\n",
            "POST /.well-known/acme-challenge/abc HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n/.well-known/acme-challenge/abc",
        ] {
            assert_eq!(status(request), "404", "{request}");
        }
        answers.clear();
        assert_eq!(
            status("GET /.well-known/acme-challenge/abc HTTP/1.1\r\n\r\n"),
            "404"
        );
    }

    #[test]
    fn the_certificate_of_a_challenge_shows_its_digest() {
        let digest = [7; 32];
        let made = certificate("mx.example.org", &digest).unwrap();
        let der = made.cert[0].as_ref();
        // The critical extension id-pe-acmeIdentifier, 1.3.6.1.5.5.7.1.31 (RFC 8737 §3).
        let mut wanted = vec![6, 8, 0x2b, 6, 1, 5, 5, 7, 1, 31, 1, 1, 0xff, 4, 34, 4, 32];
        wanted.extend(digest);
        assert!(der.windows(wanted.len()).any(|w| w == wanted));
    }
}
