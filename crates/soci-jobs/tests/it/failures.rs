//! Failures: what is permanent, and what it is called.

use std::sync::Arc;

use bytes::Bytes;
use soci_indexer::{Options, OutputTag};
use soci_jobs::{Outcome, RegistryOpener, Runner, Why};
use soci_manifest::{ImageLimits, Platforms, SociIndexSettings, Version};
use soci_oci::{Digest, Repository, media_type};
use soci_push::Job;
use soci_registry::Client;
use soci_registry_server::testing::{
    Effect, FakeAuth, FakeOptions, FakeRegistry, Quirk, RequestKind,
};
use soci_tests::{FakeRegistryClient, TestImage, TestLayer, gzip_layer};

use crate::support::{
    NAME, image, indexed, job, options, put_bytes, run, runner, runner_with, tags,
};

const PERMANENT: bool = true;
const TRANSIENT: bool = false;

/// A registry with an image, and its job.
async fn pushed(image: &TestImage) -> (FakeRegistry, Job) {
    let fake = FakeRegistry::start().await;
    let job = job(&fake, image.put(&fake, NAME, "1"), "1");
    (fake, job)
}

/// Why a job fails, and whether for good.
fn failure(outcome: Outcome) -> (Why, bool) {
    match outcome {
        Outcome::Rejected(why) => (why, PERMANENT),
        Outcome::Failed(why) => (why, TRANSIENT),
        other => panic!("did not fail: {other:?}"),
    }
}

/// Why a job with these options fails, which has this reason.
async fn fails(
    fake: &FakeRegistry,
    job: &Job,
    options: Options,
    reason: &str,
    permanent: bool,
) -> Why {
    let (why, is_permanent) = failure(run(&runner_with(fake, options), job).await);
    assert_eq!((why.reason, is_permanent), (reason, permanent), "{}", why.detail);
    why
}

fn largest_layer(image: &TestImage) -> Digest {
    *image.blobs.iter().max_by_key(|(_, blob)| blob.len()).unwrap().0
}

#[tokio::test]
async fn what_is_gone_is_skipped_once_that_is_believed() {
    let gone = async |fake: &FakeRegistry, job: &Job, version| {
        let outcome = run(&runner_with(fake, options(version)), job).await;
        assert_eq!(outcome.doubt().map(|why| why.reason), Some("image-gone"));
        match outcome {
            Outcome::Skipped(why) => why,
            other => panic!("not skipped: {other:?}"),
        }
    };
    for version in [Version::V1, Version::V2] {
        let fake = FakeRegistry::start().await;
        let missing = job(&fake, image(1).digest(), "1");
        let why = gone(&fake, &missing, version).await;
        assert!(why.detail.contains(&missing.digest.to_string()), "{}", why.detail);

        let (fake, job) = pushed(&image(1)).await;
        fake.remove_blob(NAME, &largest_layer(&image(1)));
        gone(&fake, &job, version).await;
        assert_eq!(tags(&fake), ["1"]);
    }
}

#[tokio::test]
async fn an_image_that_cannot_be_indexed_is_a_permanent_failure() {
    let fake = FakeRegistry::start().await;
    for bytes in ["{", "[]", r#"{"schemaVersion":2,"config":7}"#] {
        let job = job(&fake, put_bytes(&fake, bytes), "1");
        fails(&fake, &job, options(Version::V2), "image-malformed", PERMANENT).await;
    }
    let (fake, job) = pushed(&image(1)).await;
    let limits = ImageLimits { max_layers: 1, ..ImageLimits::DEFAULT };
    let limited = Options { image_limits: limits, ..options(Version::V2) };
    fails(&fake, &job, limited, "image-limit", PERMANENT).await;
    let platforms = Platforms::Only(vec!["windows/amd64".parse().unwrap()]);
    let other = Options { platforms, ..options(Version::V2) };
    let why = fails(&fake, &job, other, "platform-not-found", PERMANENT).await;
    assert!(why.detail.contains("windows/amd64"), "{}", why.detail);
    let limits = soci_ztoc::LayerLimits { entries: 1, ..soci_ztoc::LayerLimits::DEFAULT };
    // Without strict settings the layers are left out, and nothing is left to index.
    let mut limited = Options { layer_limits: limits, ..options(Version::V2) };
    limited.settings.strict = true;
    fails(&fake, &job, limited, "layer-limit", PERMANENT).await;

    let text: TestLayer = (media_type::OCI_LAYER, Bytes::from(vec![b'x'; 100_000]));
    let (fake, job) = pushed(&TestImage::single("linux/amd64", &[text])).await;
    let why = fails(&fake, &job, options(Version::V2), "layer-rejected", PERMANENT).await;
    assert!(why.detail.contains("soci-snapshotter rejects"), "{}", why.detail);
}

