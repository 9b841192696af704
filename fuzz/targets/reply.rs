//! Any octets as a reply: see [`posthaste_fuzz::grammar::reply`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::grammar::reply(octets));
