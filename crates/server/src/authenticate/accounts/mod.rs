//! The accounts: who may authenticate, and with what.
//!
//! A [`Book`] is one state of the file of accounts and never changes; [`store`] reads the file
//! again when it changed; [`edit`] changes it for `posthaste user`. The file's format is one line a
//! secret, see [`Secret`] and docs/reference/accounts.md.
//!
//! Other places for accounts (SQL, LDAP, Dovecot's socket, OAuth) come in beside the file: a login
//! asks of it no more than [`super::Authenticator`] does, which is whether a password is right, and
//! what is stored for SCRAM and CRAM-MD5.
//!
//! This module does **not** decide who may try: [`super::failures`] does.

pub mod edit;
pub mod store;

use crate::authenticate::mechanism::Mechanism;
use crate::authenticate::name::{Claimed, Name};
use crate::authenticate::secret::Secret;
use crate::authenticate::secret::scram::mac;

/// Largest file of accounts, in octets: some 200,000 accounts.
pub const FILE_MAX: u64 = 64 * 1024 * 1024;
/// Most secrets of an account: each costs a comparison at every login.
pub const SECRETS_MAX: usize = 32;
/// What the first line of a file of ours says, and its version.
pub const HEADER: &str = "# posthaste accounts 1";

/// One state of the accounts.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// In the order of their names.
    accounts: Vec<Account>,
    /// Positions of those with a password that can be checked.
    checkable: Vec<usize>,
}

/// One account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name, usually an address.
    pub name: Name,
    /// Its secrets, in the order of their lines; at least one.
    pub secrets: Vec<Secret>,
}

/// A line with something wrong in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flaw {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub cause: String,
    /// Whether it keeps the whole file from being used.
    pub is_error: bool,
}

