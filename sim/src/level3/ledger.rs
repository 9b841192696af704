//! What the world outside saw of each message, and whether that is what was promised.
//!
//! The ledger knows what clients were told and what arrived where; it knows nothing of how a server
//! works, so that it cannot share its mistakes. Messages carry their number in the recipients'
//! addresses (`box+m17@…`) and in a header field, so that a refusal at RCPT is known to be about a
//! message too.

use std::collections::BTreeMap;

use posthaste_queue::invariants::Broken;

use super::client::Errand;
use super::letter;

/// What a client was told at the end of its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// 250.
    Promised,
    /// 4yz or 5yz, or the connection was lost before the final dot was sent.
    Refused,
    /// The connection was lost after the final dot.
    Unknown,
}

/// One recipient of a message, from outside.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    /// What its client was told; none until it was told anything.
    pub(super) answer: Option<Answer>,
    /// Copies that arrived where they belong.
    pub(super) copies: u64,
    /// Reports of its failure that reached the sender.
    pub(super) failed: u64,
    /// A server refused it for good.
    pub(super) refused_there: bool,
    /// Second copies that are nobody's fault: replies lost on their way, crashes before an outcome
    /// was durable.
    pub(super) excuses: u64,
}

#[derive(Clone, Debug)]
struct Message {
    null_sender: bool,
    text: Vec<u8>,
    recipients: BTreeMap<String, Story>,
}

/// The book of a run.
#[derive(Default)]
pub(super) struct Ledger {
    messages: BTreeMap<u64, Message>,
    broken: Option<Broken>,
    /// Reports that arrived.
    pub(super) reports: u64,
}

impl Ledger {
    /// A client is about to send this.
    pub(super) fn begin(&mut self, errand: &Errand) {
        let stories = errand.to.iter().map(|to| (to.clone(), Story::default()));
        let message = Message {
            null_sender: errand.sender.is_none(),
            text: errand.text.clone(),
            recipients: stories.collect(),
        };
        self.messages.insert(errand.number, message);
    }

    /// A client was told what became of a recipient.
    pub(super) fn answered(&mut self, number: u64, address: &str, answer: Answer) {
        self.story(number, address, |story| story.answer = Some(answer));
    }

    /// Messages of clients so far.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Recipients that were promised.
    pub(super) fn promised(&self) -> usize {
        let all = self.messages.values().flat_map(|m| m.recipients.values());
        all.filter(|s| s.answer == Some(Answer::Promised)).count()
    }

    /// Copies beyond the first.
    pub(super) fn duplicates(&self) -> u64 {
        let all = self.messages.values().flat_map(|m| m.recipients.values());
        all.map(|s| s.copies.saturating_sub(1)).sum()
    }

    /// A copy arrived for `address`: its octets with the fields that servers put on top.
    pub(super) fn arrived(&mut self, address: &str, content: &[u8]) {
        let Some(number) = letter::number_of(content) else {
            return self.break_with(
                "bytes_kept",
                format!("a message to {address} has no number"),
            );
        };
        let Some(message) = self.messages.get(&number) else {
            return self.break_with("no_false_promise", format!("message {number} is nobody's"));
        };
        if letter::without_trace(content) != message.text.as_slice() {
            let seen = format!("message {number} to {address} has other octets than were sent");
            self.break_with("bytes_kept", seen);
        }
        self.story(number, address, |story| story.copies += 1);
    }

    /// A server outside refused `address` for good.
    pub(super) fn refused_there(&mut self, address: &str) {
        if let Some(number) = letter::number_in(address) {
            self.story(number, address, |story| story.refused_there = true);
        }
    }

    /// A second copy of this one would be nobody's fault.
    pub(super) fn excuse(&mut self, address: &str) {
        if let Some(number) = letter::number_in(address) {
            self.story(number, address, |story| story.excuses += 1);
        }
    }

    /// The same for all for whom `which` holds.
    pub(super) fn excuse_all(&mut self, which: impl Fn(&str) -> bool) {
        for message in self.messages.values_mut() {
            let concerned = message.recipients.iter_mut().filter(|(a, _)| which(a));
            concerned.for_each(|(_, story)| story.excuses += 1);
        }
    }

