//! Any octets as a command line: see [`posthaste_fuzz::grammar::command`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::grammar::command(octets));
