//! Any octets as what a proxy sends: see [`posthaste_fuzz::proxy::header`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::proxy::header(octets));
