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

/// A file's octets. Zeros at its end take no memory: servers set much room aside.
#[derive(Clone, Default, Debug)]
pub(super) struct Content {
    octets: Vec<u8>,
    len: usize,
}

impl Content {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `bytes` from `at` on; says how much there was.
    pub(super) fn read(&self, at: usize, bytes: &mut [u8]) -> usize {
        let n = self.len.saturating_sub(at).min(bytes.len());
        let written = self.octets.get(at..).unwrap_or_default();
        let (written, _) = written.split_at(n.min(written.len()));
        let (filled, _) = bytes.split_at_mut(n);
        let (from_file, zeros) = filled.split_at_mut(written.len());
        from_file.copy_from_slice(written);
        zeros.fill(0);
        n
    }

    fn resize(&mut self, len: usize) {
        self.octets.truncate(len);
        self.len = len;
    }

    /// Writes into a file, which grows as needed, with zeros in a gap.
    fn put(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if self.octets.len() < end {
            self.octets.resize(end, 0);
        }
        if let Some(target) = self.octets.get_mut(at..end) {
            target.copy_from_slice(bytes);
        }
        self.len = self.len.max(end);
    }

    fn flip(&mut self, at: usize, bit: u8) {
        let mut octet = [0];
        if self.read(at, &mut octet) == 1 {
            self.put(at, &octet.map(|octet| octet ^ (1 << (bit % 8))));
        }
    }
}

/// A file's content: durable, and as programs see it.
#[derive(Default, Debug)]
pub(super) struct Inode {
    durable: Content,
    now: Content,
    pending: Vec<Change>,
}

impl Inode {
    /// What programs see.
    pub(super) fn now(&self) -> &Content {
        &self.now
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        self.now.put(at, bytes);
        self.pending.push(Change::Write {
            at,
            bytes: bytes.to_vec(),
        });
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.now.resize(len);
        self.pending.push(Change::Length(len));
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Write { at, bytes } => self.durable.put(at, &bytes),
                Change::Length(len) => self.durable.resize(len),
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
        self.durable.flip(at, bit);
        self.now.flip(at, bit);
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
                        self.durable.resize(len);
                    }
                }
                Change::Write { at, bytes } => {
                    for (from, sector) in sectors(at, &bytes) {
                        if !torn || rng.chance(odds) {
                            self.durable.put(from, sector);
                        }
                    }
                }
            }
        }
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

    fn octets(inode: &Inode) -> Vec<u8> {
        let mut octets = vec![0; inode.now().len() + 1];
        let n = inode.now().read(0, &mut octets);
        octets.truncate(n);
        octets
    }

    #[test]
    fn room_that_was_set_aside_reads_as_zeros_and_takes_no_memory() {
        let mut inode = Inode::default();
        inode.set_len(1 << 40);
        inode.write(3, &[7; 2]);
        let mut octets = [9; 8];
        assert_eq!(inode.now().read(0, &mut octets), 8);
        assert_eq!(octets, [0, 0, 0, 7, 7, 0, 0, 0]);
        assert_eq!(inode.now().read((1 << 40) - 1, &mut octets), 1);
        inode.set_len(4);
        assert_eq!(inode.now().read(0, &mut octets), 4);
    }

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
            let octets = octets(&inode);
            assert_eq!(octets.get(..100), Some(&[1; 100][..]));
            let kept = octets.iter().filter(|b| **b == 2).count();
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
            let octets = octets(&inode);
            (octets[0], octets[1024]) == (0, 2)
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
            let seen = octets(&inode) == [7; 512];
            inode.sync();
            inode.crash(&mut rng);
            seen && octets(&inode) != [7; 512]
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
