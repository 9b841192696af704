//! The certificate that the server makes for itself when the configuration names none.
//!
//! It is self-signed: whoever does not look encrypts to it all the same, which is what mail servers
//! do among themselves (RFC 7435); mail programs that verify refuse it. It lies in the folder `tls`
//! of `data_dir`, its key readable by the server alone, and is used again at the next start. It is
//! made anew when it does not have the server's name any more or soon expires.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::time::Duration;

use posthaste_world::disk::Open;
use posthaste_world::{Disk, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};

use super::certificates::days_left;
use super::pair::Pair;
use crate::config::{CertificateFiles, NamedFile};
use crate::fault::Fault;

/// How long it is valid. Nobody renews it, and nobody who verifies takes it, so it should outlive
/// the machine.
const VALID: Duration = Duration::from_secs(10 * 365 * 86_400);
/// It is valid from a day ago, for peers whose clocks are late.
const BEFORE: Duration = Duration::from_secs(86_400);
/// It is made anew when it is valid for fewer days than this.
const DAYS_MIN: i64 = 30;

/// Where the server's own certificate and its key are.
#[must_use]
pub fn files(data_dir: &Path) -> CertificateFiles {
    let named = |name: &str| NamedFile {
        path: folder(data_dir).join(name),
        place: None,
    };
    CertificateFiles {
        certificate: named("self-signed.pem"),
        key: named("self-signed.key"),
    }
}

/// Makes the server's own certificate, unless there is one that can still be used.
///
/// # Errors
/// It cannot be written.
pub fn ensure(
    data_dir: &Path,
    hostname: &str,
    disk: &dyn Disk,
    now: Timestamp,
) -> Result<CertificateFiles, Fault> {
    let files = files(data_dir);
    let fits =
        |pair: &Pair| pair.about.names.cover(hostname) && days_left(&pair.about, now) >= DAYS_MIN;
    if Pair::read(&files, disk).is_ok_and(|pair| fits(&pair)) {
        return Ok(files);
    }
    make(data_dir, hostname, disk, now).map_err(|e| {
        let doing = format!("making a certificate in {}", folder(data_dir).display());
        Fault::new(doing, e).fix("name one in [tls], or let the server's user write to `data_dir`")
    })?;
    Ok(files)
}

fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("tls")
}

fn make(data_dir: &Path, hostname: &str, disk: &dyn Disk, now: Timestamp) -> io::Result<()> {
    let (certificate, key) = certificate(hostname, now).map_err(io::Error::other)?;
    let folder = folder(data_dir);
    disk.create_dir(&folder)?;
    let files = files(data_dir);
    write(disk, &files.key.path, &key)?;
    write(disk, &files.certificate.path, &certificate)?;
    disk.sync_dir(&folder)
}

/// The certificate and its key, in PEM.
fn certificate(hostname: &str, now: Timestamp) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(vec![hostname.to_string()])?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(
        DnType::CommonName,
        hostname.chars().take(64).collect::<String>(),
    );
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs((now - BEFORE).as_secs());
    params.not_after = epoch + Duration::from_secs((now + VALID).as_secs());
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Writes a file under another name first: what is under its own name is whole.
fn write(disk: &dyn Disk, path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    match disk.remove(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = disk.open(&new, Open::CreateNew)?;
    file.write_at(0, &[IoSlice::new(text.as_bytes())])?;
    file.sync()?;
    disk.rename(&new, path)
}
