//! Checks the SOCI indexes of an image against its layers.
//!
//! For every ztoc: the layer is read once, verified, and its ztoc built again with the same
//! settings; the two must be equal, and what differs first is told. Then some files are extracted
//! through ranged requests, as a runtime would, from their checkpoints; in front of each file's
//! data there must be the header of an archive's entry.
//!
//! A quick check ([`VerifySettings::quick`]) builds no ztoc again: it looks whether each layer is there, and extracts fewer
//! files. The spans that are fetched for these are held against the digests that the ztoc has of them; that the rest of the
//! ztoc is right, it does not show.
//!
//! More bytes are fetched than the layers have: the spans of the files that are extracted lie in layers that were read
//! before, and a file takes all of the spans that it touches.
//!
//! The layers without a ztoc and the configuration must be there as well, or nobody can start the image: a request for each.
//!
//! Prefetch artifacts must name spans that their layers have.
//!
//! An image whose image index lists SOCI indexes (V2) is looked up for referrers (V1) as well, and is checked all the same
//! where these cannot be read: many registries have no API for them.
//!
//! An index that is right may yet do harm, in the hands of an older snapshotter: see [`Misread`].

pub(crate) mod error;
mod layer;
mod settings;

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::{Duration, Instant};

use soci_manifest::format::{self, PREFETCH_MEDIA_TYPE};
use soci_manifest::{LayerPrefetch, PrefetchArtifact, Version, unmarked_soci_index};
use soci_oci::{Descriptor, Digest, Index, Manifest, Platform, TagOrDigest, media_type};
use soci_registry::{MANIFEST_LIMIT, ReferrersSource};

use crate::budget::Budget;
use crate::event::ImageEvent;
use crate::referrers_lists::{ListProblem, list_problem};
use crate::store::ImageStore;

use error::CONVERTED_MANIFEST;
pub use error::VerifyError;
pub use layer::LayerCheck;
use layer::{Traits, check_layer, check_there};
pub use settings::VerifySettings;

/// What was checked.
#[derive(Clone, Debug)]
pub struct Verification {
    /// The SOCI indexes.
    pub indexes: Vec<Digest>,
    /// Every pair of a layer and its ztoc, once.
    pub layers: Vec<LayerCheck>,
    /// Every pair of a layer and its prefetch artifact, once.
    pub prefetch: Vec<LayerPrefetch>,
    /// What is right, and yet read wrongly by older snapshotters.
    pub misread: Vec<Misread>,
    /// Whether the layers were not read whole.
    pub quick: bool,
    /// Time that it took.
    pub elapsed: Duration,
}

/// The ztoc of a layer of several gzip members, in a SOCI index that does not say to be of the newer
/// [`Generation`](soci_manifest::Generation); or one with entries that every snapshotter misreads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misread {
    /// The SOCI index.
    pub index: Digest,
    /// The layer.
    pub layer: Digest,
    /// Its gzip members.
    pub members: u64,
    /// Whether it has a sparse file, or an entry whose size reaches over the next one.
    pub misread_entries: bool,
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, layer, members, misread_entries } = self;
        if *misread_entries {
            return write!(
                f,
                "SOCI index {index} has a ztoc of layer {layer}, which has a sparse file or a size that reaches over the \
                 next entry: no soci-snapshotter loads it, or else it reads that file wrongly. An index that is built \
                 here leaves the layer out"
            );
        }
        write!(
            f,
            "SOCI index {index} has a ztoc of layer {layer}, which has {members} gzip members: soci-snapshotter before \
             0.14 reads wrong bytes of it. An index for 0.11 leaves the layer out, one for 0.16 says whom it is for"
        )
    }
}

/// What is read where SOCI indexes V1 are looked for, in front of a digest.
const REFERRERS_OF: &str = "list of referrers of";

/// A SOCI index with the image manifest it is for.
struct Pair {
    index: Digest,
    image: Digest,
    /// The platform that an image index gives the manifest.
    platform: Option<Platform>,
}

/// Checks every SOCI index of an image: those that its image index lists (V2) and those that
/// refer to its manifests (V1).
///
/// Layers are checked one after the other, so one download gets all of the budget's memory.
pub async fn verify_image<S: ImageStore>(
    store: &S,
    target: &TagOrDigest,
    budget: &Budget,
) -> Result<Verification, VerifyError> {
    verify_image_with(store, target, &VerifySettings::default(), budget).await
}

