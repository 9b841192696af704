//! The client's end of a handshake: [`Connector`].
//!
//! Two kinds of trust. [`Trust::Anybody`] takes every certificate, expired, self-signed or of a
//! version that nobody reads any more, because TLS with an unknown peer is better than none
//! (RFC 7435); it still notes whether the certificate would have proved anything. It serves where
//! TLS is opportunistic, and where it is required without verification. [`Trust::Verified`] ends
//! the handshake unless the chain, the dates and the name are right (RFC 9525).
//!
//! Sessions are resumed only under [`Trust::Verified`], from a cache that belongs to one connector:
//! a ticket never crosses from one kind of authentication to another.
//!
//! This module does **not** know when a next hop may be used without TLS.

use std::sync::{Arc, Mutex, PoisonError};

use posthaste_world::{BoxStream, Clock};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnection, Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::names::{Names, server_name};
use super::{BUFFER_MAX, Facts, Failed, Now, Peer, VERSIONS};
use crate::fault::Fault;

/// Sessions that one connector remembers.
const SESSIONS_MAX: usize = 256;
/// What is said of a certificate where there is nothing to measure it by.
const NO_ROOTS: &str = "this system has no root certificates";

/// Which servers a connector takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trust {
    /// Every one; what its certificate proves is noted.
    Anybody,
    /// One whose certificate leads to a root, is valid now, and is for the name asked for.
    Verified,
}

/// Begins handshakes with one configuration.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    trust: Trust,
    verifier: Option<Arc<WebPkiServerVerifier>>,
    clock: Arc<dyn Clock>,
}

impl Connector {
    /// A connector that verifies by `roots`, and shows `own` to servers that ask for a certificate.
    ///
    /// # Errors
    /// The cryptographic library does not do its part.
    pub fn new(
        trust: Trust,
        roots: Arc<RootCertStore>,
        own: Option<Arc<CertifiedKey>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Fault> {
        let fault = |e: &dyn std::fmt::Display| Fault::new("preparing TLS", e);
        let provider = super::provider();
        let verifier = match roots.is_empty() {
            true => None,
            false => Some(
                WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
                    .build()
                    .map_err(|e| fault(&e))?,
            ),
        };
        let noting = Arc::new(Noting::new(verifier.clone(), &provider));
        let checked: Arc<dyn ServerCertVerifier> = match (trust, &verifier) {
            (Trust::Verified, Some(verifier)) => verifier.clone(),
            _ => noting,
        };
        let builder = ClientConfig::builder_with_details(provider, Arc::new(Now(clock.clone())))
            .with_protocol_versions(VERSIONS)
            .map_err(|e| fault(&e))?
            .dangerous()
            .with_custom_certificate_verifier(checked);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
        };
        config.resumption = match trust {
            Trust::Anybody => Resumption::disabled(),
            Trust::Verified => Resumption::in_memory_sessions(SESSIONS_MAX),
        };
        Ok(Connector {
            config: Arc::new(config),
            trust,
            verifier,
            clock,
        })
    }

    /// Shakes hands with the server on `stream`, asking for `host`: a name, or an address, for
    /// which no name is sent. What the server sent before must be read already.
    ///
    /// # Errors
    /// Why there is no TLS; the stream is closed then.
    pub async fn connect(
        &self,
        stream: BoxStream,
        host: &str,
    ) -> Result<(BoxStream, Facts), Failed> {
        let Some(name) = server_name(host) else {
            return Err(Failed::Refused("the host's name is no DNS name".into()));
        };
        match (self.trust, &self.verifier) {
            (Trust::Verified, None) => Err(Failed::Refused(NO_ROOTS.into())),
            (Trust::Verified, Some(_)) => {
                let peer = |own: &CertificateDer<'_>| Peer::Verified(Names::of(own));
                self.shake(self.config.clone(), stream, name, peer).await
            }
            (Trust::Anybody, _) => {
                let mut config = ClientConfig::clone(&self.config);
                let provider = config.crypto_provider();
                let noting = Arc::new(Noting::new(self.verifier.clone(), provider));
                config.dangerous().set_certificate_verifier(noting.clone());
                let peer = |own: &CertificateDer<'_>| match noting.verdict() {
                    Ok(()) => Peer::Verified(Names::of(own)),
                    Err(why) => Peer::Unverified(why),
                };
                self.shake(Arc::new(config), stream, name, peer).await
            }
        }
    }

    async fn shake(
        &self,
        config: Arc<ClientConfig>,
        stream: BoxStream,
        name: ServerName<'static>,
        peer: impl Fn(&CertificateDer<'_>) -> Peer,
    ) -> Result<(BoxStream, Facts), Failed> {
        let asked = match &name {
            ServerName::DnsName(name) => Some(name.as_ref().to_ascii_lowercase()),
            _ => None,
        };
        let limit = |c: &mut ClientConnection| c.set_buffer_limit(Some(BUFFER_MAX));
        let handshake = TlsConnector::from(config).connect_with(name, stream, limit);
        let stream = super::within_time(&*self.clock, handshake).await?;
        let connection = stream.get_ref().1;
        let (version, cipher) = super::negotiated(connection);
        let export = |out, label: &[u8]| connection.export_keying_material(out, label, Some(b""));
        let own = connection.peer_certificates().and_then(<[_]>::first);
        let facts = Facts {
            version,
            cipher,
            server_name: asked,
            peer: own.map_or(Peer::Unknown, peer),
            binding: super::binding(version, export),
        };
        Ok((Box::new(stream), facts))
    }
}

/// Takes every certificate on one connection and notes what it proves.
///
/// The signature of the handshake is checked where the certificate proves something. Elsewhere it
/// could be anybody's, so it adds nothing, and checking it would shut out old servers whose
/// certificates cannot even be read.
#[derive(Debug)]
struct Noting {
    verifier: Option<Arc<WebPkiServerVerifier>>,
    schemes: Vec<SignatureScheme>,
    verdict: Mutex<Result<(), String>>,
}

impl Noting {
    fn new(
        verifier: Option<Arc<WebPkiServerVerifier>>,
        provider: &rustls::crypto::CryptoProvider,
    ) -> Self {
        Noting {
            verifier,
            schemes: provider
                .signature_verification_algorithms
                .supported_schemes(),
            verdict: Mutex::new(Err(NO_ROOTS.into())),
        }
    }

    fn verdict(&self) -> Result<(), String> {
        self.verdict
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The verifier, when the certificate has proved something.
    fn proved(&self) -> Option<&WebPkiServerVerifier> {
        self.verifier.as_deref().filter(|_| self.verdict().is_ok())
    }
}

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(verifier) = &self.verifier {
            let proved = verifier.verify_server_cert(own, others, name, ocsp, now);
            *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) =
                proved.map(|_| ()).map_err(|e| super::cause(&e));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self.proved() {
            Some(verifier) => verifier.verify_tls12_signature(message, certificate, signed),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self.proved() {
            Some(verifier) => verifier.verify_tls13_signature(message, certificate, signed),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
