//! What is cleaned up, and what never is.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};
use soci_indexer::{
    Budget, Deleted, LeftoverKind, Leftovers, ListedManifest, Options, PruneError, PruneSettings,
    RegistryDeleter, RepositoryListing, WhyKept, WhyLeftover, delete_leftovers, find_leftovers,
    verify_image,
};
use soci_manifest::Version;
use soci_oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use soci_oci::{Digest, TagOrDigest};
use soci_registry_server::testing::{Effect, FakeOptions, FakeRegistry, Quirk, RequestKind};
use soci_tests::{TestImage, TestLayer, gzip_layer};

use crate::support::{REPOSITORY, image, index, indexed, options, store};

const DAY: Duration = Duration::from_hours(24);

/// What a registry knows that lists everything, as ECR does.
fn all_of(registry: &FakeRegistry, age: Duration) -> RepositoryListing {
    let tags = registry.tags(REPOSITORY);
    let listed = |digest: Digest| ListedManifest {
        digest,
        tags: tags
            .iter()
            .filter(|(_, named)| *named == digest)
            .map(|(tag, _)| tag.parse().unwrap())
            .collect(),
        age: Some(age),
    };
    let manifests = registry.manifests(REPOSITORY).into_iter().map(listed).collect();
    RepositoryListing { manifests, complete: true }
}

/// How a repository is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    /// Everything in it, with ages.
    All,
    /// Its tags.
    Tags,
}

const LISTINGS: [Listing; 2] = [Listing::All, Listing::Tags];

async fn find(registry: &FakeRegistry, listing: Listing) -> Result<Leftovers, PruneError> {
    find_with(registry, listing, &settings(listing)).await
}

fn settings(listing: Listing) -> PruneSettings {
    PruneSettings { unknown_age: listing == Listing::Tags, ..PruneSettings::default() }
}

async fn find_with(
    registry: &FakeRegistry,
    listing: Listing,
    settings: &PruneSettings,
) -> Result<Leftovers, PruneError> {
    let store = store(registry);
    let listing = match listing {
        Listing::All => all_of(registry, 2 * DAY),
        Listing::Tags => RepositoryListing::of_tags(&store).await?,
    };
    find_leftovers(&store, &listing, settings, &Options::default()).await
}

async fn prune(registry: &FakeRegistry, listing: Listing) -> Deleted {
    let first = find(registry, listing).await.unwrap();
    let second = find(registry, listing).await.unwrap();
    let agreed = first.clone().agreed(&second);
    assert_eq!(agreed.leftovers, first.leftovers);
    delete_leftovers(&RegistryDeleter(store(registry)), &agreed.leftovers).await
}

/// How many of each kind.
fn kinds(leftovers: &Leftovers) -> Vec<(LeftoverKind, usize)> {
    let mut kinds: Vec<(LeftoverKind, usize)> = Vec::new();
    for leftover in &leftovers.leftovers {
        match kinds.iter_mut().find(|(kind, _)| *kind == leftover.kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((leftover.kind, 1)),
        }
    }
    kinds
}

async fn verifies(registry: &FakeRegistry, target: TagOrDigest) -> bool {
    let budget = Budget::new(std::num::NonZeroUsize::MIN, 256 << 20);
    verify_image(&store(registry), &target, &budget).await.is_ok()
}

fn tagged(registry: &FakeRegistry, tag: &str) -> Option<Digest> {
    registry.tags(REPOSITORY).into_iter().find(|(name, _)| name == tag).map(|(_, digest)| digest)
}

/// An image that shares a layer with `image()`.
fn other() -> TestImage {
    let layers = [gzip_layer(1, 1 << 20), gzip_layer(7, 300_000)];
    TestImage::index(&[("linux/amd64", &layers), ("linux/s390x", &layers[1..])])
}

/// A registry with an image under `1`, which is indexed, and another one under `2`, which is too.
async fn two_indexed(version: Version, referrers_api: bool) -> FakeRegistry {
    let fake = FakeOptions { referrers_api, ..FakeOptions::default() };
    let registry = FakeRegistry::with(fake).await;
    image().put(&registry, REPOSITORY, "1");
    other().put(&registry, REPOSITORY, "2");
    for tag in ["1", "2"] {
        indexed(index(&registry, tag, &options(version)).await);
    }
    registry
}

