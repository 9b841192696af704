//! A message being received, not yet promised.
//!
//! Its octets gather in memory as long as they are few and the budget has room; beyond that they go
//! to a file of their own, on a pool, in chunks. It does **not** look at the octets.

use std::sync::Arc;

use bytes::Bytes;
use posthaste_world::work::Pool;

use super::INLINE_MAX;
use super::budget::Charge;
use super::change::Body;
use super::fault::WriteError;
use super::handle::Inner;
use super::large::LargeWriter;

/// The smallest buffer; a buffer doubles when it is full.
const BUFFER_MIN: usize = 4 << 10;

/// Octets that gather before they go to the file, once there is one.
const CHUNK: usize = 256 << 10;

/// A message being received. Dropping it forgets it, and removes its file if it has one.
pub struct Draft {
    inner: Arc<Inner>,
    buffer: Vec<u8>,
    charge: Charge,
    large: Option<LargeWriter>,
    len: u64,
    failed: Option<WriteError>,
}

/// A draft that is complete.
pub(super) struct Finished {
    pub(super) body: Body,
    /// Memory that the body takes until it is written.
    pub(super) charge: Charge,
    /// Removes the file unless it is told to keep it.
    pub(super) file: Option<Box<LargeWriter>>,
}

impl Draft {
    pub(super) fn new(inner: Arc<Inner>) -> Draft {
        let charge = Charge::none(&inner.budget);
        Draft {
            inner,
            buffer: Vec::new(),
            charge,
            large: None,
            len: 0,
            failed: None,
        }
    }

    /// Adds octets. Waits for the disk when they no longer fit into memory.
    ///
    /// # Errors
    /// [`WriteError::Full`] and [`WriteError::Failed`]; the draft is of no more use then.
    pub async fn write(&mut self, octets: &[u8]) -> Result<(), WriteError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.len += octets.len() as u64;
        let most = if self.large.is_some() {
            CHUNK
        } else {
            INLINE_MAX
        };
        if self.buffer.len() + octets.len() <= most && self.make_room(octets.len()) {
            self.buffer.extend_from_slice(octets);
            return Ok(());
        }
        let written = self.spill(octets.to_vec()).await;
        self.failed = written.err();
        written
    }

    /// Octets so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes the body complete; a large one is durable then.
    pub(super) async fn finish(mut self) -> Result<Finished, WriteError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let buffer = std::mem::take(&mut self.buffer);
        let charge = std::mem::replace(&mut self.charge, Charge::none(&self.inner.budget));
        let Some(mut writer) = self.large.take() else {
            return Ok(Finished {
                body: Body::Inline(Bytes::from(buffer)),
                charge,
                file: None,
            });
        };
        drop(charge);
        let job = move || {
            writer.write(&buffer)?;
            let body = writer.finish()?;
            Ok((body, writer))
        };
        let (body, writer) = self.run(job).await?;
        let charge = Charge::none(&self.inner.budget);
        Ok(Finished {
            body: Body::Large(body),
            charge,
            file: Some(Box::new(writer)),
        })
    }

    /// Room for so many more octets, charged to the budget.
    fn make_room(&mut self, more: usize) -> bool {
        let wanted = self.buffer.len() + more;
        if wanted <= self.buffer.capacity() {
            return true;
        }
        let capacity = wanted.next_power_of_two().max(BUFFER_MIN);
        if !self.charge.set(capacity) {
            return false;
        }
        self.buffer.reserve_exact(capacity - self.buffer.len());
        true
    }

    /// Writes what has gathered, and `octets`, to the file.
    async fn spill(&mut self, octets: Vec<u8>) -> Result<(), WriteError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let writer = self.large.take();
        let inner = self.inner.clone();
        let job = move || {
            let mut writer = match writer {
                Some(writer) => writer,
                None => LargeWriter::create(inner.reader.folders(), &*inner.random)?,
            };
            writer.write(&buffer)?;
            writer.write(&octets)?;
            buffer.clear();
            buffer.shrink_to(CHUNK);
            Ok((writer, buffer))
        };
        let (writer, buffer) = self.run(job).await?;
        self.large = Some(writer);
        self.charge.set(buffer.capacity());
        self.buffer = buffer;
        Ok(())
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, WriteError> + Send + 'static,
    ) -> Result<T, WriteError> {
        let done = self.inner.work.on(Pool::Disk, job).await;
        done.unwrap_or(Err(WriteError::Failed))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(writer) = self.large.take() {
            let work = self.inner.work.clone();
            let job = move || drop(writer);
            self.inner.work.spawn(
                "draft",
                Box::pin(async move {
                    // The file is removed wherever the writer is dropped.
                    let _ = work.on(Pool::Disk, job).await;
                }),
            );
        }
    }
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let spilled = self.large.is_some();
        f.debug_struct("Draft")
            .field("len", &self.len)
            .field("spilled", &spilled)
            .finish()
    }
}
