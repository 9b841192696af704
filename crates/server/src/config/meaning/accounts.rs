//! `[accounts]`: who may authenticate.

use super::Meaning;
use crate::authenticate::accounts::{Book, store};
use crate::authenticate::mechanism::Mechanism;
use crate::config::file::{self, File};
use crate::config::finding::{Finding, Source};
use crate::config::value::{Many, Setting};
use crate::config::{Accounts, Config, Service};

impl Meaning<'_> {
    pub(super) fn accounts(&mut self, written: &file::Accounts) -> Option<Accounts> {
        let state = written.file.as_ref().map(|file| self.book(file));
        let mechanisms = written.mechanisms.as_ref().map(|m| self.mechanisms(m));
        let state = state?;
        self.book = state.book.clone();
        Some(Accounts {
            file: self.path(&written.file.as_ref()?.value),
            state,
            mechanisms: mechanisms?,
        })
    }

    /// What the file says. One that is not there says nothing: its first account makes it.
    fn book(&mut self, written: &Setting<String>) -> store::State {
        let path = self.path(&written.value);
        // Findings name the file as it was written, from the configuration's folder on.
        let folder = self.reader.source.path.parent();
        let shown = folder.unwrap_or("".as_ref()).join(&written.value);
        let stamp = self.disk.stamp(&path).ok();
        let text = match store::text(self.disk, &path) {
            Ok(text) => text,
            Err(why) => {
                self.reader.error(
                    &written.span,
                    format!("the accounts in {} cannot be read: {why}", shown.display()),
                    "let the server's user read the file, or name another",
                );
                return store::State::default();
            }
        };
        let (book, flaws) = Book::parse(&text);
        let source = Source { path: shown, text };
        for flaw in flaws {
            let place = Some(source.line(flaw.line));
            self.reader.findings.push(match flaw.is_error {
                true => Finding::error(place, flaw.cause, "mend the line or remove it"),
                false => Finding::warning(
                    place,
                    flaw.cause,
                    "give the account a password with `posthaste user passwd`, or remove the line",
                ),
            });
        }
        store::State {
            stamp,
            book: book.into(),
        }
    }

    fn mechanisms(&mut self, written: &Setting<Many<String>>) -> Vec<Mechanism> {
        let mut mechanisms = Vec::new();
        for name in &written.value.list {
            match Mechanism::named(&name.value) {
                Some(mechanism) if mechanisms.contains(&mechanism) => self.reader.warn(
                    &name.span,
                    format!("`{}` stands twice", name.value),
                    "remove one of them",
                ),
                Some(mechanism) => mechanisms.push(mechanism),
                None => {
                    let all = Mechanism::ALL.map(Mechanism::name).join(", ");
                    self.reader.error(
                        &name.span,
                        format!("`{}` is not a mechanism of AUTH here", name.value),
                        format!("the mechanisms are {all}"),
                    );
                }
            }
        }
        mechanisms
    }

    /// Warns of accounts that some of the mechanisms do not serve. Asked only of a file without
    /// errors.
    pub(super) fn unserved(&mut self, file: &File, config: &Config) {
        let Some(section) = &file.accounts else {
            return;
        };
        let submission = config
            .listeners
            .iter()
            .any(|l| l.service == Service::Submission);
        let book = &config.accounts.state.book;
        if submission && book.accounts().next().is_none() {
            self.reader.warn(
                &section.span,
                "there is no account: nobody can submit mail",
                "run `posthaste user add you@example.org`, with the same --config",
            );
        }
        for mechanism in [Mechanism::ScramSha256, Mechanism::CramMd5] {
            if !config.accounts.mechanisms.contains(&mechanism) || !book.serves(mechanism) {
                continue;
            }
            if let Some((name, count)) = book.unserved(mechanism) {
                let mechanism = mechanism.name();
                let others = match count {
                    1 => String::new(),
                    count => format!(" and {} more", count - 1),
                };
                self.reader.warn(
                    &section.span,
                    format!("`{name}`{others} cannot use {mechanism}, which clients may choose"),
                    format!(
                        "give a password with `posthaste user passwd`, or leave {mechanism} out of \
                         `mechanisms`"
                    ),
                );
            }
        }
    }
}
