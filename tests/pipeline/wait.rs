//! Waiting for an index that somebody else makes: reads only, by the image's digest.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use soci_indexer::{
    IndexError, IndexThere, OnWaitEvent, Options, Reason, WaitError, WaitEvent, WaitSettings,
    wait_for_index,
};
use soci_manifest::{Platforms, SociIndexSettings, Version};
use soci_oci::{Digest, TagOrDigest};
use soci_registry_server::testing::{Effect, FakeOptions, FakeRegistry, Quirk, RequestKind};
use soci_tests::{TestImage, gzip_layer};
use tokio::time::{Instant, sleep};

use crate::support::{REPOSITORY, image, index, indexed, name, options, store};

const VERSIONS: [Version; 2] = [Version::V1, Version::V2];

type Told = Arc<Mutex<Vec<String>>>;

fn listener() -> (Told, OnWaitEvent) {
    let told = Told::default();
    let heard = told.clone();
    let on_event: OnWaitEvent = Arc::new(move |event| {
        heard.lock().unwrap().push(match event {
            // Of these there are many.
            WaitEvent::Looked { .. } => return,
            WaitEvent::Resolved { .. } => "resolved".to_owned(),
            WaitEvent::TagMoved { now: Some(_), .. } => "moved".to_owned(),
            WaitEvent::TagMoved { now: None, .. } => "gone".to_owned(),
            WaitEvent::Failed { .. } => "failed".to_owned(),
            _ => "other".to_owned(),
        });
    });
    (told, on_event)
}

async fn wait(registry: &FakeRegistry, options: &Options) -> Result<IndexThere, WaitError> {
    wait_and_hear(registry, options).await.0
}

async fn wait_and_hear(
    registry: &FakeRegistry,
    options: &Options,
) -> (Result<IndexThere, WaitError>, Vec<String>) {
    let (told, on_event) = listener();
    let settings = WaitSettings::default();
    let result = wait_for_index(&store(registry), &name("1"), options, &settings, &on_event).await;
    let told = told.lock().unwrap().clone();
    (result, told)
}

fn writes(registry: &FakeRegistry) -> usize {
    let kinds = [RequestKind::ManifestPut, RequestKind::UploadPost, RequestKind::UploadPut];
    kinds.into_iter().map(|kind| registry.requests_of(kind).len()).sum()
}

fn deployable(there: &IndexThere, image: Digest, index: Digest) {
    let expected = if there.version == Version::V1 { image } else { index };
    assert_eq!((there.image, there.deploy), (image, expected));
}

