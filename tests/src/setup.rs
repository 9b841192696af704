//! Configurations that the tests share.

/// Takes mail for `alice` and `bob` of `local.example` into Maildirs, relays for loopback, retries
/// soon. What a test adds comes after it, and so cannot be keys of the file's top.
pub const BASE: &str = r#"
hostname = "mx.local.example"
data_dir = "data"
postmaster = "alice@local.example"
user = "nobody"

[[listener]]
address = "127.0.0.1:0"
service = "mx"
tls = "none"

[relay]
networks = ["127.0.0.0/8"]

[[domain]]
name = "local.example"
mailboxes = ["alice", "bob"]
deliver = "maildir:mail/{local}"
"#;

/// [`BASE`] and `more`.
#[must_use]
pub fn with(more: &str) -> String {
    format!("{BASE}\n{more}\n")
}
