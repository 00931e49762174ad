//! Finds out whether an image carries the very SOCI index that would be built, without reading a
//! layer whole.
//!
//! The ztocs that existing SOCI indexes name are put in the place of those that would be built.
//! If that gives the manifests that are there, to the byte, they are the result: of the same
//! layers, version, minimum size and build tool. The span size, which older SOCI indexes do not
//! tell, is read out of a ztoc.
//!
//! Where prefetch artifacts or remarks on extended attributes are asked for, the existing ztocs are looked into for what
//! these would be (`prefetch.rs`). Prefetch artifacts that somebody else has chosen are kept (`existing/prefetch.rs`).
//!
//! A layer may lack a ztoc because it was left out: the older generation has none of a layer of several gzip members, and
//! some have what no ztoc describes. The caller makes sure of that: it takes no more than the layer up to the place. A
//! platform may lack its SOCI index because one of its layers is not there. And one that has a ztoc may
//! have got it from somebody who did not look, so the length that the layer's last member tells of itself is held against
//! the archive's.
//!
//! Whether layers are there is not asked: each would take a request, of every job of a service. But where one is asked for
//! its last bytes, and is not there, the image is not found to be indexed.

mod answer;
mod prefetch;

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use soci_manifest::format::{self, PREFETCH_MEDIA_TYPE};
use soci_manifest::{
    Assembly, BuiltZtoc, Compression, Generation, LAYER_MISSING, LayerDecision, LayerKey,
    LayerPrefetch, LayerToBuild, Plan, Planned, Prefetch, SociIndexSettings, Version,
};
use soci_oci::{Descriptor, Digest, Index, Manifest, TagOrDigest};

use crate::error::StoreError;
use crate::last_member::fits_last_member;
use crate::options::Options;
use crate::prefetch::LookedInto;
use crate::referrers_lists;
use crate::store::ImageStore;
pub(crate) use answer::{FindError, usable};
use prefetch::{PrefetchList, has_artifacts, look, would_lose_artifacts};

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
    /// The layers that it leaves out, if it is right, for what is in them. Nothing but the layers
    /// themselves tells whether they have that.
    pub(crate) left_out: Vec<LayerToBuild>,
    /// Layers that are not there, for which it leaves out their platforms.
    pub(crate) missing: HashSet<Digest>,
    /// What its ztocs tell.
    pub(crate) looked: LookedInto,
}

/// What the store holds of a result.
pub(crate) enum Looked {
    /// The very result.
    Found(Box<Found>),
    /// Another one, with prefetch artifacts that would be lost.
    Prefetch,
    /// Nothing, or what may be replaced.
    Nothing,
}

/// What the store already holds of it. `roots` are the bytes of image indexes that may be or hold it (V2), the one that would
/// be replaced by it as `replaced`, too. Documents of more than `limit` bytes are none of it.
///
/// Beside it are the ztocs that SOCI indexes of the same tool and span size name for layers that are wanted, which nobody
/// has looked into.
pub(crate) async fn find<S: ImageStore>(
    store: &S,
    plan: &Plan,
    options: &Options,
    roots: &[(Digest, &[u8])],
    replaced: Option<&[u8]>,
    limit: usize,
) -> Result<(Looked, HashMap<Digest, BuiltZtoc>), FindError> {
    let (mut with_artifacts, mut ztocs) = (Vec::new(), HashMap::new());
    let found =
        find_result(store, plan, options, roots, (&mut with_artifacts, &mut ztocs), limit).await?;
    if let Some(found) = found {
        return Ok((Looked::Found(Box::new(found)), ztocs));
    }
    if let Some(replaced) = replaced.filter(|_| !with_artifacts.is_empty())
        && !options.settings.prefetch.any()
        && would_lose_artifacts(store, plan, replaced, &with_artifacts, limit).await?
    {
        return Ok((Looked::Prefetch, ztocs));
    }
    Ok((Looked::Nothing, ztocs))
}

