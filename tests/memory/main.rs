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

use peak_alloc::PeakAlloc;
use soci_indexer::{Budget, ImageName, Options, RemoteRepository, index_image};
use soci_oci::Tag;
use soci_registry_server::testing::FakeRegistry;
use soci_tests::{FakeRegistryClient, TestImage, gzip_layer};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What indexing may take beside the window and the ztoc: connections, buffers, the client and
/// the registry's own sending side, which runs in this process too.
const CONSTANT: usize = 24 << 20;

const WINDOW: usize = 4 << 20;

/// The memory of the images that are indexed at once.
const SHARED: usize = 16 << 20;

/// The tests, of which only one may run.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexing_holds_the_window_and_the_ztoc_and_not_the_layer() {
    let _alone = ALONE.lock().await;
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
        let report = index_image(&store, &name, &options).await.unwrap();
        assert!(!report.already_there);
        let peak = MEMORY.peak_usage() - before;
        let ztoc_size = report.layers[0].ztoc_size as usize;
        println!("layer {layer_size} ztoc {ztoc_size} peak {peak}");
        // The registry keeps the pushed ztoc as well, hence twice.
        let allowed = CONSTANT + WINDOW + 2 * ztoc_size + ztoc_size / 2;
        assert!(peak <= allowed, "{peak} bytes, {allowed} allowed");
        assert!(layer_size < 40 << 20 || allowed < layer_size, "the layer would fit by chance");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_that_are_indexed_at_once_share_the_memory() {
    const IMAGES: u64 = 6;
    let _alone = ALONE.lock().await;
    let registry = FakeRegistry::start().await;
    let budget = Budget::new(NonZeroUsize::new(4).unwrap(), SHARED as u64);
    let options = Options { budget, ..Options::default() };
    for seed in 0..IMAGES {
        let layer = gzip_layer(seed, 64 << 20);
        TestImage::single("linux/amd64", &[layer]).put(&registry, "team/app", &seed.to_string());
    }
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let mut images = JoinSet::new();
    for seed in 0..IMAGES {
        let store = RemoteRepository::new(registry.client(), registry.repository("team/app"));
        let tag: Tag = seed.to_string().parse().unwrap();
        let name = ImageName { target: tag.clone().into(), tag: Some(tag) };
        let options = options.clone();
        images.spawn(async move { index_image(&store, &name, &options).await.unwrap() });
    }
    let mut ztocs = 0;
    while let Some(report) = images.join_next().await {
        let report = report.unwrap();
        assert!(!report.already_there);
        ztocs += report.layers[0].ztoc_size as usize;
    }
    let peak = MEMORY.peak_usage() - before;
    println!("ztocs {ztocs} peak {peak}");
    let allowed = CONSTANT + SHARED + 2 * ztocs;
    assert!(peak <= allowed, "{peak} bytes, {allowed} allowed");
}
