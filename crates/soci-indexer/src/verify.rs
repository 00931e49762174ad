//! Checks the SOCI indexes of an image against its layers.
//!
//! For every ztoc: the layer is read once, verified, and its ztoc built again with the same
//! settings; the two must be equal, and what differs first is told. Then some files are extracted
//! through ranged requests, as a runtime would, from their checkpoints; in front of each file's
//! data there must be the header of an archive's entry.
//!
//! An index that is right may yet do harm, in the hands of an older snapshotter: see [`Misread`].

mod error;

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use soci_manifest::{Version, format};
use soci_oci::{Descriptor, Digest, Index, Manifest, TagOrDigest, media_type};
use soci_ztoc::{
    BLOCK_SIZE, Entry, FileType, GzipMembers, LayerLimits, Reader, Span, ZtocSettings,
};

use crate::budget::Budget;
use crate::error::{LayerError, StoreError};
use crate::layer::{LayerProgress, build_layer};
use crate::store::ImageStore;

pub use error::VerifyError;

/// Files of each layer that are extracted.
const SAMPLE: usize = 8;

/// Largest span that is fetched for it, in bytes: a span is held until it is verified.
const MAX_SAMPLED_SPAN: u64 = 64 << 20;

/// Largest file that is extracted, in bytes.
const MAX_SAMPLED_FILE: i64 = 64 << 20;

/// What was checked.
#[derive(Clone, Debug)]
pub struct Verification {
    /// The SOCI indexes.
    pub indexes: Vec<Digest>,
    /// Every pair of a layer and its ztoc, once.
    pub layers: Vec<LayerCheck>,
    /// What is right, and yet read wrongly by older snapshotters.
    pub misread: Vec<Misread>,
    /// Time that it took.
    pub elapsed: Duration,
}

/// The ztoc of a layer of several gzip members, in a SOCI index that does not say to be of the newer
/// [`Generation`](soci_manifest::Generation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misread {
    /// The SOCI index.
    pub index: Digest,
    /// The layer.
    pub layer: Digest,
    /// Its gzip members.
    pub members: u64,
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, layer, members } = self;
        write!(
            f,
            "SOCI index {index} has a ztoc of layer {layer}, which has {members} gzip members: soci-snapshotter before \
             0.14 reads wrong bytes of it. An index for 0.11 leaves the layer out, one for 0.16 says whom it is for"
        )
    }
}

/// What was checked of a layer.
#[derive(Clone, Debug)]
pub struct LayerCheck {
    /// The layer.
    pub layer: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its ztoc.
    pub ztoc: Digest,
    /// Its spans.
    pub spans: usize,
    /// Files in its table of contents.
    pub files: usize,
    /// Its gzip members; 0 if it is not compressed.
    pub members: u64,
    /// Files that were extracted through ranged requests.
    pub extracted: usize,
    /// Compressed bytes that were fetched to extract them.
    pub bytes_fetched: u64,
}

/// A SOCI index with the image manifest it is for.
struct Pair {
    index: Digest,
    image: Digest,
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
    let started = Instant::now();
    let pairs = find_indexes(store, target).await?;
    if pairs.is_empty() {
        return Err(VerifyError::NoIndex { target: target.clone() });
    }
    let mut members = HashMap::new();
    let mut checks = Vec::new();
    let mut misread = Vec::new();
    let mut indexes = Vec::new();
    for pair in pairs {
        let image = manifest(store, "manifest", pair.image).await?;
        let index = manifest(store, "SOCI index", pair.index).await?;
        for ztoc in index.layers() {
            let layer = check_ztoc_entry(&pair, &image, ztoc)?;
            let members = match members.entry((layer.digest, ztoc.digest)) {
                MapEntry::Occupied(known) => *known.get(),
                MapEntry::Vacant(unknown) => {
                    let check = check_layer(store, layer, ztoc, budget).await?;
                    let members = *unknown.insert(check.members);
                    checks.push(check);
                    members
                }
            };
            if members > 1 && !ztoc.annotations.contains_key(format::SPAN_SIZE) {
                misread.push(Misread { index: pair.index, layer: layer.digest, members });
            }
        }
        indexes.push(pair.index);
    }
    Ok(Verification { indexes, layers: checks, misread, elapsed: started.elapsed() })
}

