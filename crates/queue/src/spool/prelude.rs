//! The prelude: what we put in front of the received octets, and what filters change in them.
//!
//! The received octets are immutable; the prelude is bounded and stands in the commit frame.
//! Return-Path, Delivered-To and the like differ between recipients and are **not** part of it:
//! they are rendered at delivery.

use bytes::Bytes;

/// Octets of a prelude at most, a replaced body not counted.
pub const PRELUDE_MAX: usize = 1 << 20;

/// What we put in front of, or change in, the received octets.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Prelude {
    /// Whole fields with their CRLF, put on top: trace fields, signatures.
    pub trace: Vec<u8>,
    /// Changes to the header block as it was received, in order.
    pub edits: Vec<Edit>,
    /// Replaces everything below the header block; at most [`super::INLINE_MAX`].
    pub body: Option<Bytes>,
}

/// One change to the header block. Fields are counted from 0; names compare without regard to case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// Puts a field before field number `at` (beyond the end: at the end).
    Insert {
        /// Position among all fields.
        at: u32,
        /// A whole field with its CRLF.
        field: Box<[u8]>,
    },
    /// Replaces the `nth` field of that name; puts `field` at the end when there is none.
    Replace {
        /// Field name.
        name: Box<str>,
        /// Which of the fields of that name.
        nth: u32,
        /// A whole field with its CRLF.
        field: Box<[u8]>,
    },
    /// Deletes the `nth` field of that name, if there is one.
    Delete {
        /// Field name.
        name: Box<str>,
        /// Which of the fields of that name.
        nth: u32,
    },
}

impl Prelude {
    /// Only trace fields.
    #[must_use]
    pub fn trace(fields: Vec<u8>) -> Self {
        Prelude {
            trace: fields,
            ..Prelude::default()
        }
    }
}