#[tokio::test(start_paused = true)]
async fn an_index_that_is_there_is_found_at_once_and_nothing_of_a_layer_is_read() {
    for version in VERSIONS {
        for referrers_api in [true, false] {
            let fake = FakeOptions { referrers_api, ..FakeOptions::default() };
            let registry = FakeRegistry::with(fake).await;
            let digest = image().put(&registry, REPOSITORY, "1");
            let report = indexed(index(&registry, "1", &options(version)).await);
            registry.clear_requests();
            let there = wait(&registry, &options(version)).await.unwrap();
            deployable(&there, digest, report.index);
            assert_eq!(there.indexes, report.indexes);
            assert_eq!((there.looks, &there.tag, writes(&registry)), (0, &report.tag, 0));
            assert!(registry.requests_of(RequestKind::BlobGet).is_empty(), "{version:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_that_comes_is_waited_for_with_few_requests() {
    for version in VERSIONS {
        let registry = FakeRegistry::start().await;
        let digest = image().put(&registry, REPOSITORY, "1");
        let waiting_options = options(version);
        let waiting = wait_and_hear(&registry, &waiting_options);
        let indexing = async {
            sleep(Duration::from_mins(5)).await;
            let looks = registry.requests_of(RequestKind::ManifestHead).len();
            assert!((10..40).contains(&looks), "{version:?}: {looks}");
            indexed(index(&registry, "1", &options(version)).await)
        };
        let ((there, told), report) = tokio::join!(waiting, indexing);
        let there = there.unwrap();
        deployable(&there, digest, report.index);
        assert!(there.elapsed >= Duration::from_mins(5), "{:?}", there.elapsed);
        assert!(there.elapsed < Duration::from_secs(5 * 60 + 31), "{:?}", there.elapsed);
        assert_eq!(told, ["resolved"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_come_is_given_up_in_time_and_said() {
    for (version, words) in
        [(Version::V1, "no SOCI index refers to it"), (Version::V2, "there is no tag 1-soci")]
    {
        let registry = FakeRegistry::start().await;
        image().put(&registry, REPOSITORY, "1");
        let begun = Instant::now();
        let error = wait(&registry, &options(version)).await.unwrap_err();
        let WaitError::TimedOut { ref seen, .. } = error else { panic!("{error:?}") };
        assert!(error.to_string().contains(words), "{error}");
        assert!((30..80).contains(&seen.looks), "{}", seen.looks);
        assert_eq!(begun.elapsed().as_secs(), 15 * 60);
    }
}

#[tokio::test(start_paused = true)]
async fn what_needs_no_index_ends_at_once_with_its_reason() {
    for version in VERSIONS {
        let registry = FakeRegistry::start().await;
        image().put(&registry, REPOSITORY, "1");
        let mut options = options(version);
        options.settings.min_layer_size = 1 << 30;
        let begun = Instant::now();
        match wait(&registry, &options).await {
            Err(WaitError::Image(error @ IndexError::Nothing { .. })) => {
                assert_eq!(error.reason(), Reason::NothingToIndex);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(begun.elapsed().as_secs(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_result_of_an_older_image_is_not_taken() {
    let older = |arm64| {
        let amd64 = [gzip_layer(1, 1 << 20)];
        TestImage::index(&[("linux/amd64", &amd64), ("linux/arm64", &[gzip_layer(arm64, 400_000)])])
    };
    let registry = FakeRegistry::start().await;
    older(2).put(&registry, REPOSITORY, "1");
    let first = indexed(index(&registry, "1", &options(Version::V2)).await);
    // One of two manifests is the same.
    let digest = older(3).put(&registry, REPOSITORY, "1");
    let error = wait(&registry, &options(Version::V2)).await.unwrap_err();
    assert!(error.to_string().contains(&first.index.to_string()), "{error}");
    // An image that has lost a platform.
    let fewer = TestImage::index(&[("linux/amd64", &[gzip_layer(1, 1 << 20)])]);
    fewer.put(&registry, REPOSITORY, "1");
    wait(&registry, &options(Version::V2)).await.unwrap_err();
    older(3).put(&registry, REPOSITORY, "1");
    let second = indexed(index(&registry, "1", &options(Version::V2)).await);
    deployable(&wait(&registry, &options(Version::V2)).await.unwrap(), digest, second.index);
}

#[tokio::test(start_paused = true)]
async fn what_an_index_was_built_with_is_not_asked() {
    for version in VERSIONS {
        let registry = FakeRegistry::start().await;
        let digest = image().put(&registry, REPOSITORY, "1");
        let base = options(version);
        let other = SociIndexSettings {
            span_size: 128 << 10,
            build_tool_identifier: "another".to_owned(),
            ..base.settings.clone()
        };
        let report =
            indexed(index(&registry, "1", &Options { settings: other, ..base.clone() }).await);
        deployable(&wait(&registry, &base).await.unwrap(), digest, report.index);
        // An image that was converted is its own result.
        if version == Version::V2 {
            let (_, on_event) = listener();
            let settings = WaitSettings::default();
            let (store, name) = (store(&registry), name("1-soci"));
            let there = wait_for_index(&store, &name, &base, &settings, &on_event).await;
            assert_eq!(there.unwrap().deploy, report.index);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_moves_is_told_and_the_digest_counts() {
    for version in VERSIONS {
        let registry = FakeRegistry::start().await;
        let digest = image().put(&registry, REPOSITORY, "1");
        let moving = async {
            sleep(Duration::from_mins(1)).await;
            TestImage::single("linux/amd64", &[gzip_layer(9, 300_000)])
                .put(&registry, REPOSITORY, "1");
            sleep(Duration::from_mins(1)).await;
            indexed(index(&registry, "1", &options(version)).await);
            sleep(Duration::from_mins(1)).await;
            // Somebody indexes the image that is waited for.
            let by_digest =
                soci_indexer::ImageName { target: TagOrDigest::Digest(digest), ..name("1") };
            let store = store(&registry);
            soci_indexer::index_image(&store, &by_digest, &options(version)).await.unwrap()
        };
        let waiting_options = options(version);
        let waiting = wait_and_hear(&registry, &waiting_options);
        let ((there, told), report) = tokio::join!(waiting, moving);
        let there = there.unwrap();
        deployable(&there, digest, report.index);
        assert!(there.elapsed >= Duration::from_mins(3), "{version:?} {:?}", there.elapsed);
        assert_eq!(told, ["resolved", "moved"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_stays_away_is_named_where_it_is_given_up() {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    let removing = async {
        sleep(Duration::from_mins(1)).await;
        registry.remove_tag(REPOSITORY, "1");
    };
    let waiting_options = options(Version::V2);
    let waiting = wait_and_hear(&registry, &waiting_options);
    let ((result, told), ()) = tokio::join!(waiting, removing);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("its tag is gone"), "{error}");
    assert_eq!(told, ["resolved", "gone"]);
}

#[tokio::test(start_paused = true)]
async fn each_look_tells_what_there_is() {
    for (version, nothing) in VERSIONS.into_iter().zip(["no SOCI index", "there is no tag 1-soci"])
    {
        let registry = FakeRegistry::start().await;
        image().put(&registry, REPOSITORY, "1");
        let told = Told::default();
        let heard = told.clone();
        let on_event: OnWaitEvent = Arc::new(move |event| {
            if let WaitEvent::Looked { seen } = event {
                heard.lock().unwrap().push(seen.to_string());
            }
        });
        let settings = WaitSettings { timeout: Duration::from_mins(1), ..WaitSettings::default() };
        let (store, options) = (store(&registry), options(version));
        let waited = wait_for_index(&store, &name("1"), &options, &settings, &on_event).await;
        assert!(matches!(waited, Err(WaitError::TimedOut { .. })), "{waited:?}");
        let told = told.lock().unwrap();
        assert!(told.len() > 2 && told.iter().all(|seen| seen.contains(nothing)), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn platforms_that_were_left_out_are_believed_when_nothing_changes() {
    for version in VERSIONS {
        let registry = FakeRegistry::start().await;
        let layers = [gzip_layer(1, 1 << 20)];
        let missing = [gzip_layer(2, 400_000)];
        let image = TestImage::index(&[("linux/amd64", &layers), ("linux/arm64", &missing)]);
        let digest = image.put(&registry, REPOSITORY, "1");
        registry.remove_blob(REPOSITORY, &Digest::sha256_of(&missing[0].1));
        let report = indexed(index(&registry, "1", &options(version)).await);
        assert_eq!(report.left_out_platforms.len(), 1);
        let there = wait(&registry, &options(version)).await.unwrap();
        deployable(&there, digest, report.index);
        assert!(there.elapsed >= WaitSettings::default().settle, "{:?}", there.elapsed);
        assert!(there.elapsed < Duration::from_secs(61), "{:?}", there.elapsed);
        assert_eq!(there.without_index[0].as_ref().unwrap().to_string(), "linux/arm64");
        // Who asks for a platform by name gets that.
        let named = |platform: &str| Options {
            platforms: Platforms::Only(vec![platform.parse().unwrap()]),
            ..options(version)
        };
        wait(&registry, &named("linux/amd64")).await.unwrap();
        let error = wait(&registry, &named("linux/arm64")).await.unwrap_err();
        assert!(matches!(error, WaitError::TimedOut { .. }), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_never_answers_is_no_index_that_did_not_come() {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    for kind in [RequestKind::ManifestHead, RequestKind::ManifestGet] {
        registry.quirk(Quirk::on(kind, Effect::status(503)).always());
    }
    let error = wait(&registry, &options(Version::V2)).await.unwrap_err();
    let WaitError::TimedOut { ref seen, .. } = error else { panic!("{error:?}") };
    assert!(!seen.image_read && seen.failure.is_some(), "{error}");
    assert!(error.to_string().ends_with("the image itself could not be read"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_once_and_waited_out_and_a_refusal_ends_it() {
    for version in VERSIONS {
        let registry = FakeRegistry::start().await;
        let digest = image().put(&registry, REPOSITORY, "1");
        let kinds = [RequestKind::ManifestHead, RequestKind::ManifestGet, RequestKind::Referrers];
        let breaking = async {
            sleep(Duration::from_mins(1)).await;
            let broken =
                kinds.map(|kind| registry.quirk(Quirk::on(kind, Effect::status(503)).always()));
            sleep(Duration::from_mins(2)).await;
            for order in broken {
                registry.lift(order);
            }
            indexed(index(&registry, "1", &options(version)).await)
        };
        let waiting_options = options(version);
        let waiting = wait_and_hear(&registry, &waiting_options);
        let ((there, told), report) = tokio::join!(waiting, breaking);
        deployable(&there.unwrap(), digest, report.index);
        assert_eq!(told, ["resolved", "failed"]);
        for kind in kinds {
            registry.quirk(Quirk::on(kind, Effect::status(403)).always());
        }
        let begun = Instant::now();
        let error = wait(&registry, &options(version)).await.unwrap_err();
        assert!(
            matches!(&error, WaitError::Image(error) if error.reason() == Reason::Unauthorized)
        );
        assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_not_there_is_not_waited_for() {
    let registry = FakeRegistry::start().await;
    let begun = Instant::now();
    let error = wait(&registry, &options(Version::V2)).await.unwrap_err();
    assert!(matches!(&error, WaitError::Image(error) if error.reason() == Reason::ImageGone));
    assert!(begun.elapsed() < Duration::from_secs(1), "{error}");
}
