//! `posthaste user`: accounts, their passwords, and who must wait after failed logins.
//!
//! Accounts are changed in their file, whether or not the server runs; a running one sees the
//! change at the next login. Failures are the running server's, asked through its control socket.

use std::io::{self, Write};
use std::path::Path;

use posthaste_world::World;
use posthaste_world::real::process;

use crate::authenticate::accounts::edit::{self, Change};
use crate::authenticate::accounts::{Account, Book, store};
use crate::authenticate::name::{Name, PASSWORD_MAX, Password};
use crate::authenticate::secret::{Secret, Wanted};
use crate::cli;
use crate::config::Config;
use crate::control::client;
use crate::fault::Fault;
use crate::privileges;

/// Runs a verb of `posthaste user`.
///
/// # Errors
/// It was not done, and why.
pub async fn run(world: &World, config: &Config, verb: &cli::UserVerb) -> Result<(), Fault> {
    match verb {
        cli::UserVerb::Add(add) => {
            let name = name(&add.address)?;
            let file = &config.accounts.file;
            let known = store::read(&*world.disk, file)?.book;
            let label = add.label.as_deref().unwrap_or_default();
            let has = |a: &Account| a.secrets.iter().any(|s| *s.label == *label);
            if known.find(&name).is_some_and(has) {
                // Before anybody types a password for nothing.
                return Err(fault(file, edit::exists(&name, label)));
            }
            let password = password()?;
            edited(world, config, &Change::Add(wanted(&name, &password, add)))?;
            say(&stored(&name, add, &file.display().to_string()))
        }
        cli::UserVerb::Passwd(options) => {
            let name = name(&options.address)?;
            let password = password()?;
            edited(
                world,
                config,
                &Change::Replace(wanted(&name, &password, options)),
            )?;
            say(&format!("{name} has another password\n"))
        }
        cli::UserVerb::Remove(options) => {
            let name = name(&options.address)?;
            let change = Change::Remove(&name, options.label.as_deref());
            edited(world, config, &change)?;
            say(&match &options.label {
                Some(label) => format!("the password `{label}` of {name} is removed\n"),
                None => format!("{name} is removed\n"),
            })
        }
        cli::UserVerb::List(options) => {
            let book = store::read(&*world.disk, &config.accounts.file)?.book;
            list(&book, options)
        }
        cli::UserVerb::Failures(options) => {
            client::failures(world, &config.data_dir, options, &mut io::stdout()).await
        }
    }
}

fn name(text: &str) -> Result<Name, Fault> {
    Name::parse(text).ok_or_else(|| {
        let why = "it is empty or too long, or holds a space, a control character or `:`";
        Fault::new(
            format!("reading the account `{}`", text.escape_debug()),
            why,
        )
        .fix("write an address, like alice@example.org")
    })
}

fn wanted<'a>(name: &'a Name, password: &'a Password, options: &'a cli::UserChange) -> Wanted<'a> {
    Wanted {
        name,
        password,
        label: options.label.as_deref().unwrap_or_default(),
        cram_md5: options.cram_md5,
        expires: options.expires.as_deref(),
    }
}

fn edited(world: &World, config: &Config, change: &Change<'_>) -> Result<(), Fault> {
    let file = &config.accounts.file;
    let prepare = |new: &Path| privileges::let_server_read(config, file, new);
    edit::change(&*world.disk, &*world.random, file, change, prepare)
        .map_err(|why| fault(file, why))
}

fn fault(file: &Path, why: String) -> Fault {
    Fault::new(format!("changing the accounts in {}", file.display()), why)
}

/// Asks for a password, twice where somebody types it; else it is the first line of standard input.
fn password() -> Result<Password, Fault> {
    let fault = |e: io::Error| Fault::new("reading the password", e);
    let first = process::read_secret("Password: ", PASSWORD_MAX).map_err(fault)?;
    if first.typed {
        let again = process::read_secret("The same again: ", PASSWORD_MAX).map_err(fault)?;
        if again.octets != first.octets {
            return Err(Fault::new(
                "reading the password",
                "the two are not the same",
            ));
        }
    }
    Ok(Password::new(&first.octets))
}

/// What was stored, and where.
fn stored(name: &Name, options: &cli::UserChange, file: &str) -> String {
    let what = match &options.label {
        Some(label) => format!("The password `{label}` of {name}"),
        None => format!("{name}"),
    };
    let mut text = format!(
        "{what} is in {file}. Stored are, instead of the password itself:
  an Argon2id hash              for PLAIN and LOGIN
  keys made from the password   for SCRAM-SHA-256, which does not send it at all
"
    );
    text.push_str(match options.cram_md5 {
        true => {
            "  a key for CRAM-MD5            as good as the password: whoever reads it can log in\n"
        }
        false => "Nothing for CRAM-MD5; --cram-md5 stores what that needs.\n",
    });
    text.push_str("A running server takes logins of this account from now on.\n");
    text
}

fn list(book: &Book, options: &cli::UserList) -> Result<(), Fault> {
    let wanted = options.address.as_deref().map(name).transpose()?;
    let meant = |a: &&Account| wanted.as_ref().is_none_or(|name| a.name == *name);
    let mut text = String::new();
    for account in book.accounts().filter(meant) {
        for secret in &account.secrets {
            text.push_str(&match options.json {
                true => json(account, secret),
                false => line(account, secret),
            });
        }
    }
    if text.is_empty() && !options.json {
        text = match &wanted {
            Some(name) => return Err(Fault::new("listing accounts", format!("no account {name}"))),
            None => "no account\n".to_string(),
        };
    }
    say(&text)
}

/// The mechanisms that a secret serves.
fn mechanisms(secret: &Secret) -> Vec<&'static str> {
    let mut served = Vec::new();
    if secret.flaw().is_none() {
        served.extend(["PLAIN", "LOGIN"]);
        served.extend(secret.scram.is_some().then_some("SCRAM-SHA-256"));
        served.extend(secret.cram_md5.is_some().then_some("CRAM-MD5"));
    }
    served
}

fn line(account: &Account, secret: &Secret) -> String {
    let mut text = account.name.to_string();
    if !secret.label.is_empty() {
        text += &format!("  [{}]", secret.label);
    }
    match secret.flaw() {
        Some(why) => text += &format!("  nobody can log in: {why}"),
        None => text += &format!("  {}", mechanisms(secret).join(" ")),
    }
    if let Some(day) = secret.last_day() {
        text += &format!("  until {day}");
    }
    text + "\n"
}

fn json(account: &Account, secret: &Secret) -> String {
    let object = serde_json::json!({
        "account": account.name.as_str(),
        "label": &*secret.label,
        "mechanisms": mechanisms(secret),
        "expires": secret.last_day(),
        "flaw": secret.flaw(),
    });
    format!("{object}\n")
}

fn say(text: &str) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    let said = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    said.map_err(|e| Fault::new("writing to standard output", e))
}