impl Book {
    /// Reads the text of a file. With an error among the flaws the book must not be used.
    #[must_use]
    pub fn parse(text: &str) -> (Book, Vec<Flaw>) {
        let mut flaws = Vec::new();
        let mut lines: Vec<(Name, usize, Secret)> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let mut flaw = |cause: String, is_error| {
                flaws.push(Flaw {
                    line: number,
                    cause,
                    is_error,
                });
            };
            if line.starts_with("# posthaste accounts ") && line.trim_end() != HEADER {
                flaw("a newer version of Posthaste wrote this file".into(), true);
            }
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            match Secret::parse(line) {
                Ok((name, secret)) => {
                    if let Some(why) = secret.flaw() {
                        flaw(format!("nobody can log in with this line: {why}"), false);
                    }
                    lines.push((name, number, secret));
                }
                Err(why) => flaw(format!("this line is no account: {why}"), true),
            }
        }
        lines.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        let mut book = Book::default();
        for (name, line, secret) in lines {
            flaws.extend(book.add(name, line, secret));
        }
        flaws.sort_by_key(|flaw| flaw.line);
        let checkable = |a: &Account| a.secrets.iter().any(|s| s.hash.is_ok());
        let positions = book.accounts.iter().enumerate();
        book.checkable = positions
            .filter(|(_, a)| checkable(a))
            .map(|(at, _)| at)
            .collect();
        (book, flaws)
    }

    /// Adds a secret; names come in their order.
    fn add(&mut self, name: Name, line: usize, secret: Secret) -> Option<Flaw> {
        let flaw = |cause: String, is_error| Flaw {
            line,
            cause,
            is_error,
        };
        let Some(account) = self.accounts.last_mut().filter(|a| a.name == name) else {
            let secrets = vec![secret];
            self.accounts.push(Account { name, secrets });
            return None;
        };
        if account.secrets.len() >= SECRETS_MAX {
            return Some(flaw(
                format!("`{name}` has more than {SECRETS_MAX} secrets"),
                true,
            ));
        }
        let twice = account.secrets.iter().any(|s| s.label == secret.label);
        account.secrets.push(secret);
        twice.then(|| flaw(format!("`{name}` has two secrets of this label"), false))
    }

    /// The account of that name.
    #[must_use]
    pub fn find(&self, name: &Name) -> Option<&Account> {
        let at = self.accounts.binary_search_by(|a| a.name.cmp(name)).ok()?;
        self.accounts.get(at)
    }

    /// All accounts, in the order of their names.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter()
    }

    /// The account that is asked in place of one that is not there, so that a name nobody has costs
    /// the same time and gets the same answers. Always the same one for a name.
    #[must_use]
    pub fn stand_in(&self, key: &[u8], claimed: &Claimed) -> Option<&Account> {
        let number = mac(key, claimed.octets());
        let number = number
            .iter()
            .take(8)
            .fold(0_u64, |n, o| n << 8 | u64::from(*o));
        let count = u64::try_from(self.checkable.len())
            .ok()
            .filter(|n| *n > 0)?;
        let at = usize::try_from(number % count).ok()?;
        self.accounts.get(*self.checkable.get(at)?)
    }

    /// Whether some account can use `mechanism`.
    #[must_use]
    pub fn serves(&self, mechanism: Mechanism) -> bool {
        let mut secrets = self.accounts.iter().flat_map(|a| &a.secrets);
        match mechanism {
            Mechanism::Plain | Mechanism::Login => secrets.any(|s| s.flaw().is_none()),
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
                secrets.any(|s| s.scram.is_some() && s.flaw().is_none())
            }
            Mechanism::CramMd5 => secrets.any(|s| s.cram_md5.is_some() && s.flaw().is_none()),
            Mechanism::External => !self.accounts.is_empty(),
        }
    }

    /// The first of the accounts that cannot use `mechanism`, and how many there are.
    #[must_use]
    pub fn unserved(&self, mechanism: Mechanism) -> Option<(&Name, usize)> {
        let without = |a: &&Account| {
            let alone = Book {
                accounts: vec![(*a).clone()],
                checkable: Vec::new(),
            };
            !alone.serves(mechanism)
        };
        let mut all = self.accounts.iter().filter(without);
        let first = all.next()?;
        Some((&first.name, 1 + all.count()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn book(text: &str) -> Book {
        let (book, flaws) = Book::parse(text);
        assert!(!flaws.iter().any(|f| f.is_error), "{flaws:?}");
        book
    }

    #[test]
    fn lines_of_one_name_are_one_account() {
        let text = "# posthaste accounts 1\n\nBob@example.org:{PLAIN}one\n\
                    alice@example.org:{PLAIN}two\nbob@EXAMPLE.org:{PLAIN}three::::::label=phone\n";
        let book = book(text);
        let names: Vec<_> = book.accounts().map(|a| a.name.as_str()).collect();
        assert_eq!(names, ["alice@example.org", "bob@example.org"]);
        let bob = book.find(&Name::parse("bob@example.org").unwrap()).unwrap();
        let labels: Vec<_> = bob.secrets.iter().map(|s| &*s.label).collect();
        assert_eq!(labels, ["", "phone"]);
        assert!(
            book.find(&Name::parse("carol@example.org").unwrap())
                .is_none()
        );
    }

    #[test]
    fn flaws_name_their_lines() {
        let text = "a@b.example:{PLAIN}x\nb@b.example:{SSHA}x\nnonsense\na@b.example:{PLAIN}y\n";
        let (_, flaws) = Book::parse(text);
        let found: Vec<_> = flaws.iter().map(|f| (f.line, f.is_error)).collect();
        assert_eq!(found, [(2, false), (3, true), (4, false)]);
        let (_, flaws) = Book::parse("# posthaste accounts 2\n");
        assert!(flaws.first().is_some_and(|f| f.is_error));
        let many: String = (0..=SECRETS_MAX)
            .map(|n| format!("a@b.example:{{PLAIN}}x::::::label={n}\n"))
            .collect();
        assert!(Book::parse(&many).1.iter().any(|f| f.is_error));
    }

    #[test]
    fn a_mechanism_is_served_when_some_account_can_use_it() {
        use Mechanism::{CramMd5, Login, Plain, ScramSha256};
        let (empty, plain) = (Book::default(), book("a@b.example:{PLAIN}x\n"));
        let locked = book("a@b.example:!\nb@b.example:{PLAIN}x::::::nologin\n");
        let bcrypt =
            book("a@b.example:$2b$06$abcdefghijklmnopqrstuuxLa0AkDDSrQ9VwNnETzOsObiucpMYgC\n");
        for mechanism in [Plain, Login, ScramSha256, CramMd5] {
            assert!(!empty.serves(mechanism) && !locked.serves(mechanism));
            assert_eq!(bcrypt.serves(mechanism), matches!(mechanism, Plain | Login));
            assert_eq!(plain.serves(mechanism), mechanism != ScramSha256);
        }
        assert_eq!(locked.unserved(Plain).map(|(_, n)| n), Some(2));
        assert_eq!(plain.unserved(Plain).map(|(_, n)| n), None);
    }

    #[test]
    fn the_stand_in_for_a_name_is_always_the_same_and_can_be_checked() {
        let book = book("a@b.example:!\nb@b.example:{PLAIN}x\nc@b.example:{PLAIN}x\n");
        let name = |octets: &[u8]| {
            let claimed = Claimed::new(octets);
            book.stand_in(&[7; 32], &claimed).unwrap().name.to_string()
        };
        let seen: std::collections::BTreeSet<_> = (0..100_u8).map(|n| name(&[b'x', n])).collect();
        assert_eq!(
            seen.into_iter().collect::<Vec<_>>(),
            ["b@b.example", "c@b.example"]
        );
        assert_eq!(name(b"nobody"), name(b"nobody"));
        assert!(
            Book::default()
                .stand_in(&[7; 32], &Claimed::new(b"x"))
                .is_none()
        );
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(
            text in "(\\PC{0,30}\n|[ab]@b.example:\\{PLAIN\\}x\n){0,8}",
        ) {
            let (book, _) = Book::parse(&text);
            prop_assert!(book.accounts().all(|a| book.find(&a.name).is_some()));
        }
    }
}