/// The very result, if the store holds it; and what was met: the SOCI indexes with prefetch artifacts, and the ztocs of
/// wanted layers.
async fn find_result<S: ImageStore>(
    store: &S,
    plan: &Plan,
    options: &Options,
    roots: &[(Digest, &[u8])],
    (with_artifacts, ztocs): (&mut Vec<(Digest, Manifest)>, &mut HashMap<Digest, BuiltZtoc>),
    limit: usize,
) -> Result<Option<Found>, FindError> {
    let settings = &options.settings;
    let candidates = match plan.version() {
        Version::V2 => roots.iter().flat_map(|(_, bytes)| soci_entries(bytes)).collect(),
        Version::V1 => referrers(store, plan).await?,
    };
    let layers = plan.layers_to_build();
    let wanted: HashSet<Digest> = layers.iter().map(|layer| layer.key.digest).collect();
    let mut lists = Vec::new();
    for digest in candidates.iter().take(MAX_CANDIDATES) {
        let target = TagOrDigest::Digest(*digest);
        let Some(manifest) = usable(store.manifest_within(&target, limit).await)?.flatten() else {
            continue;
        };
        let Ok(manifest) = Manifest::decode(&manifest.bytes) else { continue };
        if matches(store, &manifest, settings).await? {
            let artifacts = collect(&manifest, &wanted, ztocs);
            if !artifacts.is_empty() {
                lists.push(PrefetchList { index: *digest, artifacts });
            }
        }
        if has_artifacts(&manifest) {
            with_artifacts.push((*digest, manifest));
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
    if known.is_empty() {
        return Ok(None);
    }
    let missing = missing(store, plan, &left_out).await?;
    let without_missing;
    let plan = if missing.is_empty() {
        plan
    } else {
        let Some(without) = Box::new(plan.clone()).without_missing(&missing) else {
            return Ok(None);
        };
        let wanted: HashSet<LayerKey> =
            without.layers_to_build().into_iter().map(|layer| layer.key).collect();
        left_out.retain(|layer| wanted.contains(&layer.key));
        known.retain(|layer, _| wanted.contains(layer));
        without_missing = without;
        &*without_missing
    };
    if settings.generation == Generation::Older {
        for (layer, end) in ends(store, plan, &known).await? {
            match end {
                // No index of such an image is of use. Building one says what becomes of the image, if no list is kept.
                LastBytes::Missing => return Ok(None),
                LastBytes::OfSeveral => {
                    known.remove(&layer.key);
                    left_out.push(layer);
                }
                LastBytes::OfOne => {}
            }
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
    let there = |assembly: &Assembly| match plan.version() {
        Version::V2 => roots.iter().any(|(digest, _)| *digest == assembly.root.digest),
        Version::V1 => assembly.indexes.iter().all(|index| candidates.contains(&index.digest)),
    };
    let assembled = |plan: &Plan| {
        assemble(plan, &known, &looked.prefetch, &left_out).filter(|assembly| there(assembly))
    };
    // A registry may have taken it only without what is not there.
    let lacking: HashSet<Digest> = plan
        .left_out_platforms()
        .iter()
        .filter(|left_out| left_out.code == LAYER_MISSING)
        .filter_map(|left_out| left_out.image)
        .collect();
    let reduced = || plan.without_absent(&lacking).and_then(|plan| assembled(&plan));
    let Some(assembly) = assembled(plan).or_else(reduced) else { return Ok(None) };
    if !has_content(store, &assembly).await? {
        return Ok(None);
    }
    Ok(Some(Found { assembly, left_out, missing, looked }))
}

/// Whether the ztocs and prefetch artifacts of a result are there.
async fn has_content<S: ImageStore>(store: &S, assembly: &Assembly) -> Result<bool, StoreError> {
    let ztocs = assembly.ztocs.iter().map(|ztoc| (ztoc.digest, ztoc.size));
    let artifacts = assembly
        .prefetch
        .iter()
        .map(|LayerPrefetch { artifact, .. }| (artifact.digest(), artifact.bytes().len() as u64));
    for (digest, size) in ztocs.chain(artifacts) {
        if usable(store.has_blob(&digest, size).await)? != Some(true) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether layers may lack a ztoc for what is in them: their several gzip members, or what is only allowed where settings
/// are not strict.
fn may_be_left_out(layers: &[LayerToBuild], settings: &SociIndexSettings) -> bool {
    let gzip = |layer: &LayerToBuild| layer.key.compression == Compression::Gzip;
    let older = settings.generation == Generation::Older;
    layers.is_empty() || !settings.strict || older && layers.iter().all(gzip)
}

/// Those of the layers without a ztoc that are not there, where their platforms may be left out.
async fn missing<S: ImageStore>(
    store: &S,
    plan: &Plan,
    layers: &[LayerToBuild],
) -> Result<HashSet<Digest>, StoreError> {
    if !plan.may_leave_out_platforms() {
        return Ok(HashSet::new());
    }
    let layers: Vec<(Digest, u64)> =
        layers.iter().map(|layer| (layer.key.digest, layer.size)).collect();
    let checks = stream::iter(layers).map(|(digest, size)| async move {
        let there = usable(store.has_blob(&digest, size).await)?;
        Ok::<_, StoreError>((there == Some(false)).then_some(digest))
    });
    let missing: Vec<Option<Digest>> = checks.buffered(LAYERS_AT_ONCE).try_collect().await?;
    Ok(missing.into_iter().flatten().collect())
}

/// What the last bytes of a layer tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastBytes {
    /// That it may have one gzip member, or nothing.
    OfOne,
    /// That it seems to have several: its last member says of itself that it is not as long as the archive.
    OfSeveral,
    /// That it is not there.
    Missing,
}

/// What the last bytes of the gzip layers with a ztoc tell.
async fn ends<S: ImageStore>(
    store: &S,
    plan: &Plan,
    known: &HashMap<LayerKey, BuiltZtoc>,
) -> Result<Vec<(LayerToBuild, LastBytes)>, StoreError> {
    let layers = plan.layers_to_build().into_iter().filter_map(|layer| {
        let gzip = layer.key.compression == Compression::Gzip;
        Some((known.get(&layer.key).copied().filter(|_| gzip)?, layer))
    });
    let checks = stream::iter(layers).map(|(ztoc, layer)| async move {
        let end = last_bytes(store, &layer, ztoc).await?;
        Ok::<_, StoreError>((layer, end))
    });
    checks.buffered(LAYERS_AT_ONCE).try_collect().await
}

async fn last_bytes<S: ImageStore>(
    store: &S,
    layer: &LayerToBuild,
    ztoc: BuiltZtoc,
) -> Result<LastBytes, StoreError> {
    let size = layer.size;
    if ztoc.size == 0 {
        return Ok(LastBytes::OfSeveral);
    }
    let head = store.blob_range(&ztoc.digest, 0..ztoc.size.min(SHORT_HEAD)).await;
    let Some(head) = usable(head)? else { return Ok(LastBytes::OfSeveral) };
    let Ok(place) = soci_ztoc::ZtocHead::read(&head) else { return Ok(LastBytes::OfSeveral) };
    let archive = place.uncompressed_size();
    match fits_last_member(store, &layer.key.digest, size, archive, MOST_BEHIND_ARCHIVE).await {
        Ok(true) => Ok(LastBytes::OfOne),
        Ok(false) => Ok(LastBytes::OfSeveral),
        Err(error) if error.is_not_found() => Ok(LastBytes::Missing),
        // Where no part of a layer can be read, no layer is mounted lazily either.
        Err(error) if !error.is_transient() => Ok(LastBytes::OfOne),
        Err(error) => Err(error),
    }
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
    // Why each is left out is not in the manifests.
    let left_out =
        left_out.iter().map(|layer| (layer.key, LayerDecision::SeveralMembers)).collect();
    match Box::new(plan.clone()).leave_out(&left_out) {
        Ok(Planned::Build(plan)) => plan.assemble(known, prefetch).ok(),
        Ok(Planned::Skip(_)) | Err(_) => None,
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
