//! A message on its way to what verifies or signs it: the header block is gathered, the body not.
//!
//! Where the header block ends is what the header scan of the message says, so that nobody looks at
//! another message than the one that is delivered. The scan may find only later that the block had
//! ended already; what was gathered behind its end is then given out as the start of the body. At
//! most [`MAX_BLOCK`](posthaste_message::header::MAX_BLOCK) octets and one piece are kept.

use posthaste_message::header::Facts;

/// A header block that is being gathered.
#[derive(Debug, Default)]
pub(crate) struct Intake(Vec<u8>);

/// A header block that has ended.
#[derive(Debug)]
pub(crate) struct Gathered<'a> {
    /// The block, without the empty line behind it.
    pub(crate) block: Vec<u8>,
    /// The start of the body, in two pieces.
    pub(crate) body: (Vec<u8>, &'a [u8]),
}

impl Intake {
    /// Takes the next octets of the message, which the scan that `facts` come from has seen. Gives
    /// the block once, when it has ended; what comes later is body and not for here.
    pub(crate) fn push<'a>(&mut self, octets: &'a [u8], facts: &Facts) -> Option<Gathered<'a>> {
        let Some((end, start)) = facts.header_end.zip(facts.body_start) else {
            self.0.extend_from_slice(octets);
            return None;
        };
        let (end, start) = (usize::try_from(end).ok()?, usize::try_from(start).ok()?);
        let here = start.saturating_sub(self.0.len());
        let (head, tail) = octets.split_at_checked(here).unwrap_or((octets, &[]));
        let mut block = std::mem::take(&mut self.0);
        block.extend_from_slice(head);
        let early = block.split_off(start.min(block.len()));
        block.truncate(end);
        Some(Gathered {
            block,
            body: (early, tail),
        })
    }
}

#[cfg(test)]
mod tests {
    use posthaste_message::header::Scan;
    use proptest::prelude::*;

    use super::Intake;

    /// Header block and body, from a message in pieces.
    fn gather(pieces: &[&[u8]]) -> (Vec<u8>, Vec<u8>) {
        let (mut scan, mut intake) = (Scan::new(), Intake::default());
        let mut found: Option<(Vec<u8>, Vec<u8>)> = None;
        for piece in pieces {
            scan.push(piece);
            if let Some((_, body)) = &mut found {
                body.extend_from_slice(piece);
            } else if let Some(gathered) = intake.push(piece, scan.facts()) {
                let body = [&gathered.body.0[..], gathered.body.1].concat();
                found = Some((gathered.block, body));
            }
        }
        found.unwrap_or_else(|| {
            let gathered = intake.push(b"", &scan.finish()).unwrap();
            (gathered.block, gathered.body.0)
        })
    }

    #[test]
    fn a_block_ends_where_the_scan_says() {
        for (message, block, body) in [
            ("A: 1\r\n\r\nbody\r\n", "A: 1\r\n", "body\r\n"),
            ("A: 1\r\n\r\n", "A: 1\r\n", ""),
            ("A: 1\r\n", "A: 1\r\n", ""),
            ("A: 1\r\nno field", "A: 1\r\n", "no field"),
            ("\r\nbody", "", "body"),
            ("", "", ""),
        ] {
            let (found, rest) = gather(&[message.as_bytes()]);
            assert_eq!(String::from_utf8_lossy(&found), block, "{message}");
            assert_eq!(String::from_utf8_lossy(&rest), body, "{message}");
        }
    }

    proptest! {
        #[test]
        fn splitting_the_message_never_changes_block_and_body(
            message in "(A: 1\r\n|b|:|\r\n|\n|\r| ){0,12}",
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let message = message.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(message.len() + 1)).collect();
            cuts.extend([0, message.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &message[w[0]..w[1]]).collect();
            prop_assert_eq!(gather(&pieces), gather(&[message]));
        }
    }
}
