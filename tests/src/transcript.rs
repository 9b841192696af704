//! Golden transcripts: commands and what they print, as a newcomer sees them.
//!
//! A transcript stands in `tests/transcripts/`: lines that begin with `$ posthaste` are run, what
//! follows must be what they print. What differs from run to run is written as `{dir}`, `{port}`,
//! `{id}`, `{time}`, `{age}`. With `UPDATE_GOLDEN=1` in the environment the file is written
//! instead.

use std::path::PathBuf;
use std::process::Command;

use crate::server::{Server, program, told};

/// Runs the transcript `name` in the folder of `server`, and compares.
///
/// # Panics
/// When what is printed is not what the transcript says.
pub fn compare(name: &str, server: &Server) {
    let path = path(name);
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{name}: {fault}"));
    let mut actual = String::new();
    let mut heard = true;
    for line in golden.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            actual.push_str(&format!("{line}\n{}", run(command, server)));
            heard = false;
        } else if heard || line.starts_with("# ") {
            actual.push_str(&format!("{line}\n"));
            heard = true;
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).expect("a transcript");
    } else {
        assert!(actual == golden, "{name}: want\n{golden}\ngot\n{actual}");
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("transcripts")
        .join(name)
}

/// Runs one command line through a shell that knows the program under its name.
fn run(line: &str, server: &Server) -> String {
    let script = format!("posthaste() {{ \"$PROGRAM\" \"$@\"; }}\n{line} 2>&1");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .env("PROGRAM", program())
        .current_dir(server.dir());
    let told = told(&mut command);
    let mut text = neutral(&told.out, server);
    if !told.status.success() {
        text.push_str(&format!(
            "[exit status {}]\n",
            told.status.code().unwrap_or(-1)
        ));
    }
    text
}

/// The text without what differs from run to run.
fn neutral(text: &str, server: &Server) -> String {
    let mut text = text.replace(&server.dir().display().to_string(), "{dir}");
    for address in &server.addresses {
        text = text.replace(&address.to_string(), "127.0.0.1:{port}");
    }
    let text = numbers_before(&text, " s ago", "{age}");
    let text = numbers_after(&text, "came from  127.0.0.1:", "{port}");
    text.split_inclusive('\n').map(line_of).collect()
}

/// The text with the numbers that stand before every `mark` replaced.
fn numbers_before(text: &str, mark: &str, name: &str) -> String {
    let pieces: Vec<&str> = text.split(mark).collect();
    let (last, others) = pieces.split_last().expect("a piece");
    let cut = |piece: &&str| {
        format!(
            "{}{name}",
            piece.trim_end_matches(|c: char| c.is_ascii_digit())
        )
    };
    others.iter().map(cut).collect::<Vec<_>>().join(mark)
        + if others.is_empty() { "" } else { mark }
        + last
}

/// The text with the numbers that stand after every `mark` replaced.
fn numbers_after(text: &str, mark: &str, name: &str) -> String {
    let mut pieces = text.split(mark);
    let first = pieces.next().unwrap_or_default().to_owned();
    let cut = |piece: &str| {
        format!(
            "{mark}{name}{}",
            piece.trim_start_matches(|c: char| c.is_ascii_digit())
        )
    };
    pieces.map(cut).fold(first, |text, piece| text + &piece)
}

fn line_of(line: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for c in line.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '.') {
            word.push(c);
        } else {
            out.push_str(&name_of(&word));
            word.clear();
            out.push(c);
        }
    }
    out + &name_of(&word)
}

/// What stands for a word that differs from run to run.
fn name_of(word: &str) -> String {
    let bare = word.trim_end_matches(['.', ':']);
    let rest = &word[bare.len()..];
    let is_id = bare.len() == 26
        && bare
            .chars()
            .all(|c| c.is_ascii_digit() || c.is_ascii_lowercase())
        && bare.starts_with(|c: char| c.is_ascii_digit());
    let is_time =
        bare.len() >= 16 && bare.starts_with("20") && bare.contains('T') && bare.contains(':');
    let is_age = bare.len() <= 6
        && bare.ends_with(['s', 'm', 'h', 'd'])
        && bare[..bare.len() - 1].parse::<u32>().is_ok();
    match (is_id, is_time, is_age) {
        (true, ..) => format!("{{id}}{rest}"),
        (_, true, _) => format!("{{time}}{rest}"),
        (_, _, true) => format!("{{age}}{rest}"),
        _ => word.to_owned(),
    }
}
