//! Uploads and mounts.

use bytes::Bytes;
use http::StatusCode;
use soci_oci::Digest;
use soci_registry::{BlobSource, Error, PushedBlob};
use soci_registry_server::testing::{
    Effect, FakeAuth, FakeOptions, FakeRegistry, Quirk, RequestKind, TokenUser,
};
use soci_tests::FakeRegistryClient;

use crate::support::{NAME, content, start, start_with};

fn segments(bytes: &Bytes) -> BlobSource {
    let middle = bytes.len() / 3;
    let parts = vec![bytes.slice(..middle), Bytes::new(), bytes.slice(middle..), Bytes::new()];
    BlobSource::from(parts)
}

async fn push(fake: &FakeRegistry, bytes: &Bytes) -> Result<PushedBlob, Error> {
    let digest = Digest::sha256_of(bytes);
    let source = segments(bytes);
    fake.client().push_blob(&fake.repository(NAME), &digest, &source, None).await
}

#[tokio::test(start_paused = true)]
async fn a_blob_is_uploaded_once_by_one_put() {
    for (absolute_locations, uploads_elsewhere) in [(false, false), (true, false), (true, true)] {
        let options =
            FakeOptions { absolute_locations, uploads_elsewhere, ..FakeOptions::default() };
        let fake = start_with(options).await;
        let bytes = content(200_000);
        assert_eq!(push(&fake, &bytes).await.unwrap(), PushedBlob::Uploaded);
        assert_eq!(push(&fake, &bytes).await.unwrap(), PushedBlob::AlreadyThere);
        assert_eq!(fake.blob(NAME, &Digest::sha256_of(&bytes)), Some(bytes));
        let puts = fake.requests_of(RequestKind::UploadPut);
        assert_eq!(puts.iter().map(|put| put.body_size).collect::<Vec<_>>(), [200_000]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_blob_is_uploaded() {
    let fake = start().await;
    assert_eq!(push(&fake, &Bytes::new()).await.unwrap(), PushedBlob::Uploaded);
}

#[tokio::test(start_paused = true)]
async fn a_failed_upload_is_begun_anew() {
    let error = |status, code| Effect::error(status, code, "");
    for effect in [
        Effect::status(500),
        Effect::status(429),
        error(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
        error(StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
        error(StatusCode::NOT_FOUND, ""),
        error(StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
        error(StatusCode::BAD_REQUEST, "SIZE_INVALID"),
    ] {
        let fake = start().await;
        fake.quirk(Quirk::on(RequestKind::UploadPut, effect));
        fake.quirk(Quirk::on(RequestKind::UploadPost, Effect::status(503)));
        let bytes = content(100_000);
        assert_eq!(push(&fake, &bytes).await.unwrap(), PushedBlob::Uploaded);
        let puts = fake.requests_of(RequestKind::UploadPut);
        assert_eq!(puts.len(), 2);
        assert_ne!(puts[0].path, puts[1].path, "each try has an upload of its own");
        assert_eq!(puts[1].body_size, 100_000);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_whose_answer_was_lost_is_not_sent_again() {
    let fake = start().await;
    fake.quirk(Quirk::on(RequestKind::UploadPut, Effect::LoseAnswer(504)));
    assert_eq!(push(&fake, &content(10)).await.unwrap(), PushedBlob::AlreadyThere);
    assert_eq!(fake.requests_of(RequestKind::UploadPut).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn damage_and_404s_that_stay_are_given_up_soon_and_may_pass() {
    let damaged = Effect::error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "");
    let nowhere = Effect::error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "");
    for (kind, effect) in [
        (RequestKind::UploadPut, damaged),
        (RequestKind::UploadPut, nowhere.clone()),
        (RequestKind::UploadPost, nowhere),
    ] {
        let fake = start().await;
        fake.quirk(Quirk::on(kind, effect).always());
        let error = push(&fake, &content(10)).await.unwrap_err();
        let Error::Exhausted { failures: 3, source, .. } = &error else { panic!("{error}") };
        assert!(
            matches!(**source, Error::UploadDamaged { .. } | Error::WriteNotFound { .. }),
            "{source}"
        );
        assert!(error.is_transient());
        assert_eq!(fake.requests_of(kind).len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_the_registry_claims_to_have_can_be_sent_again() {
    let fake = start().await;
    let bytes = content(100_000);
    let digest = Digest::sha256_of(&bytes);
    fake.quirk(Quirk::on(RequestKind::BlobHead, Effect::status(200)).always());
    assert_eq!(push(&fake, &bytes).await.unwrap(), PushedBlob::AlreadyThere);
    fake.quirk(Quirk::on(RequestKind::UploadPut, Effect::status(500)));
    let client = fake.client();
    client.upload_blob(&fake.repository(NAME), &digest, &segments(&bytes)).await.unwrap();
    assert_eq!(fake.blob(NAME, &digest), Some(bytes));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_digest_is_refused_and_not_repeated() {
    let fake = start().await;
    let source = segments(&content(10));
    let digest = Digest::sha256_of(b"other");
    let error = fake.client().push_blob(&fake.repository(NAME), &digest, &source, None).await;
    let error = error.unwrap_err();
    assert!(matches!(&error, Error::DigestMismatch { expected, .. } if **expected == digest));
    assert_eq!(fake.requests_of(RequestKind::UploadPut).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_blob_of_another_repository_is_mounted() {
    let auth =
        FakeAuth::Bearer { user: TokenUser::Anyone, lifetime: std::time::Duration::from_mins(1) };
    let fake = start_with(FakeOptions { auth, ..FakeOptions::default() }).await;
    let bytes = content(1000);
    let digest = fake.put_blob("base", bytes.clone());
    let (client, to, from) = (fake.client(), fake.repository(NAME), fake.repository("base"));
    let pushed = client.push_blob(&to, &digest, &segments(&bytes), Some(&from)).await.unwrap();
    assert_eq!(pushed, PushedBlob::Mounted);
    assert_eq!(fake.blob(NAME, &digest), Some(bytes));
    let scopes = &fake.requests_of(RequestKind::Token)[1].query;
    assert!(scopes.contains("team%2Fapp%3Apull%2Cpush") && scopes.contains("base%3Apull"));
}

#[tokio::test(start_paused = true)]
async fn a_mount_that_is_declined_or_refused_becomes_an_upload() {
    let bytes = content(1000);
    let digest = Digest::sha256_of(&bytes);
    let refused = Effect::error(StatusCode::FORBIDDEN, "DENIED", "not your repository");
    for refusal in [None, Some(refused)] {
        let fake = start_with(FakeOptions { mounts: false, ..FakeOptions::default() }).await;
        let posts = 1 + usize::from(refusal.is_some());
        if let Some(effect) = refusal {
            fake.quirk(Quirk::on(RequestKind::UploadPost, effect));
        }
        let (to, from) = (fake.repository(NAME), fake.repository("base"));
        let pushed = fake.client().push_blob(&to, &digest, &segments(&bytes), Some(&from)).await;
        assert_eq!(pushed.unwrap(), PushedBlob::Uploaded);
        assert_eq!(fake.requests_of(RequestKind::UploadPost).len(), posts);
    }
}
