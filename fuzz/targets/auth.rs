//! What a client says in an exchange of AUTH: see [`posthaste_fuzz::auth::exchange`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::auth::exchange(octets));
