//! The command line: every command and option, with its help.
//!
//! The definitions here are the only ones; `docs/reference/cli.md` is generated from them. This
//! module does **not** run anything.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Posthaste: an SMTP mail server in one program and one text file.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "posthaste",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
#[command(propagate_version = true, subcommand_required = true)]
#[command(after_help = "The configuration is explained in docs/reference/config.md.")]
pub struct Cli {
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE", default_value = crate::config::DEFAULT_FILE)]
    pub config: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Run the server in the foreground
    ///
    /// Accepts mail, keeps it, delivers it. One JSON record a line goes to standard output; the
    /// record `ready` names the bound ports. SIGTERM and SIGINT stop it: open transactions may end
    /// for up to 10 seconds, queued mail stays in the queue. SIGHUP reads the configuration again
    /// and keeps the old one when the new one has an error.
    #[command(verbatim_doc_comment)]
    Serve,
    /// Check the configuration and say what is wrong and how to mend it
    ///
    /// Prints every error and warning with its file, line, cause and fix. Exits 0 when there is no
    /// error (warnings are no errors), 1 otherwise. Changes nothing.
    #[command(verbatim_doc_comment)]
    Check,
    /// Start a working server on loopback, to try things out
    ///
    /// Makes a folder with a configuration and two accounts, listens on 127.0.0.1 (2525 for other
    /// servers, 2587 and 2465 for users), logs in and sends itself a message. `--config` is not
    /// looked at.
    #[command(verbatim_doc_comment)]
    Demo(Demo),
    /// Add, change, list and remove accounts; see and lift what is blocked
    User(User),
    /// Make, list, check and remove the keys that sign our mail (DKIM)
    Dkim(Dkim),
    /// See and steer what is queued
    Queue(Queue),
    /// Send a message from standard input through the running server
    ///
    /// The message is read up to the end of input. Without RECIPIENT the recipients are read from
    /// the To, Cc and Bcc fields; Bcc is removed. Prints the queue id.
    #[command(verbatim_doc_comment)]
    Send(Send),
    /// Show what other servers have reported about mail in our name
    ///
    /// Reports of DMARC, of TLS, and about single messages, that came to the mailboxes of
    /// `reports_to`; the oldest period first. Needs a running server.
    #[command(verbatim_doc_comment)]
    Reports(Reports),
    /// Say what to publish in the DNS for a domain, and whether it is there
    ///
    /// Prints every record: MX, addresses and their names, SPF, DKIM, DMARC, MTA-STS, TLS-RPT,
    /// TLSA; whether it is `right`, `missing`, `wrong` (and how) or `unknown` (it could not be
    /// looked up), and what to publish. Exits 0 when all that is needed is right and nothing is
    /// wrong, 1 when not, 2 when something could not be looked up.
    #[command(verbatim_doc_comment)]
    Dns(Dns),
    /// Judge a message as if it had just arrived: SPF, DKIM, ARC, DMARC
    ///
    /// Prints the Authentication-Results field, then why each verdict came out so, line by line.
    /// The message is FILE, or standard input. Without --ip there is no SPF. The configuration is
    /// only asked for our name, DNS servers and policy; none is needed.
    #[command(verbatim_doc_comment)]
    Verify(Verify),
    /// Write mail files for another user; the server starts it
    #[command(hide = true)]
    MailHelper(MailHelper),
}

/// What a mail helper is started with.
#[derive(Args, Clone, Debug)]
pub struct MailHelper {
    /// The user to become
    pub owner: String,
    /// The server's name, for file names
    pub hostname: String,
    /// Folders below which it may write
    pub roots: Vec<PathBuf>,
}