/// The same as far as these settings say.
pub async fn verify_image_with<S: ImageStore>(
    store: &S,
    target: &TagOrDigest,
    settings: &VerifySettings,
    budget: &Budget,
) -> Result<Verification, VerifyError> {
    let started = Instant::now();
    let (pairs, unmarked) = find_indexes(store, target).await?;
    if pairs.is_empty() {
        return Err(VerifyError::NoIndex { target: target.clone(), unmarked });
    }
    let pairs = of_platforms(store, target, pairs, &settings.platforms).await?;
    let (mut known, mut there) = (HashMap::new(), HashSet::new());
    let mut checks = Vec::new();
    let mut misread = Vec::new();
    let mut prefetch = Vec::new();
    let mut indexes = Vec::new();
    for pair in pairs {
        let image = manifest(store, "manifest", pair.image).await?;
        let index = manifest(store, "SOCI index", pair.index).await?;
        let (artifacts, ztocs): (Vec<_>, Vec<_>) =
            index.layers().iter().partition(|entry| entry.media_type == PREFETCH_MEDIA_TYPE);
        tell_plan(&pair, &image, &ztocs, &known, settings);
        // The ztoc of each layer in this SOCI index.
        let mut ztoc_of = HashMap::new();
        for ztoc in ztocs {
            let layer = check_ztoc_entry(&pair, &image, ztoc)?;
            ztoc_of.insert(layer.digest, ztoc.digest);
            let Traits { members, needs_xattrs, misread_entries } = match known
                .entry((layer.digest, ztoc.digest))
            {
                MapEntry::Occupied(known) => *known.get(),
                MapEntry::Vacant(unknown) => {
                    let (check, traits) = check_layer(store, layer, ztoc, settings, budget).await?;
                    checks.push(check);
                    *unknown.insert(traits)
                }
            };
            if needs_xattrs && ztoc.annotations.contains_key(format::DISABLE_XATTRS) {
                let reason = format!(
                    "{} is set, and an entry has extended attributes",
                    format::DISABLE_XATTRS
                );
                let (ztoc, layer) = (ztoc.digest, layer.digest);
                return Err(VerifyError::Mismatch { ztoc, layer, reason });
            }
            let unmarked = members > 1 && !ztoc.annotations.contains_key(format::SPAN_SIZE);
            if unmarked || misread_entries {
                let (index, layer) = (pair.index, layer.digest);
                misread.push(Misread { index, layer, members, misread_entries });
            }
        }
        for blob in image.layers().iter().chain([&image.config]) {
            let elsewhere = media_type::is_nondistributable(&blob.media_type);
            let checked = checks.iter().any(|check| check.layer == blob.digest);
            if !elsewhere && !checked && there.insert(blob.digest) {
                let what = if *blob == image.config { "configuration" } else { "layer" };
                check_there(store, what, blob).await?;
            }
        }
        for artifact in artifacts {
            let layer = check_ztoc_entry(&pair, &image, artifact)?.digest;
            let is_pair = |check: &&LayerCheck| {
                check.layer == layer && ztoc_of.get(&layer) == Some(&check.ztoc)
            };
            let check = checks.iter().find(is_pair);
            let check = check.ok_or_else(|| VerifyError::Index {
                index: pair.index,
                reason: format!("layer {layer} has a prefetch artifact and no ztoc"),
            })?;
            let found = check_prefetch(store, &pair, artifact, check).await?;
            if !prefetch.contains(&found) {
                prefetch.push(found);
            }
        }
        indexes.push(pair.index);
    }
    let (quick, elapsed) = (settings.quick, started.elapsed());
    Ok(Verification { indexes, layers: checks, prefetch, misread, quick, elapsed })
}

/// Says what will be read of the layers that a SOCI index has ztocs of and that no other had. Of a quick check nobody knows.
fn tell_plan(
    pair: &Pair,
    image: &Manifest,
    ztocs: &[&Descriptor],
    known: &HashMap<(Digest, Digest), Traits>,
    settings: &VerifySettings,
) {
    let layers = ztocs.iter().filter_map(|ztoc| {
        let layer = check_ztoc_entry(pair, image, ztoc).ok()?;
        (!known.contains_key(&(layer.digest, ztoc.digest))).then_some(layer.size)
    });
    if !settings.quick {
        let sizes: Vec<u64> = layers.collect();
        let (layers, bytes) =
            (sizes.len(), sizes.iter().fold(0, |all: u64, size| all.saturating_add(*size)));
        (settings.on_event)(&ImageEvent::Planned { layers, bytes });
    }
}

