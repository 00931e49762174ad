//! Which images a repository has.

use std::num::NonZeroUsize;

use soci_indexer::{Budget, ImageList, ListError, ListedState, Options, list_images};
use soci_manifest::Version;
use soci_oci::Tag;
use soci_registry_server::testing::{Effect, FakeOptions, FakeRegistry, Quirk, RequestKind};
use soci_tests::{TestImage, gzip_layer};

use crate::support::{REPOSITORY, image, index, indexed, options, store};

async fn list(registry: &FakeRegistry, after: Option<&str>, most: usize) -> ImageList {
    let after: Option<Tag> = after.map(|tag| tag.parse().unwrap());
    let options =
        Options { budget: Budget::new(NonZeroUsize::MIN, 256 << 20), ..Options::default() };
    list_images(&store(registry), after.as_ref(), most, &options).await.unwrap()
}

/// Each image's tag with what is known of it.
fn told(list: &ImageList) -> Vec<(&str, &'static str)> {
    let state = |state: &ListedState| match state {
        ListedState::Image(found) if found.nothing.is_some() => "nothing",
        ListedState::Image(found) if found.of_another.is_some() => "of another",
        ListedState::Image(found) if found.is_complete() => "indexed",
        ListedState::Image(_) => "not indexed",
        ListedState::ImageGone { .. } => "image gone",
        ListedState::Failed(_) => "failed",
        ListedState::Unknown(_) => "unknown",
    };
    list.images.iter().map(|image| (image.tag.as_str(), state(&image.state))).collect()
}

/// A registry with an image for everything that can be said of one.
async fn some_of_each(referrers_api: bool) -> FakeRegistry {
    let fake = FakeOptions { referrers_api, ..FakeOptions::default() };
    let registry = FakeRegistry::with(fake).await;
    for tag in ["converted", "gone", "moved", "plain", "attached"] {
        image().put(&registry, REPOSITORY, tag);
    }
    for tag in ["converted", "gone", "moved"] {
        indexed(index(&registry, tag, &options(Version::V2)).await);
    }
    registry.remove_tag(REPOSITORY, "gone");
    let other = TestImage::single("linux/amd64", &[gzip_layer(8, 200_000)]);
    other.put(&registry, REPOSITORY, "moved");
    // An image whose tag looks like that of a result.
    other.put(&registry, REPOSITORY, "own-soci");
    image().put(&registry, REPOSITORY, "own");
    let zstd = (soci_oci::media_type::OCI_LAYER_ZSTD, gzip_layer(1, 300_000).1);
    TestImage::single("linux/amd64", &[zstd]).put(&registry, REPOSITORY, "zstd");
    registry.put_manifest(REPOSITORY, Some("broken"), "application/x", "{");
    let signature = format!("sha256-{}.sig", image().digest().hex());
    TestImage::artifact("application/x").put(&registry, REPOSITORY, &signature);
    registry
}

#[tokio::test(start_paused = true)]
async fn images_are_told_with_their_results_and_results_are_no_images() {
    let registry = some_of_each(true).await;
    let list = list(&registry, None, 100).await;
    assert_eq!(
        told(&list),
        [
            ("attached", "not indexed"),
            ("broken", "nothing"),
            ("converted", "indexed"),
            ("gone-soci", "image gone"),
            ("moved", "of another"),
            ("own", "of another"),
            ("own-soci", "not indexed"),
            ("plain", "not indexed"),
            ("zstd", "nothing"),
        ]
    );
    assert!(list.more_after.is_none() && !list.cut);
}

#[tokio::test(start_paused = true)]
async fn soci_indexes_v1_are_seen_with_and_without_an_api_for_them() {
    for referrers_api in [true, false] {
        let fake = FakeOptions { referrers_api, ..FakeOptions::default() };
        let registry = FakeRegistry::with(fake).await;
        image().put(&registry, REPOSITORY, "1");
        indexed(index(&registry, "1", &options(Version::V1)).await);
        assert_eq!(told(&list(&registry, None, 100).await), [("1", "indexed")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_is_looked_at_and_where_to_go_on_is_said() {
    let registry = some_of_each(true).await;
    let all = told(&list(&registry, None, 100).await).len();
    registry.clear_requests();
    let first = list(&registry, None, 4).await;
    assert!(registry.requests().len() < 60, "{}", registry.requests().len());
    assert!(registry.requests_of(RequestKind::BlobGet).len() <= 2, "no ztoc and no layer");
    let mut seen = first.images.len();
    let mut after = first.more_after;
    while let Some(tag) = after {
        let next = list(&registry, Some(tag.as_str()), 4).await;
        seen += next.images.len();
        after = next.more_after;
    }
    assert_eq!(seen, all);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_had_is_an_error() {
    let registry = some_of_each(true).await;
    registry.quirk(Quirk::on(RequestKind::Tags, Effect::status(403)).always());
    let error = list_images(&store(&registry), None, 4, &Options::default()).await.unwrap_err();
    assert!(matches!(error, ListError::Tags(_)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn an_image_that_nobody_may_read_is_not_told_as_none() {
    let registry = FakeRegistry::start().await;
    for tag in ["read", "secret"] {
        image().put(&registry, REPOSITORY, tag);
    }
    let secret = Quirk::on(RequestKind::ManifestGet, Effect::status(403)).path("/secret");
    registry.quirk(secret.always());
    let list = list(&registry, None, 4).await;
    assert_eq!(told(&list), [("read", "not indexed"), ("secret", "unknown")]);
}
