//! Edits to a header block, as filters ask for them: insert, replace or delete a field.
//!
//! Untouched fields keep every octet. A field that an edit brings is made safe first: its lines end
//! in CRLF, a further line starts with white space, and there is no NUL; one without a field name
//! is no field, and its edit does nothing.
//!
//! This module does **not** find the header block: [`crate::header::Scan`] does.

use std::borrow::Cow;

/// One change to a header block. Fields are counted from 0; names compare without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Puts a field before field number `at` of the block (0: on top; beyond the end: at the end).
    Insert {
        /// Position among all fields.
        at: usize,
        /// A whole field, `Name: value`, with or without its final CRLF.
        field: Vec<u8>,
    },
    /// Replaces the `nth` field named `name`; puts `field` at the end when there is none such.
    Replace {
        /// Field name.
        name: String,
        /// Which of the fields of that name.
        nth: usize,
        /// A whole field, `Name: value`, with or without its final CRLF.
        field: Vec<u8>,
    },
    /// Deletes the `nth` field named `name`, if there is one.
    Delete {
        /// Field name.
        name: String,
        /// Which of the fields of that name.
        nth: usize,
    },
}

/// Applies `edits` in order to `block`: the fields of a message without the empty line that ends
/// them.
#[must_use]
pub fn apply(block: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut fields: Vec<Cow<'_, [u8]>> = fields(block).into_iter().map(Cow::Borrowed).collect();
    for edit in edits {
        match edit {
            Edit::Insert { at, field } => {
                if let Some(field) = safe(field) {
                    fields.insert((*at).min(fields.len()), Cow::Owned(field));
                }
            }
            Edit::Replace { name, nth, field } => {
                let Some(field) = safe(field) else { continue };
                match position(&fields, name, *nth).and_then(|i| fields.get_mut(i)) {
                    Some(old) => *old = Cow::Owned(field),
                    None => fields.push(Cow::Owned(field)),
                }
            }
            Edit::Delete { name, nth } => {
                if let Some(i) = position(&fields, name, *nth) {
                    fields.remove(i);
                }
            }
        }
    }
    fields.concat()
}

/// The fields of a block, each with its continuation lines and its CRLF.
#[must_use]
pub fn fields(block: &[u8]) -> Vec<&[u8]> {
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
pub fn field_name(field: &[u8]) -> Option<&[u8]> {
    let colon = field.iter().position(|&b| b == b':')?;
    let name = field.get(..colon)?.trim_ascii_end();
    let legal = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    legal.then_some(name)
}

fn position(fields: &[Cow<'_, [u8]>], name: &str, nth: usize) -> Option<usize> {
    let named = |field: &[u8]| {
        field_name(field).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
    };
    let mut matching = fields.iter().enumerate().filter(|(_, field)| named(field));
    matching.nth(nth).map(|(i, _)| i)
}

/// One field whatever the octets are, or `None` when they do not start with a field name.
fn safe(field: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(field.len() + 2);
    for line in field
        .split(|b| matches!(b, b'\r' | b'\n'))
        .map(<[u8]>::trim_ascii_end)
    {
        if line.is_empty() {
            continue; // an empty line would end the header block
        }
        if !out.is_empty() && !line.starts_with(b" ") && !line.starts_with(b"\t") {
            out.push(b'\t');
        }
        out.extend(line.iter().filter(|&&b| b != 0));
        out.extend_from_slice(b"\r\n");
    }
    field_name(&out).is_some().then_some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BLOCK: &[u8] = b"A: 1\r\nB: 2\r\n\tmore\r\na: 3\r\n";

    fn edited(edits: &[Edit]) -> String {
        String::from_utf8(apply(BLOCK, edits)).unwrap()
    }

    #[test]
    fn without_edits_every_octet_stays() {
        assert_eq!(apply(BLOCK, &[]), BLOCK);
        assert_eq!(apply(b"no field at all", &[]), b"no field at all");
    }

    #[test]
    fn fields_are_inserted_replaced_and_deleted_by_place_and_name() {
        let field = b"X: y".to_vec();
        let insert = |at| Edit::Insert {
            at,
            field: field.clone(),
        };
        assert_eq!(
            edited(&[insert(0)]),
            "X: y\r\nA: 1\r\nB: 2\r\n\tmore\r\na: 3\r\n"
        );
        assert_eq!(
            edited(&[insert(2)]),
            "A: 1\r\nB: 2\r\n\tmore\r\nX: y\r\na: 3\r\n"
        );
        assert_eq!(
            edited(&[insert(9)]),
            "A: 1\r\nB: 2\r\n\tmore\r\na: 3\r\nX: y\r\n"
        );
        let replace = |name: &str, nth| Edit::Replace {
            name: name.into(),
            nth,
            field: field.clone(),
        };
        assert_eq!(
            edited(&[replace("a", 1)]),
            "A: 1\r\nB: 2\r\n\tmore\r\nX: y\r\n"
        );
        assert_eq!(
            edited(&[replace("b", 1)]),
            "A: 1\r\nB: 2\r\n\tmore\r\na: 3\r\nX: y\r\n"
        );
        let delete = |name: &str, nth| Edit::Delete {
            name: name.into(),
            nth,
        };
        assert_eq!(edited(&[delete("b", 0), delete("A", 1)]), "A: 1\r\n");
        assert_eq!(edited(&[delete("c", 0)]).as_bytes(), BLOCK);
    }

    proptest! {
        #[test]
        fn an_edit_brings_one_field_or_none(
            field in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let out = apply(BLOCK, &[Edit::Insert { at: 0, field }]);
            let count = fields(&out).len();
            prop_assert!(count == 4 || (count == 3 && out == BLOCK));
            prop_assert!(!out.windows(4).any(|w| w == b"\r\n\r\n"));
        }
    }
}
