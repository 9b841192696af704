//! Damage to a spool: see [`posthaste_fuzz::spool::damage`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::spool::damage(octets));
