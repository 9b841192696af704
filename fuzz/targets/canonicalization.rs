//! A body, and a header field: see [`posthaste_fuzz::signatures::canonicalization`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::signatures::canonicalization(octets));
