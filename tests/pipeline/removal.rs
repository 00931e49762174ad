//! What goes when an image was deleted, and what never does.

use std::collections::HashSet;
use std::sync::Mutex;

use serde_json::{Value, json};
use soci_indexer::{DeletedImage, Options, PruneError, Reason, Removed, WhyKept, remove_result};
use soci_manifest::Version;
use soci_oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use soci_oci::{Digest, Repository, Tag, TagOrDigest};
use soci_registry::{OwnApi, OwnApiError, OwnApiFuture};
use soci_registry_server::testing::{Effect, FakeRegistry, Quirk, RequestKind};
use soci_tests::{TestImage, gzip_layer};

use crate::support::{REPOSITORY, image, index, indexed, options, store};

/// What happens between two looks.
type Between = Box<dyn FnOnce(&FakeRegistry) + Send>;

/// The API of ECR on the images of a fake registry: it knows all tags, and refuses to delete what an image index lists.
struct FakeApi<'a> {
    registry: &'a FakeRegistry,
    /// What happens directly before the second look.
    between: Mutex<Option<Between>>,
    /// What every deletion fails with: whether that may pass.
    failing: Option<bool>,
}

impl std::fmt::Debug for FakeApi<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeApi")
    }
}

fn on(registry: &FakeRegistry) -> FakeApi<'_> {
    FakeApi { registry, between: Mutex::default(), failing: None }
}

impl FakeApi<'_> {
    fn tags(&self, digest: Digest) -> Vec<Tag> {
        let tags = self.registry.tags(REPOSITORY).into_iter();
        tags.filter(|(_, named)| *named == digest).map(|(tag, _)| tag.parse().unwrap()).collect()
    }

    /// Everything that an image index lists.
    fn listed(&self) -> HashSet<Digest> {
        let mut listed = HashSet::new();
        for digest in self.registry.manifests(REPOSITORY) {
            let (_, bytes) = self.registry.manifest(REPOSITORY, &digest.into()).unwrap();
            let document: Value = serde_json::from_slice(&bytes).unwrap();
            for entry in document["manifests"].as_array().into_iter().flatten() {
                listed.insert(entry["digest"].as_str().unwrap().parse().unwrap());
            }
        }
        listed
    }
}

impl OwnApi for FakeApi<'_> {
    fn tags_of<'a>(
        &'a self,
        _: &'a Repository,
        digests: &'a [Digest],
    ) -> OwnApiFuture<'a, Vec<(Digest, Vec<Tag>)>> {
        let there = self.registry.manifests(REPOSITORY);
        let there = digests.iter().filter(|digest| there.contains(digest));
        let tags = there.map(|digest| (*digest, self.tags(*digest))).collect();
        // The last thing of a look at a converted image, and nearly of one at SOCI indexes.
        if digests.len() > 1
            && let Some(between) = self.between.lock().unwrap().take()
        {
            between(self.registry);
        }
        Box::pin(async { Ok(tags) })
    }

    fn delete<'a>(
        &'a self,
        _: &'a Repository,
        images: &'a [(Digest, Vec<Tag>)],
    ) -> OwnApiFuture<'a, Vec<(Digest, String)>> {
        if let Some(transient) = self.failing {
            let what = "it fails".to_owned();
            return Box::pin(async move { Err(OwnApiError { what, transient, source: None }) });
        }
        let mut refused = Vec::new();
        for (digest, tags) in images {
            if self.listed().contains(digest) {
                refused.push((*digest, "ImageReferencedByManifestList".to_owned()));
                continue;
            }
            assert_eq!(self.tags(*digest), *tags, "another tag would go with it");
            self.registry.remove_manifest(REPOSITORY, digest);
        }
        Box::pin(async { Ok(refused) })
    }
}

/// An image that shares a platform's manifest with `image()`.
fn other() -> TestImage {
    let layers = [gzip_layer(1, 1 << 20), gzip_layer(7, 300_000)];
    TestImage::index(&[("linux/arm64", &layers[..1]), ("linux/s390x", &layers[1..])])
}

/// A registry with an image under `1`, which is indexed, and another one under `2`, which is too.
async fn two_indexed(version: Version) -> FakeRegistry {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    other().put(&registry, REPOSITORY, "2");
    for tag in ["1", "2"] {
        indexed(index(&registry, tag, &options(version)).await);
    }
    registry
}

fn tagged(registry: &FakeRegistry, tag: &str) -> Option<Digest> {
    registry.tags(REPOSITORY).into_iter().find(|(name, _)| name == tag).map(|(_, digest)| digest)
}

async fn remove(
    api: &FakeApi<'_>,
    (digest, tag): (Digest, Option<&str>),
    version: Version,
) -> Result<Removed, PruneError> {
    let image = DeletedImage { digest, tag: tag.map(|tag| tag.parse().unwrap()) };
    let named = api.registry.repository(REPOSITORY);
    let store = store(api.registry);
    let of = (version, "-soci");
    remove_result(&store, &named, api, &image, of, &Options::default()).await
}

