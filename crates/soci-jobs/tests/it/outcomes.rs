//! What becomes of a job.

use soci_indexer::Options;
use soci_jobs::{EndpointOverride, RegistryOpener, Runner};
use soci_manifest::{Platforms, Version};
use soci_oci::{Repository, media_type};
use soci_registry_server::testing::{FakeRegistry, RequestKind};
use soci_tests::{FakeRegistryClient, TestImage, TestLayer, gzip_layer};

use crate::support::{
    NAME, already_indexed, image, indexed, job, layer_reads, options, run, runner, runner_with,
    skipped, tags, writes,
};

#[tokio::test]
async fn a_redelivery_gives_the_same_digests_and_writes_nothing() {
    for version in [Version::V1, Version::V2] {
        let fake = FakeRegistry::start().await;
        let job = job(&fake, image(1).put(&fake, NAME, "1"), "1");
        let here = runner(&fake, version);
        let first = indexed(run(&here, &job).await);
        assert_eq!(first.layers.len(), 2);
        for runner in [here, runner(&fake, version)] {
            fake.clear_requests();
            let again = already_indexed(run(&runner, &job).await);
            assert_eq!((again.index, again.tag.clone()), (first.index, first.tag.clone()));
            assert_eq!(again.indexes, first.indexes);
            assert_eq!((writes(&fake), layer_reads(&fake, &image(1))), (0, 0));
        }
    }
}

#[tokio::test]
async fn another_tag_of_the_same_image_costs_one_manifest() {
    let fake = FakeRegistry::start().await;
    let digest = image(1).put(&fake, NAME, "1.2.3");
    image(1).put(&fake, NAME, "latest");
    let runner = runner(&fake, Version::V2);
    let first = indexed(run(&runner, &job(&fake, digest, "1.2.3")).await);
    fake.clear_requests();
    let second = indexed(run(&runner, &job(&fake, digest, "latest")).await);
    assert_eq!((second.index, second.layers.len()), (first.index, 0));
    assert_eq!((writes(&fake), layer_reads(&fake, &image(1))), (1, 0));
    assert_eq!(tags(&fake), ["1.2.3", "1.2.3-soci", "latest", "latest-soci"]);
}

#[tokio::test]
async fn layers_that_were_indexed_for_another_image_are_not_read() {
    let fake = FakeRegistry::start().await;
    let shared = gzip_layer(1, 1 << 20);
    let with =
        |seed| TestImage::index(&[("linux/amd64", &[shared.clone(), gzip_layer(seed, 200_000)])]);
    let here = runner(&fake, Version::V2);
    let first = indexed(run(&here, &job(&fake, with(2).put(&fake, NAME, "1"), "1")).await);
    assert_eq!((first.layers.len(), first.reused.len()), (2, 0));
    // The same worker, and then one that has just begun.
    for (tag, seed, runner) in [("2", 3, here), ("3", 4, runner(&fake, Version::V2))] {
        fake.clear_requests();
        let report =
            indexed(run(&runner, &job(&fake, with(seed).put(&fake, NAME, tag), tag)).await);
        assert_eq!((report.layers.len(), report.reused.len()), (1, 1), "{tag}");
        assert_eq!(report.bytes_read, report.layers[0].size, "{tag}");
    }
}

#[tokio::test]
async fn a_result_that_was_deleted_is_built_again() {
    let fake = FakeRegistry::start().await;
    let digest = image(1).put(&fake, NAME, "1");
    image(1).put(&fake, NAME, "2");
    let runner = runner(&fake, Version::V2);
    let first = indexed(run(&runner, &job(&fake, digest, "1")).await);
    for layer in &first.layers {
        fake.remove_blob(NAME, &layer.ztoc);
    }
    let second = indexed(run(&runner, &job(&fake, digest, "2")).await);
    assert_eq!((second.index, second.layers.len()), (first.index, 2));
    assert!(fake.blob(NAME, &first.layers[0].ztoc).is_some());
}

