//! What the tests share.

use std::sync::Arc;

use soci_indexer::{ImageEvent, OnImageEvent, Options, Report};
use soci_jobs::{Outcome, RegistryOpener, Runner};
use soci_manifest::{SociIndexSettings, Version};
use soci_oci::{Digest, media_type};
use soci_push::Job;
use soci_registry_server::testing::{FakeRegistry, LoggedRequest, RequestKind};
use soci_tests::{FakeRegistryClient, TestImage, gzip_layer};

/// The repository that the tests use.
pub(crate) const NAME: &str = "team/app";

/// Settings under which small layers are indexed, with some spans each.
pub(crate) fn options(version: Version) -> Options {
    let settings = SociIndexSettings {
        version,
        span_size: 64 << 10,
        min_layer_size: 0,
        ..SociIndexSettings::default()
    };
    Options { settings, ..Options::default() }
}

/// A runner with these options, in a process of its own.
pub(crate) fn runner_with(fake: &FakeRegistry, options: Options) -> Runner<RegistryOpener> {
    Runner::new(RegistryOpener::new(fake.client(), None), options)
}

pub(crate) fn runner(fake: &FakeRegistry, version: Version) -> Runner<RegistryOpener> {
    runner_with(fake, options(version))
}

/// A job for an image in [`NAME`]; an empty tag is none.
pub(crate) fn job(fake: &FakeRegistry, digest: Digest, tag: &str) -> Job {
    Job {
        repository: fake.repository(NAME),
        digest,
        tag: (!tag.is_empty()).then(|| tag.parse().unwrap()),
        event_id: None,
        since: None,
    }
}

/// An image with two layers, another one for every seed.
pub(crate) fn image(seed: u64) -> TestImage {
    let layers = [gzip_layer(seed, 1 << 20), gzip_layer(seed + 1000, 200_000)];
    TestImage::index(&[("linux/amd64", &layers)])
}

pub(crate) async fn run(runner: &Runner<RegistryOpener>, job: &Job) -> Outcome {
    runner.run(job, Arc::new(|_| {})).await
}

pub(crate) fn indexed(outcome: Outcome) -> Report {
    match outcome {
        Outcome::Indexed(report) => *report,
        other => panic!("not indexed: {other:?}"),
    }
}

pub(crate) fn already_indexed(outcome: Outcome) -> Report {
    match outcome {
        Outcome::AlreadyIndexed(report) => *report,
        other => panic!("not indexed before: {other:?}"),
    }
}

/// The reason of a job that was skipped, whose detail has these words.
pub(crate) fn skipped(outcome: Outcome, words: &str) -> &'static str {
    match outcome {
        Outcome::Skipped(why) => {
            assert!(why.detail.contains(words), "{}", why.detail);
            why.reason
        }
        other => panic!("not skipped: {other:?}"),
    }
}

/// Requests that write.
pub(crate) fn writes(fake: &FakeRegistry) -> usize {
    let kinds = [RequestKind::UploadPost, RequestKind::UploadPut, RequestKind::ManifestPut];
    kinds.into_iter().map(|kind| fake.requests_of(kind).len()).sum()
}

/// How often layers of the image were asked for, but for the length that their last gzip member tells of itself.
pub(crate) fn layer_reads(fake: &FakeRegistry, image: &TestImage) -> usize {
    let manifest = soci_oci::Manifest::decode(&image.manifests[0].1).unwrap();
    let reads_layer = |request: &LoggedRequest| {
        let mut layers = manifest.layers().iter();
        layers.any(|layer| {
            let end = format!("bytes={}-{}", layer.size - 4, layer.size - 1);
            request.path.ends_with(&layer.digest.to_string())
                && request.range.as_ref() != Some(&end)
        })
    };
    fake.requests_of(RequestKind::BlobGet).iter().filter(|request| reads_layer(request)).count()
}

pub(crate) fn tags(fake: &FakeRegistry) -> Vec<String> {
    fake.tags(NAME).into_iter().map(|(tag, _)| tag).collect()
}

/// Puts a manifest that is only these bytes.
pub(crate) fn put_bytes(fake: &FakeRegistry, bytes: &'static str) -> Digest {
    fake.put_manifest(NAME, Some("1"), media_type::OCI_MANIFEST, bytes)
}

/// Does something whenever a layer is begun, as somebody else would in the meantime.
pub(crate) fn meanwhile(act: impl Fn() + Send + Sync + 'static) -> OnImageEvent {
    Arc::new(move |event| {
        if matches!(event, ImageEvent::LayerStarted { .. }) {
            act();
        }
    })
}
