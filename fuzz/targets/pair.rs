//! Both sessions against each other: see [`posthaste_fuzz::pair::dialogue`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| posthaste_fuzz::pair::dialogue(octets));
