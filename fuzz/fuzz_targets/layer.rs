//! A layer that somebody made up, read both ways.
#![no_main]

use ztoc::Compression;

libfuzzer_sys::fuzz_target!(|layer: &[u8]| {
    ztoc::testing::fuzz::layer(layer, Compression::Gzip);
    ztoc::testing::fuzz::layer(layer, Compression::Uncompressed);
});
