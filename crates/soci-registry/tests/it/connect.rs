//! Servers that cannot be connected to.

use std::time::Duration;

use soci_oci::{Digest, Repository};
use soci_registry::{Client, Error, RetryPolicy};

use crate::support::NAME;

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
