//! What a submission server adds to a message, and takes away (RFC 6409 §8): a missing `Date` and
//! `Message-ID` are added, `Bcc` is removed.
//!
//! A message that is signed already keeps what its signatures cover: a field that the `h` tag of a
//! `DKIM-Signature` names is neither added nor removed, since that a field is absent can be signed
//! too (RFC 6376 §5.4.2). One that cannot be read may cover every field, so none is added; it
//! proves nothing, so it does not keep hidden ones. The block ends at a line that is no field.
//!
//! This module does **not** change octets: what it wants is a list of edits, applied when the
//! message is read. It does not look at messages that have no header block, or are no text.

use posthaste_message::header::{Excess, Facts, MAX_BLOCK};
use posthaste_message::{date, fields, message_id};
use posthaste_queue::spool::Edit;
use posthaste_world::Timestamp;

/// Fields that only the sender may see.
const HIDDEN: [&str; 2] = ["Bcc", "Resent-Bcc"];

/// The header block of a message as it comes, for as long as it is needed.
#[derive(Debug, Default)]
pub struct Head(Vec<u8>);

impl Head {
    /// Takes the next octets of the message, until there are more than a header block may have.
    pub fn push(&mut self, octets: &[u8]) {
        let most = usize::try_from(MAX_BLOCK).unwrap_or(usize::MAX);
        let room = most.saturating_sub(self.0.len());
        self.0
            .extend_from_slice(octets.get(..room).unwrap_or(octets));
    }

    /// The fields, as the scan has found them, also where what follows them is no body; none when
    /// they are too many.
    #[must_use]
    pub fn fields(&self, facts: &Facts) -> Option<&[u8]> {
        let end = usize::try_from(facts.header_end?).ok()?;
        let whole = facts.excess != Some(Excess::Block);
        self.0.get(..end).filter(|_| whole)
    }

    /// The header block; none when there is none that can be completed.
    #[must_use]
    pub fn block(&self, facts: &Facts) -> Option<&[u8]> {
        self.fields(facts).filter(|block| !block.is_empty())
    }
}

/// What is used to complete a message.
#[derive(Clone, Copy, Debug)]
pub struct Means<'a> {
    /// Now.
    pub now: Timestamp,
    /// A random number.
    pub random: u64,
    /// Our name.
    pub hostname: &'a str,
}

/// The edits that complete a message with this header block.
#[must_use]
pub fn edits(block: &[u8], means: &Means<'_>) -> Vec<Edit> {
    let fields = fields::split(block);
    let count = |name: &str| fields.iter().filter(|f| is_named(f, name)).count();
    let signed = Signed::of(&fields);
    let mut edits = Vec::new();
    for name in HIDDEN.into_iter().filter(|name| !signed.names(name)) {
        let gone = (0..count(name)).map(|_| Edit::Delete {
            name: name.into(),
            nth: 0,
        });
        edits.extend(gone);
    }
    let mut add = |name: &str, value: &dyn Fn() -> String| {
        if count(name) == 0 && !signed.covers(name) {
            edits.push(Edit::Insert {
                at: u32::MAX,
                field: format!("{name}: {}\r\n", value()).into_bytes().into(),
            });
        }
    };
    let Means {
        now,
        random,
        hostname,
    } = *means;
    add("Date", &|| date::render(now.as_secs()));
    add("Message-ID", &|| {
        message_id::make(now.as_millis(), random, hostname)
    });
    edits
}

/// What the signatures of a message cover.
struct Signed {
    everything: bool,
    names: Vec<String>,
}

impl Signed {
    fn of(fields: &[&[u8]]) -> Signed {
        let mut signed = Signed {
            everything: false,
            names: Vec::new(),
        };
        for field in fields.iter().filter(|f| is_named(f, "DKIM-Signature")) {
            match signed_names(field) {
                Some(names) => signed.names.extend(names),
                None => signed.everything = true,
            }
        }
        signed
    }

    fn covers(&self, name: &str) -> bool {
        self.everything || self.names(name)
    }

    /// Whether a signature that can be read covers this field.
    fn names(&self, name: &str) -> bool {
        self.names.iter().any(|n| n.eq_ignore_ascii_case(name))
    }
}

/// The names in the `h` tag of a signature (RFC 6376 §3.5).
fn signed_names(field: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(field).ok()?;
    let (_, tags) = text.split_once(':')?;
    let mut tags = tags.split(';').filter_map(|tag| tag.split_once('='));
    let (_, names) = tags.find(|(tag, _)| tag.trim() == "h")?;
    let bare = |name: &str| name.chars().filter(|c| !c.is_whitespace()).collect();
    Some(names.split(':').map(bare).collect())
}

