//! An acceptor and a connector, joined in memory.

use std::sync::Arc;

use posthaste_world::{BoxStream, World};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::client::{Connector, Trust};
use super::super::pair::Pair;
use super::super::server::Acceptor;
use super::super::{Facts, Failed, Peer, VERSIONS, provider};
use super::{Authority, DAY, Wish, files, serving, world};

/// A certificate of version 1, as old appliances have, with its key.
const VERSION_1: &str = include_str!("version1.pem");

type Side = Result<(BoxStream, Facts), Failed>;

async fn shake(acceptor: &Acceptor, connector: &Connector, host: &str) -> (Side, Side) {
    let (ours, theirs) = tokio::io::duplex(4096);
    tokio::join!(
        acceptor.accept(Box::new(ours)),
        connector.connect(Box::new(theirs), host)
    )
}

struct Bench {
    world: World,
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Bench {
    fn new() -> Self {
        Bench {
            world: world(),
            folder: tempfile::tempdir().unwrap(),
            authority: Authority::new(),
        }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        self.authority.roots(self.folder.path(), &self.world)
    }

    fn acceptor(&self, wishes: &[Wish]) -> Acceptor {
        let issue = |(at, wish)| {
            let pair = self.authority.issue(wish);
            files(self.folder.path(), &format!("{at}"), &pair)
        };
        let files: Vec<_> = wishes.iter().enumerate().map(issue).collect();
        let certificates = serving(&self.world, &files);
        Acceptor::new(certificates, None, self.world.clock.clone()).unwrap()
    }

    fn connector(&self, trust: Trust) -> Connector {
        Connector::new(trust, self.roots(), None, self.world.clock.clone()).unwrap()
    }

    fn client(&self, wish: &Wish) -> Connector {
        let pair = self.authority.issue(wish);
        let files = files(self.folder.path(), "client", &pair);
        let own = Pair::read(&files, &*self.world.disk).unwrap().certified;
        let clock = self.world.clock.clone();
        Connector::new(Trust::Verified, self.roots(), Some(own), clock).unwrap()
    }
}

#[tokio::test]
async fn both_sides_agree_on_what_was_negotiated() {
    let bench = Bench::new();
    let acceptor = bench.acceptor(&[Wish::server(&bench.world, &["mx.example.org"])]);
    let connector = bench.connector(Trust::Verified);
    let (server, client) = shake(&acceptor, &connector, "mx.example.org").await;
    let ((mut ours, server), (mut theirs, client)) = (server.unwrap(), client.unwrap());
    assert_eq!((server.version, client.version), ("TLSv1.3", "TLSv1.3"));
    assert_eq!(server.cipher, client.cipher);
    assert!(server.cipher.starts_with("TLS_"), "{}", server.cipher);
    assert_eq!(server.server_name.as_deref(), Some("mx.example.org"));
    assert_eq!(server.peer, Peer::Unknown);
    assert!(client.peer.is_verified());
    assert!(client.binding.is_some());
    assert_eq!(server.binding, client.binding);

    ours.write_all(b"220 hello").await.unwrap();
    ours.flush().await.unwrap();
    let mut read = [0; 9];
    theirs.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"220 hello");
}

