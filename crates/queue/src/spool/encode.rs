//! From changes to frames, before they have a place.
//!
//! It does **not** know which messages are queued.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::PAYLOAD_MAX;
use super::batch::{Arrival, Draft, Frame, Meaning};
use super::change::NewMessage;
use super::fault::WriteError;
use super::frame::kind;
use super::index::Open;
use super::record::encode_message;
use crate::envelope::Progress;

/// A message as a commit frame.
pub(super) fn new_frame(new: &NewMessage) -> Result<Draft, WriteError> {
    let open = fitting(new)?;
    let parts = encode_message(new).to_vec();
    let frame = Frame {
        kind: kind::COMMIT,
        id: new.envelope.id,
        parts,
    };
    let len = within(&frame)?;
    let arrival = arrival(new, open, 0, len);
    Ok(Draft {
        frame,
        meaning: Meaning::Enter(arrival),
    })
}

fn arrival(new: &NewMessage, open: Open, start: u32, len: u32) -> Arrival {
    Arrival {
        id: new.envelope.id,
        open,
        large: new.body.reference(),
        start,
        len,
    }
}

/// The open recipients of a message that keeps all limits.
fn fitting(new: &NewMessage) -> Result<Open, WriteError> {
    let open = Open::of(&new.envelope);
    let fits = new.envelope.fits() && new.prelude.fits() && new.body.fits();
    if fits && !open.is_empty() {
        Ok(open)
    } else {
        Err(WriteError::TooLarge)
    }
}

/// The payload's octets, when they are not too many for a frame.
pub(super) fn within(frame: &Frame) -> Result<u32, WriteError> {
    let len = frame.payload_len();
    if len > PAYLOAD_MAX as u64 {
        return Err(WriteError::TooLarge);
    }
    u32::try_from(len).map_err(|_| WriteError::TooLarge)
}

/// Earlier progress with the new laid over it.
pub(super) fn merge(
    before: Option<BTreeMap<u32, Progress>>,
    updates: &[(u32, Progress)],
) -> Vec<(u32, Progress)> {
    let Some(mut all) = before else {
        return updates.to_vec();
    };
    all.extend(updates.iter().cloned());
    all.into_iter().collect()
}

/// Where the reports stand in a settle frame: three parts each, behind the frame's own.
pub(super) fn lay_out(
    parts: &[Bytes],
    reports: &[&NewMessage],
) -> Result<(u32, Vec<Arrival>), WriteError> {
    let narrow = |n: usize| u32::try_from(n).map_err(|_| WriteError::TooLarge);
    let (own, theirs) = parts.split_first().ok_or(WriteError::TooLarge)?;
    let mut at = own.len();
    let mut arrivals = Vec::with_capacity(reports.len());
    for (report, parts) in reports.iter().zip(theirs.chunks_exact(3)) {
        let [before, head, body] = parts else {
            continue;
        };
        let len = head.len() + body.len();
        let start = at + before.len();
        arrivals.push(arrival(
            report,
            fitting(report)?,
            narrow(start)?,
            narrow(len)?,
        ));
        at = start + len;
    }
    Ok((narrow(own.len())?, arrivals))
}