fn is_named(field: &[u8], name: &str) -> bool {
    fields::name(field).is_some_and(|n| n.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use posthaste_message::header::Scan;
    use proptest::prelude::*;

    use super::*;

    const MEANS: Means<'static> = Means {
        now: Timestamp::from_secs(1_795_516_144),
        random: 7,
        hostname: "mx.ours.test",
    };

    /// What is done to a message, in words.
    fn done(message: &str) -> Vec<String> {
        let mut scan = Scan::new();
        scan.push(message.as_bytes());
        let mut head = Head::default();
        for piece in message.as_bytes().chunks(7) {
            head.push(piece);
        }
        let facts = scan.finish();
        let Some(block) = head.block(&facts) else {
            return vec!["nothing".into()];
        };
        let word = |edit: &Edit| match edit {
            Edit::Insert { field, .. } => String::from_utf8_lossy(field).trim_end().to_owned(),
            Edit::Delete { name, .. } => format!("-{name}"),
            Edit::Replace { .. } => unreachable!(),
        };
        edits(block, &MEANS).iter().map(word).collect()
    }

    const DATE: &str = "Date: Tue, 24 Nov 2026 10:29:04 +0000";

    #[test]
    fn what_is_missing_is_added_and_what_is_hidden_removed() {
        let id = done("From: a@b\r\n\r\n").pop().unwrap();
        assert!(
            id.starts_with("Message-ID: <") && id.ends_with("@mx.ours.test>"),
            "{id}"
        );
        assert_eq!(done("From: a@b\r\n\r\nbody\r\n"), [DATE, &id]);
        assert_eq!(done("date: x\r\nMessage-Id: <1@b>\r\n\r\n"), [""; 0]);
        assert_eq!(done("Date : x\r\nFrom: a@b\r\n"), [id.as_str()]);
        let hidden = "Date: x\r\nBcc: a@b,\r\n c@d\r\nMessage-ID: <1@b>\r\nBCC: e@f\r\n\
                      resent-bcc: g@h\r\n\r\nBcc: body\r\n";
        assert_eq!(done(hidden), ["-Bcc", "-Bcc", "-Resent-Bcc"]);
    }

    #[test]
    fn what_is_signed_stays_as_it_is() {
        let signed =
            |h: &str| format!("DKIM-Signature: v=1; d=b;\r\n\t{h} s=x; b=y=\r\nBcc: a@b\r\n\r\n");
        let id = done("Date: x\r\n\r\n").pop().unwrap();
        assert_eq!(done(&signed("h=from:to;")), ["-Bcc", DATE, &id]);
        assert_eq!(
            done(&signed("h=from:DATE:\r\n\tmessage-\r\n\tid:to;")),
            ["-Bcc"]
        );
        assert_eq!(done(&signed("h = From : bcc : Message-ID;")), [DATE]);
        // One that cannot be read may cover anything, and proves nothing that Bcc could break.
        assert_eq!(done(&signed("")), ["-Bcc"]);
        let two = format!("DKIM-Signature: h=date\r\n{}", signed("h=message-id;"));
        assert_eq!(done(&two), ["-Bcc"]);
    }

    #[test]
    fn a_message_without_a_header_block_is_left_alone() {
        for message in ["", "\r\nbody\r\n", "no field\r\n\r\n"] {
            assert_eq!(done(message), ["nothing"], "{message:?}");
        }
        // What stands above a line that is no field is a header block all the same.
        let broken = "Date: x\r\nMessage-ID: <1@b>\r\nBcc: a@b\r\nno field\r\nBcc: c@d\r\n";
        assert_eq!(done(broken), ["-Bcc"]);
        let large = format!("A: {}\r\n", "x".repeat(60_000)).repeat(5);
        assert_eq!(done(&large), ["nothing"]);
    }

    /// Octets in which field names, signatures and their tags are frequent.
    fn blocks() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            3 => Just(b"\r\n".to_vec()),
            2 => Just(b"Bcc: a@b".to_vec()),
            2 => Just(b"DKIM-Signature:".to_vec()),
            2 => Just(b" h=date:bcc;".to_vec()),
            1 => Just(b"Date: x".to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 0..6),
        ];
        proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_header_block_breaks_it_and_nothing_is_hidden_from_it(block in blocks()) {
            let edits = edits(&block, &MEANS);
            let signed = block.windows(15).any(|w| w.eq_ignore_ascii_case(b"dkim-signature:"));
            let hidden = fields::split(&block).iter().filter(|f| is_named(f, "Bcc")).count();
            let gone = edits.iter().filter(|e| matches!(e, Edit::Delete { .. })).count();
            prop_assert!(signed || gone == hidden);
            prop_assert!(edits.len() <= hidden + 2);
        }
    }
}
