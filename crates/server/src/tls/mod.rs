//! TLS: certificates, and both ends of a handshake (RFC 8446, RFC 5246; use as in RFC 9325).
//!
//! [`server::Acceptor`] and [`client::Connector`] take a stream of the net door and give one back
//! that is encrypted, together with [`Facts`]: what was negotiated and who the peer has shown to
//! be. Certificates are [`pair`]s of files that [`certificates`] holds, chooses by the name that
//! the peer asks for, and reads again when they change.
//!
//! TLS 1.2 and 1.3 alone are spoken (RFC 8996), without renegotiation and compression, with the
//! cipher suites that rustls considers sound. A failed handshake is a value ([`Failed`]) for the
//! record, never a fault: peers cause it.
//!
//! Randomness is that of the cryptographic library, not the door's: keys must not come from a seed.
//! The end of TLS is the end of the stream: nothing is ever read or written in clear after it.
//!
//! This module does **not** know SMTP, and does not decide whether TLS is needed.

pub mod certificates;
pub mod client;
pub mod generated;
pub mod names;
pub mod pair;
pub mod roots;
pub mod server;
pub mod watch;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use posthaste_world::{Clock, Timestamp};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, CommonState, ProtocolVersion, SupportedProtocolVersion};

use names::Names;

/// How long a peer may take for its part of a handshake. Two flights at the slowest link still fit.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(30);
/// Octets that wait to be encrypted or sent on one connection; a writer waits beyond that.
const BUFFER_MAX: usize = 16 * 1024;
/// Longest text about a failure, in characters.
const CAUSE_MAX: usize = 200;
/// Label of the channel binding (RFC 9266 §2).
const BINDING_LABEL: &[u8] = b"EXPORTER-Channel-Binding";
/// The versions spoken (RFC 8996).
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// What a handshake settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The version, as `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite by its registered name, as `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// The name that the client asked for (RFC 6066 §3), in lower case.
    pub server_name: Option<String>,
    /// Who the peer has shown to be.
    pub peer: Peer,
    /// What binds an authentication to this connection: `tls-exporter` (RFC 9266). None in TLS 1.2,
    /// where it needs the extended master secret and rustls does not say whether that was used.
    pub binding: Option<[u8; 32]>,
}

/// What is known of the peer from its certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Peer {
    /// It showed none.
    Unknown,
    /// It showed one that proves nothing, and why.
    Unverified(String),
    /// Its certificate leads to a trusted root, is valid now, and it has the key. A server's also
    /// is for the name that was asked for.
    Verified(Names),
}

impl Peer {
    /// Whether the certificate proves anything.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        matches!(self, Peer::Verified(_))
    }
}

/// Why there was no TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failed {
    /// The peer took longer than [`HANDSHAKE_TIME`].
    Timeout,
    /// The peer closed or reset the connection.
    Lost,
    /// The two sides do not agree, or the peer is not who it should be. In plain words, bounded;
    /// an alert of the peer stands in it by its name.
    Refused(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Timeout => f.write_str("the TLS handshake took too long"),
            Failed::Lost => f.write_str("the connection was lost in the TLS handshake"),
            Failed::Refused(cause) => write!(f, "the TLS handshake failed: {cause}"),
        }
    }
}

/// The cryptography of this program. It is handed to each configuration: there is no process-wide
/// default.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The clock door, as rustls asks for the time.
struct Now(Arc<dyn Clock>);

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Now")
    }
}

impl rustls::time_provider::TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(&*self.0))
    }
}

fn unix_time(clock: &dyn Clock) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(clock.now().as_secs()))
}

/// Lets a handshake run for at most [`HANDSHAKE_TIME`].
async fn within_time<T>(
    clock: &dyn Clock,
    handshake: impl Future<Output = io::Result<T>>,
) -> Result<T, Failed> {
    tokio::select! {
        biased;
        done = handshake => done.map_err(|e| failed(&e)),
        () = clock.sleep(HANDSHAKE_TIME) => Err(Failed::Timeout),
    }
}

/// What an ended handshake says of its version, its cipher, and its binding.
fn negotiated(state: &CommonState) -> (&'static str, String) {
    let version = match state.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLSv1.2",
    };
    let cipher = state.negotiated_cipher_suite().map(|c| c.suite());
    let cipher = cipher.and_then(|c| c.as_str()).unwrap_or("unknown");
    // rustls writes `TLS13_` where the registry has `TLS_`.
    let cipher = match cipher.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => cipher.to_string(),
    };
    (version, cipher)
}

/// The channel binding of a connection, from its exporter.
fn binding(
    version: &str,
    export: impl FnOnce([u8; 32], &[u8]) -> Result<[u8; 32], rustls::Error>,
) -> Option<[u8; 32]> {
    if version != "TLSv1.3" {
        return None;
    }
    export([0; 32], BINDING_LABEL).ok()
}

/// Why a handshake failed, from what the stream said.
fn failed(error: &io::Error) -> Failed {
    let inner = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>());
    match inner {
        Some(tls) => Failed::Refused(cause(tls)),
        None => Failed::Lost,
    }
}

/// What rustls says, in plain words and bounded.
fn cause(error: &rustls::Error) -> String {
    use rustls::Error as E;
    let text = match error {
        E::AlertReceived(alert) => format!("the peer sent the alert {}", alert_name(*alert)),
        E::InvalidCertificate(why) => untrusted(why),
        E::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            "what the peer sent is not TLS".into()
        }
        E::PeerIncompatible(why) => format!("the peer speaks nothing that we speak ({why:?})"),
        E::PeerMisbehaved(why) => format!("the peer breaks the protocol ({why:?})"),
        other => other.to_string(),
    };
    text.chars().take(CAUSE_MAX).collect()
}

/// The registered name of an alert (RFC 8446 §6), from `HandshakeFailure` to `handshake_failure`.
fn alert_name(alert: rustls::AlertDescription) -> String {
    let Some(name) = alert.as_str() else {
        return format!("{}", u8::from(alert));
    };
    let mut text = String::with_capacity(name.len() + 4);
    let mut after_small = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && after_small {
            text.push('_');
        }
        after_small = c.is_ascii_lowercase();
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// A day, for people: `2026-11-25`.
pub(crate) fn date(at: Timestamp) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%d").to_string()
}

/// Why a certificate proves nothing.
fn untrusted(why: &CertificateError) -> String {
    use CertificateError as C;
    let text = match why {
        C::Expired | C::ExpiredContext { .. } => "the certificate has expired",
        C::NotValidYet | C::NotValidYetContext { .. } => "the certificate is not valid yet",
        C::UnknownIssuer => "the certificate's issuer is not trusted",
        C::NotValidForName | C::NotValidForNameContext { .. } => {
            "the certificate is for another name"
        }
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => {
            "the certificate is for another purpose"
        }
        C::BadSignature => "a signature of the certificate is wrong",
        C::BadEncoding => "the certificate cannot be read",
        other => return format!("the certificate cannot be used ({other:?})"),
    };
    text.to_string()
}
