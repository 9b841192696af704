//! Any text as an address: see [`posthaste_fuzz::grammar::address`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::grammar::address(octets));
