//! The bytes of one simulated file: what is durable, what programs see, and what lies between.

use crate::rng::Rng;

/// A disk writes sectors of this many octets whole or not at all.
pub const SECTOR: usize = 512;

/// How much of what was not synced survives a crash. Chosen anew for every file and crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Survival {
    Nothing,
    Everything,
    /// The oldest changes; the last of them torn.
    Oldest,
    /// Any sectors of any changes.
    Any,
}

impl Survival {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        match rng.below(5) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            2 => Survival::Oldest,
            _ => Survival::Any,
        }
    }
}

#[derive(Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

/// A file's content.
#[derive(Default, Debug)]
pub(super) struct Inode {
    durable: Vec<u8>,
    now: Vec<u8>,
    pending: Vec<Change>,
}

impl Inode {
    /// What programs see.
    pub(super) fn now(&self) -> &[u8] {
        &self.now
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        put(&mut self.now, at, bytes);
        self.pending.push(Change::Write {
            at,
            bytes: bytes.to_vec(),
        });
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.now.resize(len, 0);
        self.pending.push(Change::Length(len));
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Write { at, bytes } => put(&mut self.durable, at, &bytes),
                Change::Length(len) => self.durable.resize(len, 0),
            }
        }
    }

    /// A sync that failed: some of the changes reached the disk, and no later sync will bring the
    /// others. Programs may or may not still see those.
    pub(super) fn sync_fails(&mut self, rng: &mut Rng) {
        self.survive(rng);
        if rng.coin() {
            self.now.clone_from(&self.durable);
        }
    }

    /// The power goes.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        if !self.pending.is_empty() {
            self.survive(rng);
        }
        self.now.clone_from(&self.durable);
    }

    /// Turns one bit over, on the disk and for programs.
    pub(super) fn flip(&mut self, at: usize, bit: u8) {
        for bytes in [&mut self.durable, &mut self.now] {
            if let Some(octet) = bytes.get_mut(at) {
                *octet ^= 1 << (bit % 8);
            }
        }
    }

    fn survive(&mut self, rng: &mut Rng) {
        let changes = std::mem::take(&mut self.pending);
        let survival = Survival::draw(rng);
        let whole = match survival {
            Survival::Nothing => return,
            Survival::Oldest => rng.index(changes.len().max(1)),
            Survival::Everything | Survival::Any => changes.len(),
        };
        let odds = rng.between(100, 900);
        for (i, change) in changes.into_iter().enumerate() {
            let torn = survival == Survival::Any || i == whole;
            match change {
                _ if i > whole => return,
                Change::Length(len) => {
                    if !torn || rng.chance(odds) {
                        self.durable.resize(len, 0);
                    }
                }
                Change::Write { at, bytes } => {
                    for (from, sector) in sectors(at, &bytes) {
                        if !torn || rng.chance(odds) {
                            put(&mut self.durable, from, sector);
                        }
                    }
                }
            }
        }
    }
}

/// Writes into a file, which grows as needed, with zeros in a gap.
fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    if let Some(target) = file.get_mut(at..end) {
        target.copy_from_slice(bytes);
    }
}

/// Cuts a write at the borders of sectors.
fn sectors(mut at: usize, mut bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let room = SECTOR - at % SECTOR;
        let (sector, rest) = bytes.split_at(room.min(bytes.len()));
        let from = at;
        at += sector.len();
        bytes = rest;
        Some((from, sector))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_synced_survives_and_what_is_not_may_be_lost_or_torn() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut inode = Inode::default();
            inode.write(0, &[1; 100]);
            inode.sync();
            inode.write(100, &[2; 2000]);
            inode.crash(&mut rng);
            assert_eq!(inode.now().get(..100), Some(&[1; 100][..]));
            let kept = inode.now().iter().filter(|b| **b == 2).count();
            seen.insert((kept == 0, kept == 2000, (1..2000).contains(&kept)));
        }
        assert_eq!(seen.len(), 3, "lost, kept and torn all happen");
    }

    #[test]
    fn a_later_change_may_survive_an_earlier_one() {
        let reordered = (0..200).any(|seed| {
            let mut inode = Inode::default();
            inode.set_len(4096);
            inode.sync();
            inode.write(0, &[1; 512]);
            inode.write(1024, &[2; 512]);
            inode.crash(&mut Rng::new(seed));
            (inode.now()[0], inode.now()[1024]) == (0, 2)
        });
        assert!(reordered);
    }

    #[test]
    fn after_a_failed_sync_a_later_one_saves_nothing_of_it() {
        let lost = (0..200).any(|seed| {
            let mut rng = Rng::new(seed);
            let mut inode = Inode::default();
            inode.write(0, &[7; 512]);
            inode.sync_fails(&mut rng);
            let seen = inode.now() == [7; 512];
            inode.sync();
            inode.crash(&mut rng);
            seen && inode.now() != [7; 512]
        });
        assert!(lost);
    }

    #[test]
    fn sectors_keep_to_their_borders() {
        let bytes = [0; 1200];
        let cut: Vec<_> = sectors(300, &bytes).map(|(at, s)| (at, s.len())).collect();
        assert_eq!(cut, [(300, 212), (512, 512), (1024, 476)]);
    }
}
