//! What the system was asked to do, and when it had done it: `strace` output, read back.

use std::collections::HashMap;
use std::path::Path;

/// One system call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// What its file descriptor is: a path, or a socket's ends.
    pub file: String,
    /// The octets of its buffers, as far as they were recorded.
    pub octets: Vec<u8>,
    /// What it returned; negative for a failure.
    pub result: i64,
    /// Place in the order of all beginnings and ends.
    pub began: usize,
    /// The same of its end.
    pub ended: usize,
}

/// The arguments with which `strace` writes what [`read`] reads: every process, file descriptors
/// with what they are, all octets in hexadecimal.
pub const ARGUMENTS: [&str; 8] = [
    "--seccomp-bpf",
    "-f",
    "-yy",
    "-xx",
    "-s",
    "16777216",
    "-e",
    CALLS,
];
const CALLS: &str = "trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync,\
                     sync_file_range";

/// Reads the calls of a recording, in the order of their beginnings.
///
/// # Panics
/// When the recording cannot be read.
#[must_use]
pub fn read(path: &Path) -> Vec<Call> {
    let text = std::fs::read(path).expect("a recording");
    let text = String::from_utf8_lossy(&text);
    let mut calls: Vec<Call> = Vec::new();
    let mut open: HashMap<&str, (usize, String)> = HashMap::new();
    for (order, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            if let Some(call) = call(begun, order) {
                open.insert(thread, (calls.len(), begun.to_owned()));
                calls.push(call);
            }
        } else if rest.starts_with("<... ") {
            if let Some((index, begun)) = open.remove(thread) {
                let tail = rest.split_once(" resumed>").map_or("", |(_, tail)| tail);
                let began = calls[index].began;
                if let Some(call) = call(&(begun + tail), order) {
                    calls[index] = Call { began, ..call };
                }
            }
        } else if let Some(call) = call(rest, order) {
            calls.push(call);
        }
    }
    calls
}

/// A call such as `write(7</a/file>, "\x61", 1) = 1`. Without its end, its result is [`i64::MIN`].
fn call(text: &str, order: usize) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let file = rest.split_once('<').map_or("", |(_, file)| file);
    // A socket is `<TCP:[127.0.0.1:25->127.0.0.1:4711]>`, which holds a `>` itself.
    let end = file
        .find(">,")
        .or_else(|| file.find(">)"))
        .unwrap_or(file.len());
    let result = text.rsplit_once(" = ").map(|(_, result)| result);
    let result = result.and_then(|result| result.split(' ').next()?.parse().ok());
    Some(Call {
        name: name.to_owned(),
        file: match octets(&file[..end]) {
            path if path.is_empty() => file[..end].to_owned(),
            path => String::from_utf8_lossy(&path).into_owned(),
        },
        octets: octets(&file[end..]),
        result: result.unwrap_or(i64::MIN),
        began: order,
        ended: order,
    })
}

/// All octets that are written as `\xNN`.
fn octets(text: &str) -> Vec<u8> {
    let octet = |piece: &str| u8::from_str_radix(piece.get(..2)?, 16).ok();
    text.split("\\x").skip(1).filter_map(octet).collect()
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn calls_that_overlap_are_put_together() {
        let folder = crate::folder();
        let path = folder.path().join("recording");
        let recording = "7 pwrite64(9<\\x2f\\x73>, \"\\x61\\x62\", 2, 0 <unfinished ...>\n\
            8 sendto(4<TCP:[127.0.0.1:25->127.0.0.1:9]>, \"\\x32\", 1, 0, NULL, 0) = 1\n\
            7 <... pwrite64 resumed>)   = 2\n\
            7 fdatasync(9<\\x2f\\x73>) = -1 EIO (Input/output error)\n";
        std::fs::write(&path, recording).unwrap();
        let calls = read(&path);
        let seen: Vec<_> = calls
            .iter()
            .map(|c| (&*c.name, &*c.file, c.result))
            .collect();
        let socket = "TCP:[127.0.0.1:25->127.0.0.1:9]";
        let expected = [
            ("pwrite64", "/s", 2),
            ("sendto", socket, 1),
            ("fdatasync", "/s", -1),
        ];
        assert_eq!(seen, expected);
        assert_eq!(
            (calls[0].began, calls[0].ended, calls[0].octets.as_slice()),
            (0, 2, &b"ab"[..])
        );
    }
}
