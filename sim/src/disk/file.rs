//! An open file of the simulated disk. One that was opened before the last crash is closed.

use std::io::{self, IoSlice};

use posthaste_world::File;

use super::inode::Inode;
use super::{EIO, SimDisk, State};

/// `EBADF`: the file was opened before the last crash, or only to read.
const EBADF: i32 = 9;

pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) inode: usize,
    pub(super) life: u64,
    pub(super) writable: bool,
}

impl SimFile {
    fn inode<'a>(&self, state: &'a mut State, write: bool) -> io::Result<&'a mut Inode> {
        let closed = self.life != state.life || (write && !self.writable);
        let inode = state.inodes.get_mut(self.inode).filter(|_| !closed);
        inode.ok_or_else(|| io::Error::from_raw_os_error(EBADF))
    }

    /// Extends the file within the room there is.
    fn extend(&self, state: &mut State, len: usize) -> io::Result<()> {
        let now = self.inode(state, true)?.now().len();
        if len > now {
            state.room_for(len - now)?;
            self.inode(state, true)?.set_len(len);
        }
        Ok(())
    }
}

impl File for SimFile {
    fn write_at(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let state = &mut *self.disk.state();
        let bytes: Vec<u8> = parts.iter().flat_map(|p| p.iter().copied()).collect();
        let at = size(position)?;
        let words = [position, bytes.len() as u64];
        let fate = state.call(10, words, || {
            format!("write #{} {position}+{}", self.inode, bytes.len())
        })?;
        let now = self.inode(state, true)?.now().len();
        let failed = state.fault(state.faults.write, "the write fails");
        let room = state.room_for((at + bytes.len()).saturating_sub(now));
        if failed || room.is_err() {
            let part = state
                .rng
                .index(bytes.len().max(1))
                .min(now.saturating_sub(at));
            let (part, _) = bytes.split_at(part);
            self.inode(state, true)?.write(at, part);
            return Err(room
                .err()
                .unwrap_or_else(|| io::Error::from_raw_os_error(EIO)));
        }
        self.inode(state, true)?.write(at, &bytes);
        fate.survived(state)
    }

    fn read_at(&self, position: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let state = &mut *self.disk.state();
        let words = [position, bytes.len() as u64];
        let fate = state.call(11, words, || {
            format!("read #{} {position}+{}", self.inode, bytes.len())
        })?;
        let n = self.inode(state, false)?.now().read(size(position)?, bytes);
        if n > 0 && state.fault(state.faults.flip, "a bit turns over") {
            let i = state.rng.index(n);
            let bit = state.rng.below(8);
            if let Some(octet) = bytes.get_mut(i) {
                *octet ^= 1 << bit;
            }
        }
        fate.survived(state)?;
        Ok(n)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let state = &mut *self.disk.state();
        let fate = state.call(12, [len, 0], || format!("allocate #{} {len}", self.inode))?;
        self.extend(state, size(len)?)?;
        fate.survived(state)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let state = &mut *self.disk.state();
        let fate = state.call(13, [len, 0], || format!("set length #{} {len}", self.inode))?;
        let len = size(len)?;
        self.extend(state, len)?;
        let inode = self.inode(state, true)?;
        if len < inode.now().len() {
            inode.set_len(len);
        }
        fate.survived(state)
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.disk.state();
        let fate = state.call(14, [0, 0], || format!("sync #{}", self.inode))?;
        state.syncs += 1;
        self.inode(state, false)?;
        if state.fault(state.faults.sync, "the sync fails") {
            let mut rng = state.rng.fork();
            self.inode(state, false)?.sync_fails(&mut rng);
            return Err(io::Error::from_raw_os_error(EIO));
        }
        self.inode(state, false)?.sync();
        fate.survived(state)
    }

    fn len(&self) -> io::Result<u64> {
        let state = &mut *self.disk.state();
        let fate = state.call(15, [0, 0], || format!("length #{}", self.inode))?;
        let len = self.inode(state, false)?.now().len() as u64;
        fate.survived(state)?;
        Ok(len)
    }
}

fn size(n: u64) -> io::Result<usize> {
    usize::try_from(n).map_err(|_| io::ErrorKind::FileTooLarge.into())
}
