//! How many requests an image takes. Registries allow so many a second, and images of small layers are nothing but
//! requests.

use std::collections::BTreeMap;

use soci_manifest::Version;
use soci_registry_server::testing::{FakeRegistry, LoggedRequest};
use soci_tests::{TestImage, gzip_layer};

use crate::support::{REPOSITORY, index, options};

const LAYERS: u64 = 10;

/// How often each kind of request was sent, in words.
fn counted(requests: &[LoggedRequest]) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for request in requests {
        *kinds.entry(format!("{:?}", request.kind)).or_default() += 1;
    }
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    format!("{}: {}", requests.len(), kinds.join(", "))
}

/// What was asked for more than once.
fn asked_twice(requests: &[LoggedRequest]) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for request in requests.iter().filter(|request| request.body_size == 0) {
        let line = format!(
            "{} {}?{} {}",
            request.method,
            request.path,
            request.query,
            request.range.as_deref().unwrap_or_default()
        );
        *seen.entry(line).or_default() += 1;
    }
    // An upload begins with the same request for each blob.
    let twice = seen.into_iter().filter(|(line, count)| *count > 1 && !line.starts_with("POST "));
    twice.map(|(line, count)| format!("{count} x {line}")).collect()
}

/// Nothing is asked twice but what may have changed in between: for V1 the image's referrers, once what there is and once
/// whether they are a list in which the result has to be; for V2 the result's tag, before it is written.
fn assert_twice(version: Version, wrote: bool, requests: &[LoggedRequest]) {
    let twice = asked_twice(requests);
    let (expected, of) = match version {
        Version::V1 => (1, "/referrers/"),
        Version::V2 => (usize::from(wrote), "/manifests/1-soci"),
    };
    assert!(twice.len() == expected && twice.iter().all(|line| line.contains(of)), "{twice:?}");
}

#[tokio::test]
async fn an_image_of_ten_layers_takes_so_many_requests_and_none_twice() {
    let layers: Vec<_> = (0..LAYERS).map(|seed| gzip_layer(seed, 100_000)).collect();
    for version in [Version::V1, Version::V2] {
        let registry = FakeRegistry::start().await;
        TestImage::single("linux/amd64", &layers).put(&registry, REPOSITORY, "1");
        registry.clear_requests();
        index(&registry, "1", &options(version)).await.unwrap();
        let first = registry.requests();
        println!("{version:?}, to index: {}", counted(&first));
        assert_twice(version, true, &first);
        registry.clear_requests();
        let again = index(&registry, "1", &options(version)).await.unwrap();
        assert!(again.already_there);
        let second = registry.requests();
        println!("{version:?}, to find it: {}", counted(&second));
        assert_twice(version, false, &second);
    }
}
