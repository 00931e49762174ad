//! Memory does not grow with the layer: it is the download window, the ztoc and a constant.
//!
//! A binary of its own: its allocator counts, and nothing else may allocate beside the test.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is a failed test")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the numbers are the tests' own"
)]

use std::num::NonZeroUsize;

use indexer::{Budget, ImageName, Options, Outcome, RemoteRepository, index_image};
use oci::Tag;
use peak_alloc::PeakAlloc;
use registry::testing::FakeRegistry;
use tests::{TestImage, gzip_layer};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What indexing may take beside the window and the ztoc: connections, buffers, the client and
/// the registry's own sending side, which runs in this process too.
const CONSTANT: usize = 24 << 20;

const WINDOW: usize = 4 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexing_holds_the_window_and_the_ztoc_and_not_the_layer() {
    for size in [32 << 20, 256 << 20] {
        let registry = FakeRegistry::start().await;
        let layer = gzip_layer(1, size);
        let layer_size = layer.1.len();
        TestImage::single("linux/amd64", &[layer]).put(&registry, "team/app", "1");
        let budget = Budget::new(NonZeroUsize::MIN, WINDOW as u64);
        let store = RemoteRepository::new(registry.client(), registry.repository("team/app"));
        let tag: Tag = "1".parse().unwrap();
        let name = ImageName { target: tag.clone().into(), tag: Some(tag) };
        let options = Options { budget, ..Options::default() };

        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let Outcome::Indexed(report) = index_image(&store, &name, &options).await.unwrap() else {
            panic!("not indexed")
        };
        let peak = MEMORY.peak_usage() - before;
        let ztoc_size = report.layers[0].ztoc_size as usize;
        println!("layer {layer_size} ztoc {ztoc_size} peak {peak}");
        // The registry keeps the pushed ztoc as well, hence twice.
        let allowed = CONSTANT + WINDOW + 2 * ztoc_size + ztoc_size / 2;
        assert!(peak <= allowed, "{peak} bytes, {allowed} allowed");
        assert!(layer_size < 40 << 20 || allowed < layer_size, "the layer would fit by chance");
    }
}
