//! Any texts in a delivery report: see [`posthaste_fuzz::message::dsn`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::message::dsn(octets));
