//! Memory does not grow with what images contain: it is within the budget, and a constant for the process.
//!
//! A binary of its own: its allocator counts, and nothing else may allocate beside the test.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is a failed test")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the numbers are the tests' own"
)]

use std::fmt::Write as _;
use std::num::NonZeroUsize;

use bytes::Bytes;
use peak_alloc::PeakAlloc;
use soci_indexer::{Budget, ImageName, IndexError, Options, Reason, RemoteRepository, index_image};
use soci_manifest::{Generation, ImageError, PrefetchSettings, SociIndexSettings};
use soci_oci::{Tag, media_type};
use soci_registry_server::testing::FakeRegistry;
use soci_tests::{FakeRegistryClient, TestImage, gzip_layer, many_files_layer};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What indexing may take beside the window and the ztoc: connections, buffers, the client and
/// the registry's own sending side, which runs in this process too.
const CONSTANT: usize = 24 << 20;

/// The least budget, which is more than the window and the ztoc of these layers take.
const LEAST: u64 = Budget::LEAST_MEMORY;

/// The memory of the images that are indexed at once.
const SHARED: u64 = 48 << 20;

/// The tests, of which only one may run.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexing_holds_the_window_and_the_ztoc_and_not_the_layer() {
    let _alone = ALONE.lock().await;
    for size in [32 << 20, 512 << 20] {
        let registry = FakeRegistry::start().await;
        let layer = gzip_layer(1, size);
        let layer_size = layer.1.len();
        TestImage::single("linux/amd64", &[layer]).put(&registry, "team/app", "1");
        let budget = Budget::new(NonZeroUsize::MIN, LEAST);
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
        let allowed = CONSTANT + LEAST as usize + ztoc_size;
        assert!(peak <= allowed, "{peak} bytes, {allowed} allowed");
        assert!(layer_size < 80 << 20 || allowed < layer_size, "the layer would fit by chance");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_that_are_indexed_at_once_share_the_memory() {
    const IMAGES: u64 = 6;
    let _alone = ALONE.lock().await;
    let registry = FakeRegistry::start().await;
    let budget = Budget::new(NonZeroUsize::new(4).unwrap(), SHARED);
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
    let allowed = CONSTANT + SHARED as usize + ztocs;
    assert!(peak <= allowed, "{peak} bytes, {allowed} allowed");
}

/// What decoding ahead takes is in the memory, however many cores help.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cores_that_help_with_a_layer_do_so_in_the_memory() {
    let _alone = ALONE.lock().await;
    let registry = FakeRegistry::start().await;
    let layer = gzip_layer(1, 192 << 20);
    TestImage::single("linux/amd64", &[layer]).put(&registry, "team/app", "1");
    let mut peaks = Vec::new();
    for (cores, memory) in [(1, 1 << 30), (8, 1 << 30), (8, 64 << 20)] {
        let cores = NonZeroUsize::new(cores).unwrap();
        let budget = Budget::on_cores(cores, NonZeroUsize::MIN, memory);
        let store = RemoteRepository::new(registry.client(), registry.repository("team/app"));
        let tag: Tag = "1".parse().unwrap();
        let name = ImageName { target: tag.clone().into(), tag: Some(tag) };
        let options = Options { budget, force: true, ..Options::default() };
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let report = index_image(&store, &name, &options).await.unwrap();
        let peak = MEMORY.peak_usage() - before;
        let allowed = CONSTANT + memory as usize + report.layers[0].ztoc_size as usize;
        println!("{cores} cores, {memory} bytes of memory: peak {peak}");
        assert!(peak <= allowed, "{peak} bytes, {allowed} allowed");
        peaks.push(peak);
    }
    assert!(peaks[1] > peaks[0] + (16 << 20), "no core has helped: {peaks:?}");
    assert!(peaks[2] < peaks[0] + (16 << 20), "there was memory for nothing: {peaks:?}");
}

