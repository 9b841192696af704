//! Becoming an ordinary user, in a process of its own, since there is no way back.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Barrier};

use posthaste_world::real::process::{User, become_user, is_root};

/// Names a file that only root can read, to the process that gives its rights up.
const SECRET: &str = "POSTHASTE_TEST_SECRET";

#[test]
fn root_becomes_an_ordinary_user_for_good() {
    if let Some(secret) = std::env::var_os(SECRET) {
        return give_up_rights(secret.as_ref());
    }
    if !is_root() {
        println!("SKIP root_becomes_an_ordinary_user_for_good: this is not root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "root_becomes_an_ordinary_user_for_good"])
        .env(SECRET, &secret)
        .status();
    assert!(status.unwrap().success());
}

fn give_up_rights(secret: &Path) {
    assert!(std::fs::read(secret).is_ok());
    // A thread from before must lose its rights too.
    let barrier = Arc::new(Barrier::new(2));
    let (wait, path) = (barrier.clone(), secret.to_owned());
    let thread = std::thread::spawn(move || {
        wait.wait();
        std::fs::read(path).is_err()
    });
    let user = User::named("nobody").unwrap().unwrap();
    become_user(&user).unwrap();
    barrier.wait();
    assert!(!is_root());
    assert!(std::fs::read(secret).is_err());
    assert!(thread.join().unwrap(), "the other thread could read it");
    let root = User::named("root").unwrap().unwrap();
    assert!(become_user(&root).is_err(), "the way back is open");
}
