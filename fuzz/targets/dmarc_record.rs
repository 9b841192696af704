//! Any text as a DMARC record: see [`posthaste_fuzz::senders::dmarc_record`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::senders::dmarc_record(octets));