#[tokio::test]
async fn tags_that_cannot_be_written_are_permanent_failures_that_say_what_to_do() {
    let (fake, job) = pushed(&image(1)).await;
    let long = Options { output: OutputTag::Suffix("x".repeat(128)), ..options(Version::V2) };
    fails(&fake, &job, long, "output-tag", PERMANENT).await;

    let immutable = FakeOptions { immutable_tags: true, ..FakeOptions::default() };
    let fake = FakeRegistry::with(immutable).await;
    let job = crate::support::job(&fake, image(1).put(&fake, NAME, "1"), "1");
    indexed(run(&runner(&fake, Version::V2), &job).await);
    let again = run(&runner(&fake, Version::V2), &job).await;
    assert!(matches!(again, Outcome::AlreadyIndexed(_)), "the same digest: {again:?}");
    let mut other = options(Version::V2);
    other.settings.build_tool_identifier = "other".to_owned();
    let why = fails(&fake, &job, other, "tag-immutable", PERMANENT).await;
    for words in ["1-soci is immutable", "IMMUTABLE_WITH_EXCLUSION", "suffix"] {
        assert!(why.detail.contains(words), "{}", why.detail);
    }
}

#[tokio::test]
async fn a_malformed_list_of_referrers_is_a_permanent_failure() {
    let options = FakeOptions { referrers_api: false, ..FakeOptions::default() };
    let fake = FakeRegistry::with(options).await;
    let root = TestImage::single("linux/amd64", &[gzip_layer(1, 100_000)]);
    let job = job(&fake, root.put(&fake, NAME, "1"), "1");
    let list = format!("sha256-{}", job.digest.hex());
    fake.put_manifest(NAME, Some(&list), media_type::OCI_INDEX, "[]");
    let options = crate::support::options(Version::V1);
    fails(&fake, &job, options, "referrers-malformed", PERMANENT).await;
}

#[tokio::test]
async fn what_the_registry_says_of_its_own_state_may_pass() {
    let corrupt = || Effect::Corrupt(9);
    for (kind, effect, reason, permanent) in [
        (RequestKind::ManifestGet, Effect::status(403), "unauthorized", TRANSIENT),
        (RequestKind::ManifestPut, Effect::status(403), "unauthorized", TRANSIENT),
        (RequestKind::UploadPost, Effect::status(401), "unauthorized", TRANSIENT),
        (RequestKind::ManifestPut, Effect::status(429), "throttled", TRANSIENT),
        (RequestKind::BlobGet, corrupt(), "digest-mismatch", TRANSIENT),
        (RequestKind::ManifestGet, corrupt(), "digest-mismatch", TRANSIENT),
        (RequestKind::BlobGet, Effect::status(503), "registry-unavailable", TRANSIENT),
        (RequestKind::ManifestGet, Effect::status(501), "registry-unavailable", TRANSIENT),
        (RequestKind::ManifestGet, Effect::status(400), "registry-unavailable", TRANSIENT),
        (RequestKind::ManifestPut, Effect::status(400), "registry-refused", PERMANENT),
        (RequestKind::ManifestPut, Effect::status(413), "registry-refused", PERMANENT),
    ] {
        let (fake, job) = pushed(&image(1)).await;
        fake.quirk(Quirk::on(kind, effect).always());
        fails(&fake, &job, options(Version::V2), reason, permanent).await;
        assert_eq!(tags(&fake), ["1"]);
    }
}

