//! The reference pages say what the program does.
//!
//! `UPDATE_GOLDEN=1 cargo test -p posthaste --test reference` writes them again.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use posthaste::config::reference;

fn same(path: &str, page: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "{path} is not current: run `UPDATE_GOLDEN=1 cargo test -p posthaste --test reference`"
    );
}

#[test]
fn the_page_of_the_configuration_is_current() {
    same("../../docs/reference/config.md", &reference::config_page());
}

#[test]
fn the_page_of_the_commands_is_current() {
    same("../../docs/reference/cli.md", &reference::cli_page());
}
