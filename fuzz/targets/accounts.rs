//! Any text as a file of accounts: see [`posthaste_fuzz::auth::accounts`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::auth::accounts(octets));
