//! `posthaste user failures`: failed logins, seen and lifted.

use std::io;

use posthaste_world::{BoxStream, Timestamp};

use super::wire::{self, Answer, Failure};
use super::{Control, failed};
use crate::authenticate::failures::{Listed, Who};
use crate::authenticate::name::Name;
use crate::telemetry::Event;

/// Lists failures, or forgets those of `clear`.
///
/// # Errors
/// The client is gone.
pub async fn run(
    control: &Control,
    stream: &mut BoxStream,
    clear: Option<&str>,
) -> io::Result<Answer> {
    let Some(who) = clear else {
        let listed = control.failures.list(control.world.clock.now());
        for line in &listed {
            wire::write(stream, &Answer::Failure(failure(line))).await?;
        }
        return Ok(Answer::Done(count(listed.len())));
    };
    let cleared = match (who, who.parse(), Name::parse(who)) {
        ("all", ..) => control.failures.clear(None, None),
        (_, Ok(address), _) => control.failures.clear(Some(address), None),
        (_, Err(_), Some(name)) => control.failures.clear(None, Some(&name)),
        (_, Err(_), None) => return Ok(failed("that is neither an account nor an address")),
    };
    control.log.emit(&Event::Operator {
        verb: "clear-failures",
        messages: 0,
        ids: &[who.to_string()],
    });
    Ok(Answer::Done(count(cleared)))
}

fn failure(listed: &Listed) -> Failure {
    let (address, account) = match &listed.who {
        Who::Address(address) => (Some(address.to_string()), None),
        Who::Account(name) => (None, Some(name.to_string())),
        Who::Pair(name, address) => (Some(address.to_string()), Some(name.to_string())),
    };
    Failure {
        address,
        account,
        failures: listed.failures,
        last: time(listed.last),
        wait_s: listed.wait.as_secs(),
    }
}

fn time(at: Timestamp) -> String {
    let ms = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    at.to_string()
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
