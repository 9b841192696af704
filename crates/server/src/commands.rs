//! The commands, each from its options to its end: what `main` runs.
//!
//! Here the world is the real one: signals, users, standard output. It does **not** hold what a
//! server does: that is [`serve`](crate::serve).

use std::io::{self, IoSlice, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use posthaste_world::World;
use posthaste_world::disk::{File, Open};
use posthaste_world::real::{self, process};

use crate::cli;
use crate::config::{self, Config, Loaded, finding};
use crate::control::client;
use crate::fault::Fault;
use crate::privileges::{self, Rights};
use crate::serve::{self, Node};
use crate::telemetry::Log;

/// `posthaste serve`.
///
/// # Errors
/// What the operator must mend before the server can run.
pub fn serve(file: &Path) -> Result<(), Fault> {
    with_world(async |first| {
        let loaded = load(&first, file)?;
        let world = world_of(&loaded.config)?;
        let log = Log::new(Box::new(io::stdout()), world.clock.clone());
        warn(&loaded);
        let node = start(&world, &log, &loaded.config)?;
        until_stopped(node, &world, &log, file).await
    })
}

/// `posthaste check`; prints every finding.
#[must_use]
pub fn check(file: &Path) -> ExitCode {
    let checked = with_world(async |world| {
        let findings = config::check(file, &*world.disk);
        let printed = writeln!(io::stdout().lock(), "{}", finding::report(&findings));
        printed.map_err(|e| Fault::new("writing to standard output", e))?;
        Ok(findings.iter().all(|f| !f.is_error()))
    });
    match checked {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

/// `posthaste queue`.
///
/// # Errors
/// The server does not run, or does not do it.
pub fn queue(file: &Path, verb: &cli::Verb) -> Result<(), Fault> {
    with_world(async |world| {
        let data_dir = load(&world, file)?.config.data_dir;
        client::queue(&world, &data_dir, verb, &mut io::stdout()).await
    })
}

/// `posthaste send`; prints the queue id.
///
/// # Errors
/// The server does not run, or does not take the message.
pub fn send(file: &Path, options: &cli::Send) -> Result<(), Fault> {
    with_world(async |world| {
        let data_dir = load(&world, file)?.config.data_dir;
        let id = client::send(&world, &data_dir, options, &mut io::stdin()).await?;
        let printed = writeln!(io::stdout().lock(), "{id}");
        printed.map_err(|e| Fault::new("writing to standard output", e))
    })
}

/// Runs `command` in a world of its own.
///
/// # Errors
/// What the command fails with, or that the system gives no world.
pub fn with_world<T>(command: impl AsyncFnOnce(World) -> Result<T, Fault>) -> Result<T, Fault> {
    let runtime = real::runtime().map_err(|e| Fault::new("starting", e))?;
    runtime.block_on(async {
        let world =
            real::world(&real::Settings::default()).map_err(|e| Fault::new("starting", e))?;
        command(world).await
    })
}

/// The world that a configuration asks for: with its DNS servers.
///
/// # Errors
/// The system gives no world.
pub fn world_of(config: &Config) -> Result<World, Fault> {
    let mut settings = real::Settings::default();
    settings.dns.servers.clone_from(&config.dns_servers);
    real::world(&settings).map_err(|e| Fault::new("starting", e))
}

/// Reads a configuration that must be usable.
///
/// # Errors
/// All findings in one text.
pub fn load(world: &World, file: &Path) -> Result<Loaded, Fault> {
    Config::load(file, &*world.disk).map_err(|findings| {
        let doing = format!("reading the configuration {}", file.display());
        Fault::new(doing, format!("\n\n{}", finding::report(&findings)))
    })
}

/// Tells the operator on standard error what `check` would warn of.
fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings {
        // Nobody can be told when standard error is closed.
        let _ = writeln!(io::stderr().lock(), "{warning}\n");
    }
}

/// Starts a node with all that comes before it: limits, sockets, privileges, and its log.
///
/// # Errors
/// What the operator must mend before the server can run.
pub fn start(world: &World, log: &Arc<Log>, config: &Config) -> Result<Node, Fault> {
    process::keep_files_private();
    // A lower limit costs connections, not mail; the accept loop says so when it is met.
    let _ = process::allow_many_files();
    let rights = Rights::find(config)?;
    privileges::make_data_dir(&rights, &config.data_dir, &*world.disk)?;
    let sockets = serve::bind(world, config)?;
    rights.take()?;
    world
        .work
        .spawn("log", Box::pin(log.clone().run(world.work.clone())));
    Node::start(world, log, config, sockets)
}

/// Lets a node run until SIGTERM or SIGINT; SIGHUP reads the configuration again.
///
/// # Errors
/// Signals cannot be had.
pub async fn until_stopped(
    mut node: Node,
    world: &World,
    log: &Arc<Log>,
    file: &Path,
) -> Result<(), Fault> {
    let mut signals = process::Signals::new().map_err(|e| Fault::new("waiting for signals", e))?;
    while signals.next().await == process::Signal::Reload {
        let reloaded = load(world, file).and_then(|loaded| node.reload(&loaded.config));
        if let Err(fault) = reloaded {
            log.fault(&fault.doing, &fault.cause);
            log.flush();
        }
    }
    node.stop().await;
    Ok(())
}

/// A log in a new file at `path`; what an earlier one holds is replaced.
///
/// # Errors
/// The file cannot be written.
pub fn log_file(world: &World, path: &Path) -> Result<Arc<Log>, Fault> {
    let fault = |e| Fault::new(format!("opening the log {}", path.display()), e);
    match world.disk.remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fault(e)),
        _ => {}
    }
    let file = world.disk.open(path, Open::CreateNew).map_err(fault)?;
    let sink = Appender { file, position: 0 };
    Ok(Log::new(Box::new(sink), world.clock.clone()))
}

/// Writes to a file from its start on.
struct Appender {
    file: Box<dyn File>,
    position: u64,
}

impl io::Write for Appender {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.position, &[IoSlice::new(octets)])?;
        self.position += u64::try_from(octets.len()).map_err(io::Error::other)?;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
