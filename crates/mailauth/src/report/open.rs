//! The report in a mail.
//!
//! Takes the first part that can be read as a report, whatever it calls itself: generators do not
//! agree on types and names. At most [`OCTETS_MAX`] octets are unpacked.

use std::fmt;

use super::aggregate::{self, Aggregate};
use super::arf::{self, Feedback};
use super::tls::{self, TlsReport};
use super::{mime, zip};

/// Octets of one report, unpacked.
pub const OCTETS_MAX: usize = 32 * 1024 * 1024;

/// A report that was sent to us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// DMARC, of a period.
    Aggregate(Box<Aggregate>),
    /// Of one message: abuse, or failed authentication.
    Feedback(Box<Feedback>),
    /// Of connections to us.
    Tls(Box<TlsReport>),
}

/// Why there is no report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unopened {
    /// Nothing in the mail looks like one.
    NoReport,
    /// It is larger than [`OCTETS_MAX`].
    TooLarge,
    /// It cannot be unpacked or read; the text says why.
    Unreadable(String),
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unopened::NoReport => f.write_str("no report in it"),
            Unopened::TooLarge => write!(f, "the report has more than {OCTETS_MAX} octets"),
            Unopened::Unreadable(why) => write!(f, "the report cannot be read: {why}"),
        }
    }
}

impl std::error::Error for Unopened {}

/// Reads the report in a mail.
pub fn open(message: &[u8]) -> Result<Received, Unopened> {
    let parts = mime::parts(message);
    if let Some(feedback) = arf::of_parts(&parts) {
        return Ok(Received::Feedback(Box::new(feedback)));
    }
    let mut first = Unopened::NoReport;
    for part in &parts {
        let file = part
            .file
            .as_deref()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let named = [".xml", ".gz", ".zip", ".json"]
            .iter()
            .any(|end| file.ends_with(end));
        let typed = part.kind.starts_with("application/") || part.kind == "text/xml";
        if !named && !typed {
            continue;
        }
        match unpack(part.decode()).and_then(|octets| read(&octets)) {
            Ok(report) => return Ok(report),
            Err(why) if first == Unopened::NoReport => first = why,
            Err(_) => {}
        }
    }
    Err(first)
}

/// Unpacks gzip and zip; anything else is given as it is.
pub fn unpack(octets: Vec<u8>) -> Result<Vec<u8>, Unopened> {
    zip::unpack(octets, OCTETS_MAX).map_err(|why| match why {
        zip::Packed::TooLarge => Unopened::TooLarge,
        zip::Packed::Damaged => Unopened::Unreadable("a damaged archive".to_owned()),
    })
}

/// Reads an unpacked report: XML or JSON, by its first character.
pub fn read(octets: &[u8]) -> Result<Received, Unopened> {
    let text = octets
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(octets)
        .trim_ascii_start();
    match text.first() {
        Some(b'<') => aggregate::read(text)
            .map(|report| Received::Aggregate(Box::new(report)))
            .map_err(|why| Unopened::Unreadable(why.to_string())),
        Some(b'{') => tls::read(text)
            .map(|report| Received::Tls(Box::new(report)))
            .map_err(|why| Unopened::Unreadable(why.to_string())),
        _ => Err(Unopened::NoReport),
    }
}
