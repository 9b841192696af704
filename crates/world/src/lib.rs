//! The doors to the outside: clock, disk, net, DNS, randomness and work.
//!
//! Everything that the rest of Posthaste learns from the outside, or does to it, passes one of
//! these traits. [`real`] implements them for production; the simulator implements them from one
//! seed. A door is `dyn`, so no generics spread; it is cheap where it is hot: the disk is blocking
//! and called once a group, the net gives a boxed stream and one reusable timer a connection.
//!
//! This crate does **not** know a single mail word: no address, no reply, no queue.

pub mod clock;
pub mod disk;
pub mod dns;
pub mod net;
pub mod random;
pub mod real;
pub mod work;

use std::future::Future;
use std::pin::Pin;

pub use clock::{Clock, Timer, Timestamp};
pub use disk::{Disk, File};
pub use dns::Dns;
pub use net::{BoxStream, Net};
pub use random::Random;
pub use work::Work;

/// A future on the heap, for the asynchronous verbs of the doors. Such a call stands next to a wait
/// for the disk or the network, so the allocation does not matter.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// All doors together, as one node sees them.
#[derive(Clone)]
pub struct World {
    /// Time.
    pub clock: std::sync::Arc<dyn Clock>,
    /// Files.
    pub disk: std::sync::Arc<dyn Disk>,
    /// Streams to and from peers.
    pub net: std::sync::Arc<dyn Net>,
    /// Names.
    pub dns: std::sync::Arc<dyn Dns>,
    /// Randomness.
    pub random: std::sync::Arc<dyn Random>,
    /// Tasks, threads and bounded pools.
    pub work: std::sync::Arc<dyn Work>,
}
