//! `[[domain]]`: the mail we are responsible for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use posthaste_smtp::address::{DomainName, LocalPart, Utf8};

use super::{Meaning, text};
use crate::authenticate::accounts::Account;
use crate::config::file::{self, File};
use crate::config::finding::{Finding, Source};
use crate::config::value::Setting;
use crate::config::{Deliver, Domain, Mailboxes, MaildirPath};
use crate::lookup::aliases::{self, Aliases};

/// Largest file of aliases, in octets.
const ALIAS_FILE_MAX: u64 = 64 * 1024 * 1024;

const DELIVER_FIX: &str = "write \"maildir:/var/mail/{domain}/{local}\", \"lmtp://host:24\", \
                           \"lmtp+unix:/path\", \"smtp://host:25\" or \"discard:\"";

impl Meaning<'_> {
    pub(super) fn domains(&mut self, file: &File, data_dir: &Path) -> Vec<Domain> {
        let written = file
            .domain
            .as_ref()
            .map(|d| d.value.0.as_slice())
            .unwrap_or_default();
        let mut domains: Vec<Domain> = Vec::new();
        for section in written {
            let Some(name) = section
                .value
                .name
                .as_ref()
                .and_then(|n| self.domain_name(n))
            else {
                // Without a name its other keys can still be read.
                self.deliver(&section.value, data_dir);
                continue;
            };
            if let Some(span) = section.value.name.as_ref().map(|n| n.span.clone())
                && domains.iter().any(|d| d.name == name)
            {
                let cause = format!("the domain `{name}` stands twice");
                self.reader
                    .error(&span, cause, "put both sections into one");
                continue;
            }
            let at = domains.len();
            domains.extend(self.domain(section, name, at, data_dir));
        }
        domains
    }

    fn domain_name(&mut self, written: &Setting<String>) -> Option<DomainName> {
        text::domain_name(&written.value)
            .map_err(|cause| {
                self.reader.error(
                    &written.span,
                    format!("`{}` is not a domain: {cause}", written.value),
                    "write one domain, like \"example.org\"",
                );
            })
            .ok()
    }

    fn domain(
        &mut self,
        section: &Setting<file::Domain>,
        name: DomainName,
        at: usize,
        data_dir: &Path,
    ) -> Option<Domain> {
        let d = &section.value;
        let deliver = self.deliver(d, data_dir);
        let mailboxes = self.mailboxes(d, &name, deliver.as_ref());
        let aliases = self.aliases(d, &name, at);
        let catch_all = d.catch_all.as_ref().map(|c| self.mailbox(c));
        let subaddress = d.subaddress.as_ref().map(|s| self.subaddress(s));
        if mailboxes.as_ref().is_some_and(Mailboxes::is_empty)
            && d.aliases.is_none()
            && d.catch_all.is_none()
            && !self.has_accounts(&name)
        {
            self.reader.warn(
                &section.span,
                format!("`{name}` has no mailbox: all its mail but the postmaster's is refused"),
                "add `mailboxes = [\"alice\"]`, or accounts with `posthaste user add`",
            );
        }
        // `None` inside stands for a wrong value, which has been reported.
        Some(Domain {
            name,
            deliver: deliver?,
            owner: d.owner.as_ref().map(|o| o.value.clone()),
            mailboxes: mailboxes?,
            aliases,
            catch_all: catch_all.flatten(),
            subaddress: subaddress.flatten(),
        })
    }

    /// Whether an account has an address in this domain.
    fn has_accounts(&self, name: &DomainName) -> bool {
        let domain = |a: &Account| a.name.as_str().rsplit_once('@').map(|(_, d)| d.to_string());
        self.book
            .accounts()
            .any(|a| domain(a).as_deref() == Some(name.as_str()))
    }

    fn deliver(&mut self, d: &file::Domain, data_dir: &Path) -> Option<Deliver> {
        let Some(written) = &d.deliver else {
            let folder = data_dir.join("mail").display().to_string();
            return Some(Deliver::Maildir(MaildirPath(format!(
                "{folder}/{{domain}}/{{local}}"
            ))));
        };
        let text = written.value.as_str();
        let deliver = match text.split_once(':') {
            Some(("discard", "")) => Ok(Deliver::Discard),
            Some(("maildir", path)) => return self.maildir(d, written, path),
            Some(("lmtp+unix", path)) => self.unix(path).map(Deliver::Lmtp),
            Some(("lmtp", rest)) => host(rest, 24)
                .and_then(|s| self.another(s))
                .map(Deliver::Lmtp),
            Some(("smtp", rest)) => host(rest, 25)
                .and_then(|s| self.another(s))
                .map(Deliver::Smtp),
            Some(("smtps", _)) => Err("this version cannot use TLS".to_string()),
            Some((kind @ ("mbox" | "pipe"), _)) => Err(format!("this version has no `{kind}:`")),
            Some((kind, _)) => Err(format!("`{kind}:` is not a way of delivery")),
            None => Err("the way of delivery is missing".to_string()),
        };
        match deliver {
            Ok(deliver) => Some(deliver),
            Err(cause) => {
                let cause = format!("cannot deliver to `{text}`: {cause}");
                self.reader.error(&written.span, cause, DELIVER_FIX);
                None
            }
        }
    }

    fn maildir(
        &mut self,
        d: &file::Domain,
        written: &Setting<String>,
        path: &str,
    ) -> Option<Deliver> {
        let mailboxes = d
            .mailboxes
            .as_ref()
            .map(|m| m.value.list.as_slice())
            .unwrap_or_default();
        let several = mailboxes.len() > 1 || mailboxes.iter().any(|m| m.value == "*");
        let unknown = placeholders(path).find(|p| *p != "{domain}" && *p != "{local}");
        let (cause, fix) = if path.is_empty() {
            (
                "the path of the Maildir is missing".to_string(),
                DELIVER_FIX,
            )
        } else if let Some(unknown) = unknown {
            (
                format!("unknown placeholder `{unknown}`"),
                "the placeholders are {domain} and {local}; other braces cannot stand in a path",
            )
        } else if several && !path.contains("{local}") {
            (
                "all mailboxes of this domain would share one Maildir".to_string(),
                "put {local} into the path, like \"maildir:/var/mail/{domain}/{local}\"",
            )
        } else {
            let path = self.path(path).display().to_string();
            return Some(Deliver::Maildir(MaildirPath(path)));
        };
        self.reader.error(&written.span, cause, fix);
        None
    }

    fn mailboxes(
        &mut self,
        d: &file::Domain,
        name: &DomainName,
        deliver: Option<&Deliver>,
    ) -> Option<Mailboxes> {
        let list = &d.mailboxes.as_ref()?.value.list;
        if let Some(all) = list.iter().find(|m| m.value == "*") {
            if list.len() > 1 {
                self.reader.error(
                    &all.span,
                    "`*` stands beside other mailboxes",
                    "write `mailboxes = [\"*\"]` alone, or name the mailboxes",
                );
                return None;
            }
            return self.all_mailboxes(all, name, deliver?);
        }
        let mut named = BTreeSet::new();
        for written in list {
            let Some(local) = self.local_part(written) else {
                continue;
            };
            if !named.insert(local.clone()) {
                let cause = format!("the mailbox `{local}` stands twice (case does not count)");
                self.reader.warn(&written.span, cause, "remove one of them");
            }
        }
        Some(Mailboxes::Named(named))
    }

    fn all_mailboxes(
        &mut self,
        written: &Setting<String>,
        name: &DomainName,
        deliver: &Deliver,
    ) -> Option<Mailboxes> {
        match deliver {
            Deliver::Lmtp(_) | Deliver::Smtp(_) => Some(Mailboxes::Any),
            Deliver::Discard => {
                self.reader.error(
                    &written.span,
                    "`*` needs somebody who knows which mailboxes exist",
                    "name the mailboxes, or use `lmtp` or `smtp`",
                );
                None
            }
            Deliver::Maildir(path) => match path.folders(name.as_str(), self.disk) {
                Ok(found) => Some(Mailboxes::Named(found)),
                Err((folder, why)) => {
                    self.reader.error(
                        &written.span,
                        format!(
                            "`*` means the folders in {}, which cannot be read: {why}",
                            folder.display()
                        ),
                        "make that folder, with a folder for each mailbox, or name the mailboxes",
                    );
                    None
                }
            },
        }
    }

    fn local_part(&mut self, written: &Setting<String>) -> Option<String> {
        match mailbox_name(&written.value) {
            Ok(name) => Some(name),
            Err(cause) => {
                self.reader.error(
                    &written.span,
                    format!("`{}` is not a mailbox: {cause}", written.value),
                    "write the part before the @ only, like \"alice\"",
                );
                None
            }
        }
    }

    fn aliases(&mut self, d: &file::Domain, name: &DomainName, at: usize) -> Aliases {
        let Some(written) = &d.aliases else {
            return Aliases::default();
        };
        let path = self.path(&written.value);
        // Findings name the file as it was written, from the configuration's folder on.
        let folder = self.reader.source.path.parent().unwrap_or(Path::new(""));
        let shown = folder.join(&written.value);
        let read = self
            .disk
            .read(&path, ALIAS_FILE_MAX)
            .map_err(|e| e.to_string());
        let text = read.and_then(|b| String::from_utf8(b).map_err(|_| "it is not UTF-8".into()));
        match text {
            Ok(text) => {
                let source = Source { path: shown, text };
                let (aliases, wrong) = aliases::parse(&source.text, name);
                for bad in wrong {
                    let place = Some(source.line(bad.line));
                    self.reader
                        .findings
                        .push(Finding::error(place, bad.cause, bad.fix));
                }
                self.alias_files.push((at, source));
                aliases
            }
            Err(why) => {
                self.reader.error(
                    &written.span,
                    format!("the aliases in {} cannot be read: {why}", shown.display()),
                    "make the file and let the server's user read it, or remove `aliases`",
                );
                Aliases::default()
            }
        }
    }

    fn subaddress(&mut self, written: &Setting<String>) -> Option<char> {
        let mut chars = written.value.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) if c.is_ascii_punctuation() && !"@\"\\.,;:()<>[]/".contains(c) => {
                Some(c)
            }
            _ => {
                self.reader.error(
                    &written.span,
                    format!(
                        "`{}` cannot separate a detail from a mailbox",
                        written.value
                    ),
                    "write one character, \"+\", \"-\" or \"=\"",
                );
                None
            }
        }
    }
}

