//! A message with its signatures: see [`posthaste_fuzz::signatures::dkim_message`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::signatures::dkim_message(octets));
