//! Any text as a local part to rewrite: see [`posthaste_fuzz::senders::srs`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::senders::srs(octets));
