//! Finds out whether an image carries the very SOCI index that would be built, without reading a
//! layer whole.
//!
//! The ztocs that existing SOCI indexes name are put in the place of those that would be built.
//! If that gives the manifests that are there, to the byte, they are the result: of the same
//! layers, version, minimum size and build tool. The span size, which older SOCI indexes do not
//! tell, is read out of a ztoc.
//!
//! Where prefetch artifacts or remarks on extended attributes are asked for, the existing ztocs are looked into for what
//! these would be (`prefetch.rs`). Prefetch artifacts that somebody else has chosen are kept, unless files are named.
//!
//! A layer of several gzip members has no ztoc in the older generation. So one that lacks it may have been left out
//! for that, which the caller makes sure of: it takes no more than the layer's first member. And one that has a ztoc may
//! have got it from somebody who did not look, so the length that the layer's last member tells of itself is held against
//! the archive's.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use soci_manifest::format::{self, PREFETCH_MEDIA_TYPE};
use soci_manifest::{
    Assembly, BuiltZtoc, Compression, Generation, LayerKey, LayerPrefetch, LayerToBuild, Plan,
    Planned, Prefetch, PrefetchArtifact, PrefetchSettings, SociIndexSettings, Version,
};
use soci_oci::{Descriptor, Digest, Index, Manifest, TagOrDigest};

use crate::error::{IndexError, StoreError};
use crate::options::Options;
use crate::prefetch::{LookedInto, look_into};
use crate::referrers_lists;
use crate::store::ImageStore;

/// Bytes of a ztoc that are fetched first; they reach to its span size unless it has a great many
/// spans.
const HEAD: u64 = 64 << 10;

/// Zeros behind an archive at most, in bytes: programs that pad archives do so to some ten thousand.
const MOST_BEHIND_ARCHIVE: u32 = 16 << 20;

/// Layers that are looked at at once.
const LAYERS_AT_ONCE: usize = 8;

/// Bytes of a ztoc that reach to the size of its archive.
const SHORT_HEAD: u64 = 4 << 10;

/// Most SOCI indexes that are looked at.
const MAX_CANDIDATES: usize = 64;

/// A result that the store holds.
pub(crate) struct Found {
    /// What it consists of.
    pub(crate) assembly: Assembly,
    /// The layers that it leaves out, if it is right, for their several gzip members. Nothing but the layers
    /// themselves tells whether they have these.
    pub(crate) left_out: Vec<LayerToBuild>,
    /// What its ztocs tell.
    pub(crate) looked: LookedInto,
}

/// Why it cannot be told whether the store holds a result.
pub(crate) enum FindError {
    /// The store failed.
    Store(StoreError),
    /// The ztocs of what it holds cannot be looked into, or the lists of what refers to the image cannot be used.
    Index(IndexError),
}

