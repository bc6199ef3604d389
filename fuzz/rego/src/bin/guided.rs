//! `cargo xtask fuzz-rego guided [SECONDS]`: bytes that libFuzzer chooses by the code that they reach.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzz_rego::bytes(data);
});
