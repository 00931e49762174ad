//! Where a server may lead. The fake is at 127.0.0.1, as is its storage.

use http::StatusCode;
use soci_oci::Digest;
use soci_registry::{Credentials, Error, Secret, StaticCredentials};
use soci_registry_server::testing::{Effect, FakeOptions, FakeRegistry, Quirk, RequestKind};
use soci_tests::FakeRegistryClient;

use crate::support::{NAME, content, download, start, start_with, tag};

/// URLs of metadata services and of others on the link.
const FORBIDDEN: [&str; 6] = [
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "http://169.254.170.2/v2/credentials",
    "http://[::ffff:169.254.169.254]/latest/",
    "http://[fd00:ec2::254]/latest/",
    "http://[fe80::1]:8080/",
    "http://2852039166/",
];

fn assert_refused(fake: &FakeRegistry, error: &Error, requests: usize) {
    assert!(matches!(error, Error::TargetRefused { .. }), "{error:?}");
    assert!(!error.is_transient() && error.to_string().contains("a server led there"), "{error}");
    assert_eq!(fake.requests().len(), requests);
}

#[tokio::test(start_paused = true)]
async fn no_redirect_leads_to_the_link() {
    for url in FORBIDDEN {
        let fake = start().await;
        let digest = fake.put_blob(NAME, content(10));
        let lead = || Effect::status_with(307, "location", url);
        fake.quirk(Quirk::on(RequestKind::BlobGet, lead()));
        let error = download(&fake, &fake.client(), &digest, 10).await.unwrap_err();
        assert_refused(&fake, &error, 1);
        fake.quirk(Quirk::on(RequestKind::ManifestGet, lead()));
        let error = fake.client().manifest(&fake.repository(NAME), &tag("1")).await.unwrap_err();
        assert_refused(&fake, &error, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn no_token_endpoint_is_on_the_link_with_credentials_or_without() {
    let basic = Credentials::Basic { username: "u".to_owned(), password: Secret::new("p") };
    for url in FORBIDDEN {
        for credentials in [Credentials::Anonymous, basic.clone()] {
            let fake = start().await;
            let provider = StaticCredentials::new(fake.host(), credentials);
            let builder = fake.client_builder().credentials(std::sync::Arc::new(provider));
            let challenge = format!("Bearer realm=\"{url}\",service=\"s\"");
            let effect = Effect::status_with(401, "www-authenticate", &challenge);
            fake.quirk(Quirk::on(RequestKind::ManifestGet, effect));
            let client = builder.build().unwrap();
            let error = client.manifest(&fake.repository(NAME), &tag("1")).await.unwrap_err();
            assert_refused(&fake, &error, 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_upload_goes_on_at_the_link() {
    for url in FORBIDDEN {
        let fake = start().await;
        let headers = vec![("location".to_owned(), url.to_owned())];
        let status = StatusCode::ACCEPTED.as_u16();
        let body = String::new();
        fake.quirk(Quirk::on(RequestKind::UploadPost, Effect::Answer { status, headers, body }));
        let digest = Digest::sha256_of(b"x");
        let source = bytes::Bytes::from_static(b"x").into();
        let pushed = fake.client().push_blob(&fake.repository(NAME), &digest, &source, None).await;
        assert_refused(&fake, &pushed.unwrap_err(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_on_this_machine_may_lead_to_this_machine() {
    let options = FakeOptions { redirect_blobs: true, ..FakeOptions::default() };
    let fake = start_with(options).await;
    let digest = fake.put_blob(NAME, content(10));
    download(&fake, &fake.client(), &digest, 10).await.unwrap();
    assert_eq!(fake.requests_of(RequestKind::StorageGet).len(), 1);
}
