//! Any text as an SPF record of everyone: see [`posthaste_fuzz::senders::spf_record`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::senders::spf_record(octets));