/// Options of `demo`.
#[derive(Args, Clone, Debug)]
pub struct Demo {
    /// Folder for everything the demo makes; without it a new temporary one
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Options of `reports`.
#[derive(Args, Clone, Debug)]
pub struct Reports {
    /// About this domain only
    pub domain: Option<String>,
    /// One object a line, for programs
    #[arg(long)]
    pub json: bool,
}

/// Options of `dns`.
#[derive(Args, Clone, Debug)]
pub struct Dns {
    /// A domain of the configuration
    pub domain: String,
    /// DNS server to ask, with or without a port; without it those that are responsible for the
    /// domain
    #[arg(long, value_name = "SERVER", verbatim_doc_comment)]
    pub dns: Option<String>,
    /// Lines for a zone file
    #[arg(long)]
    pub zone: bool,
    /// One object a line, for programs
    #[arg(long, conflicts_with = "zone")]
    pub json: bool,
}

/// Options of `verify`.
#[derive(Args, Clone, Debug)]
pub struct Verify {
    /// The address of the host that sent it
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<std::net::IpAddr>,
    /// What that host called itself in EHLO
    #[arg(long, value_name = "NAME", default_value = "")]
    pub helo: String,
    /// Reverse-path; `<>`, or nothing, for none
    #[arg(long, value_name = "ADDRESS", default_value = "<>")]
    pub mail_from: String,
    /// DNS server to ask, with or without a port; without it the configuration's, or the system's
    #[arg(long, value_name = "SERVER")]
    pub dns: Option<String>,
    /// When it arrived, for signatures that expire; without it now
    #[arg(long, value_name = "RFC3339")]
    pub now: Option<jiff::Timestamp>,
    /// One object for programs instead of text
    #[arg(long)]
    pub json: bool,
    /// The message, with CRLF or Unix line ends; without it standard input
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Options of `send`.
#[derive(Args, Clone, Debug)]
pub struct Send {
    /// Reverse-path; without it the From field's address, `<>` for none
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<String>,
    /// Recipients
    #[arg(value_name = "RECIPIENT")]
    pub recipients: Vec<String>,
}

/// Options of `dkim`.
#[derive(Args, Clone, Debug)]
#[command(arg_required_else_help = true)]
pub struct Dkim {
    /// What to do with keys.
    #[command(subcommand)]
    pub verb: DkimVerb,
}

/// What to do with keys.
#[derive(Subcommand, Clone, Debug)]
pub enum DkimVerb {
    /// Make keys for a domain, and print the records to publish
    ///
    /// Makes an RSA key of 2048 bits and an Ed25519 key, each with a selector of its own. Mail from
    /// the domain is signed with both from then on, by a running server, too. Receivers take an
    /// unpublished key's signature as none.
    #[command(verbatim_doc_comment)]
    Generate(DkimDomain),
    /// Make new keys for a domain that has some, and print the records to publish
    ///
    /// The new keys sign when the running server has seen both records in the DNS for an hour. The
    /// records of the old keys must stay until `posthaste dkim list` says that they may go.
    #[command(verbatim_doc_comment)]
    Rotate(DkimDomain),
    /// List keys, and where they stand: published, active, retiring, retired
    List(DkimKeys),
    /// Ask the DNS whether it publishes the keys as it should
    ///
    /// Each record is read as that of any sender is: it is `right`, `missing`, `wrong` (and how),
    /// or `unknown` when the DNS does not answer. Exits 0 when all are right, 1 otherwise.
    #[command(verbatim_doc_comment)]
    Check(DkimKeys),
    /// Remove the keys of a domain; its mail is no longer signed
    Remove(DkimDomain),
}

/// Whose keys.
#[derive(Args, Clone, Debug)]
pub struct DkimDomain {
    /// The domain; it signs for those below it, too
    pub domain: String,
}

/// Which keys.
#[derive(Args, Clone, Debug)]
pub struct DkimKeys {
    /// The domain; all when there is none
    pub domain: Option<String>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Options of `user`.
#[derive(Args, Clone, Debug)]
#[command(arg_required_else_help = true)]
pub struct User {
    /// What to do with accounts.
    #[command(subcommand)]
    pub verb: UserVerb,
}

/// What to do with accounts.
#[derive(Subcommand, Clone, Debug)]
pub enum UserVerb {
    /// Add an account, or a further password to one
    ///
    /// The password is asked for, or is the first line of standard input when that is no terminal.
    /// What is stored is an Argon2id hash (for PLAIN and LOGIN) and keys for SCRAM-SHA-256, and not
    /// the password. With --label the account gets a further password, for one device or program,
    /// which can be removed alone. A running server takes the login at once.
    #[command(verbatim_doc_comment)]
    Add(UserChange),
    /// Change a password
    ///
    /// What the line in the file says besides the password is kept.
    Passwd(UserChange),
    /// List accounts and the mechanisms that their passwords can be used with
    List(UserList),
    /// Remove an account, or with --label one of its passwords
    Remove(UserRemove),
    /// Show failed logins and who must wait, and lift that
    ///
    /// Asks the running server. An address is counted by itself (IPv6 by its /64), an account by
    /// itself, and an account at an address where it logged in before by itself.
    #[command(verbatim_doc_comment)]
    Failures(UserFailures),
}

/// A password to store.
#[derive(Args, Clone, Debug)]
pub struct UserChange {
    /// The account, usually an address
    pub address: String,
    /// Name of a further password, like the device it is for
    #[arg(long, value_name = "NAME")]
    pub label: Option<String>,
    /// Store what CRAM-MD5 needs, too; it is as good as the password to whoever reads the file
    #[arg(long)]
    pub cram_md5: bool,
    /// Last day on which the password is good, like 2027-12-31
    #[arg(long, value_name = "DAY")]
    pub expires: Option<String>,
}

/// Which accounts.
#[derive(Args, Clone, Debug)]
pub struct UserList {
    /// The account; all when there is none
    pub address: Option<String>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// What to remove.
#[derive(Args, Clone, Debug)]
pub struct UserRemove {
    /// The account
    pub address: String,
    /// Remove only the password of this name
    #[arg(long, value_name = "NAME")]
    pub label: Option<String>,
}

/// Which failures.
#[derive(Args, Clone, Debug)]
pub struct UserFailures {
    /// Forget the failures of this account or this IP address; of all with `all`
    #[arg(long, value_name = "WHO")]
    pub clear: Option<String>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Options of `queue`.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::filter::GRAMMAR, arg_required_else_help = true)]
pub struct Queue {
    /// What to do with the messages.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do with queued messages.
#[derive(Subcommand, Clone, Debug)]
pub enum Verb {
    /// List messages, oldest first
    List(Selection),
    /// Print the number of messages, as one integer
    ///
    /// With `--json` and without FILTER it is an object that also says where all recipients are
    /// that came in since the server started: `recovered` and `accepted` are `delivered`,
    /// `bounced`, `expired`, `removed`, `queued` and `held`. `difference` is 0, or the server has
    /// made a mistake.
    #[command(verbatim_doc_comment)]
    Count(Selection),
    /// Show messages in full: every recipient, its attempts, its last reply, its next attempt
    Show(Selection),
    /// Keep messages in the queue without delivering them, until released
    Hold(Change),
    /// Release held messages; they are tried at once
    Release(Change),
    /// Try messages now instead of at their next attempt
    Retry(Change),
    /// Give messages up now: the reverse-path gets a report
    Bounce(Change),
    /// Delete messages without telling anybody
    Delete(Change),
}

/// Which messages, to look at.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::filter::GRAMMAR)]
pub struct Selection {
    /// Which messages; all when there is none
    #[arg(value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Which messages, to change.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::filter::GRAMMAR)]
pub struct Change {
    /// Which messages; at least one term
    #[arg(value_name = "FILTER", required = true)]
    pub filter: Vec<String>,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, Command, Verb};

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn config_may_stand_anywhere() {
        for line in [
            "posthaste --config a.toml queue list",
            "posthaste queue --config a.toml list",
            "posthaste queue list state=held --config a.toml",
        ] {
            assert_eq!(
                parse(line).unwrap().config.to_str(),
                Some("a.toml"),
                "{line}"
            );
        }
        let default = parse("posthaste serve").unwrap().config;
        assert_eq!(default.to_str(), Some("/etc/posthaste/posthaste.toml"));
    }

