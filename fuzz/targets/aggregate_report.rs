//! Any octets as an aggregate report: see [`posthaste_fuzz::senders::aggregate_report`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::senders::aggregate_report(octets));