#[tokio::test]
async fn two_connections_have_two_bindings() {
    let bench = Bench::new();
    let acceptor = bench.acceptor(&[Wish::server(&bench.world, &["mx.example.org"])]);
    let connector = bench.connector(Trust::Verified);
    let (_, one) = shake(&acceptor, &connector, "mx.example.org").await;
    let (_, other) = shake(&acceptor, &connector, "mx.example.org").await;
    assert_ne!(one.unwrap().1.binding, other.unwrap().1.binding);
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_ends_a_verifying_handshake_and_no_other() {
    let bench = Bench::new();
    let world = &bench.world;
    let now = world.clock.now();
    let mut expired = Wish::server(world, &["mx.example.org"]);
    expired.until = now - DAY / 2;
    let mut early = Wish::server(world, &["mx.example.org"]);
    early.from = now + DAY;
    let other = Wish::server(world, &["other.example.org"]);
    let deep = Wish::server(world, &["*.example.org"]);
    let cases = [
        (expired, "mx.example.org", "the certificate has expired"),
        (early, "mx.example.org", "the certificate is not valid yet"),
        (
            other,
            "mx.example.org",
            "the certificate is for another name",
        ),
        (
            deep,
            "a.mx.example.org",
            "the certificate is for another name",
        ),
    ];
    for (wish, host, why) in cases {
        let acceptor = bench.acceptor(&[wish]);
        let (_, refused) = shake(&acceptor, &bench.connector(Trust::Verified), host).await;
        assert_eq!(refused.err(), Some(Failed::Refused(why.into())));
        let (_, taken) = shake(&acceptor, &bench.connector(Trust::Anybody), host).await;
        assert_eq!(taken.unwrap().1.peer, Peer::Unverified(why.into()));
    }
}

#[tokio::test]
async fn an_unknown_issuer_is_told_from_a_wrong_name() {
    let bench = Bench::new();
    let acceptor = bench.acceptor(&[Wish::server(&bench.world, &["mx.example.org"])]);
    let elsewhere = Bench::new();
    let connector = elsewhere.connector(Trust::Verified);
    let (server, client) = shake(&acceptor, &connector, "mx.example.org").await;
    let why = "the certificate's issuer is not trusted";
    assert_eq!(client.err(), Some(Failed::Refused(why.into())));
    let told = "the peer sent the alert unknown_ca";
    assert_eq!(server.err(), Some(Failed::Refused(told.into())));
}

#[tokio::test]
async fn without_roots_nobody_is_verified() {
    let bench = Bench::new();
    let acceptor = bench.acceptor(&[Wish::server(&bench.world, &["mx.example.org"])]);
    let connector = |trust| {
        let roots = Arc::new(RootCertStore::empty());
        Connector::new(trust, roots, None, bench.world.clock.clone()).unwrap()
    };
    let why = "this system has no root certificates".to_string();
    let (_, taken) = shake(&acceptor, &connector(Trust::Anybody), "mx.example.org").await;
    assert_eq!(taken.unwrap().1.peer, Peer::Unverified(why.clone()));
    let (_, refused) = shake(&acceptor, &connector(Trust::Verified), "mx.example.org").await;
    assert_eq!(refused.err(), Some(Failed::Refused(why)));
}

/// A server with rustls alone, for what our acceptor does not do.
async fn bare(config: ServerConfig, connector: &Connector, host: &str) -> Side {
    let (ours, theirs) = tokio::io::duplex(4096);
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (_, client) = tokio::join!(
        acceptor.accept(ours),
        connector.connect(Box::new(theirs), host)
    );
    client
}

fn version_1(versions: &[&'static rustls::SupportedProtocolVersion]) -> ServerConfig {
    let chain = vec![CertificateDer::from_pem_slice(VERSION_1.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(VERSION_1.as_bytes()).unwrap();
    let key = provider().key_provider.load_private_key(key).unwrap();
    let certified = Arc::new(CertifiedKey::new(chain, key));
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
}

#[tokio::test]
async fn a_certificate_of_version_1_is_taken_by_whoever_takes_anybody() {
    let bench = Bench::new();
    for version in VERSIONS {
        let connector = bench.connector(Trust::Anybody);
        let (_, facts) = bare(version_1(&[version]), &connector, "old.example")
            .await
            .unwrap();
        assert!(matches!(facts.peer, Peer::Unverified(_)), "{facts:?}");
        let connector = bench.connector(Trust::Verified);
        assert!(
            bare(version_1(&[version]), &connector, "old.example")
                .await
                .is_err()
        );
    }
}

#[tokio::test]
async fn tls_1_2_has_no_channel_binding() {
    let bench = Bench::new();
    let connector = bench.connector(Trust::Anybody);
    let config = version_1(&[&rustls::version::TLS12]);
    let (_, facts) = bare(config, &connector, "old.example").await.unwrap();
    assert_eq!((facts.version, facts.binding), ("TLSv1.2", None));
    assert_eq!(facts.cipher, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
}

/// Shows the certificate of one server with the key of another: a peer in the middle.
#[derive(Debug)]
struct Stolen(Arc<CertifiedKey>);

impl rustls::server::ResolvesServerCert for Stolen {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused_by_everybody() {
    let bench = Bench::new();
    let wish = Wish::server(&bench.world, &["mx.example.org"]);
    let (pem, _) = bench.authority.issue(&wish);
    let (_, wrong) = bench.authority.issue(&wish);
    let chain = vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(wrong.as_bytes()).unwrap();
    let key = provider().key_provider.load_private_key(key).unwrap();
    let stolen = Arc::new(CertifiedKey::new(chain, key));
    for version in VERSIONS {
        for trust in [Trust::Anybody, Trust::Verified] {
            let config = ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(Stolen(stolen.clone())));
            let side = bare(config, &bench.connector(trust), "mx.example.org").await;
            assert!(matches!(side, Err(Failed::Refused(_))), "{trust:?}");
        }
    }
}

/// The names of the certificate that a connector met.
async fn met(acceptor: &Acceptor, bench: &Bench, host: &str) -> Vec<String> {
    // Resumed sessions show the certificate of the first handshake, so each has its own connector.
    let connector = bench.connector(Trust::Verified);
    let (_, client) = shake(acceptor, &connector, host).await;
    match client.unwrap().1.peer {
        Peer::Verified(names) => names.dns,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_certificate_follows_the_name_asked_for() {
    let bench = Bench::new();
    let acceptor = bench.acceptor(&[
        Wish::server(&bench.world, &["mx.example.org"]),
        Wish::server(&bench.world, &["mail.example.net", "smtp.example.net"]),
        Wish::server(&bench.world, &["*.example.com"]),
    ]);
    let first = ["mx.example.org"];
    assert_eq!(met(&acceptor, &bench, "mx.example.org").await, first);
    let second = ["mail.example.net", "smtp.example.net"];
    assert_eq!(met(&acceptor, &bench, "smtp.example.net").await, second);
    assert_eq!(met(&acceptor, &bench, "SMTP.Example.NET").await, second);
    assert_eq!(
        met(&acceptor, &bench, "any.example.com").await,
        ["*.example.com"]
    );

    let anybody = bench.connector(Trust::Anybody);
    for host in ["unknown.example", "a.b.example.com", "192.0.2.1"] {
        let (server, client) = shake(&acceptor, &anybody, host).await;
        let facts = client.unwrap().1;
        assert!(!facts.peer.is_verified(), "{host}");
        let asked = (host != "192.0.2.1").then(|| host.to_string());
        assert_eq!(server.unwrap().1.server_name, asked);
    }
}

#[tokio::test]
async fn of_two_kinds_of_keys_the_one_that_the_peer_can_verify_is_served() {
    let bench = Bench::new();
    let ecdsa = Wish::server(&bench.world, &["mx.example.org"]);
    let mut edwards = Wish::server(&bench.world, &["mx.example.org"]);
    edwards.algorithm = &rcgen::PKCS_ED25519;
    let acceptor = bench.acceptor(&[edwards, ecdsa]);
    // A client that knows ECDSA alone, as if Ed25519 were not invented.
    let mut provider = (*provider()).clone();
    provider.cipher_suites =
        vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];
    let algorithms = &mut provider.signature_verification_algorithms;
    let ecdsa_alone = |(scheme, _): &&(rustls::SignatureScheme, _)| {
        *scheme == rustls::SignatureScheme::ECDSA_NISTP256_SHA256
    };
    let mapping: Vec<_> = algorithms
        .mapping
        .iter()
        .filter(ecdsa_alone)
        .copied()
        .collect();
    algorithms.mapping = Box::leak(mapping.into_boxed_slice());
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(bench.roots())
        .with_no_client_auth();
    let (ours, theirs) = tokio::io::duplex(4096);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = "mx.example.org".try_into().unwrap();
    let (server, client) = tokio::join!(
        acceptor.accept(Box::new(ours)),
        connector.connect(name, theirs)
    );
    assert_eq!(server.unwrap().1.version, "TLSv1.2");
    assert!(client.is_ok());
}

#[tokio::test]
async fn a_client_certificate_is_asked_for_only_with_roots_and_proves_its_names() {
    let bench = Bench::new();
    let silent = bench.acceptor(&[Wish::server(&bench.world, &["mx.example.org"])]);
    let client = bench.client(&Wish::client(&bench.world, "alice@example.org"));
    let (server, _) = shake(&silent, &client, "mx.example.org").await;
    assert_eq!(server.unwrap().1.peer, Peer::Unknown);

    let pair = bench
        .authority
        .issue(&Wish::server(&bench.world, &["mx.example.org"]));
    let certificates = serving(&bench.world, &[files(bench.folder.path(), "asking", &pair)]);
    let clock = bench.world.clock.clone();
    let asking = Acceptor::new(certificates, Some(bench.roots()), clock).unwrap();
    let (server, _) = shake(&asking, &client, "mx.example.org").await;
    let Peer::Verified(names) = server.unwrap().1.peer else {
        panic!("not verified");
    };
    assert_eq!(names.mail, ["alice@example.org"]);
    assert_eq!(names.dns, ["laptop.example.org"]);

    let (server, _) = shake(&asking, &bench.connector(Trust::Verified), "mx.example.org").await;
    assert_eq!(server.unwrap().1.peer, Peer::Unknown);

    let now = bench.world.clock.now();
    let mut expired = Wish::client(&bench.world, "alice@example.org");
    expired.until = now - DAY / 2;
    let (server, _) = shake(&asking, &bench.client(&expired), "mx.example.org").await;
    let why = "the certificate has expired".to_string();
    assert_eq!(server.unwrap().1.peer, Peer::Unverified(why));
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_is_told_from_one_that_leaves() {
    let bench = Bench::new();
    let acceptor = bench.acceptor(&[Wish::server(&bench.world, &["mx.example.org"])]);
    let (ours, mut theirs) = tokio::io::duplex(4096);
    theirs.write_all(b"EHLO client.example\r\n").await.unwrap();
    let failed = acceptor.accept(Box::new(ours)).await.err();
    let why = "what the peer sent is not TLS".into();
    assert_eq!(failed, Some(Failed::Refused(why)));

    let (ours, theirs) = tokio::io::duplex(4096);
    drop(theirs);
    let failed = acceptor.accept(Box::new(ours)).await.err();
    assert_eq!(failed, Some(Failed::Lost));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_given_up() {
    let bench = Bench::new();
    let acceptor = bench.acceptor(&[Wish::server(&bench.world, &["mx.example.org"])]);
    let (ours, _theirs) = tokio::io::duplex(4096);
    let failed = acceptor.accept(Box::new(ours)).await.err();
    assert_eq!(failed, Some(Failed::Timeout));
    let (ours, _theirs) = tokio::io::duplex(4096);
    let connector = bench.connector(Trust::Anybody);
    let failed = connector.connect(Box::new(ours), "mx.example.org").await;
    assert_eq!(failed.err(), Some(Failed::Timeout));
}

#[tokio::test]
async fn the_end_of_tls_is_the_end_of_the_stream() {
    let bench = Bench::new();
    let acceptor = bench.acceptor(&[Wish::server(&bench.world, &["mx.example.org"])]);
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .unwrap()
        .with_root_certificates(bench.roots())
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let (ours, theirs) = tokio::io::duplex(4096);
    let name = "mx.example.org".try_into().unwrap();
    let (server, client) = tokio::join!(
        acceptor.accept(Box::new(ours)),
        connector.connect(name, theirs)
    );
    let (mut server, mut client) = (server.unwrap().0, client.unwrap());
    // The client says that TLS ends, then a command in clear.
    client.get_mut().1.send_close_notify();
    client.flush().await.unwrap();
    let (mut plain, _) = client.into_inner();
    plain
        .write_all(b"MAIL FROM:<eve@example.org>\r\n")
        .await
        .unwrap();
    let mut read = Vec::new();
    server.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"");
    assert_eq!(server.read(&mut [0; 64]).await.unwrap(), 0);
}