/// Images of layers with so many files, indexed at once within `memory`: for each the reason why it was
/// not indexed, if so; and the peak of memory.
async fn index_all(files: &[usize], memory: u64) -> (Vec<Result<(), Reason>>, usize) {
    let registry = FakeRegistry::start().await;
    let budget = Budget::new(NonZeroUsize::new(8).unwrap(), memory);
    let settings = SociIndexSettings { min_layer_size: 0, ..SociIndexSettings::default() };
    let options = Options { budget, settings, ..Options::default() };
    for (image, files) in files.iter().enumerate() {
        let layer = many_files_layer(*files).unwrap();
        let image = image.to_string();
        TestImage::single("linux/amd64", &[layer]).put(&registry, "team/app", &image);
    }
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let mut images = JoinSet::new();
    for image in 0..files.len() {
        let store = RemoteRepository::new(registry.client(), registry.repository("team/app"));
        let tag: Tag = image.to_string().parse().unwrap();
        let name = ImageName { target: tag.clone().into(), tag: Some(tag) };
        let options = options.clone();
        images.spawn(async move { (image, index_image(&store, &name, &options).await) });
    }
    let mut results = vec![Ok(()); files.len()];
    while let Some(indexed) = images.join_next().await {
        let (image, result) = indexed.unwrap();
        results[image] = result.map(|_| ()).map_err(|error| error.reason());
    }
    (results, MEMORY.peak_usage() - before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_of_many_files_wait_for_memory_and_only_what_can_never_fit_fails() {
    const FILES: [usize; 8] = [100, 60_000, 60_000, 1_000, 400_000, 60_000, 60_000, 10];
    let _alone = ALONE.lock().await;
    let (results, peak) = index_all(&FILES, 40 << 20).await;
    println!("peak {peak}");
    for (files, result) in FILES.iter().zip(results) {
        let expected = if *files == 400_000 { Err(Reason::LayerMemory) } else { Ok(()) };
        assert_eq!(result, expected, "{files}");
    }
    // The registry keeps what was pushed: four ztocs of some 9 MB.
    let allowed = CONSTANT + (40 << 20) + (40 << 20);
    assert!(peak <= allowed, "{peak} bytes, {allowed} allowed");
}

/// A manifest of `bytes`, most of which are annotations of few letters.
fn large_manifest(number: usize, bytes: usize) -> Vec<u8> {
    let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let mut text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{digest}","size":2}},"layers":[],"annotations":{{"number":"{number}""#,
        media_type::OCI_MANIFEST,
        media_type::OCI_CONFIG,
    );
    let mut key = 0;
    while text.len() + 12 < bytes {
        write!(text, r#","{key:x}":"""#).unwrap();
        key += 1;
    }
    text.push_str("}}");
    text.into_bytes()
}

/// How an image index of such manifests ends within `memory`, and the peak of memory.
async fn index_documents(manifests: usize, bytes: usize, memory: u64) -> (IndexError, usize) {
    let registry = FakeRegistry::start().await;
    let mut entries = Vec::new();
    for number in 0..manifests {
        let manifest = Bytes::from(large_manifest(number, bytes));
        let size = manifest.len();
        let digest = registry.put_manifest("team/app", None, media_type::OCI_MANIFEST, manifest);
        entries.push(format!(
            r#"{{"mediaType":"{}","digest":"{digest}","size":{size}}}"#,
            media_type::OCI_MANIFEST
        ));
    }
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
        media_type::OCI_INDEX,
        entries.join(",")
    );
    registry.put_manifest("team/app", Some("1"), media_type::OCI_INDEX, index);
    let store = RemoteRepository::new(registry.client(), registry.repository("team/app"));
    let tag: Tag = "1".parse().unwrap();
    let name = ImageName { target: tag.clone().into(), tag: Some(tag) };
    let budget = Budget::new(NonZeroUsize::MIN, memory);
    let options = Options { budget, ..Options::default() };
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let error = index_image(&store, &name, &options).await.unwrap_err();
    (error, MEMORY.peak_usage() - before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_held_against_limits_and_memory_before_they_are_fetched() {
    let _alone = ALONE.lock().await;
    for (manifests, bytes, memory, held) in [
        // Fetched and read: no configuration is there, and no platform.
        (3, 4 << 20, 2048 << 20, 3 * (4 << 20) * 12),
        (7, 4 << 20, 64 << 20, 0),
        (1000, 256 << 10, 2048 << 20, 0),
    ] {
        let (error, peak) = index_documents(manifests, bytes, memory).await;
        println!("{manifests} manifests of {bytes}: peak {peak} {error}");
        let expected = match held {
            0 => matches!(
                error,
                IndexError::DocumentMemory { .. } | IndexError::Image(ImageError::Limit { .. })
            ),
            _ => !matches!(error, IndexError::DocumentMemory { .. }),
        };
        assert!(expected, "{error}");
        assert!(peak <= held + CONSTANT, "{peak} bytes for {manifests} of {bytes}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_start_needs_is_looked_for_within_the_memory_or_not_at_all() {
    const MEMORY_OF_ALL: u64 = 256 << 20;
    let _alone = ALONE.lock().await;
    for (files, memory, expected) in [
        (100_000, MEMORY_OF_ALL, Ok("/99999")),
        // Beyond what the tree of files may take.
        (300_000, MEMORY_OF_ALL, Err("the names of the image's files")),
        (1_000, 64 << 20, Err("of memory, and there is")),
    ] {
        let registry = FakeRegistry::start().await;
        let layer = many_files_layer(files).unwrap();
        let run = serde_json::json!({ "Cmd": ["/99999"] });
        TestImage::run("linux/amd64", &[layer], &run).put(&registry, "team/app", "1");
        let settings = SociIndexSettings {
            min_layer_size: 0,
            generation: Generation::Newer,
            prefetch: PrefetchSettings { auto: true, ..PrefetchSettings::default() },
            ..SociIndexSettings::default()
        };
        let budget = Budget::new(NonZeroUsize::MIN, memory);
        let options = Options { budget, settings, ..Options::default() };
        let store = RemoteRepository::new(registry.client(), registry.repository("team/app"));
        let tag: Tag = "1".parse().unwrap();
        let name = ImageName { target: tag.clone().into(), tag: Some(tag) };
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let report = index_image(&store, &name, &options).await.unwrap();
        let peak = MEMORY.peak_usage() - before;
        let ztoc = report.layers[0].ztoc_size;
        println!("{files} files, ztoc of {ztoc} bytes: peak {peak}");
        match expected {
            Ok(file) => assert_eq!(
                (&report.prefetch_files[..], report.prefetch.len()),
                (&[file.to_owned()][..], 1)
            ),
            Err(words) => {
                assert_eq!((report.warnings.len(), report.prefetch.len()), (1, 0));
                assert!(report.warnings[0].contains(words), "{:?}", report.warnings);
            }
        }
        // The registry keeps the ztoc, and sends it from a copy of its own.
        let allowed = CONSTANT + memory as usize + 2 * ztoc as usize;
        assert!(peak <= allowed, "{peak} bytes, {allowed} allowed");
    }
}