#[tokio::test]
async fn credentials_that_are_not_taken_may_pass_and_are_not_shown() {
    use soci_registry::{Credentials, StaticCredentials};

    let auth = FakeAuth::Basic { username: "user".to_owned(), password: "right".to_owned() };
    let fake = FakeRegistry::with(FakeOptions { auth, ..FakeOptions::default() }).await;
    let job = job(&fake, image(1).put(&fake, NAME, "1"), "1");
    fails(&fake, &job, options(Version::V2), "unauthorized", TRANSIENT).await;
    let basic = Credentials::Basic {
        username: "user".to_owned(),
        password: soci_registry::Secret::new("wrong-secret"),
    };
    let credentials = Arc::new(StaticCredentials::new(fake.host(), basic));
    let client = fake.client_builder().credentials(credentials).build().unwrap();
    let runner = Runner::new(RegistryOpener::new(client, None), options(Version::V2));
    let (why, is_permanent) = failure(run(&runner, &job).await);
    assert_eq!((why.reason, is_permanent), ("unauthorized", TRANSIENT));
    assert!(why.detail.contains("check the permissions"), "{}", why.detail);
    assert!(!why.detail.contains("wrong-secret"), "{}", why.detail);
}

#[tokio::test]
async fn a_registry_that_cannot_be_reached_or_speaks_another_protocol_may_pass() {
    let (fake, mut job) = pushed(&image(1)).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
        }
    });
    job.repository = Repository::new(&other.to_string(), NAME).unwrap();
    let client = Client::builder().proxies(false).build().unwrap();
    let runner = Runner::new(RegistryOpener::new(client, None), options(Version::V2));
    let (why, is_permanent) = failure(run(&runner, &job).await);
    assert_eq!((why.reason, is_permanent), ("registry-unavailable", TRANSIENT));
    assert!(why.detail.contains("does not speak TLS"), "{}", why.detail);

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    job.repository = Repository::new(&nobody.to_string(), NAME).unwrap();
    fails(&fake, &job, options(Version::V2), "registry-unavailable", TRANSIENT).await;
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_not_the_images_fault() {
    let (fake, job) = pushed(&image(1)).await;
    for span_size in [0, u64::MAX] {
        let options = options(Version::V2);
        let settings = SociIndexSettings { span_size, ..options.settings.clone() };
        let layer: TestLayer = (media_type::OCI_LAYER, Bytes::from(vec![0; 100_000]));
        let plain = TestImage::single("linux/amd64", &[layer]);
        let job = if span_size == 0 {
            crate::support::job(&fake, plain.put(&fake, NAME, "1"), "1")
        } else {
            job.clone()
        };
        fails(&fake, &job, Options { settings, ..options }, "settings", TRANSIENT).await;
    }
}

#[tokio::test]
async fn the_detail_names_the_request_and_is_short_whatever_the_registry_says() {
    let (fake, job) = pushed(&image(1)).await;
    let entry = serde_json::json!({ "code": "C".repeat(800), "message": "é\u{1b}[2J".repeat(800) });
    let body = serde_json::json!({ "errors": [entry, entry, entry, entry] }).to_string();
    let effect = Effect::Answer { status: 400, headers: Vec::new(), body };
    fake.quirk(Quirk::on(RequestKind::ManifestPut, effect).always());
    let why = fails(&fake, &job, options(Version::V2), "registry-refused", PERMANENT).await;
    let detail = why.detail;
    assert!(detail.len() <= 2048 && detail.ends_with("[...]"), "{detail}");
    assert!(detail.contains("PUT http://") && detail.contains("400 Bad Request"), "{detail}");
    assert!(!detail.contains(char::is_control));
}
