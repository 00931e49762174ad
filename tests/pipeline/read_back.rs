//! What is made anew on purpose, in a registry that has other bytes by now than it was sent.

use soci_indexer::{IndexError, Options, Reason, index_image_to};
use soci_manifest::Version;
use soci_oci::Digest;
use soci_registry_server::testing::{Effect, FakeRegistry, Quirk, RequestKind};

use crate::support::{
    OTHER, REPOSITORY, image, index, indexed, name, options, output, place, store,
};

fn force(version: Version) -> Options {
    Options { force: true, ..options(version) }
}

/// The parts of a result that are blobs or manifests of their own, and which requests read and write them.
async fn parts(version: Version) -> Vec<(&'static str, Digest, RequestKind, RequestKind)> {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    let report = indexed(index(&registry, "1", &options(version)).await);
    let (manifest, config) = (RequestKind::ManifestGet, Digest::sha256_of(b"{}"));
    let mut parts = vec![
        ("ztoc", report.layers[0].ztoc, RequestKind::BlobGet, RequestKind::UploadPut),
        ("config", config, RequestKind::BlobGet, RequestKind::UploadPut),
        ("SOCI index", report.indexes[0].digest, manifest, RequestKind::ManifestPut),
    ];
    if version == Version::V2 {
        parts.push(("image index", report.index, manifest, RequestKind::ManifestPut));
    }
    parts
}

#[tokio::test]
async fn what_has_other_bytes_by_now_is_sent_again() {
    for version in [Version::V1, Version::V2] {
        for (what, digest, get, put) in parts(version).await {
            let registry = FakeRegistry::start().await;
            image().put(&registry, REPOSITORY, "1");
            let first = indexed(index(&registry, "1", &options(version)).await);
            let wrong = Quirk::on(get, Effect::Corrupt(1)).path(digest.to_string());
            let wrong = registry.quirk(wrong);
            registry.clear_requests();
            let again = indexed(index(&registry, "1", &force(version)).await);
            assert_eq!((again.index, registry.acted(wrong)), (first.index, 1), "{what}");
            assert_eq!(registry.requests_of(put).len(), 1, "{what}");
        }
    }
}

#[tokio::test]
async fn what_is_as_it_was_is_not_sent_again() {
    for version in [Version::V1, Version::V2] {
        let registry = FakeRegistry::start().await;
        image().put(&registry, REPOSITORY, "1");
        indexed(index(&registry, "1", &options(version)).await);
        registry.clear_requests();
        indexed(index(&registry, "1", &force(version)).await);
        for kind in [RequestKind::UploadPost, RequestKind::UploadPut, RequestKind::ManifestPut] {
            assert_eq!(registry.requests_of(kind).len(), 0, "{version:?} {kind:?}");
        }
    }
}

/// As docker's registry does, whose uploads end where there is a file for the digest.
#[tokio::test]
async fn a_registry_that_keeps_wrong_bytes_is_an_error_that_says_what_to_do() {
    for version in [Version::V1, Version::V2] {
        for (what, digest, get, put) in parts(version).await {
            let registry = FakeRegistry::start().await;
            image().put(&registry, REPOSITORY, "1");
            indexed(index(&registry, "1", &options(version)).await);
            let wrong = Quirk::on(get, Effect::Corrupt(1)).path(digest.to_string()).always();
            registry.quirk(wrong);
            registry.clear_requests();
            let error = index(&registry, "1", &force(version)).await.unwrap_err();
            assert!(matches!(error, IndexError::Damaged { .. }), "{what}: {error:?}");
            assert_eq!(error.reason(), Reason::DigestMismatch);
            assert!(!error.is_transient());
            let told = error.to_string();
            let named = format!("{what} {digest} in {}/{REPOSITORY} has", registry.host());
            assert!(told.contains(&named) && told.contains("delete it"), "{told}");
            assert_eq!(registry.requests_of(put).len(), 1, "{what}: it was sent again once");
        }
    }
}

#[tokio::test]
async fn what_has_another_size_by_now_is_sent_again() {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    let first = indexed(index(&registry, "1", &options(Version::V2)).await);
    let ztoc = first.layers[0].ztoc.to_string();
    // Asked for once to find out whether it is there, and then for its size.
    let short = Effect::SetHeader("content-length", "5".to_owned());
    let short = registry.quirk(Quirk::on(RequestKind::BlobHead, short).path(ztoc).times(2));
    registry.clear_requests();
    indexed(index(&registry, "1", &force(Version::V2)).await);
    assert_eq!((registry.acted(short), registry.requests_of(RequestKind::UploadPut).len()), (2, 1));
}

/// What is beside the image says nothing of the output.
#[tokio::test]
async fn an_output_is_read_back_and_not_the_source() {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    indexed(index(&registry, "1", &options(Version::V2)).await);
    let to_output = async |options: &Options| {
        let (source, output) = (store(&registry), output(&registry));
        index_image_to(&source, &output, &place(&registry, "1"), &name("1"), options).await
    };
    let first = indexed(to_output(&options(Version::V2)).await);
    let ztoc = format!("{OTHER}/blobs/{}", first.layers[0].ztoc);
    let index = format!("{OTHER}/manifests/{}", first.indexes[0].digest);
    for (kind, path) in [(RequestKind::BlobGet, ztoc), (RequestKind::ManifestGet, index)] {
        let wrong = Quirk::on(kind, Effect::Corrupt(1)).path(path).always();
        let wrong = registry.quirk(wrong);
        let error = to_output(&force(Version::V2)).await.unwrap_err();
        let IndexError::Damaged { repository, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*repository, Some(registry.repository(OTHER)));
        registry.lift(wrong);
    }
}
