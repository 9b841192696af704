//! What the black-box and interop tests need: the program as a process, raw dialogues, real peers.
//!
//! The tests stand in `tests/tests/`, one file a subject. They drive the program through its
//! operator's surface only: configuration, commands, log records, the wire. A peer that is not
//! there is a visible `SKIP`, in CI a failure ([`peer::Tree::require`]). Ports are the system's
//! choice, and nothing waits for a fixed time: [`until`] asks again until a limit.
//!
//! It does **not** look into the program; tests that do stand with its crates. What a crate must
//! have in common with implementations that nobody here wrote is tested here too, since the peers
//! are here (`mailauth_*`).

// Test code runs outside of the simulated world, and a broken expectation is a failed test.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod client;
pub mod distance;
pub mod generated;
pub mod hop;
pub mod load;
pub mod mailbox;
pub mod messages;
pub mod peer;
pub mod plot;
pub mod server;
pub mod setup;
pub mod strace;
pub mod tls;
pub mod transcript;
pub mod wire;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the tests wait for something that should happen at once, on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);
/// Pause between two looks at something that is not there yet.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks `look` again and again until it finds something.
///
/// # Panics
/// When it has found nothing within `limit`; says what was waited for.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            start.elapsed() < limit,
            "waited {limit:?} in vain for {what}"
        );
        std::thread::sleep(PAUSE);
    }
}

/// An address on loopback that was free a moment ago.
#[must_use]
pub fn free_address() -> SocketAddr {
    free_port(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// A port of `host` that was free a moment ago.
///
/// # Panics
/// When the machine has none.
#[must_use]
pub fn free_port(host: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((host, 0)).expect("a free port");
    listener.local_addr().expect("the port's number")
}

/// Waits until something accepts connections at `address`.
pub fn wait_for_listener(what: &str, address: SocketAddr) {
    until(&format!("{what} at {address}"), SOON, || {
        TcpStream::connect(address).ok()
    });
}

/// The workspace's folder.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// A new folder that peers and the program may write to, with users of their own.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::Builder::new()
        .prefix("posthaste-")
        .tempdir()
        .expect("a folder");
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.path(), open).expect("an open folder");
    folder
}

/// Says that a test cannot run here, past the test runner's capture.
///
/// # Panics
/// In CI, where nothing may be missing.
pub fn skip(why: &str) {
    use std::io::Write;
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "missing in CI: {why}"
    );
    let _ = writeln!(std::io::stdout().lock(), "SKIP {why}");
}
