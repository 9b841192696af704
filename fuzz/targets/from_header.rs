//! Any header block, for its authors: see [`posthaste_fuzz::senders::from_header`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::senders::from_header(octets));
