//! Redirects of reads and writes: what they carry, and to whom.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use soci_oci::{Digest, TagOrDigest};
use soci_registry::{Client, Credentials, Error, PushedBlob, Secret, StaticCredentials};
use soci_registry_server::testing::{
    Effect, FakeAuth, FakeOptions, FakeRegistry, Quirk, RequestKind, TokenUser,
};
use soci_tests::FakeRegistryClient;

use crate::support::{NAME, content, parts, read, start, start_with, tag};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

const WRITES: [RequestKind; 4] = [
    RequestKind::UploadPost,
    RequestKind::UploadPatch,
    RequestKind::UploadPut,
    RequestKind::ManifestPut,
];

fn bearer() -> FakeOptions {
    let user = TokenUser::Basic { username: "u".to_owned(), password: "p".to_owned() };
    let auth = FakeAuth::Bearer { user, lifetime: Duration::from_mins(1) };
    FakeOptions { auth, ..FakeOptions::default() }
}

fn client(fake: &FakeRegistry) -> Client {
    let basic = Credentials::Basic { username: "u".to_owned(), password: Secret::new("p") };
    let provider = StaticCredentials::new(fake.host(), basic);
    fake.client_builder().credentials(Arc::new(provider)).build().unwrap()
}

/// Writes by a request of this kind, among others.
async fn write(fake: &FakeRegistry, client: &Client, kind: RequestKind) -> Result<(), Error> {
    let repository = fake.repository(NAME);
    if kind == RequestKind::ManifestPut {
        let index = Bytes::from(r#"{"schemaVersion":2,"manifests":[]}"#);
        let target = tag("1");
        client.put_manifest(&repository, &target, INDEX, index.clone()).await?;
        assert_eq!(fake.manifest(NAME, &target).unwrap().1, index);
        return Ok(());
    }
    if kind == RequestKind::UploadPatch {
        fake.behave("no-bodies-in-puts");
    }
    let bytes = content(50_000);
    let digest = Digest::sha256_of(&bytes);
    let pushed = client.push_blob(&repository, &digest, &bytes.clone().into(), None).await?;
    assert_eq!(pushed, PushedBlob::Uploaded);
    assert_eq!(fake.blob(NAME, &digest), Some(bytes));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_storage_is_told_by_whom_it_was_named_at_first_and_later() {
    for url_uses in [None, Some(3)] {
        let options = FakeOptions { redirect_blobs: true, url_uses, ..FakeOptions::default() };
        let fake = start_with(options).await;
        fake.behave("storage-wants-referer");
        let bytes = content(100_000);
        let digest = fake.put_blob(NAME, bytes.clone());
        let client = parts(&fake, 10_000, 2);
        let mut blob = client.blob(&fake.repository(NAME), &digest, 100_000);
        assert_eq!(read(&mut blob).await.unwrap(), bytes);
        let gets = fake.requests_of(RequestKind::StorageGet);
        assert!(gets.len() >= 10);
        let registry = format!("http://{}/v2/{NAME}/blobs/{digest}", fake.host());
        for get in gets {
            assert_eq!(get.referer.as_ref(), Some(&registry), "without the query");
            assert_eq!(get.authorization, None);
        }
        let asked = fake.requests_of(RequestKind::BlobGet);
        assert!(asked.iter().all(|get| get.referer.is_none()), "nobody leads there");
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_for_a_blob_tells_it_as_well() {
    for status in [301, 302, 303, 307, 308] {
        let fake = start().await;
        fake.behave("storage-wants-referer");
        let presigned = Effect::Presigned { status, uses: None };
        fake.quirk(Quirk::on(RequestKind::BlobHead, presigned));
        let bytes = content(10);
        let digest = fake.put_blob(NAME, bytes.clone());
        let repository = fake.repository(NAME);
        let pushed = fake.client().push_blob(&repository, &digest, &bytes.into(), None).await;
        assert_eq!(pushed.unwrap(), PushedBlob::AlreadyThere);
        assert!(fake.requests_of(RequestKind::StorageHead)[0].referer.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_is_sent_again_where_it_is_led_and_credentials_only_to_the_registry() {
    for kind in WRITES {
        for status in [307, 308] {
            let here = Effect::status_with(status, "location", "{path}?{query}");
            for (elsewhere, effect) in [(false, here), (true, Effect::RedirectToStorage(status))] {
                let fake = start_with(bearer()).await;
                let client = client(&fake);
                // It has a token by now.
                let first = content(1).into();
                let digest = Digest::sha256_of(&content(1));
                client.upload_blob(&fake.repository(NAME), &digest, &first).await.unwrap();
                fake.quirk(Quirk::on(kind, effect));
                write(&fake, &client, kind).await.unwrap();
                let sent = fake.requests_of(kind);
                let at = sent.iter().position(|sent| sent.status == status).unwrap();
                let [led, then] = &sent[at..=at + 1] else { panic!() };
                assert_eq!(led.body_size, then.body_size, "{kind:?} {status}");
                assert!(led.authorization.is_some());
                assert_eq!(then.authorization.is_none(), elsewhere, "{kind:?} {status}");
                let referer = format!("http://{}{}", fake.host(), led.path);
                assert_eq!(then.referer, Some(referer));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_goes_on_where_its_first_request_was_answered() {
    let fake = start_with(bearer()).await;
    let client = client(&fake);
    fake.quirk(Quirk::on(RequestKind::UploadPost, Effect::RedirectToStorage(307)));
    write(&fake, &client, RequestKind::UploadPut).await.unwrap();
    let put = &fake.requests_of(RequestKind::UploadPut)[0];
    // The location is relative, and the storage refuses whoever shows credentials.
    assert_eq!((put.authorization.as_ref(), put.status), (None, 201));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_would_become_a_get_says_where_it_was_led() {
    for kind in WRITES {
        for status in [301, 302, 303] {
            let fake = start().await;
            let effect = Effect::status_with(status, "location", "http://{storage}/x?secret=1");
            fake.quirk(Quirk::on(kind, effect).always());
            let error = write(&fake, &fake.client(), kind).await.unwrap_err();
            let Error::WriteRedirected { to, .. } = &error else { panic!("{error}") };
            assert!(to.to_string().ends_with("/x") && !error.is_transient());
            let text = error.to_string();
            assert!(text.contains(&format!("{status} ")) && text.contains("/x, which"), "{text}");
            assert_eq!(fake.requests_of(kind).len(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn writes_are_not_led_in_circles() {
    for kind in WRITES {
        let fake = start().await;
        let around = Effect::status_with(307, "location", "{path}?{query}");
        fake.quirk(Quirk::on(kind, around).always());
        let error = write(&fake, &fake.client(), kind).await.unwrap_err();
        assert!(matches!(error, Error::Redirect { reason: "too many redirects", .. }), "{error}");
        assert_eq!(fake.requests_of(kind).len(), 10, "as many as Go sends");
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_without_a_place_is_an_error() {
    for status in [301, 307] {
        let fake = start().await;
        fake.quirk(Quirk::on(RequestKind::ManifestGet, Effect::status(status)));
        let target: TagOrDigest = tag("1");
        let error = fake.client().manifest(&fake.repository(NAME), &target).await.unwrap_err();
        assert!(matches!(error, Error::Redirect { reason: "it has no Location", .. }), "{error}");
    }
}
