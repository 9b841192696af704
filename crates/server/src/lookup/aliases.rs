//! The aliases of a domain, in the syntax of aliases(5).
//!
//! ```text
//! # a comment
//! postmaster: alice
//! team:       alice, bob,
//!             "odd name"@example.net
//! ```
//!
//! A name stands before the colon, addresses and local parts of the same domain after it. Lines
//! that begin with white space continue the one before. An alias that names itself, as `name` or
//! `\name`, means the mailbox of that name. Programs, files and `:include:` are errors: mail must
//! not run or write anything that only a table names.

use std::collections::BTreeMap;

use posthaste_smtp::address::{Domain, DomainName, Mailbox};

use crate::config::text;

/// Most targets of one alias; it could not be expanded beyond.
pub const TARGETS_MAX: usize = super::EXPANSIONS_MAX;
/// Most errors that are reported of one file.
const ERRORS_MAX: usize = 100;

/// Aliases of one domain, by lower-case local part.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Aliases(BTreeMap<String, Alias>);

/// What one alias stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alias {
    /// Where it leads, as written; at least one.
    pub targets: Vec<Mailbox>,
    /// The line of its name, from 1.
    pub line: usize,
}

/// A line that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadAlias {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub cause: String,
    /// What to write instead.
    pub fix: String,
}

impl Aliases {
    /// The alias of a lower-case local part.
    #[must_use]
    pub fn get(&self, local: &str) -> Option<&Alias> {
        self.0.get(local)
    }

    /// All aliases, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Alias)> {
        self.0.iter().map(|(name, alias)| (name.as_str(), alias))
    }
}

/// Reads the aliases of `domain`; lines that are wrong are left out and reported.
#[must_use]
pub fn parse(text: &str, domain: &DomainName) -> (Aliases, Vec<BadAlias>) {
    let mut aliases = Aliases::default();
    let mut wrong = Vec::new();
    for (line, content) in logical_lines(text) {
        let result = entry(&content, domain).and_then(|(name, targets)| {
            if let Some(first) = aliases.0.get(&name) {
                let cause = format!(
                    "the alias `{name}` stands twice, first on line {}",
                    first.line
                );
                return Err((
                    cause,
                    "put all targets on one line, with commas between".into(),
                ));
            }
            aliases.0.insert(name, Alias { targets, line });
            Ok(())
        });
        if let Err((cause, fix)) = result {
            wrong.push(BadAlias { line, cause, fix });
        }
        if wrong.len() >= ERRORS_MAX {
            break;
        }
    }
    (aliases, wrong)
}

/// Lines with their continuations, without comments and blank lines, numbered from 1.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        match lines.last_mut() {
            Some((_, begun)) if line.starts_with([' ', '\t']) => {
                begun.push(' ');
                begun.push_str(line.trim());
            }
            _ => lines.push((at + 1, line.trim().to_string())),
        }
    }
    lines
}

type Wrong = (String, String);

fn entry(content: &str, domain: &DomainName) -> Result<(String, Vec<Mailbox>), Wrong> {
    let Some((name, rest)) = split_at(content, ':') else {
        return Err((
            "there is no colon after the name".into(),
            "write `name: target, target`".into(),
        ));
    };
    let name = alias_name(name.trim(), domain)?;
    let mut targets = Vec::new();
    let mut rest = Some(rest);
    while let Some(list) = rest {
        let (one, more) = match split_at(list, ',') {
            Some((one, more)) => (one, Some(more)),
            None => (list, None),
        };
        rest = more;
        // aliases(5) files often end a line with a comma.
        if one.trim().is_empty() {
            continue;
        }
        let target = target(one.trim(), &name, domain)?;
        if !targets.contains(&target) {
            targets.push(target);
        }
        if targets.len() > TARGETS_MAX {
            let cause = format!("the alias `{name}` has more than {TARGETS_MAX} targets");
            return Err((
                cause,
                "use a mailing list program for lists of this size".into(),
            ));
        }
    }
    if targets.is_empty() {
        return Err((
            format!("the alias `{name}` has no target"),
            "write an address after the colon, or remove the line".into(),
        ));
    }
    Ok((name, targets))
}

fn alias_name(name: &str, domain: &DomainName) -> Result<String, Wrong> {
    let local = match text::mailbox(name) {
        Ok(mailbox) if mailbox.domain().name() == Some(domain) => mailbox.local_part().clone(),
        Ok(_) => {
            return Err((
                format!("`{name}` is not of the domain {domain}"),
                "move the line to the aliases of that domain".into(),
            ));
        }
        Err(_) => text::local_part(name).map_err(|e| {
            let fix = "write a local part, in quotes when it holds spaces or other signs";
            (format!("`{name}` is not a name: {e}"), fix.to_string())
        })?,
    };
    if local.as_str() == "*" {
        return Err((
            "`*` is not an alias".into(),
            "use `catch_all` of the [[domain]] for everybody who is not there".into(),
        ));
    }
    Ok(local.as_str().to_lowercase())
}

fn target(written: &str, name: &str, domain: &DomainName) -> Result<Mailbox, Wrong> {
    let inner = written
        .strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .unwrap_or(written);
    let refused = if inner.starts_with('|') {
        Some("runs a program")
    } else if inner.starts_with('/') {
        Some("writes to a file")
    } else if inner.to_ascii_lowercase().starts_with(":include:") {
        Some("includes another file")
    } else {
        None
    };
    if let Some(does) = refused {
        return Err((
            format!("`{written}` {does}, which aliases cannot do here"),
            "name a mailbox or an address; deliver to a program through LMTP".into(),
        ));
    }
    let own = |local: &str| {
        text::local_part(local).map(|l| Mailbox::new(l, Domain::Name(domain.clone())))
    };
    let bare = match written.strip_prefix('\\') {
        Some(bare) if bare.to_lowercase() == name => bare,
        Some(_) => {
            let cause = format!("`{written}`: a backslash may only stand before `{name}` itself");
            return Err((cause, "write the name without the backslash".into()));
        }
        None => written,
    };
    let parsed = match text::mailbox(bare) {
        Ok(mailbox) => Ok(mailbox),
        Err(cause) if split_at(bare, '@').is_some() => Err(cause),
        Err(_) => own(bare),
    };
    parsed.map_err(|cause| {
        let fix = "write addresses or local parts, with commas between";
        (
            format!("`{written}` is not an address: {cause}"),
            fix.to_string(),
        )
    })
}

/// Splits at the first `sign` outside of quotes.
fn split_at(text: &str, sign: char) -> Option<(&str, &str)> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == sign && !quoted => {
                return Some((text.get(..at)?, text.get(at + c.len_utf8()..)?));
            }
            _ => {}
        }
    }
    None
}