async fn find_indexes<S: ImageStore>(
    store: &S,
    target: &TagOrDigest,
) -> Result<Vec<Pair>, VerifyError> {
    let root = read(store, "image", target).await?;
    let document = |source| VerifyError::Document { digest: root.digest, source };
    let mut pairs = Vec::new();
    let mut images = vec![root.digest];
    if media_type::is_index(&root.media_type) {
        let index = Index::decode(&root.bytes).map_err(document)?;
        let soci = |entry: &&Descriptor| entry.artifact_type == Version::V2.artifact_type();
        for entry in index.manifests().iter().filter(soci) {
            pairs.push(v2_pair(store, &index, entry).await?);
        }
        let manifests = index
            .manifests()
            .iter()
            .filter(|entry| media_type::is_manifest(&entry.media_type) && !soci(entry));
        images = manifests.map(|entry| entry.digest).collect();
    }
    for image in images {
        let target = TagOrDigest::Digest(image);
        let artifact_type = Version::V1.artifact_type();
        let referrers = store
            .referrers(&image, artifact_type)
            .await
            .map_err(|source| VerifyError::Read { what: "list of referrers of", target, source })?;
        for page in &referrers.pages {
            let page = Index::decode(page)
                .map_err(|source| VerifyError::Document { digest: image, source })?;
            let entries = page.manifests().iter().filter(|e| e.artifact_type == artifact_type);
            for entry in entries {
                let index = manifest(store, "SOCI index", entry.digest).await?;
                if index.subject.as_ref().map(|subject| subject.digest) != Some(image) {
                    let reason = format!("it is listed for {image}, which is not its subject");
                    return Err(VerifyError::Index { index: entry.digest, reason });
                }
                pairs.push(Pair { index: entry.digest, image });
            }
        }
    }
    Ok(pairs)
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
    let manifest = manifest(store, "manifest", image).await?;
    let named = manifest.annotations.get(format::INDEX_DIGEST).map(String::as_str);
    if named != Some(&entry.digest.to_string()) {
        return Err(wrong(format!("image manifest {image} names {named:?} instead")));
    }
    Ok(Pair { index: entry.digest, image })
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

async fn check_layer<S: ImageStore>(
    store: &S,
    layer: &Descriptor,
    ztoc: &Descriptor,
    budget: &Budget,
) -> Result<LayerCheck, VerifyError> {
    let limit =
        usize::try_from(ztoc.size).unwrap_or(usize::MAX).min(LayerLimits::DEFAULT.ztoc_size);
    let bytes = store.blob_bytes(&ztoc.digest, limit).await;
    let bytes = bytes.map_err(|source| failed_read("ztoc", ztoc.digest, source))?;
    let (layer_digest, ztoc_digest) = (layer.digest, ztoc.digest);
    let reader = Reader::parse(bytes, &LayerLimits::DEFAULT)
        .map_err(|source| VerifyError::Ztoc { ztoc: ztoc_digest, layer: layer_digest, source })?;
    let check = Check { store, layer, ztoc: ztoc_digest, reader: &reader, budget };
    let members = check.whole().await?;
    let (extracted, bytes_fetched) = check.files().await?;
    Ok(LayerCheck {
        layer: layer_digest,
        size: layer.size,
        ztoc: ztoc_digest,
        spans: reader.span_count(),
        files: reader.entry_count(),
        members,
        extracted,
        bytes_fetched,
    })
}

/// A layer with its open ztoc.
struct Check<'a, S> {
    store: &'a S,
    layer: &'a Descriptor,
    ztoc: Digest,
    reader: &'a Reader<Bytes>,
    budget: &'a Budget,
}

