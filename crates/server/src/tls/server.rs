//! The server's end of a handshake: [`Acceptor`].
//!
//! Session tickets are given out, so that a peer that comes back saves a round of signatures; their
//! keys are the acceptor's own, live in memory alone and change every six hours. A certificate is
//! asked of the client only where it can be used (EXTERNAL): a client's certificate that proves
//! nothing is noted and does no harm, since the client may still give a password.
//!
//! This module does **not** decide what an authenticated client may do.

use std::sync::Arc;

use posthaste_world::{BoxStream, Clock};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ServerConnection, WebPkiClientVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use tokio_rustls::TlsAcceptor;

use super::certificates::Certificates;
use super::names::Names;
use super::{BUFFER_MAX, Facts, Failed, Now, Peer, VERSIONS};
use crate::fault::Fault;

/// Accepts handshakes with one set of certificates.
#[derive(Clone)]
pub struct Acceptor {
    inner: TlsAcceptor,
    clock: Arc<dyn Clock>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Acceptor {
    /// An acceptor that serves `certificates`. With `clients` it asks for a certificate that leads
    /// to one of these roots.
    ///
    /// # Errors
    /// The cryptographic library does not do its part.
    pub fn new(
        certificates: Arc<Certificates>,
        clients: Option<Arc<RootCertStore>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Fault> {
        let fault = |e: &dyn std::fmt::Display| Fault::new("preparing TLS", e);
        let provider = super::provider();
        let clients = clients.map(|roots| verifier(roots, provider.clone()));
        let clients = clients.transpose().map_err(|e| fault(&e))?;
        let builder = ServerConfig::builder_with_details(provider, Arc::new(Now(clock.clone())))
            .with_protocol_versions(VERSIONS)
            .map_err(|e| fault(&e))?;
        let builder = match &clients {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(Arc::new(Asked(verifier.clone()))),
        };
        let mut config = builder.with_cert_resolver(certificates);
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|e| fault(&e))?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        // Ours stands by strength; a client's may be of any age.
        config.ignore_client_order = true;
        Ok(Acceptor {
            inner: TlsAcceptor::from(Arc::new(config)),
            clock,
            clients,
        })
    }

    /// Lets the client on `stream` shake hands. What it sent before must be read already.
    ///
    /// # Errors
    /// Why there is no TLS; the stream is closed then, after an alert where one can be sent.
    pub async fn accept(&self, stream: BoxStream) -> Result<(BoxStream, Facts), Failed> {
        let limit = |c: &mut ServerConnection| c.set_buffer_limit(Some(BUFFER_MAX));
        let handshake = self.inner.accept_with(stream, limit);
        let stream = super::within_time(&*self.clock, handshake).await?;
        let facts = self.facts(stream.get_ref().1);
        Ok((Box::new(stream), facts))
    }

    fn facts(&self, connection: &ServerConnection) -> Facts {
        let (version, cipher) = super::negotiated(connection);
        let export = |out, label: &[u8]| connection.export_keying_material(out, label, Some(b""));
        Facts {
            version,
            cipher,
            server_name: connection.server_name().map(str::to_ascii_lowercase),
            peer: self.client(connection.peer_certificates().unwrap_or_default()),
            binding: super::binding(version, export),
        }
    }

    /// Who the client has shown to be. A resumed session is judged anew: its certificate may have
    /// expired since.
    fn client(&self, chain: &[CertificateDer<'static>]) -> Peer {
        let (Some((own, others)), Some(clients)) = (chain.split_first(), &self.clients) else {
            return Peer::Unknown;
        };
        match clients.verify_client_cert(own, others, super::unix_time(&*self.clock)) {
            Ok(_) => Peer::Verified(Names::of(own)),
            Err(e) => Peer::Unverified(super::cause(&e)),
        }
    }
}

fn verifier(
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, rustls::server::VerifierBuilderError> {
    WebPkiClientVerifier::builder_with_provider(roots, provider)
        .allow_unauthenticated()
        .build()
}

/// Asks for a certificate and lets the handshake end with any: that the client has its key is
/// checked here, what the certificate proves afterwards.
#[derive(Debug)]
struct Asked(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Asked {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
