//! Any octets from a client: see [`posthaste_fuzz::server::session`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::server::session(octets));
