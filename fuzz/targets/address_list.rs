//! Any text as an address list: see [`posthaste_fuzz::message::addresses`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::message::addresses(octets));
