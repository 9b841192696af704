//! A message being received, not yet promised.

use super::fault::WriteError;

/// A message being received. Dropping it forgets it, and removes its file if it has one.
#[derive(Debug)]
pub struct Draft {
}

impl Draft {
    /// Adds octets. Waits for the disk when they no longer fit into memory.
    ///
    /// # Errors
    /// [`WriteError::Full`] and [`WriteError::Failed`]; the draft is of no more use then.
    pub async fn write(&mut self, octets: &[u8]) -> Result<(), WriteError> {
        let _ = octets;
        todo!()
    }
    /// Octets so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        todo!()
    }
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