/// What follows `lmtp:` or `smtp:`.
fn host(rest: &str, port: u16) -> Result<crate::config::Server, String> {
    match rest.strip_prefix("//") {
        Some(host) => text::server(host, port),
        None => Err("`//` and the host are missing".into()),
    }
}

/// A mailbox's name in lower case, fit to be the name of a folder.
pub(crate) fn mailbox_name(text: &str) -> Result<String, String> {
    let name = text.to_lowercase();
    if name.is_empty() {
        return Err("it is empty".into());
    }
    if name.contains('@') {
        return Err("there is an @ in it".into());
    }
    if name.contains('/') || name == "." || name == ".." || name.contains(['{', '}']) {
        return Err("it could not be the name of a folder".into());
    }
    LocalPart::from_value(&name, Utf8::Allowed)
        .map_err(|_| "it is longer than 64 octets, or holds what no address can".to_string())?;
    Ok(name)
}

/// The `{…}` in a path; a lone brace counts as one.
fn placeholders(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = path;
    std::iter::from_fn(move || {
        let start = rest.find(['{', '}'])?;
        let from = rest.get(start..)?;
        let len = if from.starts_with('{') {
            from.find('}').map_or(from.len(), |e| e + 1)
        } else {
            1
        };
        rest = from.get(len..)?;
        from.get(..len)
    })
}

