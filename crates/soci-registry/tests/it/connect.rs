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
    // Once, and before the tries.
    let told = soci_text::error_chain(&error);
    assert_eq!(told.matches("lost.invalid cannot be resolved").count(), 1, "{told}");
    assert!(
        told.starts_with("the host name lost.invalid ")
            && told.ends_with("(gave up after 2 tries)"),
        "{told}"
    );
    assert!(!told.contains("dns error") && !told.contains("lookup address"), "{told}");
}

#[tokio::test]
async fn a_port_that_is_closed_is_named_first_and_the_tries_last() {
    let retry = RetryPolicy { tries: 3, base: Duration::from_millis(1), ..RetryPolicy::default() };
    let builder = Client::builder().plain_http(true).proxies(false).retry(retry);
    let address = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let repository = Repository::new(&address, NAME).unwrap();
    let mut blob = builder.build().unwrap().blob(&repository, &Digest::sha256_of(b"x"), 10);
    let error = blob.next().await.unwrap_err();
    let Error::Exhausted { failures: 3, source, .. } = &error else { panic!("{error}") };
    assert!(matches!(&**source, Error::Refused { host, .. } if *host == address), "{source:?}");
    let told = soci_text::error_chain(&error);
    assert!(
        told.starts_with(&format!("{address} refuses the connection (GET http://{address}/")),
        "{told}"
    );
    assert!(told.ends_with("is the registry running? (gave up after 3 tries)"), "{told}");
}