    #[test]
    fn a_change_needs_a_filter_and_a_listing_does_not() {
        for verb in ["hold", "release", "retry", "bounce", "delete"] {
            assert!(parse(&format!("posthaste queue {verb}")).is_err(), "{verb}");
            assert!(parse(&format!("posthaste queue {verb} id=x --dry-run --json")).is_ok());
        }
        for verb in ["list", "count", "show"] {
            assert!(
                parse(&format!("posthaste queue {verb} --json")).is_ok(),
                "{verb}"
            );
        }
    }

    #[test]
    fn filters_and_recipients_may_be_several() {
        let cli = parse("posthaste queue delete from=<> and age>1h").unwrap();
        let Command::Queue(queue) = cli.command else {
            panic!()
        };
        let Verb::Delete(change) = queue.verb else {
            panic!()
        };
        assert_eq!(change.filter, ["from=<>", "and", "age>1h"]);
        let cli = parse("posthaste send --from a@example.org b@example.net c@example.net").unwrap();
        let Command::Send(send) = cli.command else {
            panic!()
        };
        assert_eq!(send.recipients.len(), 2);
    }

    #[test]
    fn every_command_answers_help_and_version() {
        for command in [
            "",
            " serve",
            " check",
            " demo",
            " user",
            " user add",
            " queue",
            " queue list",
            " send",
        ] {
            for flag in ["--help", "--version"] {
                let error = parse(&format!("posthaste{command} {flag}")).unwrap_err();
                assert_eq!(error.exit_code(), 0, "posthaste{command} {flag}");
            }
        }
    }
}