#[tokio::test(start_paused = true)]
async fn what_is_in_use_stays() {
    for version in [Version::V1, Version::V2] {
        for referrers_api in [true, false] {
            for listing in LISTINGS {
                let registry = two_indexed(version, referrers_api).await;
                let found = find(&registry, listing).await.unwrap();
                assert!(found.leftovers.is_empty() && found.kept.is_empty(), "{found:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_result_of_a_tag_that_is_gone_or_has_moved_goes_with_all_that_was_only_its_own() {
    for moved in [false, true] {
        for listing in LISTINGS {
            let registry = two_indexed(Version::V2, true).await;
            if moved {
                let newer = TestImage::single("linux/amd64", &[gzip_layer(9, 200_000)]);
                newer.put(&registry, REPOSITORY, "1");
            } else {
                registry.remove_tag(REPOSITORY, "1");
            }
            let found = find(&registry, listing).await.unwrap();
            let why = &found.leftovers[0].why;
            let tag = "1".parse().unwrap();
            let expected =
                if moved { WhyLeftover::TagMoved(tag) } else { WhyLeftover::TagGone(tag) };
            assert_eq!(*why, expected, "{listing:?}");
            assert!(found.bytes() > 32 << 10, "its ztocs count: {}", found.bytes());
            let mut expected = vec![(LeftoverKind::ConvertedImage, 1)];
            if listing == Listing::All {
                expected.push((LeftoverKind::ConvertedManifest, 2));
                expected.push((LeftoverKind::SociIndex(Version::V2), 2));
            }
            assert_eq!(kinds(&found), expected);
            let deleted = prune(&registry, listing).await;
            assert_eq!((deleted.failed.len(), deleted.left.len()), (0, 0));
            assert!(tagged(&registry, "1-soci").is_none());
            assert!(verifies(&registry, TagOrDigest::Tag("2-soci".parse().unwrap())).await);
            assert!(find(&registry, listing).await.unwrap().leftovers.is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn soci_indexes_of_a_manifest_that_is_gone_go_where_they_can_be_found() {
    for referrers_api in [true, false] {
        for listing in LISTINGS {
            let registry = two_indexed(Version::V1, referrers_api).await;
            let image = image();
            for (_, bytes) in &image.manifests {
                registry.remove_manifest(REPOSITORY, &Digest::sha256_of(bytes));
            }
            let found = find(&registry, listing).await.unwrap();
            let lists = (LeftoverKind::ReferrersList, 2);
            let indexes = (LeftoverKind::SociIndex(Version::V1), 2);
            let expected = match (referrers_api, listing) {
                (true, Listing::All) => vec![indexes],
                // Nothing lists them.
                (true, Listing::Tags) => vec![],
                (false, _) => vec![lists, indexes],
            };
            assert_eq!(kinds(&found), expected, "{referrers_api} {listing:?}");
            prune(&registry, listing).await;
            assert!(verifies(&registry, TagOrDigest::Tag("2".parse().unwrap())).await);
            assert!(find(&registry, listing).await.unwrap().leftovers.is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_publish_left_goes_when_it_is_old() {
    let registry = two_indexed(Version::V2, true).await;
    let root = tagged(&registry, "1-soci").unwrap();
    registry.remove_manifest(REPOSITORY, &root);
    let young = PruneSettings { older_than: 3 * DAY, ..PruneSettings::default() };
    assert!(find_with(&registry, Listing::All, &young).await.unwrap().leftovers.is_empty());
    let found = find(&registry, Listing::All).await.unwrap();
    assert_eq!(
        kinds(&found),
        [(LeftoverKind::ConvertedManifest, 2), (LeftoverKind::SociIndex(Version::V2), 2)]
    );
    assert!(found.leftovers.iter().all(|leftover| leftover.why == WhyLeftover::NotNamed));
    prune(&registry, Listing::All).await;
    indexed(index(&registry, "1", &options(Version::V2)).await);
    assert!(verifies(&registry, TagOrDigest::Tag("1-soci".parse().unwrap())).await);
}

#[tokio::test(start_paused = true)]
async fn a_result_without_a_tag_stays_with_its_image_and_goes_after_it() {
    let registry = two_indexed(Version::V2, true).await;
    registry.remove_tag(REPOSITORY, "1-soci");
    registry.remove_tag(REPOSITORY, "1");
    assert!(find(&registry, Listing::All).await.unwrap().leftovers.is_empty());
    for (_, bytes) in &image().manifests {
        registry.remove_manifest(REPOSITORY, &Digest::sha256_of(bytes));
    }
    let found = find(&registry, Listing::All).await.unwrap();
    assert_eq!(found.leftovers[0].why, WhyLeftover::NoImage);
    assert_eq!(found.leftovers.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_result_of_an_image_without_a_tag_belongs_to_its_digest() {
    for listing in LISTINGS {
        let registry = FakeRegistry::start().await;
        let digest = image().put(&registry, REPOSITORY, "1");
        registry.remove_tag(REPOSITORY, "1");
        let name = soci_indexer::ImageName::from(digest);
        let store = store(&registry);
        indexed(soci_indexer::index_image(&store, &name, &options(Version::V2)).await);
        assert!(find(&registry, listing).await.unwrap().leftovers.is_empty());
        registry.remove_manifest(REPOSITORY, &digest);
        let found = find(&registry, listing).await.unwrap();
        assert_eq!(found.leftovers[0].why, WhyLeftover::ImageGone(digest));
    }
}

/// Puts something into the repository that has to do with the result.
type Disturb = fn(&FakeRegistry, Digest);

fn index_of(digest: Digest) -> Value {
    let entry = json!({ "mediaType": OCI_INDEX, "digest": digest.to_string(), "size": 1 });
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] })
}

fn artifact(subject: Digest) -> Value {
    let (kind, config) = ("application/x", Digest::sha256_of(b"{}").to_string());
    json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": { "mediaType": kind, "digest": config, "size": 2 }, "layers": [],
        "subject": { "mediaType": OCI_INDEX, "digest": subject.to_string(), "size": 1 },
    })
}

#[tokio::test(start_paused = true)]
async fn what_something_else_needs_stays() {
    let disturbances: [(&str, Disturb, &[Listing]); 5] = [
        (
            "another tag",
            |registry, root| {
                let (kind, bytes) = registry.manifest(REPOSITORY, &root.into()).unwrap();
                registry.put_manifest(REPOSITORY, Some("prod"), &kind, bytes);
            },
            &LISTINGS,
        ),
        (
            "a signature",
            |registry, root| {
                registry.put_blob(REPOSITORY, b"{}".to_vec());
                registry.put_manifest(REPOSITORY, None, OCI_MANIFEST, artifact(root).to_string());
            },
            &LISTINGS,
        ),
        (
            "a signature under a tag",
            |registry, root| {
                let tag = format!("sha256-{}.sig", root.hex());
                let image = artifact(Digest::sha256_of(b"")).to_string();
                registry.put_manifest(REPOSITORY, Some(&tag), OCI_MANIFEST, image);
            },
            &LISTINGS,
        ),
        (
            "an image index with a tag",
            |registry, root| {
                let index = index_of(root).to_string();
                registry.put_manifest(REPOSITORY, Some("all"), OCI_INDEX, index);
            },
            &LISTINGS,
        ),
        (
            "an image index without one",
            |registry, root| {
                registry.put_manifest(REPOSITORY, None, OCI_INDEX, index_of(root).to_string());
            },
            // Nothing tells of it elsewhere.
            &[Listing::All],
        ),
    ];
    for (what, disturb, listings) in disturbances {
        for listing in listings {
            let registry = two_indexed(Version::V2, true).await;
            registry.remove_tag(REPOSITORY, "1");
            disturb(&registry, tagged(&registry, "1-soci").unwrap());
            let found = find(&registry, *listing).await.unwrap();
            assert!(found.leftovers.is_empty(), "{what} {listing:?}: {:?}", found.leftovers);
            let kept = found.kept.first().map(|kept| kept.why.clone());
            if what != "another tag" {
                assert_eq!(kept, Some(WhyKept::Needed), "{what} {listing:?}");
            }
        }
    }
    // What lists a part keeps that part and what it names.
    let registry = two_indexed(Version::V2, true).await;
    registry.remove_tag(REPOSITORY, "1");
    let root = registry.manifest(REPOSITORY, &tagged(&registry, "1-soci").unwrap().into()).unwrap();
    let root: Value = serde_json::from_slice(&root.1).unwrap();
    let part: Digest = root["manifests"][0]["digest"].as_str().unwrap().parse().unwrap();
    registry.put_manifest(REPOSITORY, None, OCI_INDEX, index_of(part).to_string());
    let found = find(&registry, Listing::All).await.unwrap();
    assert_eq!(found.leftovers.len(), 3);
    assert!(found.leftovers.iter().all(|leftover| leftover.digest != part));
}

#[tokio::test(start_paused = true)]
async fn what_was_not_made_here_stays_whatever_its_tag() {
    for listing in LISTINGS {
        let registry = FakeRegistry::start().await;
        // Each under a tag that could be a result's, of an image that is not there.
        image().put(&registry, REPOSITORY, "1-soci");
        TestImage::single("linux/amd64", &[gzip_layer(1, 9_000)])
            .put(&registry, REPOSITORY, "2-soci");
        TestImage::artifact("application/x").put(&registry, REPOSITORY, "3-soci");
        let soci = Version::V2.artifact_type();
        let entry = json!({ "mediaType": OCI_MANIFEST, "digest": Digest::sha256_of(b"x").to_string(), "size": 1, "artifactType": soci });
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] });
        registry.put_manifest(REPOSITORY, Some("4-soci"), OCI_INDEX, index.to_string());
        let list = format!("sha256-{}", "a".repeat(64));
        registry.put_manifest(
            REPOSITORY,
            Some(&list),
            OCI_INDEX,
            index_of(image().digest()).to_string(),
        );
        let found = find(&registry, listing).await.unwrap();
        assert!(found.leftovers.is_empty() && found.kept.is_empty(), "{found:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_young_goes_and_nothing_of_unknown_age_unless_asked() {
    let registry = two_indexed(Version::V2, true).await;
    registry.remove_tag(REPOSITORY, "1");
    let found = find_with(&registry, Listing::Tags, &PruneSettings::default()).await.unwrap();
    assert!(found.leftovers.is_empty());
    assert_eq!(found.kept[0].why, WhyKept::UnknownAge);
    let young = PruneSettings { older_than: 3 * DAY, ..PruneSettings::default() };
    let found = find_with(&registry, Listing::All, &young).await.unwrap();
    assert!(found.leftovers.is_empty());
    assert_eq!(found.kept[0].why, WhyKept::Young);
    // An image that was pushed just now may get its result in a moment.
    let newer = TestImage::single("linux/amd64", &[gzip_layer(9, 200_000)]);
    let newer = newer.put(&registry, REPOSITORY, "1");
    let mut listing = all_of(&registry, 2 * DAY);
    let entry = listing.manifests.iter_mut().find(|listed| listed.digest == newer).unwrap();
    entry.age = Some(Duration::from_mins(5));
    let (store, settings) = (store(&registry), PruneSettings::default());
    let found = find_leftovers(&store, &listing, &settings, &Options::default()).await.unwrap();
    assert!(found.leftovers.is_empty());
    assert_eq!(found.kept[0].why, WhyKept::Young);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_is_taken_for_its_own_list_refers_to_nothing() {
    let registry = two_indexed(Version::V2, false).await;
    registry.behave("tag-is-digest");
    registry.remove_tag(REPOSITORY, "1");
    assert_eq!(find(&registry, Listing::Tags).await.unwrap().leftovers.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_listed_and_not_given_may_need_anything() {
    let registry = two_indexed(Version::V2, true).await;
    registry.remove_tag(REPOSITORY, "1");
    let (store, settings) = (store(&registry), PruneSettings::default());
    let mut listing = all_of(&registry, 2 * DAY);
    let digest = Digest::sha256_of(b"of a kind that nobody knows");
    listing.manifests.push(ListedManifest { digest, tags: Vec::new(), age: None });
    let error = find_leftovers(&store, &listing, &settings, &Options::default()).await;
    assert!(matches!(error, Err(PruneError::NotThere { .. })), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_result_whose_image_lacks_a_manifest_stays() {
    for listing in LISTINGS {
        let registry = two_indexed(Version::V2, true).await;
        registry.remove_manifest(REPOSITORY, &Digest::sha256_of(&image().manifests[0].1));
        let found = find(&registry, listing).await.unwrap();
        assert!(found.leftovers.is_empty(), "{:?}", found.leftovers);
        assert!(matches!(found.kept[0].why, WhyKept::Unclear(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_may_need_anything() {
    for listing in LISTINGS {
        let registry = two_indexed(Version::V2, true).await;
        registry.remove_tag(REPOSITORY, "1");
        registry.put_manifest(REPOSITORY, Some("broken"), OCI_INDEX, "{");
        let error = find(&registry, listing).await.unwrap_err();
        assert!(matches!(error, PruneError::Document { .. }), "{error:?}");
        // Something else that is broken lists nothing.
        registry.put_manifest(REPOSITORY, Some("broken"), "application/x", "{");
        registry.remove_manifest(REPOSITORY, &Digest::sha256_of(b"{"));
        assert!(!find(&registry, listing).await.unwrap().leftovers.is_empty());
        let order =
            registry.quirk(Quirk::on(RequestKind::ManifestGet, Effect::status(403)).always());
        find(&registry, listing).await.unwrap_err();
        registry.lift(order);
        if listing == Listing::Tags {
            registry.quirk(Quirk::on(RequestKind::Tags, Effect::status(403)).always());
            let error = find(&registry, listing).await.unwrap_err();
            assert!(matches!(error, PruneError::Tags(_)), "{error:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_back_between_two_looks_stays() {
    for listing in LISTINGS {
        let registry = two_indexed(Version::V2, true).await;
        registry.remove_tag(REPOSITORY, "1");
        let first = find(&registry, listing).await.unwrap();
        assert!(!first.leftovers.is_empty());
        image().put(&registry, REPOSITORY, "1");
        let second = find(&registry, listing).await.unwrap();
        assert!(first.agreed(&second).leftovers.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_registry_does_not_delete_is_told_and_its_parts_stay() {
    let registry = two_indexed(Version::V2, true).await;
    registry.remove_tag(REPOSITORY, "1");
    let before = registry.manifests(REPOSITORY);
    let order =
        registry.quirk(Quirk::on(RequestKind::ManifestDelete, Effect::status(405)).always());
    let result = prune(&registry, Listing::All).await;
    assert_eq!((result.deleted.len(), result.failed.len(), result.left.len()), (0, 1, 4));
    assert!(result.failed[0].1.hopeless && result.failed[0].1.reason.contains("deletes nothing"));
    registry.lift(order);
    // One that is refused keeps what it lists.
    let order = registry.quirk(Quirk::on(RequestKind::ManifestDelete, Effect::status(403)));
    let result = prune(&registry, Listing::All).await;
    assert_eq!((result.deleted.len(), result.failed.len(), result.left.len()), (0, 1, 4));
    assert_eq!(registry.manifests(REPOSITORY), before);
    registry.lift(order);
    assert_eq!(prune(&registry, Listing::All).await.deleted.len(), 5);
}

/// The tags of a chance history.
const TAGS: [&str; 3] = ["1", "2", "3"];

/// A repository as a chance history has left it, and what is known of it from there.
struct History {
    registry: FakeRegistry,
    layers: Vec<TestLayer>,
    /// Manifests that were written by indexing.
    made: HashSet<Digest>,
    /// The image that a result was made of.
    image_of: HashMap<Digest, Digest>,
}

impl History {
    async fn random(seed: u64, layers: &[TestLayer]) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let fake = FakeOptions { referrers_api: random.bool(), ..FakeOptions::default() };
        let registry = FakeRegistry::with(fake).await;
        let layers = layers.to_vec();
        let mut history = Self { registry, layers, made: HashSet::new(), image_of: HashMap::new() };
        for tag in TAGS {
            history.push(tag, &mut random);
            history.index(tag, &mut random).await;
        }
        for _ in 0..6 {
            history.step(&mut random).await;
        }
        history
    }

    /// One of a few images.
    fn push(&self, tag: &str, random: &mut fastrand::Rng) {
        let layers = [self.layers[random.usize(..3)].clone(), self.layers[3].clone()];
        let platforms: &[(&str, &[_])] = &[("linux/amd64", &layers), ("linux/arm64", &layers[1..])];
        let image = if random.bool() {
            TestImage::index(platforms)
        } else {
            TestImage::single("linux/amd64", &layers)
        };
        image.put(&self.registry, REPOSITORY, tag);
    }

    async fn index(&mut self, tag: &str, random: &mut fastrand::Rng) {
        let version = if random.u8(..4) == 0 { Version::V1 } else { Version::V2 };
        let mut options = options(version);
        options.settings.span_size = [8 << 10, 4 << 10][random.usize(..2)];
        let before: HashSet<Digest> = self.registry.manifests(REPOSITORY).into_iter().collect();
        // An image that has lost a part may fail.
        if let Ok(report) = index(&self.registry, tag, &options).await {
            self.image_of.insert(report.index, report.image);
            let after = self.registry.manifests(REPOSITORY).into_iter();
            self.made.extend(after.filter(|digest| !before.contains(digest)));
        }
    }

    async fn step(&mut self, random: &mut fastrand::Rng) {
        let manifests = self.registry.manifests(REPOSITORY);
        let tags = self.registry.tags(REPOSITORY);
        let tag = TAGS[random.usize(..TAGS.len())];
        match random.u8(..10) {
            0 | 1 => self.push(tag, random),
            2 => self.index(tag, random).await,
            3..=5 => self.registry.remove_tag(REPOSITORY, tag),
            6 if !tags.is_empty() => {
                self.registry.remove_tag(REPOSITORY, &tags[random.usize(..tags.len())].0);
            }
            7 if !manifests.is_empty() => {
                let manifest = &manifests[random.usize(..manifests.len())];
                self.registry.remove_manifest(REPOSITORY, manifest);
            }
            8 if !manifests.is_empty() => {
                let digest = manifests[random.usize(..manifests.len())];
                let document = if random.bool() { artifact(digest) } else { index_of(digest) };
                let kind = document["mediaType"].as_str().unwrap().to_owned();
                let tag = random.bool().then_some("other");
                self.registry.put_manifest(REPOSITORY, tag, &kind, document.to_string());
            }
            9 if !tags.is_empty() => {
                let digest = tags[random.usize(..tags.len())].1;
                if let Some((kind, bytes)) = self.registry.manifest(REPOSITORY, &digest.into()) {
                    self.registry.put_manifest(REPOSITORY, Some("prod"), &kind, bytes);
                }
            }
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_happened_in_a_repository_what_remains_is_whole() {
    let mut deleted = 0;
    let layers = [1, 2, 3, 4].map(|seed| gzip_layer(seed, 20_000));
    for seed in 0..24 {
        let history = History::random(seed, &layers).await;
        let registry = &history.registry;
        let listing = LISTINGS[usize::try_from(seed % 2).unwrap()];
        let before = registry.manifests(REPOSITORY);
        let tags: HashMap<String, Digest> = registry.tags(REPOSITORY).into_iter().collect();
        let mut verified = Vec::new();
        let roots: HashSet<&Digest> = tags.values().chain(history.image_of.keys()).collect();
        for digest in before.iter().filter(|digest| roots.contains(digest)) {
            if verifies(registry, (*digest).into()).await {
                verified.push(*digest);
            }
        }
        let document = |digest: &Digest| {
            let (_, bytes) = registry.manifest(REPOSITORY, &(*digest).into())?;
            serde_json::from_slice::<Value>(&bytes).ok()
        };
        let documents: HashMap<Digest, Value> =
            before.iter().filter_map(|digest| Some((*digest, document(digest)?))).collect();
        let result = prune(registry, listing).await;
        assert!(result.failed.is_empty() && result.left.is_empty(), "seed {seed}");
        deleted += result.deleted.len();
        let after: HashSet<Digest> = registry.manifests(REPOSITORY).into_iter().collect();
        for digest in before.iter().filter(|digest| !after.contains(digest)) {
            assert!(history.made.contains(digest), "seed {seed}: {digest} was not made here");
            for (tag, _) in tags.iter().filter(|(_, named)| *named == digest) {
                let base = tag.strip_suffix("-soci").and_then(|base| tags.get(base));
                let own = history.image_of.get(digest);
                let list = soci_oci::referrers::is_tag(tag);
                let why = result.deleted.iter().find(|leftover| leftover.digest == *digest);
                assert!(list || base.is_none() || base != own, "seed {seed}: {tag} {why:?}");
            }
        }
        // All that stays has what it had.
        for (digest, document) in documents.iter().filter(|(digest, _)| after.contains(digest)) {
            let mut named: Vec<&str> = Vec::new();
            named.extend(document["subject"]["digest"].as_str());
            let entries = document["manifests"].as_array().into_iter().flatten();
            named.extend(entries.filter_map(|entry| entry["digest"].as_str()));
            for name in named {
                let name: Digest = name.parse().unwrap();
                let attached = history.made.contains(digest) && document["subject"].is_object();
                if documents.contains_key(&name) && !attached {
                    assert!(after.contains(&name), "seed {seed}: {digest} lacks {name}");
                }
            }
        }
        for digest in verified.iter().filter(|digest| after.contains(digest)) {
            assert!(verifies(registry, (*digest).into()).await, "seed {seed}: {digest}");
        }
        let left: HashMap<String, Digest> = registry.tags(REPOSITORY).into_iter().collect();
        for (tag, digest) in &tags {
            assert_eq!(left.get(tag), Some(digest).filter(|d| after.contains(d)), "seed {seed}");
        }
        assert!(find(registry, listing).await.unwrap().leftovers.is_empty(), "seed {seed}");
    }
    assert!(deleted > 24, "only {deleted} were deleted: the test shows nothing");
}
