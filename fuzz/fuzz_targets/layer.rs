//! A layer that somebody made up, read both ways.
#![no_main]

use soci_ztoc::Compression;

libfuzzer_sys::fuzz_target!(|layer: &[u8]| {
    soci_ztoc::testing::fuzz::layer(layer, Compression::Gzip);
    soci_ztoc::testing::fuzz::layer(layer, Compression::Uncompressed);
});
