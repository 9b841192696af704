//! The randomness door.

/// A source of randomness: the operating system's in production, a seeded one in simulation.
pub trait Random: Send + Sync {
    /// Fills `bytes`. The real source is fit for secrets.
    fn fill(&self, bytes: &mut [u8]);

    /// A random 64-bit number.
    fn next_u64(&self) -> u64 {
        let mut b = [0; 8];
        self.fill(&mut b);
        u64::from_le_bytes(b)
    }

    /// A number below `bound` (0 when `bound` is 0). The bias is below 2⁻³² for bounds under 2³².
    fn below(&self, bound: u64) -> u64 {
        if bound == 0 {
            0
        } else {
            self.next_u64() % bound
        }
    }
}