impl From<StoreError> for FindError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What the store already holds of it, if it does. `roots` are the bytes of image indexes
/// that may be or hold it (V2). Documents of more than `limit` bytes are none of it.
pub(crate) async fn find<S: ImageStore>(
    store: &S,
    plan: &Plan,
    options: &Options,
    roots: &[(Digest, &[u8])],
    limit: usize,
) -> Result<Option<Found>, FindError> {
    let settings = &options.settings;
    let candidates = match plan.version() {
        Version::V2 => roots.iter().flat_map(|(_, bytes)| soci_entries(bytes)).collect(),
        Version::V1 => referrers(store, plan).await?,
    };
    let layers = plan.layers_to_build();
    let wanted: HashSet<Digest> = layers.iter().map(|layer| layer.key.digest).collect();
    let (mut ztocs, mut lists) = (HashMap::new(), Vec::new());
    for digest in candidates.iter().take(MAX_CANDIDATES) {
        let target = TagOrDigest::Digest(*digest);
        let Some(manifest) = usable(store.manifest_within(&target, limit).await)?.flatten() else {
            continue;
        };
        let Ok(manifest) = Manifest::decode(&manifest.bytes) else { continue };
        if matches(store, &manifest, settings).await? {
            let artifacts = collect(&manifest, &wanted, &mut ztocs);
            if !artifacts.is_empty() {
                lists.push(PrefetchList { index: *digest, artifacts });
            }
        }
    }
    let (mut known, mut left_out) = (HashMap::new(), Vec::new());
    for layer in layers {
        match ztocs.get(&layer.key.digest) {
            Some(ztoc) => {
                known.insert(layer.key, *ztoc);
            }
            None => left_out.push(layer),
        }
    }
    if settings.generation == Generation::Older {
        for layer in several_members(store, plan, &known).await? {
            known.remove(&layer.key);
            left_out.push(layer);
        }
    }
    if !may_be_left_out(&left_out, settings) || known.is_empty() {
        return Ok(None);
    }
    let looked = match look(store, plan, &mut known, &lists, limit, options).await {
        Ok(looked) => looked,
        Err(FindError::Index(error)) if !error.is_transient() => {
            tracing::warn!(%error, "an existing SOCI index cannot be used");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let Some(assembly) = assemble(plan, &known, &looked.prefetch, &left_out) else {
        return Ok(None);
    };
    let there = match plan.version() {
        Version::V2 => roots.iter().any(|(digest, _)| *digest == assembly.root.digest),
        Version::V1 => assembly.indexes.iter().all(|index| candidates.contains(&index.digest)),
    };
    if !there {
        return Ok(None);
    }
    let ztocs = assembly.ztocs.iter().map(|ztoc| (ztoc.digest, ztoc.size));
    let artifacts = assembly
        .prefetch
        .iter()
        .map(|LayerPrefetch { artifact, .. }| (artifact.digest(), artifact.bytes().len() as u64));
    for (digest, size) in ztocs.chain(artifacts) {
        if usable(store.has_blob(&digest, size).await)? != Some(true) {
            return Ok(None);
        }
    }
    Ok(Some(Found { assembly, left_out, looked }))
}

/// Whether layers may lack a ztoc for their several gzip members.
fn may_be_left_out(layers: &[LayerToBuild], settings: &SociIndexSettings) -> bool {
    let gzip = |layer: &LayerToBuild| layer.key.compression == Compression::Gzip;
    layers.is_empty() || settings.generation == Generation::Older && layers.iter().all(gzip)
}

/// Looks into the ztocs, and for what of prefetch artifacts stays.
async fn look<S: ImageStore>(
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
struct PrefetchList {
    index: Digest,
    artifacts: BTreeMap<Digest, Descriptor>,
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

/// The layers with a ztoc that seem to have several gzip members: those whose last member says of itself that it is
/// not as long as the archive.
async fn several_members<S: ImageStore>(
    store: &S,
    plan: &Plan,
    known: &HashMap<LayerKey, BuiltZtoc>,
) -> Result<Vec<LayerToBuild>, StoreError> {
    let layers = plan.layers_to_build().into_iter().filter_map(|layer| {
        let gzip = layer.key.compression == Compression::Gzip;
        Some((known.get(&layer.key).copied().filter(|_| gzip)?, layer))
    });
    let checks = stream::iter(layers).map(|(ztoc, layer)| async move {
        let one = has_one_member(store, &layer, ztoc).await?;
        Ok::<_, StoreError>((!one).then_some(layer))
    });
    let found: Vec<Option<LayerToBuild>> = checks.buffered(LAYERS_AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

async fn has_one_member<S: ImageStore>(
    store: &S,
    layer: &LayerToBuild,
    ztoc: BuiltZtoc,
) -> Result<bool, StoreError> {
    let size = layer.size;
    if ztoc.size == 0 || size < 4 {
        return Ok(false);
    }
    let head = store.blob_range(&ztoc.digest, 0..ztoc.size.min(SHORT_HEAD)).await;
    let Some(head) = usable(head)? else { return Ok(false) };
    let tail = match store.blob_range_only(&layer.key.digest, size - 4..size).await {
        Ok(tail) => tail,
        Err(error) if error.is_transient() => return Err(error),
        // Where no part of a layer can be read, no layer is mounted lazily either.
        Err(_) => return Ok(true),
    };
    let (Ok(place), Ok(told)) = (soci_ztoc::ZtocHead::read(&head), tail[..].try_into()) else {
        return Ok(false);
    };
    // RFC 1952: the length of the member's data, modulo 2^32. Behind an archive's end there may be zeros.
    let archive = place.uncompressed_size();
    let behind = u32::from_le_bytes(told).wrapping_sub(low_bits(archive));
    Ok(behind < MOST_BEHIND_ARCHIVE)
}

/// What the image gets with these ztocs and without the layers that have none, if that may be.
fn assemble(
    plan: &Plan,
    known: &HashMap<LayerKey, BuiltZtoc>,
    prefetch: &Prefetch,
    left_out: &[LayerToBuild],
) -> Option<Assembly> {
    if left_out.is_empty() {
        return plan.assemble(known, prefetch).ok();
    }
    let left_out = left_out.iter().map(|layer| layer.key).collect();
    match Box::new(plan.clone()).leave_out(&left_out) {
        Planned::Build(plan) => plan.assemble(known, prefetch).ok(),
        Planned::Skip(_) => None,
    }
}

/// What the store gave. Something that is broken for good cannot be the result that is looked for,
/// and must not keep it from being built.
pub(crate) fn usable<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_transient() => Err(error),
        Err(error) => {
            tracing::warn!(%error, "part of an existing SOCI index cannot be used");
            Ok(None)
        }
    }
}

fn soci_entries(root: &[u8]) -> Vec<Digest> {
    let Ok(index) = Index::decode(root) else { return Vec::new() };
    let entries = index.manifests().iter();
    entries
        .filter(|entry| entry.artifact_type == Version::V2.artifact_type())
        .map(|entry| entry.digest)
        .collect()
}

/// The SOCI indexes that refer to the image's manifests. Where their lists cannot be used, nothing needs to be built.
async fn referrers<S: ImageStore>(store: &S, plan: &Plan) -> Result<Vec<Digest>, FindError> {
    let artifact_type = Version::V1.artifact_type();
    let mut found = Vec::new();
    for index in plan.indexes() {
        let referrers = referrers_lists::referrers(store, index.image.digest).await;
        let referrers = referrers.map_err(FindError::Index)?;
        for page in &referrers.pages {
            let Ok(page) = Index::decode(page) else { continue };
            let entries = page.manifests().iter();
            found.extend(
                entries.filter(|e| e.artifact_type == artifact_type).map(|entry| entry.digest),
            );
        }
    }
    Ok(found)
}

/// Whether a SOCI index was built by the same tool with the same span size.
async fn matches<S: ImageStore>(
    store: &S,
    manifest: &Manifest,
    settings: &SociIndexSettings,
) -> Result<bool, StoreError> {
    let tool = manifest.annotations.get(format::BUILD_TOOL_IDENTIFIER);
    let ztocs = manifest.layers().iter().filter(|entry| entry.media_type != PREFETCH_MEDIA_TYPE);
    let smallest = ztocs.min_by_key(|ztoc| ztoc.size);
    let (Some(tool), Some(ztoc)) = (tool, smallest) else { return Ok(false) };
    if *tool != settings.build_tool_identifier {
        return Ok(false);
    }
    if let Some(span_size) = ztoc.annotations.get(format::SPAN_SIZE) {
        return Ok(span_size.parse() == Ok(settings.span_size));
    }
    Ok(span_size(store, &ztoc.digest, ztoc.size).await? == Some(settings.span_size))
}

/// The span size that a ztoc was built with, if it can be told.
async fn span_size<S: ImageStore>(
    store: &S,
    digest: &Digest,
    size: u64,
) -> Result<Option<u64>, StoreError> {
    if size == 0 {
        return Ok(None);
    }
    let Some(head) = usable(store.blob_range(digest, 0..size.min(HEAD)).await)? else {
        return Ok(None);
    };
    let Ok(place) = soci_ztoc::ZtocHead::read(&head) else { return Ok(None) };
    let range = place.span_size_range();
    let range = range.start..range.end.min(size);
    if range.is_empty() {
        return Ok(None);
    }
    let in_head = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
    let bytes = if range.end <= head.len() as u64 {
        head.slice(in_head(range.start)..in_head(range.end))
    } else {
        let Some(bytes) = usable(store.blob_range(digest, range).await)? else { return Ok(None) };
        bytes
    };
    Ok(place.span_size(&bytes).ok())
}

/// Takes the ztocs of the layers that are wanted, and returns their prefetch artifacts.
fn collect(
    manifest: &Manifest,
    wanted: &HashSet<Digest>,
    ztocs: &mut HashMap<Digest, BuiltZtoc>,
) -> BTreeMap<Digest, Descriptor> {
    let mut artifacts = BTreeMap::new();
    for entry in manifest.layers() {
        let layer = entry.annotations.get(format::IMAGE_LAYER_DIGEST);
        let layer = layer.and_then(|layer| layer.parse().ok());
        let Some(layer) = layer.filter(|layer| wanted.contains(layer)) else { continue };
        if entry.media_type == PREFETCH_MEDIA_TYPE {
            artifacts.insert(layer, entry.clone());
        } else {
            let Descriptor { digest, size, .. } = *entry;
            ztocs.insert(layer, BuiltZtoc { digest, size, without_xattrs: false });
        }
    }
    artifacts
}

/// A number modulo 2^32.
fn low_bits(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
