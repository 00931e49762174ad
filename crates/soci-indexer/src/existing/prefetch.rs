//! What becomes of the prefetch artifacts of an index that is there.
//!
//! Somebody has chosen them (`soci convert --prefetch-file`), and no look at the image tells which they were. So an index
//! with the same ztocs keeps them, unless others are named. Where they cannot be kept, as an index for every snapshotter
//! has none, or as its ztocs differ, the index stays as it is and that is said: only `--force`, or naming what is to
//! be prefetched, replaces it. The tag's older images do not count: their list is of no use for a later one.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, HashMap, HashSet};

use soci_manifest::format::{self, PREFETCH_MEDIA_TYPE};
use soci_manifest::{
    BuiltZtoc, Generation, LayerKey, Plan, Prefetch, PrefetchArtifact, PrefetchSettings,
};
use soci_oci::{Descriptor, Digest, Index, Manifest, TagOrDigest};

use super::answer::{FindError, usable};
use crate::error::StoreError;
use crate::options::Options;
use crate::prefetch::{LookedInto, look_into};
use crate::store::ImageStore;

/// Looks into the ztocs, and for what of prefetch artifacts stays.
pub(super) async fn look<S: ImageStore>(
    store: &S,
    plan: &Plan,
    known: &mut HashMap<LayerKey, BuiltZtoc>,
    lists: &[PrefetchList],
    limit: usize,
    options: &Options,
) -> Result<LookedInto, FindError> {
    let settings = &options.settings;
    // What somebody has chosen stays, unless files are named.
    let keeping = settings.prefetch.files.is_empty() && settings.generation == Generation::Newer;
    if keeping && !lists.is_empty() {
        let none = PrefetchSettings::default();
        let looked = look_into(store, plan, known, &none, options).await;
        let mut looked = looked.map_err(FindError::Index)?;
        looked.prefetch = kept(store, plan, known, lists, limit).await?;
        if !looked.prefetch.is_empty() {
            if settings.prefetch.any() {
                looked.warnings.push(KEPT.to_owned());
            }
            return Ok(looked);
        }
    }
    let looked = look_into(store, plan, known, &settings.prefetch, options).await;
    looked.map_err(FindError::Index)
}

/// Said where an image's list of files to prefetch stays although another way to find one was asked for.
const KEPT: &str = "the index that is there has files to prefetch that somebody has chosen, which stay; --force builds \
                    another";

/// The prefetch artifacts of an existing SOCI index, by layer.
pub(super) struct PrefetchList {
    pub(super) index: Digest,
    pub(super) artifacts: BTreeMap<Digest, Descriptor>,
}

/// For each of the plan's SOCI indexes the artifacts of an existing one that is the same with them. Artifacts of more
/// than `limit` bytes together are not read.
async fn kept<S: ImageStore>(
    store: &S,
    plan: &Plan,
    known: &HashMap<LayerKey, BuiltZtoc>,
    lists: &[PrefetchList],
    limit: usize,
) -> Result<Prefetch, StoreError> {
    let mut read: HashMap<Digest, Option<PrefetchArtifact>> = HashMap::new();
    let mut left = limit;
    let mut usable_lists = Vec::new();
    for list in lists {
        let mut artifacts = BTreeMap::new();
        for (layer, entry) in &list.artifacts {
            let artifact = match read.entry(entry.digest) {
                MapEntry::Occupied(known) => known.get().clone(),
                MapEntry::Vacant(unknown) => {
                    let size = usize::try_from(entry.size).unwrap_or(usize::MAX);
                    let mut bytes = None;
                    if size <= PrefetchArtifact::MAX_BYTES && size <= left {
                        left -= size;
                        bytes = usable(store.blob_bytes(&entry.digest, size).await)?;
                    }
                    let artifact = bytes.and_then(|bytes| PrefetchArtifact::decode(&bytes).ok());
                    unknown.insert(artifact).clone()
                }
            };
            artifacts.extend(artifact.map(|artifact| (*layer, artifact)));
        }
        // One that cannot be read makes its own list useless, and no other.
        if artifacts.len() == list.artifacts.len() {
            usable_lists.push((list.index, artifacts));
        }
    }
    let mut prefetch = Prefetch::default();
    for index in plan.indexes() {
        for (digest, artifacts) in &usable_lists {
            let mut tried = Prefetch::default();
            tried.keep(index.image.digest, artifacts.clone());
            if plan.index_digest(index, known, &tried) == Some(*digest) {
                prefetch.keep(index.image.digest, artifacts.clone());
                break;
            }
        }
    }
    Ok(prefetch)
}

/// Whether an image index that would be replaced has prefetch artifacts for the very images of the plan, and all of its
/// SOCI index that names them. `with_artifacts` are the SOCI indexes that have any.
pub(super) async fn would_lose_artifacts<S: ImageStore>(
    store: &S,
    plan: &Plan,
    replaced: &[u8],
    with_artifacts: &[(Digest, Manifest)],
    limit: usize,
) -> Result<bool, StoreError> {
    let Ok(replaced) = Index::decode(replaced) else { return Ok(false) };
    // What an image consists of, which conversion leaves as it is.
    let parts = |config: &Descriptor, layers: &mut dyn Iterator<Item = &Descriptor>| {
        let layers: Vec<Digest> = layers.map(|layer| layer.digest).collect();
        (config.digest, layers)
    };
    let images: HashSet<_> = plan
        .indexes()
        .iter()
        .map(|index| parts(index.config(), &mut index.layers().map(|(layer, _)| layer)))
        .collect();
    for entry in replaced.manifests() {
        let found = with_artifacts.iter().find(|(digest, _)| *digest == entry.digest);
        let image = entry.annotations.get(format::IMAGE_MANIFEST_DIGEST);
        let image = image.and_then(|image| image.parse::<Digest>().ok());
        let (Some((_, soci)), Some(image)) = (found, image) else { continue };
        let target = TagOrDigest::Digest(image);
        let image = usable(store.manifest_within(&target, limit).await)?.flatten();
        let image = image.and_then(|image| Manifest::decode(&image.bytes).ok());
        let parts = image.map(|image| parts(&image.config, &mut image.layers().iter()));
        if !parts.is_some_and(|parts| images.contains(&parts)) {
            continue;
        }
        let mut whole = true;
        for layer in soci.layers() {
            whole &= usable(store.has_blob(&layer.digest, layer.size).await)? == Some(true);
        }
        if whole {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a SOCI index has any.
pub(super) fn has_artifacts(soci_index: &Manifest) -> bool {
    soci_index.layers().iter().any(|entry| entry.media_type == PREFETCH_MEDIA_TYPE)
}
