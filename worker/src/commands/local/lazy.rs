//! Reads one file of an indexed image as a runtime does that mounts it: manifests, a ztoc, and the
//! few ranges of the layer that the file lies in. A manifest names its SOCI index itself (V2), or the
//! registry says which one refers to it (V1).

use soci_indexer::{ImageStore, RemoteRepository, StoreError};
use soci_manifest::{Version, format};
use soci_oci::{Digest, Index, Manifest, Platform, TagOrDigest};
use soci_ztoc::{FetchError, LayerLimits, Reader};

/// Why a file cannot be read lazily.
#[derive(Debug, thiserror::Error)]
pub(super) enum LazyError {
    /// The registry failed.
    #[error("{what} cannot be read")]
    Read {
        /// What was read.
        what: &'static str,
        source: StoreError,
    },
    /// A manifest is malformed.
    #[error("{what} is malformed")]
    Document {
        /// What was read.
        what: &'static str,
        source: soci_oci::DocumentError,
    },
    /// A ztoc is malformed.
    #[error("ztoc {0} is malformed")]
    Ztoc(Digest, #[source] soci_ztoc::ReadError),
    /// The file's bytes are not what the ztoc promises.
    #[error("{path} cannot be extracted")]
    Extract {
        /// The file.
        path: String,
        source: soci_ztoc::ExtractError,
    },
    /// Something that should be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
}

/// A file that was read, and what that took.
#[derive(Debug)]
pub(super) struct LazyFile {
    /// Its content.
    pub(super) content: Vec<u8>,
    /// Bytes of manifests and ztocs that were read to find it.
    pub(super) index_bytes: u64,
    /// Bytes of layers that were read.
    pub(super) layer_bytes: u64,
}

/// Reads a file of the image for `platform`.
pub(super) async fn read(
    store: &RemoteRepository,
    image: &TagOrDigest,
    platform: &Platform,
    version: Version,
    path: &str,
) -> Result<LazyFile, LazyError> {
    let mut index_bytes = 0;
    let root = fetch(store, "the image index", image, &mut index_bytes).await?;
    let document = |what| move |source| LazyError::Document { what, source };
    let root = Index::decode(&root).map_err(document("the image index"))?;
    let ours = root.manifests().iter().find(|entry| {
        // A SOCI index has the platform of its image.
        entry.artifact_type.is_empty() && entry.platform.as_ref() == Some(platform)
    });
    let ours = ours.ok_or(LazyError::Missing("the platform's manifest"))?;
    let target = TagOrDigest::Digest(ours.digest);
    let manifest = fetch(store, "the manifest", &target, &mut index_bytes).await?;
    let manifest = Manifest::decode(&manifest).map_err(document("the manifest"))?;
    let named = match version {
        Version::V1 => attached(store, &ours.digest, &mut index_bytes).await?,
        Version::V2 => manifest.annotations.get(format::INDEX_DIGEST).and_then(|d| d.parse().ok()),
    };
    let index: Digest = named.ok_or(LazyError::Missing("the name of the SOCI index"))?;
    let index =
        fetch(store, "the SOCI index", &TagOrDigest::Digest(index), &mut index_bytes).await?;
    let index = Manifest::decode(&index).map_err(document("the SOCI index"))?;

    // The uppermost layer that has the file is the one that counts.
    for entry in index.layers().iter().rev() {
        let layer = entry.annotations.get(format::IMAGE_LAYER_DIGEST);
        let layer: Digest = layer
            .and_then(|digest| digest.parse().ok())
            .ok_or(LazyError::Missing("the name of a ztoc's layer"))?;
        let ztoc = store.blob_bytes(&entry.digest, LayerLimits::DEFAULT.ztoc_size).await;
        let ztoc = ztoc.map_err(|source| LazyError::Read { what: "a ztoc", source })?;
        index_bytes += ztoc.len() as u64;
        let ztoc = Reader::parse(ztoc, &LayerLimits::DEFAULT);
        let ztoc = ztoc.map_err(|source| LazyError::Ztoc(entry.digest, source))?;
        if ztoc.find(path.as_bytes()).is_some() {
            let (content, layer_bytes) = extract(store, &layer, &ztoc, path).await?;
            return Ok(LazyFile { content, index_bytes, layer_bytes });
        }
    }
    // A runtime fetches a layer without a ztoc as a whole.
    Err(LazyError::Missing(
        "a ztoc of the layer that has the file (`--min-layer-size 0` gives every layer one)",
    ))
}

/// The SOCI index that refers to a manifest.
async fn attached(
    store: &RemoteRepository,
    manifest: &Digest,
    read: &mut u64,
) -> Result<Option<Digest>, LazyError> {
    let (what, kind) = ("the list of referrers", Version::V1.artifact_type());
    let referrers = store.referrers(manifest, kind).await;
    let referrers = referrers.map_err(|source| LazyError::Read { what, source })?;
    for page in &referrers.pages {
        *read += page.len() as u64;
        let page = Index::decode(page);
        let page = page.map_err(|source| LazyError::Document { what, source })?;
        if let Some(entry) = page.manifests().iter().find(|entry| entry.artifact_type == kind) {
            return Ok(Some(entry.digest));
        }
    }
    Ok(None)
}

async fn extract(
    store: &RemoteRepository,
    layer: &Digest,
    ztoc: &Reader<bytes::Bytes>,
    path: &str,
) -> Result<(Vec<u8>, u64), LazyError> {
    let failed = |source| LazyError::Extract { path: path.to_owned(), source };
    let entry = ztoc.find(path.as_bytes()).ok_or(LazyError::Missing("the file"))?;
    let mut extraction = ztoc.extraction(&entry).map_err(failed)?;
    let (mut content, mut read) = (Vec::new(), 0);
    while let Some(span) = extraction.next_span() {
        let bytes = store.blob_range(layer, span.start..span.end).await;
        let bytes =
            bytes.map_err(|source| LazyError::Read { what: "a range of a layer", source })?;
        read += bytes.len() as u64;
        let mut sink = |data: &[u8]| {
            content.extend_from_slice(data);
            Ok::<_, std::convert::Infallible>(())
        };
        extraction.push(&bytes, &mut sink).map_err(|error| match error {
            FetchError::Extract(source) => failed(source),
            FetchError::Fetch(never) => match never {},
        })?;
    }
    extraction.finish().map_err(failed)?;
    Ok((content, read))
}

async fn fetch(
    store: &RemoteRepository,
    what: &'static str,
    target: &TagOrDigest,
    read: &mut u64,
) -> Result<bytes::Bytes, LazyError> {
    let manifest = store.manifest(target).await;
    let manifest = manifest.map_err(|source| LazyError::Read { what, source })?;
    let bytes = manifest.ok_or(LazyError::Missing(what))?.bytes;
    *read += bytes.len() as u64;
    Ok(bytes)
}
