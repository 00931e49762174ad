//! A ztoc that somebody made up, used on its own bytes as the layer.
#![no_main]

libfuzzer_sys::fuzz_target!(|ztoc: &[u8]| soci_ztoc::testing::fuzz::ztoc(ztoc, ztoc));