/// Those that are for one of these platforms. A manifest that no image index gives one has that of its configuration.
async fn of_platforms<S: ImageStore>(
    store: &S,
    target: &TagOrDigest,
    pairs: Vec<Pair>,
    platforms: &[Platform],
) -> Result<Vec<Pair>, VerifyError> {
    if platforms.is_empty() {
        return Ok(pairs);
    }
    let (mut wanted, mut has) = (Vec::new(), Vec::new());
    for pair in pairs {
        let told = pair.platform.clone();
        let platform = if told.is_some() { told } else { configured(store, pair.image).await? };
        let Some(platform) = platform else { continue };
        if platforms.iter().any(|wanted| wanted.matches(&platform)) {
            wanted.push(pair);
        } else {
            has.push(platform.to_string());
        }
    }
    if wanted.is_empty() {
        has.sort();
        has.dedup();
        return Err(VerifyError::NoSuchPlatform { target: target.clone(), has: has.join(", ") });
    }
    Ok(wanted)
}

/// The platform that the configuration of a manifest tells.
async fn configured<S: ImageStore>(
    store: &S,
    image: Digest,
) -> Result<Option<Platform>, VerifyError> {
    let config = manifest(store, "manifest", image).await?.config;
    let limit = usize::try_from(config.size).unwrap_or(usize::MAX).min(MANIFEST_LIMIT);
    let bytes = store.blob_bytes(&config.digest, limit).await;
    let failed = |source| VerifyError::read("configuration", config.digest, source);
    Ok(soci_oci::config_platform(&bytes.map_err(failed)?).ok())
}

/// The SOCI indexes of an image, and one that is not marked as such.
async fn find_indexes<S: ImageStore>(
    store: &S,
    target: &TagOrDigest,
) -> Result<(Vec<Pair>, Option<Digest>), VerifyError> {
    let root = read(store, "image", target).await?;
    let document = |source| VerifyError::Document { digest: root.digest, source };
    let mut pairs = Vec::new();
    let (mut images, mut unmarked) = (vec![(root.digest, None)], None);
    if media_type::is_index(&root.media_type) {
        let index = Index::decode(&root.bytes).map_err(document)?;
        unmarked = unmarked_soci_index(&index);
        let soci = |entry: &&Descriptor| entry.artifact_type == Version::V2.artifact_type();
        for entry in index.manifests().iter().filter(soci) {
            pairs.push(v2_pair(store, &index, entry).await?);
        }
        let manifests = index
            .manifests()
            .iter()
            .filter(|entry| media_type::is_manifest(&entry.media_type) && !soci(entry));
        images = manifests.map(|entry| (entry.digest, entry.platform.clone())).collect();
    }
    for (image, platform) in images {
        match v1_pairs(store, image, platform.as_ref()).await {
            Ok(found) => pairs.extend(found),
            // An image that lists its SOCI indexes itself needs no referrers, and a registry need not have them.
            Err(error) if !pairs.is_empty() && is_of_the_list(&error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "SOCI indexes V1 that may refer to the image are not checked"
                );
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok((pairs, unmarked))
}

/// The SOCI indexes that refer to an image manifest.
async fn v1_pairs<S: ImageStore>(
    store: &S,
    image: Digest,
    platform: Option<&Platform>,
) -> Result<Vec<Pair>, VerifyError> {
    let artifact_type = Version::V1.artifact_type();
    let referrers = store.referrers(&image, artifact_type).await;
    let referrers = referrers.map_err(|source| VerifyError::read(REFERRERS_OF, image, source))?;
    let mut pairs = Vec::new();
    for page in &referrers.pages {
        if referrers.source == ReferrersSource::TagSchema {
            match list_problem(image, page) {
                None => {}
                // Under the tag of its list there is the manifest itself, and so no list.
                Some(ListProblem::IsSubject(_)) => continue,
                Some(ListProblem::NoList(source)) => {
                    return Err(VerifyError::ReferrersList { subject: image, source });
                }
            }
        }
        let page = Index::decode(page)
            .map_err(|source| VerifyError::ReferrersList { subject: image, source })?;
        let entries = page.manifests().iter().filter(|e| e.artifact_type == artifact_type);
        for entry in entries {
            let index = manifest(store, "SOCI index", entry.digest).await?;
            if index.subject.as_ref().map(|subject| subject.digest) != Some(image) {
                let reason = format!("it is listed for {image}, which is not its subject");
                return Err(VerifyError::Index { index: entry.digest, reason });
            }
            pairs.push(Pair { index: entry.digest, image, platform: platform.cloned() });
        }
    }
    Ok(pairs)
}

/// Whether the list of what refers to a manifest could not be read, which says nothing of any SOCI index.
fn is_of_the_list(error: &VerifyError) -> bool {
    matches!(
        error,
        VerifyError::Read { what: REFERRERS_OF, .. }
            | VerifyError::NotFound { what: REFERRERS_OF, .. }
            | VerifyError::ReferrersList { .. }
    )
}

/// A SOCI index of V2 and its image must name each other.
async fn v2_pair<S: ImageStore>(
    store: &S,
    index: &Index,
    entry: &Descriptor,
) -> Result<Pair, VerifyError> {
    let wrong = |reason: String| VerifyError::Index { index: entry.digest, reason };
    let image = entry.annotations.get(format::IMAGE_MANIFEST_DIGEST);
    let image = image.ok_or_else(|| wrong("its image manifest is not annotated".to_owned()))?;
    let image: Digest = image.parse().map_err(|error| wrong(format!("annotation: {error}")))?;
    if !index.manifests().iter().any(|other| other.digest == image) {
        return Err(wrong(format!("image manifest {image} is not in the same image index")));
    }
    let manifest = manifest(store, CONVERTED_MANIFEST, image).await?;
    let named = manifest.annotations.get(format::INDEX_DIGEST).map(String::as_str);
    if named != Some(&entry.digest.to_string()) {
        return Err(wrong(format!("image manifest {image} names {named:?} instead")));
    }
    Ok(Pair { index: entry.digest, image, platform: entry.platform.clone() })
}

/// The layer that a ztoc is for, which must be one of the image's.
fn check_ztoc_entry<'a>(
    pair: &Pair,
    image: &'a Manifest,
    ztoc: &Descriptor,
) -> Result<&'a Descriptor, VerifyError> {
    let layer = ztoc.annotations.get(format::IMAGE_LAYER_DIGEST).map_or("", String::as_str);
    let found = image.layers().iter().find(|candidate| candidate.digest.to_string() == layer);
    found.ok_or_else(|| VerifyError::Index {
        index: pair.index,
        reason: format!("layer {layer:?} is not one of manifest {}", pair.image),
    })
}

