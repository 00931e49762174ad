//! HEAD where it is refused, by the registry or by the storage that it redirects to.

use bytes::Bytes;
use soci_oci::{Digest, TagOrDigest};
use soci_registry::{Client, Error, PushedBlob};
use soci_registry_server::testing::{Effect, FakeOptions, FakeRegistry, Quirk, RequestKind};
use soci_tests::FakeRegistryClient;

use crate::support::{NAME, content, start, start_with, tag};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Every way in which HEAD is refused and GET is not.
const HABITS: [&str; 9] = [
    "head-400",
    "head-403",
    "head-405",
    "head-501",
    "head-presigned",
    "head-presigned-400",
    "head-presigned-401",
    "head-presigned-405",
    "head-presigned-501",
];

fn index(note: &str) -> Bytes {
    format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"note":"{note}"}}}}"#).into()
}

async fn push(client: &Client, fake: &FakeRegistry, bytes: &Bytes) -> PushedBlob {
    let digest = Digest::sha256_of(bytes);
    let body = bytes.clone().into();
    client.push_blob(&fake.repository(NAME), &digest, &body, None).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_blob_is_found_where_head_is_refused_and_missed_where_it_is_not_there() {
    for habit in HABITS {
        for ranges in [None, Some("ranges-ignored"), Some("range-400"), Some("range-not-stated")] {
            let fake = start().await;
            fake.behave(habit);
            if let Some(ranges) = ranges {
                fake.behave(ranges);
            }
            let digest = fake.put_blob(NAME, content(100_000));
            let missing = Digest::sha256_of(b"missing");
            let (client, repository) = (fake.client(), fake.repository(NAME));
            // The first question, later ones, and those of a registry that is known.
            for _ in 0..4 {
                let found = client.has_blob(&repository, &digest).await.unwrap();
                let size = if ranges == Some("range-not-stated") { 0 } else { 100_000 };
                assert_eq!(found, Some(size), "{habit} {ranges:?}");
                let found = client.has_blob(&repository, &missing).await.unwrap();
                assert_eq!(found, None, "{habit} {ranges:?}");
            }
            let heads = fake.requests_of(RequestKind::BlobHead).len();
            assert!(heads <= 4, "it is remembered: {habit} {ranges:?} {heads}");
            // What is there is not sent again.
            assert_eq!(push(&client, &fake, &content(100_000)).await, PushedBlob::AlreadyThere);
            assert_eq!(push(&client, &fake, &content(10)).await, PushedBlob::Uploaded);
            assert_eq!(push(&client, &fake, &content(10)).await, PushedBlob::AlreadyThere);
            assert_eq!(fake.requests_of(RequestKind::UploadPut).len(), 1, "{habit}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_blob_is_found_where_head_is_refused() {
    let fake = start().await;
    fake.behave("head-403");
    let digest = fake.put_blob(NAME, Bytes::new());
    let found = fake.client().has_blob(&fake.repository(NAME), &digest).await.unwrap();
    assert_eq!(found, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_manifest_is_found_where_head_is_refused_and_not_put_again() {
    for habit in HABITS {
        let fake = start().await;
        fake.behave(habit);
        let digest = fake.put_manifest(NAME, Some("1"), INDEX, index("a"));
        let (client, repository) = (fake.client(), fake.repository(NAME));
        for _ in 0..3 {
            for target in [tag("1"), digest.into()] {
                let head = client.head_manifest(&repository, &target).await.unwrap().unwrap();
                assert_eq!(head.digest, Some(digest), "{habit}");
                assert_eq!(head.size, Some(index("a").len() as u64), "{habit}");
                let put = client.put_manifest(&repository, &target, INDEX, index("a")).await;
                assert!(put.unwrap().already_there, "{habit}");
            }
            for target in [tag("2"), Digest::sha256_of(b"missing").into()] {
                let head = client.head_manifest(&repository, &target).await.unwrap();
                assert_eq!(head, None, "{habit}");
            }
        }
        let heads = fake.requests_of(RequestKind::ManifestHead).len();
        assert!(habit.contains("presigned") || heads == 2, "it is remembered: {habit} {heads}");
        let put = client.put_manifest(&repository, &tag("1"), INDEX, index("b")).await.unwrap();
        assert!(!put.already_there, "{habit}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_in_the_place_of_a_manifest_is_no_manifest() {
    let fake = start().await;
    fake.quirk(
        Quirk::on(RequestKind::ManifestHead, Effect::page(200, "text/html", "<html>")).always(),
    );
    let (client, repository) = (fake.client(), fake.repository(NAME));
    let digest = Digest::sha256_of(b"missing");
    for target in [tag("1"), digest.into()] {
        assert_eq!(client.head_manifest(&repository, &target).await.unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_passes_or_is_refused_indeed_is_not_remembered() {
    let fake = start().await;
    let blob = fake.put_blob(NAME, content(10));
    let manifest: TagOrDigest = fake.put_manifest(NAME, Some("1"), INDEX, index("a")).into();
    let (client, repository) = (fake.client(), fake.repository(NAME));
    let kinds = [
        (RequestKind::BlobHead, RequestKind::BlobGet),
        (RequestKind::ManifestHead, RequestKind::ManifestGet),
    ];
    for (head, get) in kinds {
        let ask = || async {
            match head {
                RequestKind::BlobHead => client.has_blob(&repository, &blob).await.map(|_| ()),
                _ => client.head_manifest(&repository, &manifest).await.map(|_| ()),
            }
        };
        for status in [429, 503] {
            fake.quirk(Quirk::on(head, Effect::status(status)).times(3));
            ask().await.unwrap();
        }
        assert_eq!(fake.requests_of(get).len(), 0, "what passes is asked for again by HEAD");
        for status in [400, 403] {
            fake.clear_requests();
            let denied = Effect::error(http::StatusCode::from_u16(status).unwrap(), "DENIED", "no");
            fake.quirk(Quirk::on(head, Effect::status(status)).times(3));
            let refused = fake.quirk(Quirk::on(get, denied).always());
            for _ in 0..3 {
                let error = ask().await.unwrap_err();
                assert!(matches!(&error, Error::Status(s) if s.has_code("DENIED")), "{error}");
            }
            fake.lift(refused);
            fake.clear_requests();
            ask().await.unwrap();
            let asked: Vec<_> = fake.requests().iter().map(|request| request.kind).collect();
            assert_eq!(asked, [head], "{status}");
        }
        // Said by HEAD only once.
        fake.quirk(Quirk::on(head, Effect::status(403)));
        for _ in 0..3 {
            ask().await.unwrap();
        }
        assert_eq!(fake.requests_of(get).len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_question_is_asked_again_though_head_cannot_say_so() {
    let fake = start().await;
    let blob = fake.put_blob(NAME, content(10));
    let throttled = r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#;
    for status in [400, 403] {
        fake.quirk(Quirk::on(RequestKind::BlobHead, Effect::status(status)));
        fake.quirk(Quirk::on(
            RequestKind::BlobGet,
            Effect::page(status, "application/x-amz-json-1.1", throttled),
        ));
        let found = fake.client().has_blob(&fake.repository(NAME), &blob).await.unwrap();
        assert_eq!(found, Some(10), "{status}");
    }
    assert!(!fake.quirks_left());
}

#[tokio::test(start_paused = true)]
async fn a_manifest_whose_digest_is_not_stated_is_not_put_again() {
    let fake = start_with(FakeOptions { digest_header: false, ..FakeOptions::default() }).await;
    let (client, repository) = (fake.client(), fake.repository(NAME));
    for already_there in [false, true, true] {
        let put = client.put_manifest(&repository, &tag("1"), INDEX, index("a")).await.unwrap();
        assert_eq!(put.already_there, already_there);
    }
    assert_eq!(fake.requests_of(RequestKind::ManifestPut).len(), 1);
    let put = client.put_manifest(&repository, &tag("1"), INDEX, index("b")).await.unwrap();
    assert!(!put.already_there, "other bytes under the same tag");
    // What is larger than any manifest is not these bytes.
    fake.put_manifest(NAME, Some("1"), INDEX, vec![b' '; soci_registry::MANIFEST_LIMIT + 1]);
    let put = client.put_manifest(&repository, &tag("1"), INDEX, index("b")).await.unwrap();
    assert!(!put.already_there);
}