    /// A report reached the sender: the addresses that it says have failed.
    pub(super) fn reported(&mut self, failed: &[String]) {
        self.reports += 1;
        for address in failed {
            let Some(number) = letter::number_in(address) else {
                continue;
            };
            if self.messages.get(&number).is_some_and(|m| m.null_sender) {
                let seen = format!("a report about message {number}, which had no sender");
                self.break_with("no_report_about_reports", seen);
            }
            self.story(number, address, |story| story.failed += 1);
        }
    }

    /// What is broken already.
    pub(super) fn check_now(&self) -> Result<(), Broken> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    /// What must hold of everything once the world has been calm for long.
    pub(super) fn check_end(&self) -> Result<(), Broken> {
        self.check_now()?;
        for (number, message) in &self.messages {
            for (address, story) in &message.recipients {
                let what = || format!("<{address}> of message {number}: {story:?}");
                judge(message.null_sender, story).map_err(|invariant| Broken {
                    invariant,
                    seen: what(),
                })?;
            }
        }
        Ok(())
    }

    fn story(&mut self, number: u64, address: &str, change: impl FnOnce(&mut Story)) {
        let address = address.to_ascii_lowercase();
        if let Some(message) = self.messages.get_mut(&number) {
            change(message.recipients.entry(address).or_default());
        }
    }

    /// The first thing that breaks is the one to tell.
    pub(super) fn break_with(&mut self, invariant: &'static str, seen: String) {
        self.broken.get_or_insert(Broken { invariant, seen });
    }
}

/// The promises about one recipient, or the name of the one that does not hold.
fn judge(null_sender: bool, story: &Story) -> Result<(), &'static str> {
    let came = story.copies > 0;
    let failed = story.failed > 0;
    let excused = story.excuses > 0;
    match story.answer {
        Some(Answer::Promised) => {
            let unreported = null_sender && story.refused_there;
            if !came && !failed && !unreported {
                return Err("promise_kept");
            }
        }
        Some(Answer::Refused) | None if came || failed => return Err("no_false_promise"),
        _ => {}
    }
    if story.copies > 1 + story.excuses {
        return Err("at_most_once");
    }
    if came && failed && !excused {
        return Err("one_ending");
    }
    if story.failed > 1 + story.excuses {
        return Err("one_report");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(answer: Answer, copies: u64, failed: u64) -> Story {
        Story {
            answer: Some(answer),
            copies,
            failed,
            ..Story::default()
        }
    }

    #[test]
    fn each_promise_is_told_from_the_others() {
        let cases = [
            (story(Answer::Promised, 1, 0), Ok(())),
            (story(Answer::Promised, 0, 1), Ok(())),
            (story(Answer::Promised, 0, 0), Err("promise_kept")),
            (story(Answer::Refused, 0, 0), Ok(())),
            (story(Answer::Refused, 1, 0), Err("no_false_promise")),
            (story(Answer::Unknown, 0, 0), Ok(())),
            (story(Answer::Unknown, 1, 0), Ok(())),
            (story(Answer::Promised, 2, 0), Err("at_most_once")),
            (story(Answer::Promised, 1, 1), Err("one_ending")),
            (story(Answer::Promised, 0, 2), Err("one_report")),
        ];
        for (story, holds) in cases {
            assert_eq!(judge(false, &story), holds, "{story:?}");
        }
    }

    #[test]
    fn what_is_nobodys_fault_is_excused_as_often_as_it_happened() {
        let mut story = story(Answer::Promised, 2, 0);
        story.excuses = 1;
        assert_eq!(judge(false, &story), Ok(()));
        story.copies = 3;
        assert_eq!(judge(false, &story), Err("at_most_once"));
    }

    #[test]
    fn a_failure_without_a_sender_needs_no_report_but_a_reason() {
        let mut story = story(Answer::Promised, 0, 0);
        assert_eq!(judge(true, &story), Err("promise_kept"));
        story.refused_there = true;
        assert_eq!(judge(true, &story), Ok(()));
        assert_eq!(judge(false, &story), Err("promise_kept"));
    }
}