/// The prefetch artifact of a layer, whose spans must be there.
async fn check_prefetch<S: ImageStore>(
    store: &S,
    pair: &Pair,
    artifact: &Descriptor,
    layer: &LayerCheck,
) -> Result<LayerPrefetch, VerifyError> {
    let limit =
        usize::try_from(artifact.size).unwrap_or(usize::MAX).min(PrefetchArtifact::MAX_BYTES);
    let bytes = store.blob_bytes(&artifact.digest, limit).await;
    let bytes =
        bytes.map_err(|source| VerifyError::read("prefetch artifact", artifact.digest, source))?;
    let wrong = |reason: String| VerifyError::Index {
        index: pair.index,
        reason: format!("prefetch artifact {} of layer {}: {reason}", artifact.digest, layer.layer),
    };
    let found = PrefetchArtifact::decode(&bytes).map_err(|error| wrong(error.to_string()))?;
    // The reference names the span behind the last one where an uncompressed layer ends with the file.
    let spans = if layer.members == 0 { layer.spans + 1 } else { layer.spans };
    let beyond = found.spans().iter().find(|range| *range.end() as usize >= spans);
    if let Some(range) = beyond {
        let (start, end, spans) = (range.start(), range.end(), layer.spans);
        return Err(wrong(format!("it names spans {start} to {end} of {spans}")));
    }
    Ok(LayerPrefetch { layer: layer.layer, artifact: found })
}

async fn manifest<S: ImageStore>(
    store: &S,
    what: &'static str,
    digest: Digest,
) -> Result<Manifest, VerifyError> {
    let manifest = read(store, what, &TagOrDigest::Digest(digest)).await?;
    Manifest::decode(&manifest.bytes).map_err(|source| VerifyError::Document { digest, source })
}

async fn read<S: ImageStore>(
    store: &S,
    what: &'static str,
    target: &TagOrDigest,
) -> Result<soci_registry::VerifiedManifest, VerifyError> {
    let target = || target.clone();
    let manifest = store.manifest(&target()).await;
    let manifest =
        manifest.map_err(|source| VerifyError::Read { what, target: target(), source })?;
    let manifest = manifest.ok_or_else(|| VerifyError::NotFound { what, target: target() })?;
    let media_type = soci_oci::root_media_type(&manifest.media_type, &manifest.bytes)
        .map_err(|source| VerifyError::Document { digest: manifest.digest, source })?;
    Ok(soci_registry::VerifiedManifest { media_type, ..manifest })
}
