//! Any octets from a server: see [`posthaste_fuzz::client::session`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::client::session(octets));
