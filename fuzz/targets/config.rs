//! Any octets as the configuration: see [`posthaste_fuzz::config::load`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::config::load(octets));
