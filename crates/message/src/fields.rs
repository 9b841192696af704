//! A header block taken apart into its fields (RFC 5322 §2.2).
//!
//! Every octet of the block is in exactly one field. This module does **not** find the header
//! block, which [`crate::header::Scan`] does, and changes nothing.

/// The fields of a block, each with its continuation lines and its CRLF.
#[must_use]
pub fn split(block: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    let mut rest = block;
    while !rest.is_empty() {
        let end = rest
            .windows(2)
            .position(|pair| matches!(pair, [b'\n', next] if !matches!(next, b' ' | b'\t')));
        let (field, tail) = rest.split_at(end.map_or(rest.len(), |i| i + 1));
        fields.push(field);
        rest = tail;
    }
    fields
}

/// The name of a field, without the obsolete white space before its colon (RFC 5322 §4.5).
#[must_use]
pub fn name(field: &[u8]) -> Option<&[u8]> {
    let colon = field.iter().position(|&b| b == b':')?;
    let name = field.get(..colon)?.trim_ascii_end();
    let legal = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    legal.then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{name, split};

    #[test]
    fn a_field_keeps_its_continuation_lines() {
        let fields = split(b"A: 1\r\nB : 2\r\n\tmore\r\nno field\r\n");
        let names: Vec<_> = fields.iter().map(|f| name(f)).collect();
        assert_eq!(names, [Some(&b"A"[..]), Some(&b"B"[..]), None]);
        assert_eq!(fields[1], b"B : 2\r\n\tmore\r\n");
    }

    proptest! {
        #[test]
        fn every_octet_is_in_one_field(
            block in proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), Just(b':'), any::<u8>()],
                0..200,
            ),
        ) {
            prop_assert_eq!(split(&block).concat(), block);
        }
    }
}
