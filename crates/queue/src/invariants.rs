//! The promises, as functions over plain views.
//!
//! Each says what must hold and returns what is broken. The queue asserts some of them in debug
//! builds; the simulation asks all of them after every crash, and the node simulation asks them of
//! whole servers. They know nothing of how the queue works, so that they cannot share its mistakes.

use std::fmt;

use crate::accounts::Accounts;
use crate::id::QueueId;

/// A promise that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// The name of the function that found it.
    pub invariant: &'static str,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.seen)
    }
}

impl std::error::Error for Broken {}

/// What we told the peer about a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// 250: the promise was given.
    Promised,
    /// 4yz or 5yz.
    Refused,
    /// Nothing: the power went first. Both is right then, for ever.
    Unknown,
}

/// How a recipient ended, or was about to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Handed over, or relayed.
    Delivered,
    /// Failed; the report that the sender is owed, if any.
    Failed {
        /// Its queue id.
        report: Option<QueueId>,
    },
}

/// What was settled about a recipient.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// Nothing final.
    Open,
    /// The power went before the queue answered: open or ended, and then both together.
    Unknown(Ending),
    /// Ended, and the queue said so.
    Ended(Ending),
}

/// A message as it was given to the queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Given<'a> {
    /// Its queue id.
    pub id: QueueId,
    /// What the peer was told.
    pub answer: Answer,
    /// A digest of its octets.
    pub digest: u64,
    /// What was settled, by recipient index.
    pub recipients: &'a [Settled],
}

/// A message as it is found in the queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found<'a> {
    /// Its queue id.
    pub id: QueueId,
    /// A digest of its octets; `None` when they cannot be read.
    pub digest: Option<u64>,
    /// Indexes of its open recipients, ascending.
    pub open: &'a [u32],
}

/// Every recipient that was promised and has no ending is still queued (`promise kept`).
///
/// # Errors
/// What is gone.
pub fn promise_kept(given: &Given<'_>, found: Option<&Found<'_>>) -> Result<(), Broken> {
    if given.answer != Answer::Promised {
        return Ok(());
    }
    let open = found.map_or(&[][..], |f| f.open);
    for (index, settled) in indexed(given.recipients) {
        hold(
            *settled != Settled::Open || open.contains(&index),
            "promise_kept",
            || format!("recipient {index} of {} was promised and is gone", given.id),
        )?;
    }
    Ok(())
}

/// What was refused is not queued (`no false promise`).
///
/// # Errors
/// What came back.
pub fn no_false_promise(given: &Given<'_>, found: Option<&Found<'_>>) -> Result<(), Broken> {
    hold(
        given.answer != Answer::Refused || found.is_none(),
        "no_false_promise",
        || format!("{} was refused and is queued", given.id),
    )
}

/// What ended stays so (`at most once`, as far as it is ours to keep).
///
/// # Errors
/// What is open again.
pub fn outcome_kept(given: &Given<'_>, found: Option<&Found<'_>>) -> Result<(), Broken> {
    let open = found.map_or(&[][..], |f| f.open);
    for index in open {
        let settled = usize::try_from(*index)
            .ok()
            .and_then(|i| given.recipients.get(i));
        hold(settled.is_some(), "outcome_kept", || {
            format!("{} has a recipient {index} that nobody gave", given.id)
        })?;
        hold(
            !matches!(settled, Some(Settled::Ended(_))),
            "outcome_kept",
            || format!("recipient {index} of {} ended and is open again", given.id),
        )?;
    }
    Ok(())
}

/// A recipient has one ending: not both delivered and failed, and not twice (`one ending`).
///
/// # Errors
/// The two endings.
pub fn one_ending(id: QueueId, before: Settled, now: Ending) -> Result<(), Broken> {
    match before {
        Settled::Ended(first) => Err(Broken {
            invariant: "one_ending",
            seen: format!("a recipient of {id} ended as {first:?}, and again as {now:?}"),
        }),
        Settled::Open | Settled::Unknown(_) => Ok(()),
    }
}

