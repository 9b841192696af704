//! Any octets as a message: see [`posthaste_fuzz::message::header_scan`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::message::header_scan(octets));
