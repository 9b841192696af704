//! Randomness of the operating system, fit for secrets.

use std::io;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// The source of production.
pub(super) struct Random(());

impl Random {
    /// # Errors
    /// When the operating system has no randomness to give: known once, at the start.
    pub(super) fn new() -> io::Result<Self> {
        let mut probe = [0; 16];
        fill(&mut probe)?;
        Ok(Random(()))
    }
}

impl crate::Random for Random {
    fn fill(&self, bytes: &mut [u8]) {
        let filled = fill(bytes);
        // A program that goes on with guessable numbers is worse than one that ends.
        assert!(
            filled.is_ok(),
            "the operating system gave randomness before"
        );
    }
}

fn fill(mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match getrandom(&mut *bytes, GetRandomFlags::empty()) {
            Ok(n) => bytes = bytes.get_mut(n..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random as _;

    #[test]
    fn long_pieces_are_filled_to_the_end_and_differ() {
        let random = Random::new().unwrap();
        let (mut a, mut b) = (vec![0; 4096], vec![0; 4096]);
        random.fill(&mut a);
        random.fill(&mut b);
        assert_ne!(a, b);
        // 64 zero octets at the end by chance: once in 2^512.
        assert!(a[4032..].iter().any(|o| *o != 0));
        random.fill(&mut []);
    }
}
