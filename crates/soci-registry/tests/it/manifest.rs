//! Manifests and tags.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::StatusCode;
use soci_oci::{Digest, TagOrDigest};
use soci_registry::{Error, MANIFEST_LIMIT, PutLimit, PutLimitFuture, PutManifest};
use soci_registry_server::testing::{Effect, FakeOptions, FakeRegistry, Quirk, RequestKind};
use soci_tests::FakeRegistryClient;

use crate::support::{NAME, start, start_with, tag};

/// Of an image index: the registry takes an empty one, while a manifest needs a configuration.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

async fn put(fake: &FakeRegistry, target: TagOrDigest) -> Result<PutManifest, Error> {
    fake.client().put_manifest(&fake.repository(NAME), &target, INDEX, empty("a")).await
}

fn empty(note: &str) -> Bytes {
    format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"note":"{note}"}}}}"#).into()
}

#[tokio::test(start_paused = true)]
async fn a_manifest_is_read_by_tag_and_by_digest() {
    let fake = start().await;
    let digest = fake.put_manifest(NAME, Some("1"), &format!("{INDEX}; charset=utf-8"), empty("a"));
    let (client, repository) = (fake.client(), fake.repository(NAME));
    for target in [tag("1"), digest.into()] {
        let manifest = client.manifest(&repository, &target).await.unwrap();
        assert_eq!((manifest.media_type.as_str(), manifest.digest), (INDEX, digest));
        assert_eq!(manifest.bytes, empty("a"));
        let head = client.head_manifest(&repository, &target).await.unwrap().unwrap();
        assert_eq!((head.media_type.as_str(), head.digest), (INDEX, Some(digest)));
        assert_eq!(head.size, Some(empty("a").len() as u64));
    }
    assert_eq!(client.head_manifest(&repository, &tag("2")).await.unwrap(), None);
    let error = client.manifest(&repository, &tag("2")).await.unwrap_err();
    assert!(matches!(&error, Error::NotFound(status) if status.has_code("MANIFEST_UNKNOWN")));
}

