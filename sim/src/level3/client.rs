//! Those who send: one connection, one message, and what they were told.

use std::sync::Arc;
use std::time::Duration;

use posthaste_smtp::Dialect;
use posthaste_smtp::address::{ForwardPath, ReversePath, Utf8};
use posthaste_smtp::client::{Event, Lost, RecipientOutcome, Session, Settings, Transaction};
use posthaste_smtp::extension::BodyType;
use posthaste_world::net::Endpoint;
use posthaste_world::{BoxStream, Clock, Net};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::ledger::Answer;
use super::scene::Scene;

/// A message to be sent.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    /// Its number.
    pub(super) number: u64,
    /// The server that it is given to.
    pub(super) server: Endpoint,
    /// Where its sender is reached; none for the null reverse-path.
    pub(super) sender: Option<String>,
    /// Whom it is for.
    pub(super) to: Vec<String>,
    /// Its content.
    pub(super) text: Vec<u8>,
    /// Whether the client goes away after so many octets of content.
    pub(super) leaves_after: Option<usize>,
}

/// Sends it, and writes into the ledger what was said.
pub(super) async fn send(scene: Arc<Scene>, errand: Errand) {
    let connected = tokio::select! {
        biased;
        connected = async {
            scene.net.door(scene.clients).connect(&errand.server, None).await
        } => connected,
        () = scene.clock.sleep(Duration::from_secs(30)) => return,
    };
    let Ok(mut stream) = connected else { return };
    let settings = Settings::new("client.sim", Dialect::Smtp);
    let mut session = Session::new(settings);
    let outcomes = tokio::select! {
        biased;
        outcomes = converse(&mut session, &mut stream, &errand) => outcomes,
        () = scene.clock.sleep(Duration::from_secs(600)) => {
            session.peer_closed();
            last_words(&mut session)
        }
    };
    let mut ledger = crate::locked(&scene.ledger);
    for (address, outcome) in errand.to.iter().zip(outcomes) {
        let answer = match outcome {
            RecipientOutcome::Accepted(_) => Answer::Promised,
            RecipientOutcome::Lost(Lost::AfterEndOfData) => Answer::Unknown,
            _ => Answer::Refused,
        };
        ledger.answered(errand.number, address, answer);
    }
}

fn last_words(session: &mut Session) -> Vec<RecipientOutcome> {
    while let Some(event) = session.next() {
        if let Event::Finished(outcomes) = event {
            return outcomes;
        }
    }
    Vec::new()
}

fn transaction(errand: &Errand) -> Option<Transaction> {
    let reverse_path = match &errand.sender {
        None => ReversePath::Null,
        Some(sender) => ReversePath::parse(&format!("<{sender}>"), Utf8::Refused).ok()?,
    };
    let recipients = errand.to.iter();
    let paths = recipients.map(|to| ForwardPath::parse(&format!("<{to}>"), Utf8::Refused).ok());
    Some(Transaction {
        reverse_path,
        recipients: paths.collect::<Option<_>>()?,
        size: u64::try_from(errand.text.len()).ok(),
        body: BodyType::EightBitMime,
        smtp_utf8: false,
    })
}

async fn converse(
    session: &mut Session,
    stream: &mut BoxStream,
    errand: &Errand,
) -> Vec<RecipientOutcome> {
    loop {
        match session.next() {
            Some(Event::Ready(_)) => {
                let begun = transaction(errand).map(|t| session.begin(t));
                if !matches!(begun, Some(Ok(()))) {
                    return Vec::new();
                }
            }
            Some(Event::SendBody) => match errand.leaves_after {
                Some(n) => {
                    session.body(errand.text.get(..n).unwrap_or(&errand.text));
                    let _ = stream.write_all(session.output()).await;
                    session.peer_closed();
                }
                None => {
                    session.body(&errand.text);
                    session.end_body();
                }
            },
            Some(Event::Finished(outcomes)) => {
                session.quit();
                let _ = stream.write_all(session.output()).await;
                return outcomes;
            }
            Some(Event::Closed(_)) => return Vec::new(),
            Some(_) => {}
            None => {
                if exchange(session, stream).await.is_err() {
                    session.peer_closed();
                }
            }
        }
    }
}

async fn exchange(session: &mut Session, stream: &mut BoxStream) -> std::io::Result<()> {
    while !session.output().is_empty() {
        let n = stream.write(session.output()).await?;
        session.wrote(n);
    }
    match stream.read(session.input_space()).await? {
        0 => session.peer_closed(),
        n => session.input_filled(n),
    }
    Ok(())
}
