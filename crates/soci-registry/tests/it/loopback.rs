//! Registries on this machine that are not named as ones without TLS: by which scheme they are asked.

use std::sync::Arc;

use soci_oci::{Digest, Repository};
use soci_registry::{Client, Credentials, Error, Secret, StaticCredentials};
use soci_registry_server::testing::{
    Effect, FakeAuth, FakeOptions, FakeRegistry, Quirk, RequestKind,
};
use soci_tests::FakeRegistryClient;

use crate::servers::{Clients, address_of, answers, tls};
use crate::support::{NAME, content, download, read, start, start_with, tag};

fn client(fake: &FakeRegistry) -> Client {
    fake.client_builder().plain_http(false).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_registry_without_tls_on_this_machine_is_asked_by_http() {
    let fake = start().await;
    let port = address_of(&fake).port();
    let blob = content(1000);
    let digest = fake.put_blob(NAME, blob.clone());
    for host in ["127.0.0.1", "localhost", "a.localhost"] {
        let client = client(&fake);
        let repository = Repository::new(&format!("{host}:{port}"), NAME).unwrap();
        let asked = fake.requests_of(RequestKind::Version).len();
        for _ in 0..2 {
            let mut reader = client.blob(&repository, &digest, blob.len() as u64);
            assert_eq!(read(&mut reader).await.unwrap(), blob, "{host}");
        }
        assert_eq!(fake.requests_of(RequestKind::Version).len(), asked + 1, "once is enough");
    }
}

#[tokio::test(start_paused = true)]
async fn writes_and_logins_work_by_http_and_the_question_carries_no_credentials() {
    let (username, password) = ("me".to_owned(), "secret".to_owned());
    let auth = FakeAuth::Basic { username: username.clone(), password };
    let fake = start_with(FakeOptions { auth, ..FakeOptions::default() }).await;
    let credentials = Credentials::Basic { username, password: Secret::new("secret") };
    let credentials = StaticCredentials::new(fake.host(), credentials);
    let builder = fake.client_builder().plain_http(false).credentials(Arc::new(credentials));
    let client = builder.build().unwrap();
    let repository = fake.repository(NAME);
    let blob = content(1000);
    let digest = Digest::sha256_of(&blob);
    client.upload_blob(&repository, &digest, &blob.clone().into()).await.unwrap();
    assert_eq!(read(&mut client.blob(&repository, &digest, 1000)).await.unwrap(), blob);
    let error = client.manifest(&repository, &tag("missing")).await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error:?}");
    let asked = fake.requests_of(RequestKind::Version);
    assert!(asked.iter().all(|request| request.authorization.is_none()), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_speaks_tls_is_never_asked_by_http() {
    let fake = start().await;
    let front = tls(address_of(&fake), "plain", Clients::Unasked).await;
    let repository = Repository::new(&front.address.to_string(), NAME).unwrap();
    let error = client(&fake).manifest(&repository, &tag("1")).await.unwrap_err();
    assert!(matches!(error, Error::Certificate { .. }), "{error:?}");
    assert!(fake.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_speaks_neither_is_reported_as_what_was_asked_for() {
    let fake = start().await;
    for (answer, is_plain) in [(&b"SSH-2.0-OpenSSH_9.2\r\n"[..], true), (b"", false)] {
        let front = answers(answer).await;
        let repository = Repository::new(&front.address.to_string(), NAME).unwrap();
        let error = client(&fake).manifest(&repository, &tag("1")).await.unwrap_err();
        let text = soci_text::error_chain(&error);
        assert!(text.contains(&format!("https://{}", front.address)), "{text}");
        let innermost = match &error {
            Error::Exhausted { source, .. } => source,
            error => error,
        };
        assert_eq!(matches!(innermost, Error::PlainHttp { .. }), is_plain, "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_plain_http_nothing_is_asked_before() {
    let fake = start().await;
    let digest = fake.put_blob(NAME, content(10));
    download(&fake, &fake.client(), &digest, 10).await.unwrap();
    assert!(fake.requests_of(RequestKind::Version).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_by_http_is_the_registrys_own_and_no_storages() {
    let fake = start().await;
    let blob = content(1000);
    let digest = fake.put_blob(NAME, blob.clone());
    fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::status(403)).always());
    let repository = fake.repository(NAME);
    let error = client(&fake).blob_bytes(&repository, &digest, 1000).await.unwrap_err();
    assert!(matches!(error, Error::Status(_)) && !error.is_transient(), "{error:?}");
    let first = client(&fake);
    let error = read(&mut first.blob(&repository, &digest, 1000)).await.unwrap_err();
    assert!(!error.is_transient(), "{error:?}");
}