/// Deletes tag `1` and what was its result.
async fn after_tag(api: &FakeApi<'_>) -> Result<Removed, PruneError> {
    let digest = tagged(api.registry, "1").unwrap_or_else(|| Digest::sha256_of(b"gone"));
    api.registry.remove_tag(REPOSITORY, "1");
    remove(api, (digest, Some("1")), Version::V2).await
}

fn deleted(removed: Result<Removed, PruneError>) -> (usize, usize, usize) {
    match removed.unwrap() {
        Removed::Deleted(deleted) => {
            (deleted.deleted.len(), deleted.failed.len(), deleted.left.len())
        }
        other => panic!("{other}"),
    }
}

async fn verifies(registry: &FakeRegistry, target: TagOrDigest) -> bool {
    let budget = soci_indexer::Budget::new(std::num::NonZeroUsize::MIN, 256 << 20);
    soci_indexer::verify_image(&store(registry), &target, &budget).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn the_result_of_a_tag_that_went_goes_with_its_parts_and_leaves_what_others_list() {
    let registry = two_indexed(Version::V2).await;
    let before = registry.manifests(REPOSITORY).len();
    // Two manifests and their SOCI indexes; one of each is in the other image as well, and stays.
    let removed = after_tag(&on(&registry)).await;
    assert_eq!(deleted(removed), (3, 1, 1));
    assert!(tagged(&registry, "1-soci").is_none());
    assert_eq!(registry.manifests(REPOSITORY).len(), before - 3);
    assert!(verifies(&registry, TagOrDigest::Tag("2-soci".parse().unwrap())).await);
    // The same event may come twice.
    assert!(matches!(after_tag(&on(&registry)).await.unwrap(), Removed::NoResult));
    // Without the other one everything goes that was made.
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    let before = registry.manifests(REPOSITORY);
    indexed(index(&registry, "1", &options(Version::V2)).await);
    assert_eq!(deleted(after_tag(&on(&registry)).await), (5, 0, 0));
    assert_eq!(registry.manifests(REPOSITORY), before);
}

#[tokio::test(start_paused = true)]
async fn the_result_of_an_image_with_two_tags_goes_with_the_last() {
    let registry = FakeRegistry::start().await;
    for tag in ["1", "2"] {
        image().put(&registry, REPOSITORY, tag);
        indexed(index(&registry, tag, &options(Version::V2)).await);
    }
    assert_eq!(tagged(&registry, "1-soci"), tagged(&registry, "2-soci"));
    for (tag, goes) in [("1", false), ("2", true)] {
        registry.remove_tag(REPOSITORY, tag);
        let removed = remove(&on(&registry), (image().digest(), Some(tag)), Version::V2).await;
        if goes {
            assert_eq!(deleted(removed), (5, 0, 0));
        } else {
            assert!(matches!(removed.unwrap(), Removed::Kept(WhyKept::Needed)));
        }
    }
    assert!(registry.tags(REPOSITORY).is_empty());
    // Nor does it go while its other tag is that of another image, whose job replaces it.
    for tag in ["1", "2"] {
        image().put(&registry, REPOSITORY, tag);
        indexed(index(&registry, tag, &options(Version::V2)).await);
    }
    TestImage::single("linux/amd64", &[gzip_layer(9, 200_000)]).put(&registry, REPOSITORY, "2");
    let removed = after_tag(&on(&registry)).await.unwrap();
    assert!(matches!(removed, Removed::Kept(WhyKept::Needed)), "{removed}");
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_pushed_again_keeps_its_result_also_between_two_looks() {
    let registry = two_indexed(Version::V2).await;
    let before = registry.tags(REPOSITORY);
    let gone = Digest::sha256_of(b"gone");
    let removed = remove(&on(&registry), (gone, Some("1")), Version::V2).await.unwrap();
    assert!(matches!(removed, Removed::ImageBack), "{removed}");
    // The same tag with another image: that has a job of its own.
    let newer = TestImage::single("linux/amd64", &[gzip_layer(9, 200_000)]);
    for again in [image(), newer] {
        let api = on(&registry);
        let push = move |registry: &FakeRegistry| {
            again.put(registry, REPOSITORY, "1");
        };
        *api.between.lock().unwrap() = Some(Box::new(push));
        let removed = after_tag(&api).await.unwrap();
        assert!(matches!(removed, Removed::ImageBack), "{removed}");
        assert!(api.between.into_inner().unwrap().is_none(), "it came back in between");
    }
    let names =
        |tags: &[(String, Digest)]| tags.iter().map(|(tag, _)| tag.clone()).collect::<HashSet<_>>();
    assert_eq!(names(&registry.tags(REPOSITORY)), names(&before));
}

fn artifact(subject: Digest) -> Value {
    let (kind, config) = ("application/x", Digest::sha256_of(b"{}").to_string());
    json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": { "mediaType": kind, "digest": config, "size": 2 }, "layers": [],
        "subject": { "mediaType": OCI_INDEX, "digest": subject.to_string(), "size": 1 },
    })
}

