//! Any message as one with an abuse report: see [`posthaste_fuzz::senders::arf`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::senders::arf(octets));
