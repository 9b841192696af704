//! DKIM as others have it: dkimpy, OpenDKIM's library, Mail::DKIM for Perl.
//!
//! Each signs or verifies a whole folder of messages in one process, with the keys of that folder:
//! no DNS is asked. The scripts stand beside this file.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Tree, write};
use crate::server::told;

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Implementation {
    /// What it is called.
    pub name: &'static str,
    /// It knows Ed25519.
    pub ed25519: bool,
    interpreter: &'static str,
    script: &'static str,
}

/// OpenDKIM's library.
pub const OPENDKIM: Implementation = Implementation {
    name: "OpenDKIM",
    ed25519: true,
    interpreter: "python3",
    script: include_str!("opendkim.py"),
};

/// All of them.
pub const IMPLEMENTATIONS: [Implementation; 3] = [
    Implementation {
        name: "dkimpy",
        ed25519: true,
        interpreter: "python3",
        script: include_str!("dkimpy.py"),
    },
    OPENDKIM,
    Implementation {
        name: "Mail::DKIM",
        ed25519: false,
        interpreter: "/usr/bin/perl",
        script: include_str!("mail_dkim.pl"),
    },
];

/// The keys of the domain example.org: RSA at the selector `r`, Ed25519 at `e`.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Private keys as PEM: RSA, then Ed25519.
    pub private: [String; 2],
    /// The texts of the records, likewise.
    pub records: [String; 2],
}

impl Implementation {
    /// Signs messages, with either key and in every form.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn sign(&self, tree: &Tree, keys: &Keys, messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let folder = prepare(keys, messages);
        self.run(tree, "sign", folder.path());
        let out = folder.path().join("out");
        let read = |index| std::fs::read(out.join(file(index))).expect("a signed message");
        (0..messages.len()).map(read).collect()
    }

    /// Verifies messages: for each, whether each of its signatures holds.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn verify(&self, tree: &Tree, keys: &Keys, messages: &[Vec<u8>]) -> Vec<Vec<bool>> {
        let folder = prepare(keys, messages);
        let told = self.run(tree, "verify", folder.path());
        let lines = told.lines().filter_map(|line| line.split_once(' '));
        let mut verdicts: BTreeMap<&str, &str> = lines.collect();
        let mut of = |index| {
            let verdicts = verdicts.remove(file(index).as_str()).expect("its verdicts");
            verdicts.chars().map(|c| c == '1').collect()
        };
        (0..messages.len()).map(&mut of).collect()
    }

    /// Microseconds of processor time that the verification of each message takes: the library
    /// alone, its keys in a file. OpenDKIM only.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn verifies_in_us(&self, tree: &Tree, keys: &Keys, messages: &[Vec<u8>]) -> f64 {
        let folder = prepare(keys, messages);
        let told = self.run(tree, "measure", folder.path());
        told.trim().parse().expect("a number")
    }

    fn run(&self, tree: &Tree, task: &str, folder: &Path) -> String {
        let script = folder.join("script");
        write(&script, self.script);
        let words = [self.interpreter, &script.display().to_string(), task];
        let folder = folder.display().to_string();
        let command = "export PYTHONPATH=\"$0/python\"; exec \"$1\" \"$2\" \"$3\" \"$4\"";
        let told = told(&mut tree.command(command, &[words[0], words[1], words[2], &folder]));
        assert!(told.status.success(), "{}: {}", self.name, told.err);
        told.out
    }
}

fn prepare(keys: &Keys, messages: &[Vec<u8>]) -> tempfile::TempDir {
    let folder = crate::folder();
    let path = |name: &str| folder.path().join(name);
    let [rsa, ed25519] = &keys.records;
    let zone = format!("r._domainkey.example.org {rsa}\ne._domainkey.example.org {ed25519}\n");
    write(&path("keys"), &zone);
    write(&path("rsa.pem"), &keys.private[0]);
    write(&path("ed25519.pem"), &keys.private[1]);
    for name in ["in", "out"] {
        std::fs::create_dir(path(name)).expect("a folder");
    }
    for (index, message) in messages.iter().enumerate() {
        std::fs::write(path("in").join(file(index)), message).expect("a message");
    }
    folder
}

fn file(index: usize) -> String {
    format!("{index:05}")
}
