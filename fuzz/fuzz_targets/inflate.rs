//! A deflate stream that somebody made up, inflated by this crate and by zlib-rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|stream: &[u8]| {
    soci_ztoc::testing::fuzz::inflate(stream);
    // Samples are gzip members: behind their usual header the stream begins.
    if let Some(stream) = stream.get(10..) {
        soci_ztoc::testing::fuzz::inflate(stream);
    }
});