impl<S: ImageStore> Check<'_, S> {
    fn mismatch(&self, reason: String) -> VerifyError {
        VerifyError::Mismatch { ztoc: self.ztoc, layer: self.layer.digest, reason }
    }

    /// Reads the whole layer, verified, and builds its ztoc again. Returns how many gzip members it has.
    async fn whole(&self) -> Result<u64, VerifyError> {
        let (expected, found) = (self.reader.compressed_size(), self.layer.size);
        if expected != found {
            return Err(self.mismatch(format!("it is for {expected} bytes, not {found}")));
        }
        let settings = ZtocSettings {
            compression: self.reader.compression(),
            span_size: self.reader.span_size(),
            build_tool_identifier: self.reader.build_tool_identifier().to_owned(),
            members: GzipMembers::Any,
            limits: LayerLimits::DEFAULT,
        };
        let Descriptor { digest, size, .. } = self.layer;
        let built =
            build_layer(self.store, digest, *size, settings, self.budget, &NobodyTold).await;
        let built = match built {
            Ok(built) => built.ztoc,
            Err(LayerError::Build(error)) => return Err(self.mismatch(error.to_string())),
            Err(LayerError::Read(source)) => return Err(failed_read("layer", *digest, source)),
            Err(error @ LayerError::Memory { .. }) => {
                return Err(VerifyError::Memory { layer: *digest, source: error });
            }
            Err(LayerError::Interrupted) => return Err(VerifyError::Interrupted),
        };
        if Digest::from_sha256(built.encoded.sha256()) == self.ztoc {
            return Ok(built.members);
        }
        let ztoc = built.encoded.to_vec();
        let difference = Reader::parse(ztoc, &LayerLimits::DEFAULT).ok();
        let difference = difference.and_then(|built| difference_between(self.reader, &built));
        Err(self.mismatch(difference.unwrap_or_else(|| "their encoding differs".to_owned())))
    }

    /// Extracts some files, spread over the layer.
    async fn files(&self) -> Result<(usize, u64), VerifyError> {
        let candidates: Vec<usize> = (0..self.reader.entry_count())
            .filter(|index| self.reader.entry(*index).is_some_and(|entry| is_sampled(&entry)))
            .collect();
        let sample = candidates.len().min(SAMPLE);
        let (mut extracted, mut fetched) = (0, 0);
        for number in 0..sample {
            // Evenly, the last one included: the ends of layers are where offsets go wrong.
            let index = candidates[(number + 1) * candidates.len() / sample - 1];
            let Some(entry) = self.reader.entry(index) else { continue };
            if let Some(bytes) = self.file(&entry).await? {
                extracted += 1;
                fetched += bytes;
            }
        }
        Ok((extracted, fetched))
    }

    /// Extracts a file together with its header; returns the compressed bytes fetched for it, or
    /// nothing if a span of it is too large to be held.
    async fn file(&self, entry: &Entry<'_>) -> Result<Option<u64>, VerifyError> {
        let name = || String::from_utf8_lossy(entry.name).into_owned();
        let failed = |source| VerifyError::Extract {
            file: name(),
            ztoc: self.ztoc,
            layer: self.layer.digest,
            source,
        };
        let end = entry.offset.saturating_add(entry.size.unsigned_abs());
        let Some(start) = entry.offset.checked_sub(BLOCK_SIZE as u64) else {
            return Err(self.mismatch(format!("there is no header in front of {:?}", name())));
        };
        let mut extraction = self.reader.extraction_at(start..end).map_err(failed)?;
        let mut header = Vec::with_capacity(BLOCK_SIZE);
        let mut fetched = 0;
        while let Some(span) = extraction.next_span() {
            if span.end - span.start > MAX_SAMPLED_SPAN {
                return Ok(None);
            }
            let range = self.store.blob_range(&self.layer.digest, span.start..span.end).await;
            let bytes =
                range.map_err(|source| failed_read("range of layer", self.layer.digest, source))?;
            fetched += bytes.len() as u64;
            let mut sink = |data: &[u8]| {
                let missing = BLOCK_SIZE - header.len();
                header.extend_from_slice(&data[..data.len().min(missing)]);
                Ok::<_, std::convert::Infallible>(())
            };
            extraction.push(&bytes, &mut sink).map_err(|error| match error {
                soci_ztoc::FetchError::Extract(source) => failed(source),
                soci_ztoc::FetchError::Fetch(never) => match never {},
            })?;
        }
        extraction.finish().map_err(failed)?;
        let header: Option<&[u8; BLOCK_SIZE]> = header.as_slice().try_into().ok();
        if !header.is_some_and(soci_ztoc::is_header) {
            return Err(self.mismatch(format!("there is no header in front of {:?}", name())));
        }
        Ok(Some(fetched))
    }
}

/// What differs first between a ztoc and the one that was built in its place.
fn difference_between<A: AsRef<[u8]>, B: AsRef<[u8]>>(
    theirs: &Reader<A>,
    built: &Reader<B>,
) -> Option<String> {
    let counts = [
        ("spans", theirs.span_count(), built.span_count()),
        ("files", theirs.entry_count(), built.entry_count()),
    ];
    for (what, theirs, built) in counts {
        if theirs != built {
            return Some(format!("it has {theirs} {what} instead of {built}"));
        }
    }
    if theirs.uncompressed_size() != built.uncompressed_size() {
        let (theirs, built) = (theirs.uncompressed_size(), built.uncompressed_size());
        return Some(format!("its archive has {theirs} bytes instead of {built}"));
    }
    if let Some((span, _)) = theirs.spans().zip(built.spans()).find(|(a, b)| a != b) {
        let Span { index, start, end, .. } = span;
        return Some(format!("span {index} (bytes {start} to {end}) differs"));
    }
    let entries = theirs.entries().zip(built.entries()).enumerate();
    for (index, (theirs, built)) in entries {
        if theirs != built {
            let name = String::from_utf8_lossy(built.name).into_owned();
            return Some(format!("entry {index} ({name:?}) differs"));
        }
    }
    (0..theirs.span_count())
        .find(|index| theirs.checkpoint_window(*index) != built.checkpoint_window(*index))
        .map(|index| format!("the window of checkpoint {index} differs"))
}

fn is_sampled(entry: &Entry<'_>) -> bool {
    entry.kind == FileType::Regular
        && (1..=MAX_SAMPLED_FILE).contains(&entry.size)
        && !entry.is_sparse()
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

fn failed_read(what: &'static str, digest: Digest, source: StoreError) -> VerifyError {
    VerifyError::Read { what, target: TagOrDigest::Digest(digest), source }
}

/// Nobody wants to know how a check gets on.
struct NobodyTold;

impl LayerProgress for NobodyTold {
    fn started(&self) {}

    fn read(&self, _: u64) {}

    fn restarted(&self) {}
}
