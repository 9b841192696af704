//! Files of their own for bodies above [`super::INLINE_MAX`], or written under memory pressure.

use posthaste_world::File;

/// A synced file that holds a body.
#[derive(Clone)]
pub struct LargeBody {
    pub(super) name: [u8; 16],
    pub(super) len: u64,
    pub(super) file: std::sync::Arc<dyn File>,
}

impl LargeBody {
    /// Octets.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }
    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl std::fmt::Debug for LargeBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LargeBody").field("len", &self.len).finish_non_exhaustive()
    }
}
