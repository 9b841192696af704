//! Any octets as a certificate, and as its files: see [`posthaste_fuzz::certificate`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    posthaste_fuzz::certificate::of_a_peer(octets);
    posthaste_fuzz::certificate::files(octets);
});
