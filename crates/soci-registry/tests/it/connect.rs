//! Servers that cannot be connected to.

use std::time::Duration;

use soci_oci::{Digest, Repository};
use soci_registry::{Client, Error, RetryPolicy};
use soci_tests::FakeRegistryClient;

use crate::support::{NAME, download, start};

#[tokio::test(start_paused = true)]
async fn a_server_without_tls_is_named_as_such_at_once() {
    let fake = start().await;
    let digest = Digest::sha256_of(b"x");
    let client = fake.client_builder().plain_http(false).build().unwrap();
    let error = download(&fake, &client, &digest, 10).await.unwrap_err();
    assert!(matches!(error, Error::PlainHttp { .. }), "{error}");
    assert!(!error.is_transient());
    assert!(error.to_string().contains("plain http"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_resolve_is_named_after_two_tries() {
    let retry = RetryPolicy { base: Duration::from_millis(1), ..RetryPolicy::default() };
    let builder = Client::builder().plain_http(true).proxies(false).retry(retry);
    let repository = Repository::new("lost.invalid", NAME).unwrap();
    let digest = Digest::sha256_of(b"x");
    let mut blob = builder.build().unwrap().blob(&repository, &digest, 10);
    let error = blob.next().await.unwrap_err();
    let Error::Exhausted { failures: 2, source, .. } = &error else { panic!("{error}") };
    assert!(matches!(&**source, Error::UnknownHost { host, .. } if host == "lost.invalid"));
    assert!(source.to_string().contains("lost.invalid cannot be resolved"), "{source}");
}