/// A failed recipient is closed only when its report is durable, or none is owed
/// (`report before close`). `report_known` says whether a report is queued or was disposed of.
///
/// # Errors
/// The report that is missing.
pub fn report_before_close(
    given: &Given<'_>,
    found: Option<&Found<'_>>,
    report_known: impl Fn(QueueId) -> bool,
) -> Result<(), Broken> {
    let open = found.map_or(&[][..], |f| f.open);
    for (index, settled) in indexed(given.recipients) {
        let (Settled::Ended(ending) | Settled::Unknown(ending)) = settled else {
            continue;
        };
        if let Ending::Failed {
            report: Some(report),
        } = ending
            && !open.contains(&index)
            && given.answer == Answer::Promised
        {
            hold(report_known(*report), "report_before_close", || {
                format!(
                    "recipient {index} of {} is closed without its report {report}",
                    given.id
                )
            })?;
        }
    }
    Ok(())
}

/// A settlement and its reports are there together, or not at all: no report without its ending.
///
/// # Errors
/// The report that came too early.
pub fn settled_whole(
    given: &Given<'_>,
    found: Option<&Found<'_>>,
    report_known: impl Fn(QueueId) -> bool,
) -> Result<(), Broken> {
    let open = found.map_or(&[][..], |f| f.open);
    for (index, settled) in indexed(given.recipients) {
        if let Settled::Unknown(Ending::Failed {
            report: Some(report),
        }) = settled
            && open.contains(&index)
        {
            hold(!report_known(*report), "settled_whole", || {
                format!(
                    "recipient {index} of {} is open beside its report {report}",
                    given.id
                )
            })?;
        }
    }
    Ok(())
}

/// A message without a reverse-path makes no report (RFC 5321 §6.1: `no report about reports`).
///
/// # Errors
/// That it made one.
pub fn no_report_about_reports(null_reverse_path: bool, reports: usize) -> Result<(), Broken> {
    hold(
        !null_reverse_path || reports == 0,
        "no_report_about_reports",
        || format!("{reports} reports about a message without a reverse-path"),
    )
}

/// What is queued has the octets that were accepted (`bytes kept`).
///
/// # Errors
/// That they differ or cannot be read.
pub fn bytes_kept(given: &Given<'_>, found: &Found<'_>) -> Result<(), Broken> {
    hold(
        found.digest == Some(given.digest),
        "bytes_kept",
        || match found.digest {
            Some(_) => format!("{} has other octets than were accepted", given.id),
            None => format!("the octets of {} cannot be read", given.id),
        },
    )
}

/// No more at once than allowed (`bounds kept`).
///
/// # Errors
/// What is too much.
pub fn bounds_kept(what: &str, are: usize, limit: usize) -> Result<(), Broken> {
    hold(are <= limit, "bounds_kept", || {
        format!("{are} {what}, and {limit} are allowed")
    })
}

/// When the world stops failing, the queue empties (`progress`).
///
/// # Errors
/// What is left.
pub fn progress(messages_left: usize) -> Result<(), Broken> {
    hold(messages_left == 0, "progress", || {
        format!("{messages_left} messages are left after a calm time")
    })
}

/// Every recipient that came in is somewhere, and none is in two places (`balanced`): recovered and
/// accepted are delivered, bounced, expired, removed, queued and held.
///
/// # Errors
/// The two sums.
pub fn balanced(accounts: &Accounts) -> Result<(), Broken> {
    hold(accounts.difference() == 0, "balanced", || {
        let (came_in, known) = (accounts.came_in(), accounts.known());
        format!("{came_in} recipients came in and {known} are known: {accounts:?}")
    })
}

fn indexed(recipients: &[Settled]) -> impl Iterator<Item = (u32, &Settled)> {
    (0..).zip(recipients)
}

fn hold(holds: bool, invariant: &'static str, seen: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds {
        return Ok(());
    }
    Err(Broken {
        invariant,
        seen: seen(),
    })
}
