//! Finds out whether an image carries the very SOCI index that would be built, without reading a
//! layer.
//!
//! The ztocs that existing SOCI indexes name are put in the place of those that would be built.
//! If that gives the manifests that are there, to the byte, they are the result: of the same
//! layers, version, minimum size and build tool. The span size, which older SOCI indexes do not
//! tell, is read out of a ztoc.
//!
//! A layer of several gzip members has no ztoc in the older generation. So one that lacks it may have been left out
//! for that, which the caller makes sure of: it takes no more than the layer's first member.

use std::collections::{HashMap, HashSet};

use soci_manifest::{
    Assembly, BuiltZtoc, Compression, Generation, LayerKey, LayerToBuild, Plan, Planned,
    SociIndexSettings, Version, format,
};
use soci_oci::{Digest, Index, Manifest, TagOrDigest};

use crate::error::StoreError;
use crate::store::ImageStore;

/// Bytes of a ztoc that are fetched first; they reach to its span size unless it has a great many
/// spans.
const HEAD: u64 = 64 << 10;

/// Most SOCI indexes that are looked at.
const MAX_CANDIDATES: usize = 64;

/// A result that the store holds.
pub(crate) struct Found {
    /// What it consists of.
    pub(crate) assembly: Assembly,
    /// The layers that it leaves out, if it is right, for their several gzip members. Nothing but the layers
    /// themselves tells whether they have these.
    pub(crate) left_out: Vec<LayerToBuild>,
}

/// What the store already holds of it, if it does. `roots` are the bytes of image indexes
/// that may be or hold it (V2). Documents of more than `limit` bytes are none of it.
pub(crate) async fn find<S: ImageStore>(
    store: &S,
    plan: &Plan,
    settings: &SociIndexSettings,
    roots: &[(Digest, &[u8])],
    limit: usize,
) -> Result<Option<Found>, StoreError> {
    let candidates = match plan.version() {
        Version::V2 => roots.iter().flat_map(|(_, bytes)| soci_entries(bytes)).collect(),
        Version::V1 => referrers(store, plan).await?,
    };
    let layers = plan.layers_to_build();
    let wanted: HashSet<Digest> = layers.iter().map(|layer| layer.key.digest).collect();
    let mut ztocs = HashMap::new();
    for digest in candidates.iter().take(MAX_CANDIDATES) {
        let target = TagOrDigest::Digest(*digest);
        let Some(manifest) = usable(store.manifest_within(&target, limit).await)?.flatten() else {
            continue;
        };
        let Ok(manifest) = Manifest::decode(&manifest.bytes) else { continue };
        if matches(store, &manifest, settings).await? {
            collect(&manifest, &wanted, &mut ztocs);
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
    let Some(assembly) = assemble(plan, settings, &known, &left_out) else { return Ok(None) };
    let there = match plan.version() {
        Version::V2 => roots.iter().any(|(digest, _)| *digest == assembly.root.digest),
        Version::V1 => assembly.indexes.iter().all(|index| candidates.contains(&index.digest)),
    };
    if !there {
        return Ok(None);
    }
    for ztoc in &assembly.ztocs {
        if usable(store.has_blob(&ztoc.digest, ztoc.size).await)? != Some(true) {
            return Ok(None);
        }
    }
    Ok(Some(Found { assembly, left_out }))
}

/// What the image gets with these ztocs and without the layers that have none, if that may be.
fn assemble(
    plan: &Plan,
    settings: &SociIndexSettings,
    known: &HashMap<LayerKey, BuiltZtoc>,
    left_out: &[LayerToBuild],
) -> Option<Assembly> {
    if left_out.is_empty() {
        return plan.assemble(known).ok();
    }
    let may_be_left_out = |layer: &LayerToBuild| layer.key.compression == Compression::Gzip;
    if settings.generation != Generation::Older || !left_out.iter().all(may_be_left_out) {
        return None;
    }
    let left_out = left_out.iter().map(|layer| layer.key).collect();
    match Box::new(plan.clone()).leave_out(&left_out) {
        Planned::Build(plan) => plan.assemble(known).ok(),
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

async fn referrers<S: ImageStore>(store: &S, plan: &Plan) -> Result<Vec<Digest>, StoreError> {
    let artifact_type = Version::V1.artifact_type();
    let mut found = Vec::new();
    for index in plan.indexes() {
        let referrers = store.referrers(&index.image.digest, artifact_type).await?;
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
    let smallest = manifest.layers().iter().min_by_key(|ztoc| ztoc.size);
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
    let Ok(place) = soci_ztoc::SpanSizePlace::find(&head) else { return Ok(None) };
    let range = place.range();
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
    Ok(place.read(&bytes).ok())
}

/// Takes the ztocs of the layers that are wanted.
fn collect(manifest: &Manifest, wanted: &HashSet<Digest>, ztocs: &mut HashMap<Digest, BuiltZtoc>) {
    for ztoc in manifest.layers() {
        let layer = ztoc.annotations.get(format::IMAGE_LAYER_DIGEST);
        let layer = layer.and_then(|layer| layer.parse().ok());
        if let Some(layer) = layer.filter(|layer| wanted.contains(layer)) {
            ztocs.insert(layer, BuiltZtoc { digest: ztoc.digest, size: ztoc.size });
        }
    }
}
