//! The commands, each from its options to its end: what `main` runs.
//!
//! Here the world is the real one: signals, users, standard output. It does **not** hold what a
//! server does: that is [`mod@crate::serve`].

use std::io::{self, IoSlice, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use posthaste_world::World;
use posthaste_world::disk::{File, Open};
use posthaste_world::real::{self, process};

use crate::cli;
use crate::config::{self, Config, Loaded, finding};
use crate::control::client;
use crate::deliver::helper;
use crate::deliver::maildir::Names;
use crate::dkim;
use crate::fault::Fault;
use crate::privileges::{self, Rights};
use crate::serve::{self, Node};
use crate::telemetry::Log;
use crate::user;

/// `posthaste serve`.
///
/// # Errors
/// What the operator must mend before the server can run.
pub fn serve(file: &Path) -> Result<(), Fault> {
    with_world(async |first| {
        let loaded = load(&first, file)?;
        let (world, log) = world_of(&loaded.config, Box::new(io::stdout()))?;
        warn(&loaded);
        let rights = Rights::find(&loaded.config)?;
        let started = start(&world, &log, &loaded.config, &rights)?;
        until_stopped(started, &world, &log, file).await;
        Ok(())
    })
}

/// `posthaste check`; prints every finding.
#[must_use]
pub fn check(file: &Path) -> ExitCode {
    let checked = with_world(async |world| {
        let findings = config::check(file, &*world.disk, world.clock.now());
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

/// `posthaste user`.
///
/// # Errors
/// It was not done.
pub fn user(file: &Path, verb: &cli::UserVerb) -> Result<(), Fault> {
    with_world(async |world| {
        let config = load(&world, file)?.config;
        user::run(&world, &config, verb).await
    })
}

/// `posthaste reports`; prints what others have reported.
///
/// # Errors
/// The server does not run, or cannot read them.
pub fn reports(file: &Path, options: &cli::Reports) -> Result<(), Fault> {
    with_world(async |world| {
        let data_dir = load(&world, file)?.config.data_dir;
        client::reports(&world, &data_dir, options, &mut io::stdout()).await
    })
}

/// `posthaste dkim`.
///
/// # Errors
/// It was not done, or a record is not right.
pub fn dkim(file: &Path, verb: &cli::DkimVerb) -> Result<(), Fault> {
    with_world(async |world| {
        let config = load(&world, file)?.config;
        dkim::run(&world, &config, verb).await
    })
}

/// `posthaste mail-helper`, which the server starts as root: becomes the owner of mail files for
/// good, then writes them until the server ends.
///
/// # Errors
/// It cannot become that user, or the server's requests break the rules.
pub fn mail_helper(options: &cli::MailHelper) -> Result<(), Fault> {
    let fault = |e| {
        Fault::new(
            format!("helping with the mail files of {}", options.owner),
            e,
        )
    };
    process::keep_files_private();
    let user = process::User::named(&options.owner).map_err(fault)?;
    let user = user.ok_or_else(|| fault(io::Error::other("there is no such user")))?;
    process::become_user(&user).map_err(fault)?;
    with_world(async |world| {
        // The server's end ends the helper, when its last delivery is done; no signal does.
        let _signals = process::Signals::new().map_err(fault)?;
        let socket = helper::standard_input().map_err(fault)?;
        let names = Names::new(&options.hostname);
        let name = || names.next(world.clock.now());
        helper::serve(&socket, &*world.disk, &options.roots, name).map_err(fault)
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

/// The world that a configuration asks for, with its DNS servers, and a log that writes to `sink`
/// and is told of every panic in it.
///
/// # Errors
/// The system gives no world.
pub fn world_of(
    config: &Config,
    sink: Box<dyn io::Write + Send>,
) -> Result<(World, Arc<Log>), Fault> {
    let told = Arc::new(OnceLock::<Arc<Log>>::new());
    let tell = told.clone();
    let mut settings = real::Settings {
        panicked: Some(Arc::new(move |name, text| {
            if let Some(log) = tell.get() {
                log.fault(&format!("the task {name}, which panicked and ended"), &text);
            }
        })),
        ..real::Settings::default()
    };
    settings.dns.servers.clone_from(&config.dns_servers);
    let world = real::world(&settings).map_err(|e| Fault::new("starting", e))?;
    let log = told
        .get_or_init(|| Log::new(sink, world.clock.clone()))
        .clone();
    Ok((world, log))
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

/// Starts a node with all that comes before it: limits, sockets, privileges, and its log. It runs
/// with `rights` from then on. Signals are heard before the node says that it is ready: one that
/// comes at once must not end it.
///
/// # Errors
/// What the operator must mend before the server can run.
pub fn start(
    world: &World,
    log: &Arc<Log>,
    config: &Config,
    rights: &Rights,
) -> Result<(Node, process::Signals), Fault> {
    process::keep_files_private();
    // A lower limit costs connections, not mail; the accept loop says so when it is met.
    let _ = process::allow_many_files();
    privileges::make_data_dir(rights, &config.data_dir, &*world.disk)?;
    let sockets = serve::bind(world, config)?;
    let helpers = privileges::start_helpers(config)?;
    rights.take()?;
    let signals = process::Signals::new().map_err(|e| Fault::new("waiting for signals", e))?;
    world
        .work
        .spawn("log", Box::pin(log.clone().run(world.work.clone())));
    let node = Node::start(world, log, config, (sockets, helpers))?;
    Ok((node, signals))
}

/// Lets a node run until SIGTERM or SIGINT; SIGHUP reads the configuration again.
/// What a reload finds wrong is told, and the node goes on.
pub async fn until_stopped(
    (mut node, mut signals): (Node, process::Signals),
    world: &World,
    log: &Arc<Log>,
    file: &Path,
) {
    loop {
        let signal = tokio::select! {
            signal = signals.next() => Some(signal),
            () = node.accounts_changed() => None,
        };
        match signal {
            Some(process::Signal::Stop) => break,
            None => node.renew_accounts(),
            Some(process::Signal::Reload) => {
                let reloaded = load(world, file).and_then(|loaded| node.reload(&loaded.config));
                if let Err(fault) = reloaded {
                    log.fault(&fault.doing, &fault.cause);
                    log.flush();
                }
            }
        }
    }
    node.stop().await;
}

/// A sink for a log: a new file at `path`; what an earlier one holds is replaced.
///
/// # Errors
/// The file cannot be written.
pub fn log_file(world: &World, path: &Path) -> Result<Box<dyn io::Write + Send>, Fault> {
    let fault = |e| Fault::new(format!("opening the log {}", path.display()), e);
    match world.disk.remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fault(e)),
        _ => {}
    }
    let file = world.disk.open(path, Open::CreateNew).map_err(fault)?;
    Ok(Box::new(Appender { file, position: 0 }))
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
