//! Running other programs: a thin cover over [`std::process::Command`] whose failures say what ran.
//!
//! It does **not** use a shell.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a command of ours gives: nothing, or a sentence that says what is wrong and what to do.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// A program to run in the workspace's folder.
pub(crate) struct Run {
    command: Command,
    shown: String,
}

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Cargo's output folder, which holds everything this tool makes.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// Whether this is the CI run, where what is missing is a failure and not a skip.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// A run of `program`.
pub(crate) fn new(program: impl AsRef<OsStr>) -> Run {
    let shown = program.as_ref().to_string_lossy().into_owned();
    let mut command = Command::new(program);
    command.current_dir(root());
    Run { command, shown }
}

/// A run of the cargo that runs us.
pub(crate) fn cargo() -> Run {
    new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

impl Run {
    /// Adds arguments.
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        for argument in arguments {
            self.shown.push(' ');
            self.shown.push_str(&argument.as_ref().to_string_lossy());
            self.command.arg(argument);
        }
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs in another folder.
    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Runs with our input and output, to its end.
    pub(crate) fn run(mut self) -> Result<()> {
        let status = self.command.status().map_err(|fault| self.fault(&fault))?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("`{}` failed ({status})", self.shown)),
        }
    }

    /// Runs quietly and gives its standard output; its standard error stands in the failure.
    pub(crate) fn output(mut self) -> Result<String> {
        let output = self.command.output().map_err(|fault| self.fault(&fault))?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            return Err(format!(
                "`{}` failed ({}): {}",
                self.shown,
                output.status,
                told.trim()
            ));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts it with its standard output given to us.
    pub(crate) fn piped(mut self) -> Result<std::process::Child> {
        self.command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|fault| self.fault(&fault))
    }

    fn fault(&self, fault: &std::io::Error) -> String {
        format!("`{}` cannot be run: {fault}", self.shown)
    }
}
