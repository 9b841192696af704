//! Decisions taken from a few octets, so that the fuzzer can explore them.

/// A stream of decisions that a seed determines.
#[derive(Clone, Debug)]
pub struct Choices(u64);

impl Choices {
    /// The stream of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Choices(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // xorshift64*: small, and good enough to spread a seed.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(mixed).map_or(0, |n| if bound == 0 { 0 } else { n % bound })
    }

    /// The length of the next piece of `len` octets: mostly short, at least 1.
    pub fn piece(&mut self, len: usize) -> usize {
        let most = if self.below(4) == 0 { len } else { len.min(8) };
        1 + self.below(most.max(1))
    }
}

/// Takes the first octets as seeds; the rest is what the target is about.
#[must_use]
pub fn seeds<const N: usize>(octets: &[u8]) -> Option<([u8; N], &[u8])> {
    let (seeds, rest) = octets.split_first_chunk::<N>()?;
    Some((*seeds, rest))
}
