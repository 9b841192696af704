//! The program under test, as a process: started with a configuration, asked through its commands,
//! heard through its log records.

use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

use crate::{SOON, folder, until};

/// A folder with a configuration, and the program when it runs.
pub struct Server {
    folder: TempDir,
    child: Option<Child>,
    pid: u32,
    records: Arc<Mutex<Vec<Value>>>,
    /// Where it listens, in the order of the configuration; known once it runs.
    pub addresses: Vec<SocketAddr>,
}

/// What a command printed, and how it ended.
pub struct Told {
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
    /// Its exit status.
    pub status: ExitStatus,
}

/// The program: the `posthaste` beside the running test, or the one that `POSTHASTE` names.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("POSTHASTE") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the path of this test");
    let path = test
        .parent()
        .and_then(Path::parent)
        .expect("a target folder")
        .join("posthaste");
    assert!(
        path.exists(),
        "{}: build it first (cargo xtask test does)",
        path.display()
    );
    path
}

impl Server {
    /// Writes a configuration. In it `{dir}` is the folder that it stands in.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn with(configuration: &str) -> Self {
        let folder = folder();
        let server = Server {
            folder,
            child: None,
            pid: 0,
            records: Arc::default(),
            addresses: Vec::new(),
        };
        server.configure(configuration);
        server
    }

    /// Writes a configuration and starts the program.
    #[must_use]
    pub fn start(configuration: &str) -> Self {
        let mut server = Server::with(configuration);
        server.run();
        server
    }

    /// Replaces the configuration of a program that does not run, or that is told to reload.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, configuration: &str) {
        let text = configuration.replace("{dir}", &self.dir().display().to_string());
        std::fs::write(self.config(), text).expect("a configuration file");
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir().join("posthaste.toml")
    }

    /// Starts the program and waits until it accepts connections.
    pub fn run(&mut self) {
        let mut command = Command::new(program());
        command.args(["serve", "--config"]).arg(self.config());
        self.run_as(command);
    }

    /// Starts the program as part of another command, which must end with the program's own words.
    ///
    /// # Panics
    /// When it does not start, or ends before it is ready.
    pub fn run_as(&mut self, mut command: Command) {
        self.records.lock().unwrap().clear();
        self.pid = 0;
        let errors = std::fs::File::create(self.dir().join("stderr")).expect("a file");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors);
        let mut child = command.spawn().expect("a program that starts");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let records = self.records.clone();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // What is no record is kept as it is, for the test to stumble upon.
                let record = serde_json::from_str(&line).unwrap_or(Value::String(line));
                records.lock().unwrap().push(record);
            }
        });
        self.child = Some(child);
        let ready = until("the record `ready`", SOON, || {
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                panic!(
                    "posthaste ended ({status}): {} {:?}",
                    self.errors(),
                    self.records()
                );
            }
            self.records()
                .into_iter()
                .find(|record| record["event"] == "ready")
        });
        self.learn(&ready);
    }

    /// Starts the program with its log records in the file `log`, not in this process: for
    /// benchmarks, where hearing them would be work beside the program's.
    ///
    /// # Panics
    /// When it does not start.
    pub fn run_unheard(&mut self) {
        let log = self.dir().join("log");
        let records = std::fs::File::create(&log).expect("a file");
        let errors = std::fs::File::create(self.dir().join("stderr")).expect("a file");
        let child = Command::new(program())
            .args(["serve", "--config"])
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(records)
            .stderr(errors)
            .spawn();
        self.child = Some(child.expect("a program that starts"));
        let ready = until("the record `ready`", SOON, || {
            let text = std::fs::read_to_string(&log).ok()?;
            let records = text.lines().filter_map(|l| serde_json::from_str(l).ok());
            records
                .into_iter()
                .find(|record: &Value| record["event"] == "ready")
        });
        self.learn(&ready);
    }

    /// Keeps what the record `ready` tells.
    fn learn(&mut self, ready: &Value) {
        let listeners = ready["listeners"].as_array().cloned().unwrap_or_default();
        let pid = ready["pid"]
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok());
        self.pid = pid.expect("the program's process id");
        let addresses = listeners
            .iter()
            .filter_map(|bound| bound["address"].as_str()?.parse().ok());
        self.addresses = addresses.collect();
    }

    /// Where its first listener listens.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        *self.addresses.first().expect("a bound listener")
    }

    /// Its process id, which is not that of a command that it is part of.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The log records so far.
    ///
    /// # Panics
    /// When their reader has panicked.
    #[must_use]
    pub fn records(&self) -> Vec<Value> {
        self.records.lock().unwrap().clone()
    }

    /// Waits for the first record that `wanted` accepts.
    pub fn record(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(what, SOON, || self.records().into_iter().find(&wanted))
    }

    /// What it has written on its standard error.
    #[must_use]
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.dir().join("stderr")).unwrap_or_default()
    }

    /// Runs one of its commands with this configuration.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Told {
        told(
            Command::new(program())
                .args(words)
                .arg("--config")
                .arg(self.config()),
        )
    }

    /// The same, with something on its standard input.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn command_with(&self, input: &str, words: &[&str]) -> Told {
        let mut child = Command::new(program())
            .args(words)
            .arg("--config")
            .arg(self.config())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a program that starts");
        // A command that does not read is judged by what it says.
        let _ = child
            .stdin
            .take()
            .expect("its input")
            .write_all(input.as_bytes());
        Told::from(child.wait_with_output().expect("its output"))
    }

    /// Number of messages in the queue.
    ///
    /// # Panics
    /// When it does not say.
    #[must_use]
    pub fn queued(&self) -> u64 {
        let told = self.command(&["queue", "count"]);
        told.out
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("queue count: {} {}", told.out, told.err))
    }

    /// Sends it a signal by name.
    ///
    /// # Panics
    /// When there is no `kill`.
    pub fn signal(&self, name: &str) {
        let words = format!("kill -{name} {} 2>/dev/null", self.pid());
        // A program that has just ended takes no signal, and whoever sent it will see that.
        let _ = Command::new("sh")
            .args(["-c", &words])
            .status()
            .expect("a shell");
    }

    /// Stops it as a service manager does and waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        let mut child = self.child.take().expect("a running program");
        until("the end of the program", SOON, || {
            child.try_wait().ok().flatten()
        })
    }

    /// Kills it as a power cut does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            if self.pid != 0 {
                self.signal("KILL");
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Resident memory, in KiB, and the most there was of it.
    ///
    /// # Panics
    /// When the system does not say.
    #[must_use]
    pub fn memory(&self) -> (u64, u64) {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("/proc");
        let field = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_default();
            line.split_whitespace()
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(0)
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let records = self
                .records
                .lock()
                .map(|records| records.clone())
                .unwrap_or_default();
            let last = records.len().saturating_sub(40);
            for record in records.iter().skip(last) {
                println!("{record}");
            }
            println!("{}", self.errors());
        }
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be run.
pub fn told(command: &mut Command) -> Told {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
    Told::from(output)
}

impl From<Output> for Told {
    fn from(output: Output) -> Self {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        Told {
            out: text(&output.stdout),
            err: text(&output.stderr),
            status: output.status,
        }
    }
}
