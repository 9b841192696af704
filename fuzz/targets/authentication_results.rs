//! The value of a field: see [`posthaste_fuzz::signatures::authentication_results`].
#![no_main]

libfuzzer_sys::fuzz_target!(
    |octets: &[u8]| posthaste_fuzz::signatures::authentication_results(octets)
);
