//! The names of a simulated file system: durable once their folder was synced.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::inode::Survival;
use crate::rng::Rng;

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Node {
    Folder,
    File(usize),
}

#[derive(Debug)]
enum Change {
    Set(PathBuf, Node),
    Unset(PathBuf, Node),
    Rename(PathBuf, PathBuf, Node),
}

#[derive(Debug)]
struct Pending {
    change: Change,
    /// The folder whose sync makes it durable.
    folder: PathBuf,
}

/// All names.
#[derive(Debug)]
pub(super) struct Names {
    durable: BTreeMap<PathBuf, Node>,
    now: BTreeMap<PathBuf, Node>,
    pending: Vec<Pending>,
}

impl Names {
    /// A file system with one folder.
    pub(super) fn new(root: &Path) -> Self {
        let names = BTreeMap::from([(root.to_owned(), Node::Folder)]);
        Names {
            durable: names.clone(),
            now: names,
            pending: Vec::new(),
        }
    }

    pub(super) fn get(&self, path: &Path) -> Option<Node> {
        self.now.get(path).copied()
    }

    /// All names, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = (&PathBuf, Node)> {
        self.now.iter().map(|(path, node)| (path, *node))
    }

    /// Whether a file has a name.
    pub(super) fn reach(&self, inode: usize) -> bool {
        let node = Node::File(inode);
        self.now.values().any(|n| *n == node)
    }

    pub(super) fn set(&mut self, path: &Path, node: Node) {
        self.note(Change::Set(path.to_owned(), node), path);
    }

    pub(super) fn unset(&mut self, path: &Path) {
        if let Some(node) = self.get(path) {
            self.note(Change::Unset(path.to_owned(), node), path);
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        if let Some(node) = self.get(from) {
            let change = Change::Rename(from.to_owned(), to.to_owned(), node);
            // Both names change in one step, which the sync of the new one's folder waits for.
            self.note(change, to);
        }
    }

    pub(super) fn sync(&mut self, folder: &Path) {
        let durable = &mut self.durable;
        self.pending.retain(|pending| {
            let done = pending.folder == folder;
            if done {
                apply(durable, &pending.change);
            }
            !done
        });
    }

    /// A folder's sync that failed: some of its names are durable now.
    pub(super) fn sync_fails(&mut self, folder: &Path, rng: &mut Rng) {
        let durable = &mut self.durable;
        self.pending.retain(|pending| {
            let done = pending.folder == folder && rng.coin();
            if done {
                apply(durable, &pending.change);
            }
            !done
        });
    }

    /// The power goes: of what was not synced, anything may be left.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        let pending = std::mem::take(&mut self.pending);
        let survival = Survival::draw(rng);
        let kept = match survival {
            Survival::Nothing => 0,
            Survival::Oldest => rng.index(pending.len().max(1)),
            Survival::Everything | Survival::Any => pending.len(),
        };
        for pending in pending.iter().take(kept) {
            if survival != Survival::Any || rng.coin() {
                apply(&mut self.durable, &pending.change);
            }
        }
        // What stands in a folder that was lost is lost with it.
        let folders: Vec<PathBuf> = self.durable.keys().cloned().collect();
        for path in folders {
            let orphan = path
                .parent()
                .is_some_and(|p| p.parent().is_some() && !self.durable.contains_key(p));
            if orphan {
                self.durable.remove(&path);
            }
        }
        self.now.clone_from(&self.durable);
    }

    fn note(&mut self, change: Change, path: &Path) {
        apply(&mut self.now, &change);
        let folder = path.parent().unwrap_or(path).to_owned();
        self.pending.push(Pending { change, folder });
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Node>, change: &Change) {
    match change {
        Change::Set(path, node) => {
            names.insert(path.clone(), *node);
        }
        Change::Unset(path, node) => {
            if names.get(path) == Some(node) {
                names.remove(path);
            }
        }
        Change::Rename(from, to, node) => {
            if names.get(from) == Some(node) {
                names.remove(from);
            }
            names.insert(to.clone(), *node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_once_its_folder_was_synced_and_maybe_before() {
        let after = |sync: bool, seed| {
            let mut names = Names::new(Path::new("/d"));
            names.set(Path::new("/d/a"), Node::File(1));
            if sync {
                names.sync(Path::new("/d"));
            }
            names.crash(&mut Rng::new(seed));
            names.get(Path::new("/d/a")).is_some()
        };
        assert!((0..100).all(|seed| after(true, seed)));
        assert!((0..100).any(|seed| after(false, seed)));
        assert!((0..100).any(|seed| !after(false, seed)));
    }

    #[test]
    fn a_rename_leaves_the_old_name_or_the_new_one() {
        let (a, b) = (Path::new("/d/a"), Path::new("/d/b"));
        for seed in 0..100 {
            let mut names = Names::new(Path::new("/d"));
            names.set(a, Node::File(1));
            names.sync(Path::new("/d"));
            names.rename(a, b);
            names.crash(&mut Rng::new(seed));
            assert!(names.get(a).is_some() != names.get(b).is_some());
        }
    }

    #[test]
    fn a_rename_into_another_folder_is_durable_with_the_sync_of_that_folder() {
        for seed in 0..100 {
            let mut names = Names::new(Path::new("/d"));
            for folder in ["/d/tmp", "/d/new"] {
                names.set(Path::new(folder), Node::Folder);
            }
            names.sync(Path::new("/d"));
            names.set(Path::new("/d/tmp/f"), Node::File(1));
            names.rename(Path::new("/d/tmp/f"), Path::new("/d/new/f"));
            names.sync(Path::new("/d/new"));
            names.crash(&mut Rng::new(seed));
            assert!(names.get(Path::new("/d/new/f")).is_some());
        }
    }

    #[test]
    fn a_lost_folder_takes_its_files_along() {
        for seed in 0..100 {
            let mut names = Names::new(Path::new("/d"));
            names.set(Path::new("/d/sub"), Node::Folder);
            names.set(Path::new("/d/sub/f"), Node::File(1));
            names.sync(Path::new("/d/sub"));
            names.crash(&mut Rng::new(seed));
            let file = names.get(Path::new("/d/sub/f")).is_some();
            assert!(!file || names.get(Path::new("/d/sub")).is_some());
        }
    }
}