#[tokio::test(start_paused = true)]
async fn a_changed_manifest_is_refused_by_digest_and_by_stated_digest() {
    let fake = start().await;
    let digest = fake.put_manifest(NAME, Some("1"), INDEX, empty("a"));
    fake.quirk(Quirk::on(RequestKind::ManifestGet, Effect::Corrupt(3)).times(2));
    for target in [tag("1"), digest.into()] {
        let error = fake.client().manifest(&fake.repository(NAME), &target).await.unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_states_no_digest_is_believed_by_tag() {
    let options = FakeOptions { digest_header: false, ..FakeOptions::default() };
    let fake = start_with(options).await;
    let digest = fake.put_manifest(NAME, Some("1"), INDEX, empty("a"));
    let (client, repository) = (fake.client(), fake.repository(NAME));
    assert_eq!(client.manifest(&repository, &tag("1")).await.unwrap().digest, digest);
    let head = client.head_manifest(&repository, &tag("1")).await.unwrap().unwrap();
    assert_eq!(head.digest, None);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_over_the_limit_is_refused_whatever_its_length_header_says() {
    let fake = start().await;
    let fits = fake.put_manifest(NAME, Some("fits"), INDEX, vec![b' '; MANIFEST_LIMIT]);
    let over = fake.put_manifest(NAME, Some("over"), INDEX, vec![b' '; MANIFEST_LIMIT + 1]);
    let (client, repository) = (fake.client(), fake.repository(NAME));
    fake.quirk(Quirk::on(RequestKind::ManifestGet, Effect::Chunked).always());
    assert!(client.manifest(&repository, &fits.into()).await.is_ok());
    let error = client.manifest(&repository, &over.into()).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: MANIFEST_LIMIT, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_broken_manifest_request_is_repeated() {
    let fake = start().await;
    let digest = fake.put_manifest(NAME, Some("1"), INDEX, empty("a"));
    fake.quirk(Quirk::on(RequestKind::ManifestGet, Effect::status(429)));
    fake.quirk(Quirk::on(RequestKind::ManifestGet, Effect::DropAfter(10)));
    let manifest = fake.client().manifest(&fake.repository(NAME), &tag("1")).await.unwrap();
    assert_eq!(manifest.digest, digest);
    assert!(!fake.quirks_left());
}

#[tokio::test(start_paused = true)]
async fn a_put_is_done_once_and_found_the_next_time() {
    let fake = start().await;
    let (client, repository) = (fake.client(), fake.repository(NAME));
    let digest = Digest::sha256_of(&empty("a"));
    for target in [TagOrDigest::from(digest), tag("1")] {
        for already_there in [false, true] {
            let put = client.put_manifest(&repository, &target, INDEX, empty("a")).await;
            assert_eq!(put.unwrap().already_there, already_there);
        }
    }
    assert_eq!(fake.requests_of(RequestKind::ManifestPut).len(), 2);
    assert_eq!(fake.tags(NAME), [("1".to_owned(), digest)]);
    let stored = fake.manifest(NAME, &tag("1")).unwrap();
    assert_eq!(stored, (INDEX.to_owned(), empty("a")));
}

#[tokio::test(start_paused = true)]
async fn a_put_whose_answer_was_lost_is_not_done_twice() {
    let fake = start().await;
    fake.quirk(Quirk::on(RequestKind::ManifestPut, Effect::LoseAnswer(502)));
    assert!(put(&fake, tag("1")).await.unwrap().already_there);
    assert_eq!(fake.requests_of(RequestKind::ManifestPut).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_put_under_a_wrong_digest_is_refused_before_it_is_sent() {
    let fake = start().await;
    let target = Digest::sha256_of(b"other").into();
    assert!(matches!(put(&fake, target).await.unwrap_err(), Error::DigestMismatch { .. }));
    assert_eq!(fake.requests(), []);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_names_what_is_missing_is_put_twice_and_recognised() {
    for (status, code) in [
        (StatusCode::NOT_FOUND, ""),
        (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
        (StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN"),
        (StatusCode::BAD_REQUEST, "BLOB_UNKNOWN"),
    ] {
        for target in [tag("1"), Digest::sha256_of(&empty("a")).into()] {
            let fake = start().await;
            let effect = Effect::error(status, code, "");
            fake.quirk(Quirk::on(RequestKind::ManifestPut, effect.clone()));
            assert!(!put(&fake, target.clone()).await.unwrap().already_there, "one is a mistake");
            let fake = start().await;
            fake.quirk(Quirk::on(RequestKind::ManifestPut, effect).always());
            let error = put(&fake, target).await.unwrap_err();
            assert!(error.is_missing_content() && error.is_transient(), "{error}");
            assert!(error.status().unwrap().has_code(code));
            assert_eq!(fake.requests_of(RequestKind::ManifestPut).len(), 2);
        }
    }
    // As a registry that looks for what is named says it itself.
    let fake = start().await;
    let missing = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{INDEX}","digest":"{}","size":1}}]}}"#,
        Digest::sha256_of(b"x")
    );
    let (client, repository) = (fake.client(), fake.repository(NAME));
    let error = client.put_manifest(&repository, &tag("1"), INDEX, missing.into()).await;
    assert!(error.unwrap_err().is_missing_content());
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_may_not_move_is_told_even_where_nothing_is_found_under_it() {
    for status in [StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND] {
        let fake = start().await;
        let effect = Effect::error(status, "TAG_INVALID", "the tag is immutable");
        fake.quirk(Quirk::on(RequestKind::ManifestPut, effect));
        let error = put(&fake, tag("1")).await.unwrap_err();
        assert!(matches!(error, Error::TagImmutable { .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_that_is_stored_as_something_else_is_an_error() {
    for target in [tag("1"), Digest::sha256_of(&empty("a")).into()] {
        let fake = start().await;
        let other = Digest::sha256_of(b"other");
        let effect = Effect::SetHeader("docker-content-digest", other.to_string());
        fake.quirk(Quirk::on(RequestKind::ManifestPut, effect));
        let error = put(&fake, target).await.unwrap_err();
        assert!(matches!(&error, Error::DigestMismatch { actual, .. } if **actual == other));
    }
}

#[tokio::test(start_paused = true)]
async fn an_immutable_tag_takes_the_same_bytes_again_and_no_others() {
    for digest_header in [true, false] {
        let options = FakeOptions { immutable_tags: true, digest_header, ..FakeOptions::default() };
        let fake = start_with(options).await;
        let (client, repository) = (fake.client(), fake.repository(NAME));
        let put = async |bytes| client.put_manifest(&repository, &tag("1"), INDEX, bytes).await;
        assert!(!put(empty("a")).await.unwrap().already_there);
        assert!(put(empty("a")).await.unwrap().already_there);
        let error = put(empty("b")).await.unwrap_err();
        assert!(matches!(&error, Error::TagImmutable { tag, .. } if tag.as_str() == "1"));
        assert!(!error.is_transient());
    }
}

/// The names of the rows of the test registry's table.
const IMMUTABLE: [&str; 9] = [
    "immutable-tags",
    "immutable-tags-of-google",
    "immutable-tags-of-harbor",
    "immutable-tags-of-quay",
    "immutable-tags-of-gitlab",
    "immutable-tags-of-azure",
    "immutable-tags-of-alibaba",
    "immutable-tags-of-nexus",
    "immutable-tags-of-artifactory",
];

#[tokio::test(start_paused = true)]
async fn an_immutable_tag_is_known_in_the_words_of_every_registry() {
    for name in IMMUTABLE {
        for digest_header in [true, false] {
            let options = FakeOptions { digest_header, ..FakeOptions::default() };
            let fake = start_with(options).await;
            fake.behave(name);
            let (client, repository) = (fake.client(), fake.repository(NAME));
            let put = async |bytes| client.put_manifest(&repository, &tag("1"), INDEX, bytes).await;
            assert!(!put(empty("a")).await.unwrap().already_there, "{name}");
            assert!(put(empty("a")).await.unwrap().already_there, "{name}");
            let error = put(empty("b")).await.unwrap_err();
            assert!(matches!(error, Error::TagImmutable { .. }), "{name}: {error}");
            assert!(!error.is_transient());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_registry_also_says_of_a_locked_repository_is_no_immutable_tag_where_there_is_none()
{
    for (status, code, message) in [
        (405, "REGISTRY_DISALLOWED_OPERATION", ""),
        (400, "BLOB_UPLOAD_INVALID", "Repository does not allow updating assets: docker"),
        (403, "UNAUTHORIZED", "Not enough permissions to delete/overwrite artifacts"),
    ] {
        let fake = start().await;
        let effect = Effect::error(StatusCode::from_u16(status).unwrap(), code, message);
        fake.quirk(Quirk::on(RequestKind::ManifestPut, effect));
        let error = put(&fake, tag("1")).await.unwrap_err();
        assert!(matches!(&error, Error::Status(told) if told.has_code(code)), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_put_says_what_the_registry_says() {
    let fake = start().await;
    let effect = Effect::error(StatusCode::FORBIDDEN, "DENIED", "no push for you");
    fake.quirk(Quirk::on(RequestKind::ManifestPut, effect));
    let error = put(&fake, tag("1")).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("PUT http://{}/v2/team/app/manifests/1", fake.host())));
    assert!(text.contains("403") && text.contains("DENIED: no push for you"), "{text}");
}

/// Counts the turns that it gives.
#[derive(Debug, Default)]
struct Turns(AtomicUsize);

impl PutLimit for Turns {
    fn wait(&self) -> PutLimitFuture<'_> {
        Box::pin(async {
            self.0.fetch_add(1, Ordering::Relaxed);
        })
    }
}

#[tokio::test(start_paused = true)]
async fn every_put_that_goes_out_waits_for_its_turn_and_nothing_else_does() {
    let fake = start().await;
    let turns = Arc::new(Turns::default());
    let client = fake.client_builder().put_limit(Arc::clone(&turns) as _).build().unwrap();
    let repository = fake.repository(NAME);
    let target = tag("1");
    let put = || client.put_manifest(&repository, &target, INDEX, empty("a"));
    fake.quirk(Quirk::on(RequestKind::ManifestPut, Effect::status(503)).times(2));
    assert!(!put().await.unwrap().already_there);
    assert_eq!(turns.0.load(Ordering::Relaxed), 3, "two that failed, and one");
    assert!(put().await.unwrap().already_there);
    client.manifest(&repository, &target).await.unwrap();
    assert_eq!(turns.0.load(Ordering::Relaxed), 3);
    assert_eq!(fake.requests_of(RequestKind::ManifestPut).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_is_deleted_with_its_tags_and_once() {
    let fake = start().await;
    let digest = fake.put_manifest(NAME, Some("1"), INDEX, empty("a"));
    let other = fake.put_manifest(NAME, Some("2"), INDEX, empty("b"));
    let (client, repository) = (fake.client(), fake.repository(NAME));
    fake.quirk(Quirk::on(RequestKind::ManifestDelete, Effect::status(503)));
    assert!(client.delete_manifest(&repository, &digest).await.unwrap());
    assert_eq!(fake.requests_of(RequestKind::ManifestDelete).len(), 2);
    assert!(!client.delete_manifest(&repository, &digest).await.unwrap());
    assert_eq!((fake.manifests(NAME), fake.tags(NAME).len()), (vec![other], 1));
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_deletes_nothing_says_so() {
    let fake = start().await;
    let digest = fake.put_manifest(NAME, Some("1"), INDEX, empty("a"));
    for (effect, unsupported) in [
        (Effect::status(405), true),
        (Effect::error(StatusCode::BAD_REQUEST, "UNSUPPORTED", "no"), true),
        (Effect::error(StatusCode::BAD_REQUEST, "DENIED", "no"), false),
        (Effect::status(403), false),
    ] {
        let order = fake.quirk(Quirk::on(RequestKind::ManifestDelete, effect).always());
        let error = fake.client().delete_manifest(&fake.repository(NAME), &digest).await;
        assert_eq!(error.unwrap_err().is_unsupported(), unsupported);
        fake.lift(order);
    }
    assert_eq!(fake.manifests(NAME), [digest]);
    // One that knows no such request.
    fake.quirk(Quirk::on(RequestKind::ManifestDelete, Effect::status(404)).always());
    let error = fake.client().delete_manifest(&fake.repository(NAME), &digest).await;
    assert!(matches!(error, Err(Error::Protocol { .. })));
}
