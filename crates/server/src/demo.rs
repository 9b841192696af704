//! `posthaste demo`: a working server on loopback that sends itself a message and stays up.
//!
//! Everything it makes is in one folder: a configuration to look at and to change, the queue, the
//! mail and the log. It is the same program with the same stages as `serve`.

use std::io::{self, IoSlice, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use posthaste_smtp::Dialect;
use posthaste_smtp::address::{ForwardPath, Mailbox, ReversePath, Utf8};
use posthaste_smtp::client::{Event, RecipientOutcome, Session, Settings, Transaction};
use posthaste_smtp::extension::BodyType;
use posthaste_world::disk::Open;
use posthaste_world::net::Endpoint;
use posthaste_world::{BoxStream, World};
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::authenticate::accounts::edit::{self, Change};
use crate::authenticate::accounts::store;
use crate::authenticate::name::{Name, Password};
use crate::authenticate::secret::Wanted;
use crate::cli;
use crate::commands;
use crate::fault::Fault;
use crate::privileges::Rights;
use crate::tls::client::{Connector, Trust};

/// Where the demo's listener for submission over TLS is.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 2465);
/// Who sends the demo's message, and who gets it.
const USERS: [&str; 2] = ["bob@demo.example", "alice@demo.example"];
/// What a generated password is made of, and how long it is: 79 bits.
const LETTERS: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
const PASSWORD_LENGTH: usize = 16;
/// How long its own message may take to arrive.
const ARRIVAL_TIME: Duration = Duration::from_secs(10);
/// How often its folder is looked at meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

const CONFIGURATION: &str = r#"# Made by `posthaste demo`. Change it, then send the server SIGHUP.
hostname = "mx.demo.example"
data_dir = "data"
postmaster = "alice@demo.example"

# Other servers deliver here.
[[listener]]
address = "127.0.0.1:2525"
service = "mx"

# Users send here, with STARTTLS or with TLS from the start. Their accounts are in the file `users`.
[[listener]]
address = "127.0.0.1:2587"
service = "submission"

[[listener]]
address = "127.0.0.1:2465"
service = "submission"
tls = "implicit"

# The accounts are its mailboxes, too.
[[domain]]
name = "demo.example"
deliver = "maildir:mail/{local}"
"#;

/// Runs the demo until it is stopped.
///
/// # Errors
/// What keeps it from running.
pub fn run(options: &cli::Demo) -> Result<(), Fault> {
    commands::with_world(async |first| {
        let dir = folder(&first, options)?;
        let file = configuration(&first, &dir)?;
        let passwords = accounts(&first, &dir)?;
        let config = commands::load(&first, &file)?.config;
        let (world, log) =
            commands::world_of(&config, commands::log_file(&first, &dir.join("log"))?)?;
        let started = commands::start(&world, &log, &config, &Rights::ours())?;
        let id = send(&world, &passwords).await?;
        let letter = arrival(&world, &dir.join("mail/alice/new")).await?;
        let said = say(&dir, &file, (&id, &letter), &passwords);
        said.map_err(|e| Fault::new("writing to standard output", e))?;
        commands::until_stopped(started, &world, &log, &file).await;
        Ok(())
    })
}

fn folder(world: &World, options: &cli::Demo) -> Result<PathBuf, Fault> {
    let dir = match &options.dir {
        Some(dir) => std::path::absolute(dir).map_err(|e| Fault::new("finding the folder", e))?,
        None => {
            std::env::temp_dir().join(format!("posthaste-demo-{:016x}", world.random.next_u64()))
        }
    };
    let made = world.disk.create_dir(&dir);
    made.map_err(|e| Fault::new(format!("making the folder {}", dir.display()), e))?;
    Ok(dir)
}

/// Writes the configuration, unless an earlier demo left one.
fn configuration(world: &World, dir: &Path) -> Result<PathBuf, Fault> {
    let path = dir.join("posthaste.toml");
    let written = match world.disk.open(&path, Open::CreateNew) {
        Ok(file) => file.write_at(0, &[IoSlice::new(CONFIGURATION.as_bytes())]),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    };
    written.map_err(|e| Fault::new(format!("writing {}", path.display()), e))?;
    Ok(path)
}

/// Gives each user a new password.
fn accounts(world: &World, dir: &Path) -> Result<[String; 2], Fault> {
    let failed = |why| Fault::new("making the demo's accounts", why);
    let path = dir.join("users");
    let known = store::read(&*world.disk, &path)?.book;
    let mut passwords = [(); 2].map(|()| generated(world));
    for (user, password) in USERS.iter().zip(&mut passwords) {
        let Some(name) = Name::parse(user) else {
            return Err(failed("its name is none".to_string()));
        };
        let wanted = Wanted {
            name: &name,
            password: &Password::new(password.as_bytes()),
            label: "",
            cram_md5: false,
            expires: None,
        };
        let change = match known.find(&name) {
            Some(_) => Change::Replace(wanted),
            None => Change::Add(wanted),
        };
        let changed = edit::change(&*world.disk, &*world.random, &path, &change, |_| Ok(()));
        changed.map_err(failed)?;
    }
    Ok(passwords)
}

fn generated(world: &World) -> String {
    let letter = || {
        let at = usize::try_from(world.random.below(31)).unwrap_or(0);
        LETTERS.get(at).map_or('x', |l| char::from(*l))
    };
    (0..PASSWORD_LENGTH).map(|_| letter()).collect()
}

/// Sends alice a message as bob; the server's reply to it.
async fn send(world: &World, passwords: &[String; 2]) -> Result<String, Fault> {
    let failed = |why: &dyn std::fmt::Display| Fault::new("sending the demo's own message", why);
    let to = Endpoint::Tcp(ADDRESS);
    let stream = world.net.connect(&to, None).await.map_err(|e| failed(&e))?;
    // The certificate is the server's own, which nobody vouches for.
    let (anybody, no_roots) = (Trust::Anybody, Arc::new(RootCertStore::empty()));
    let connector = Connector::new(anybody, no_roots, None, world.clock.clone())?;
    let connecting = connector.connect(stream, "127.0.0.1").await;
    let (stream, _) = connecting.map_err(|e| failed(&e))?;
    let [password, _] = passwords;
    let dialogue = converse(stream, password);
    tokio::select! {
        reply = dialogue => reply.map_err(|e| failed(&e)),
        () = world.clock.sleep(ARRIVAL_TIME) => Err(failed(&"no answer in time")),
    }
}

async fn converse(mut stream: BoxStream, password: &str) -> io::Result<String> {
    let mut session = Session::new(Settings::new("client.demo.example", Dialect::Smtp));
    let mut reply = String::new();
    loop {
        while session.wants_input() {
            let written = session.output().len();
            stream.write_all(session.output()).await?;
            session.wrote(written);
            match stream.read(session.input_space()).await? {
                0 => session.peer_closed(),
                n => session.input_filled(n),
            }
        }
        match session.next() {
            Some(Event::Ready(_)) if !session.is_authenticated() => {
                let [user, _] = USERS;
                let initial = format!("\0{user}\0{password}");
                session
                    .begin_auth("PLAIN", Some(initial.as_bytes()))
                    .map_err(|e| io::Error::other(e.reply().to_string()))?;
            }
            Some(Event::AuthDone(reply)) if !reply.is_positive() => {
                return Err(io::Error::other(reply.to_string()));
            }
            Some(Event::Ready(_)) => {
                session
                    .begin(transaction()?)
                    .map_err(|e| io::Error::other(e.reply().to_string()))?;
            }
            Some(Event::SendBody) => {
                session.body(LETTER.replace('\n', "\r\n").as_bytes());
                session.end_body();
            }
            Some(Event::Finished(outcomes)) => {
                reply = match outcomes.into_iter().next() {
                    Some(RecipientOutcome::Accepted(reply)) => reply.to_string(),
                    other => return Err(io::Error::other(format!("refused: {other:?}"))),
                };
                session.quit();
            }
            Some(Event::Closed(_)) => return Ok(reply),
            Some(Event::Refused(_, reply)) => return Err(io::Error::other(reply.to_string())),
            Some(_) | None => {}
        }
    }
}

const LETTER: &str = "\
From: Bob <bob@demo.example>
To: Alice <alice@demo.example>
Subject: Haste, post, haste

This message was sent over SMTP, kept on stable storage before it was
acknowledged, and delivered into a Maildir by the server you started.
";

fn transaction() -> io::Result<Transaction> {
    let mailbox = |text| Mailbox::parse(text, Utf8::Refused).map_err(io::Error::other);
    Ok(Transaction {
        reverse_path: ReversePath::Mailbox(mailbox("bob@demo.example")?),
        recipients: vec![ForwardPath::Mailbox(mailbox("alice@demo.example")?)],
        size: None,
        body: BodyType::SevenBit,
        smtp_utf8: false,
    })
}

/// Waits for a letter in a Maildir's `new`; the newest one.
async fn arrival(world: &World, new: &Path) -> Result<PathBuf, Fault> {
    let begun = world.clock.elapsed();
    while world.clock.elapsed().saturating_sub(begun) < ARRIVAL_TIME {
        // The folder is made by the first delivery.
        let entries = world.disk.list(new).unwrap_or_default();
        if let Some(letter) = entries.last() {
            return Ok(new.join(&letter.name));
        }
        world.clock.sleep(LOOK_AGAIN).await;
    }
    Err(Fault::new(
        "delivering the demo's own message",
        "it did not arrive in time",
    )
    .fix("look into the file `log` beside the configuration"))
}

fn say(
    dir: &Path,
    file: &Path,
    (reply, letter): (&str, &Path),
    [bob, alice]: &[String; 2],
) -> io::Result<()> {
    let (dir, file, letter) = (dir.display(), file.display(), letter.display());
    let mut out = io::stdout().lock();
    write!(
        out,
        "Posthaste runs. Bob logged in and sent Alice a message over SMTP; the server said

    {reply}

and delivered it to

    {letter}

Try it:

    curl --crlf smtp://127.0.0.1:2525 --mail-from you@example.org --mail-rcpt bob@demo.example \
        -T FILE
    curl --crlf --insecure smtps://127.0.0.1:2465 --user bob@demo.example:{bob} \
        --mail-from bob@demo.example --mail-rcpt alice@demo.example -T FILE
    posthaste queue list --config {file}
    posthaste user list --config {file}

Listening: 2525 for other servers; 2587 (STARTTLS) and 2465 (TLS) for users
    bob@demo.example    {bob}
    alice@demo.example  {alice}

Configuration, queue, mail and log are in {dir}
The server stays up until you stop it with Ctrl-C.
"
    )?;
    out.flush()
}
