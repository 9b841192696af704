//! A tag list: see [`posthaste_fuzz::signatures::dkim_signature`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::signatures::dkim_signature(octets));