/// Puts something into the repository that has to do with the result.
type Disturb = fn(&FakeRegistry, Digest);

#[tokio::test(start_paused = true)]
async fn what_something_else_needs_stays() {
    let disturbances: [(&str, Disturb); 3] = [
        ("another tag", |registry, root| {
            let (kind, bytes) = registry.manifest(REPOSITORY, &root.into()).unwrap();
            registry.put_manifest(REPOSITORY, Some("prod"), &kind, bytes);
        }),
        ("a signature", |registry, root| {
            registry.put_blob(REPOSITORY, b"{}".to_vec());
            registry.put_manifest(REPOSITORY, None, OCI_MANIFEST, artifact(root).to_string());
        }),
        ("a signature under a tag", |registry, root| {
            registry.put_blob(REPOSITORY, b"{}".to_vec());
            let tag = format!("sha256-{}.sig", root.hex());
            let signature = artifact(Digest::sha256_of(b"")).to_string();
            registry.put_manifest(REPOSITORY, Some(&tag), OCI_MANIFEST, signature);
        }),
    ];
    for (what, disturb) in disturbances {
        let registry = two_indexed(Version::V2).await;
        disturb(&registry, tagged(&registry, "1-soci").unwrap());
        let before = registry.manifests(REPOSITORY);
        let removed = after_tag(&on(&registry)).await.unwrap();
        assert!(matches!(removed, Removed::Kept(WhyKept::Needed)), "{what}: {removed}");
        assert_eq!(registry.manifests(REPOSITORY), before, "{what}");
    }
    // What an image index lists is refused, and its parts are left.
    let registry = two_indexed(Version::V2).await;
    let root = tagged(&registry, "1-soci").unwrap();
    let entry = json!({ "mediaType": OCI_INDEX, "digest": root.to_string(), "size": 1 });
    let all = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] });
    registry.put_manifest(REPOSITORY, None, OCI_INDEX, all.to_string());
    assert_eq!(deleted(after_tag(&on(&registry)).await), (0, 1, 4));
}

#[tokio::test(start_paused = true)]
async fn what_was_not_made_here_stays_whatever_its_tag() {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1-soci");
    let before = registry.manifests(REPOSITORY);
    let removed = after_tag(&on(&registry)).await.unwrap();
    assert!(matches!(removed, Removed::Kept(_)), "{removed}");
    assert_eq!(registry.manifests(REPOSITORY), before);
}

#[tokio::test(start_paused = true)]
async fn soci_indexes_go_with_the_manifest_they_refer_to() {
    let registry = two_indexed(Version::V1).await;
    let image = image();
    let manifest = Digest::sha256_of(&image.manifests[0].1);
    let there = remove(&on(&registry), (manifest, None), Version::V1).await.unwrap();
    assert!(matches!(there, Removed::ImageBack), "{there}");
    registry.remove_tag(REPOSITORY, "1");
    registry.remove_manifest(REPOSITORY, &manifest);
    registry.put_blob(REPOSITORY, b"{}".to_vec());
    let signature = artifact(manifest).to_string();
    let signature = registry.put_manifest(REPOSITORY, None, OCI_MANIFEST, signature);
    let before = registry.manifests(REPOSITORY).len();
    assert_eq!(deleted(remove(&on(&registry), (manifest, None), Version::V1).await), (1, 0, 0));
    let after = registry.manifests(REPOSITORY);
    assert_eq!(after.len(), before - 1);
    assert!(after.contains(&signature), "it is somebody else's");
    assert!(verifies(&registry, TagOrDigest::Tag("2".parse().unwrap())).await);
    let again = remove(&on(&registry), (manifest, None), Version::V1).await.unwrap();
    assert!(matches!(again, Removed::NoResult), "{again}");
}

#[tokio::test(start_paused = true)]
async fn what_fails_says_whether_it_may_pass_and_deletes_nothing() {
    let registry = two_indexed(Version::V2).await;
    let before = registry.manifests(REPOSITORY);
    for (transient, reason) in [(true, Reason::RegistryUnavailable), (false, Reason::Unauthorized)]
    {
        let api = FakeApi { failing: Some(transient), ..on(&registry) };
        assert_eq!(after_tag(&api).await.unwrap_err().reason(), reason);
    }
    let denied = [RequestKind::ManifestHead, RequestKind::ManifestGet];
    let denied = denied.map(|kind| Quirk::on(kind, Effect::status(403)).always());
    let orders = denied.map(|denied| registry.quirk(denied));
    let error = after_tag(&on(&registry)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Unauthorized, "{error}");
    for order in orders {
        registry.lift(order);
    }
    assert_eq!(registry.manifests(REPOSITORY), before);
}
