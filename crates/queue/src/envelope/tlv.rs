//! Fields of tag, length and value.
//!
//! A tag's lowest bit says *critical*: who does not know such a field must not use what holds it.
//! Numbers are little-endian base 128, at most ten octets. Reading is bounded and never panics. It
//! does **not** know what a tag means.

/// Writes fields.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new() -> Self {
        Writer::default()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// A bare number.
    pub(crate) fn varint(&mut self, mut n: u64) {
        while n > 0x7f {
            self.0.push(u8::try_from(n & 0x7f).unwrap_or(0) | 0x80);
            n >>= 7;
        }
        self.0.push(u8::try_from(n).unwrap_or(0));
    }

    pub(crate) fn bytes(&mut self, tag: u32, value: &[u8]) {
        self.varint(tag.into());
        self.varint(u64::try_from(value.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(value);
    }

    pub(crate) fn number(&mut self, tag: u32, n: u64) {
        let mut value = Writer::new();
        value.varint(n);
        self.bytes(tag, &value.0);
    }

    /// A field that says yes by being there.
    pub(crate) fn flag(&mut self, tag: u32, on: bool) {
        if on {
            self.bytes(tag, &[]);
        }
    }

    /// Text, left out when it is empty.
    pub(crate) fn text(&mut self, tag: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(tag, text.as_bytes());
        }
    }

    pub(crate) fn nested(&mut self, tag: u32, fields: &Writer) {
        self.bytes(tag, &fields.0);
    }
}

/// Reads fields, front to back. After an error it has no more.
#[derive(Clone)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(octets: &'a [u8]) -> Self {
        Fields(octets)
    }

    /// A bare number, as [`Writer::varint`] writes it.
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&octet, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(octet & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            n |= bits << shift;
            if octet & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    /// So many octets.
    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    /// A number and so many octets.
    pub(crate) fn sized(&mut self) -> Option<&'a [u8]> {
        let n = self.varint()?;
        self.take(usize::try_from(n).ok()?)
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The next field; `Some(Err)` when the octets are no field.
    pub(crate) fn field(&mut self) -> Option<Result<(u32, &'a [u8]), Malformed>> {
        if self.0.is_empty() {
            return None;
        }
        let tag = self.varint().and_then(|tag| u32::try_from(tag).ok());
        let field = tag.and_then(|tag| Some((tag, self.sized()?)));
        Some(field.ok_or_else(|| {
            self.0 = &[];
            Malformed
        }))
    }
}

/// The octets are not fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed;

/// Whether who does not know the tag must not go on.
pub(crate) fn critical(tag: u32) -> bool {
    tag & 1 == 1
}

/// The value of a number field.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    let mut fields = Fields(value);
    fields.varint().filter(|_| fields.0.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_overlong_ones_are_refused() {
        for n in [
            0,
            1,
            127,
            128,
            300,
            u64::from(u32::MAX),
            u64::MAX - 1,
            u64::MAX,
        ] {
            let mut w = Writer::new();
            w.varint(n);
            assert_eq!(number(&w.into_bytes()), Some(n));
        }
        assert_eq!(number(&[0xff; 9]), None);
        assert_eq!(
            number(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]),
            None
        );
        assert_eq!(number(&[1, 1]), None);
    }

    #[test]
    fn a_field_cut_anywhere_is_malformed() {
        let mut w = Writer::new();
        w.bytes(300, b"value");
        let octets = w.into_bytes();
        for cut in 1..octets.len() {
            let mut fields = Fields::new(&octets[..cut]);
            assert_eq!(fields.field(), Some(Err(Malformed)));
            assert_eq!(fields.field(), None);
        }
        assert_eq!(Fields::new(&octets).field(), Some(Ok((300, &b"value"[..]))));
    }
}