impl Mailboxes {
    fn is_empty(&self) -> bool {
        matches!(self, Mailboxes::Named(names) if names.is_empty())
    }
}

impl MaildirPath {
    /// The mailboxes of `domain` whose folders are there; the folder that could not be read
    /// otherwise. Names in upper case are left out, since no recipient could reach them.
    fn folders(
        &self,
        domain: &str,
        disk: &dyn posthaste_world::Disk,
    ) -> Result<BTreeSet<String>, (PathBuf, String)> {
        let path = self.0.replace("{domain}", domain);
        let Some((before, after)) = path.split_once("{local}") else {
            return Ok(BTreeSet::new());
        };
        let (parent, prefix) = before.rsplit_once('/').unwrap_or(("/", before));
        let (suffix, below) = after.split_once('/').unwrap_or((after, ""));
        let parent = PathBuf::from(if parent.is_empty() { "/" } else { parent });
        let entries = disk
            .list(&parent)
            .map_err(|e| (parent.clone(), e.to_string()))?;
        let names = entries.iter().filter(|e| e.is_dir).filter_map(|e| {
            let local = e.name.strip_prefix(prefix)?.strip_suffix(suffix)?;
            let known = mailbox_name(local).ok().filter(|name| name == local)?;
            let rest = below.replace("{local}", local);
            (rest.is_empty() || disk.list(&parent.join(&e.name).join(rest)).is_ok())
                .then_some(known)
        });
        Ok(names.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{mailbox_name, placeholders};

    #[test]
    fn no_mailbox_name_breaks_out_of_its_folder() {
        for bad in ["..", ".", "a/b", "/etc", "a\0b", "", "x@y", "{local}"] {
            assert!(mailbox_name(bad).is_err(), "{bad:?}");
        }
        assert_eq!(mailbox_name("Alice").unwrap(), "alice");
        assert_eq!(mailbox_name("ÄRGER").unwrap(), "ärger");
    }

    #[test]
    fn every_brace_of_a_path_is_looked_at() {
        let found: Vec<_> = placeholders("/a/{domain}/{user}/x}/{").collect();
        assert_eq!(found, ["{domain}", "{user}", "}", "{"]);
    }
}
