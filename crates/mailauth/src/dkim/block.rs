//! A header block as signatures see it: fields, chosen by name from the bottom up.
//!
//! This module does **not** find where the block ends: [`posthaste_message::header::Scan`] does.

use aws_lc_rs::digest::{Context, Digest, SHA256};
use posthaste_message::fields;

use super::canonical::{self, Canonicalization};

/// A header block taken apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    octets: Vec<u8>,
    fields: Vec<Place>,
}

/// Where a field stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    end: usize,
    /// Octets of its name; 0 when it has none.
    name: usize,
}

/// A field of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    /// Its place among the fields, from the top.
    pub(crate) index: usize,
    /// All of it, as it came, with its line end.
    pub(crate) octets: &'a [u8],
    pub(crate) name: &'a [u8],
    /// What follows the colon, without the line end.
    pub(crate) value: &'a [u8],
}

impl Block {
    /// Takes a block apart.
    pub(crate) fn new(octets: Vec<u8>) -> Self {
        let mut places = Vec::new();
        let mut start = 0;
        for field in fields::split(&octets) {
            let end = start + field.len();
            let name = fields::name(field).map_or(0, <[u8]>::len);
            places.push(Place { start, end, name });
            start = end;
        }
        Block {
            octets,
            fields: places,
        }
    }

    /// Its fields from the top.
    pub(crate) fn fields(&self) -> impl DoubleEndedIterator<Item = Field<'_>> {
        self.fields.iter().enumerate().map(|(index, place)| {
            let octets = self.octets.get(place.start..place.end).unwrap_or_default();
            let (name, rest) = octets.split_at_checked(place.name).unwrap_or_default();
            let rest = rest.trim_ascii_start();
            let value = rest.strip_prefix(b":").unwrap_or(rest);
            Field {
                index,
                octets,
                name,
                value: value.strip_suffix(b"\r\n").unwrap_or(value),
            }
        })
    }

    /// Its fields of this name, in any case, from the top.
    pub(crate) fn named(&self, name: &'static str) -> impl Iterator<Item = Field<'_>> {
        self.fields()
            .filter(move |field| field.name.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The field at a place.
    pub(crate) fn field(&self, index: usize) -> Option<Field<'_>> {
        self.fields().nth(index)
    }

    /// The fields that a list of names chooses: each time the lowest one of that name that is not
    /// chosen yet; a name without one chooses nothing (RFC 6376 §5.4.2). The field at `own` is that
    /// of the signature itself, which is never chosen.
    pub(crate) fn choose(&self, names: &[String], own: Option<usize>) -> Vec<Field<'_>> {
        let mut left: Vec<Field<'_>> = self
            .fields()
            .filter(|field| own != Some(field.index) && !field.name.is_empty())
            .collect();
        let mut chosen = Vec::new();
        for name in names {
            let lowest = left
                .iter()
                .rposition(|field| field.name.eq_ignore_ascii_case(name.as_bytes()));
            if let Some(lowest) = lowest {
                chosen.push(left.remove(lowest));
            }
        }
        chosen
    }
}

/// The hash of header fields: SHA-256 over their signed form.
#[derive(Clone)]
pub(crate) struct FieldsHash {
    form: Canonicalization,
    context: Context,
    scratch: Vec<u8>,
}

impl FieldsHash {
    pub(crate) fn new(form: Canonicalization) -> Self {
        FieldsHash {
            form,
            context: Context::new(&SHA256),
            scratch: Vec::new(),
        }
    }

    /// Takes a whole field.
    pub(crate) fn push(&mut self, field: &[u8]) {
        self.scratch.clear();
        canonical::field(self.form, field, &mut self.scratch);
        self.context.update(&self.scratch);
    }

    /// Takes the field of the signature itself, in which `b=` must be empty already: without the
    /// line end (RFC 6376 §3.7).
    pub(crate) fn finish(mut self, own: &[u8]) -> Digest {
        self.scratch.clear();
        canonical::field(self.form, own, &mut self.scratch);
        let own = self.scratch.strip_suffix(b"\r\n").unwrap_or(&self.scratch);
        self.context.update(own);
        self.context.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Block;

    fn chosen(block: &[u8], names: &[&str], own: Option<usize>) -> Vec<u8> {
        let block = Block::new(block.to_vec());
        let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
        let fields = block.choose(&names, own);
        fields.iter().flat_map(|f| f.octets.to_vec()).collect()
    }

    #[test]
    fn fields_are_chosen_from_the_bottom_and_each_once() {
        let block = b"A: 1\r\nB: 2\r\na : 3\r\nC: 4\r\n\t5\r\n";
        assert_eq!(
            chosen(block, &["a", "A", "a", "x"], None),
            b"a : 3\r\nA: 1\r\n"
        );
        assert_eq!(chosen(block, &["c", "b"], None), b"C: 4\r\n\t5\r\nB: 2\r\n");
        assert_eq!(chosen(block, &["a", "a"], Some(2)), b"A: 1\r\n");
        assert_eq!(
            chosen(b"no field\r\nA: 1\r\n", &["no field", "a"], None),
            b"A: 1\r\n"
        );
    }

    #[test]
    fn a_value_starts_behind_the_colon_and_lacks_the_line_end() {
        let block = Block::new(b"A \t: x\r\n y \r\nB:\r\n".to_vec());
        let values: Vec<&[u8]> = block.fields().map(|f| f.value).collect();
        assert_eq!(values, [&b" x\r\n y "[..], b""]);
        assert_eq!(block.named("a").count(), 1);
        assert_eq!(block.field(1).map(|f| f.name), Some(&b"B"[..]));
        assert!(block.field(2).is_none());
    }
}
