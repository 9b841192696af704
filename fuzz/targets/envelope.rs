//! Any octets as an envelope on disk: see [`posthaste_fuzz::spool::envelope`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::spool::envelope(octets));
