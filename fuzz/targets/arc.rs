//! A message with a chain: see [`posthaste_fuzz::signatures::arc`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::signatures::arc(octets));