#[tokio::test]
async fn what_is_no_work_is_skipped_with_a_label_for_each_kind() {
    let attestation: &[TestLayer] = &[("application/vnd.in-toto+json", b"{}"[..].into())];
    let zstd: &[TestLayer] = &[(media_type::OCI_LAYER_ZSTD, vec![0; 400_000].into())];
    for (image, label, words) in [
        (TestImage::single("linux/amd64", &[gzip_layer(1, 1000)]), "nothing-to-index", "smaller"),
        (TestImage::single("linux/amd64", zstd), "nothing-to-index", "zstd"),
        (TestImage::artifact("application/vnd.cncf.helm.config.v1+json"), "artifact", "helm"),
        (TestImage::artifact(Version::V2.artifact_type()), "soci-index", "SOCI index"),
        (TestImage::single("linux/amd64", attestation), "no-file-system", "in-toto"),
        (TestImage::index(&[]), "no-platform", "no image"),
    ] {
        for version in [Version::V1, Version::V2] {
            let fake = FakeRegistry::start().await;
            let job = job(&fake, image.put(&fake, NAME, "1"), "1");
            let mut options = options(version);
            options.settings.min_layer_size = 300_000;
            let done = run(&runner_with(&fake, options), &job).await;
            assert_eq!(skipped(done, words), label);
            assert_eq!(writes(&fake), 0);
        }
    }
    let fake = FakeRegistry::start().await;
    let schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let digest = fake.put_manifest(NAME, Some("1"), schema1, "{}");
    let done = run(&runner(&fake, Version::V2), &job(&fake, digest, "1")).await;
    assert_eq!(skipped(done, "prettyjws"), "not-an-image");
}

#[tokio::test]
async fn an_image_of_other_platforms_is_skipped_and_one_of_some_indexed_for_these() {
    let any =
        |names: &[&str]| Platforms::AnyOf(names.iter().map(|name| name.parse().unwrap()).collect());
    for version in [Version::V1, Version::V2] {
        let fake = FakeRegistry::start().await;
        let digest =
            TestImage::single("linux/amd64", &[gzip_layer(1, 200_000)]).put(&fake, NAME, "1");
        let job = job(&fake, digest, "1");
        let other =
            Options { platforms: any(&["linux/arm64", "windows/amd64"]), ..options(version) };
        let done = run(&runner_with(&fake, other), &job).await;
        assert_eq!(
            skipped(done, "the image is for linux/amd64, and only linux/arm64"),
            "other-platforms"
        );
        assert_eq!(writes(&fake), 0);
        let some = Options { platforms: any(&["linux/arm64", "linux/amd64"]), ..options(version) };
        let report = indexed(run(&runner_with(&fake, some), &job).await);
        // All platforms that there are, so the result is that of all.
        let again = already_indexed(run(&runner(&fake, version), &job).await);
        assert_eq!(again.index, report.index);
    }
}

#[tokio::test]
async fn an_image_without_a_tag_is_indexed_by_its_digest() {
    for (version, tag) in [(Version::V1, false), (Version::V2, true)] {
        let fake = FakeRegistry::start().await;
        let digest = image(1).put(&fake, NAME, "1");
        let report = indexed(run(&runner(&fake, version), &job(&fake, digest, "")).await);
        let expected = tag.then(|| format!("sha256-{}-soci", digest.hex()));
        assert_eq!(report.tag.map(|tag| tag.as_str().to_owned()), expected);
    }
}

#[tokio::test]
async fn an_endpoint_takes_the_place_of_the_registry_and_the_job_keeps_its_name() {
    let fake = FakeRegistry::start().await;
    let endpoint: EndpointOverride = format!("http://{}", fake.host()).parse().unwrap();
    assert!(endpoint.plain_http());
    let client = fake.client_builder().plain_http(endpoint.plain_http()).build().unwrap();
    let runner = Runner::new(RegistryOpener::new(client, Some(endpoint)), options(Version::V2));
    let ecr = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    let mut job = job(&fake, image(1).put(&fake, NAME, "1"), "1");
    job.repository = Repository::new(ecr, NAME).unwrap();
    indexed(run(&runner, &job).await);
    assert_eq!(job.repository.registry(), ecr);
    assert_eq!(tags(&fake), ["1", "1-soci"]);
    assert!(!fake.requests_of(RequestKind::ManifestPut).is_empty());
}
