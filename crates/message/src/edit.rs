//! Edits to a header block, as filters ask for them: insert, replace or delete a field.

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
/// them. Untouched fields keep every octet.
#[must_use]
pub fn apply(block: &[u8], edits: &[Edit]) -> Vec<u8> {
    let _ = (block, edits);
    todo!()
}
