//! Memory is bounded by the ztoc plus a constant, however large the layer is.
//!
//! A binary of its own: its allocator counts, and nothing else may allocate beside the test.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is a failed test")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the numbers are the tests' own"
)]

use peak_alloc::PeakAlloc;
use soci_ztoc::{Builder, Compression, ZtocSettings};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What building may take beside the ztoc: the window, zlib's state, a piece of checkpoints.
const CONSTANT: usize = 2 << 20;

#[test]
fn building_holds_the_ztoc_once_and_not_the_layer() {
    for size in [16 << 20, 128 << 20] {
        let layer = soci_ztoc::testing::gzip(&soci_ztoc::testing::plain_archive(1, size));
        for span_size in [64 << 10, 4 << 20] {
            let before = MEMORY.current_usage();
            MEMORY.reset_peak_usage();
            let settings =
                ZtocSettings { span_size, ..ZtocSettings::new(Compression::Gzip, "test") };
            let mut builder = Builder::new(settings).unwrap();
            for piece in layer.chunks(64 << 10) {
                builder.push(piece).unwrap();
            }
            let ztoc = builder.finish().unwrap();
            let ztoc_size = ztoc.encoded.size() as usize;
            let peak = MEMORY.peak_usage() - before;
            println!("layer {} ztoc {ztoc_size} peak {peak}", layer.len());
            let budget = CONSTANT + ztoc_size + ztoc_size / 4;
            assert!(peak <= budget, "{peak} bytes for a ztoc of {ztoc_size}");
        }
    }
}
