//! Fetches the documents of an image, in memory that was asked for.
//!
//! An image claims how large its documents are, and its root claims how many there are. So what they
//! take is known before they are fetched, level by level. Each level is held against the limits
//! and against the memory for documents first. If that has not enough just now, all documents are dropped, and
//! the image is gathered again when it has, as waiting with documents in hand would keep others waiting.
//! A manifest that an image index lists need not be there, nor its configuration: a copy may have one platform of several.
//! So it is noted as absent, and the plan says what that comes to.
//!
//! No document may be longer than claimed, but for short ones, which nobody needs to count.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use soci_manifest::{Image, Missing, MissingKind};
use soci_oci::{TagOrDigest, media_type};
use soci_registry::{MANIFEST_LIMIT, MemoryHold, VerifiedManifest};

use crate::budget::{DOCUMENT_FACTOR, FIRST_DOCUMENTS};
use crate::error::IndexError;
use crate::event::ImageEvent;
use crate::options::{ImageName, Options};
use crate::source_tag::SourceTag;
use crate::store::ImageStore;

/// Documents fetched at once.
const PARALLEL_DOCUMENTS: usize = 8;

/// A document may be as long as this whatever it claims.
const SHORT_DOCUMENT: u64 = 64 << 10;

/// An image whose documents are there, and the memory that they take.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) root: VerifiedManifest,
    pub(crate) image: Image,
    pub(crate) memory: MemoryHold,
}

/// Why an image was not gathered.
enum GatherError {
    Failed(IndexError),
    /// Its documents take so many bytes of memory, as far as it is known.
    Needs(u64),
}

impl<E: Into<IndexError>> From<E> for GatherError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Fetches every document of an image. Waits until there is memory for them.
pub(crate) async fn gather<S: ImageStore>(
    store: &S,
    name: &ImageName,
    source: Option<SourceTag<'_>>,
    options: &Options,
) -> Result<Gathered, IndexError> {
    let mut bytes = FIRST_DOCUMENTS;
    loop {
        (options.on_event)(&ImageEvent::DocumentsWait);
        let memory = options.budget.documents(bytes).await;
        (options.on_event)(&ImageEvent::DocumentsBegun);
        match try_gather(store, name, source, options, memory).await {
            Ok(gathered) => return Ok(gathered),
            Err(GatherError::Failed(error)) => return Err(error),
            Err(GatherError::Needs(needed)) => {
                let most = options.budget.most_documents();
                if needed > most {
                    return Err(IndexError::DocumentMemory { needed, most });
                }
                bytes = needed;
            }
        }
    }
}

async fn try_gather<S: ImageStore>(
    store: &S,
    name: &ImageName,
    source: Option<SourceTag<'_>>,
    options: &Options,
    mut memory: MemoryHold,
) -> Result<Gathered, GatherError> {
    let root = fetch_root(store, name, source).await?;
    hold(&mut memory, root.bytes.len() as u64).map_err(GatherError::Needs)?;
    let limits = options.image_limits;
    let mut image = Image::new(&root.media_type, root.digest, &root.bytes, limits)?;
    let is_index = media_type::is_index(&root.media_type);
    let mut ask_again = options.ask_again_after;
    loop {
        let missing = image.missing()?;
        let bytes = image.document_bytes(&missing)?;
        hold(&mut memory, bytes).map_err(GatherError::Needs)?;
        if missing.is_empty() {
            memory.shrink(bytes * DOCUMENT_FACTOR);
            return Ok(Gathered { root, image, memory });
        }
        let mut documents = stream::iter(missing)
            .map(|missing| async {
                let bytes = match fetch_document(store, &missing).await {
                    Err(error) if !is_not_there(&error) => return Err(error),
                    fetched => fetched,
                };
                Ok::<_, IndexError>((missing, bytes))
            })
            .buffered(PARALLEL_DOCUMENTS);
        let mut absent = Vec::new();
        while let Some((missing, bytes)) = documents.try_next().await? {
            match bytes {
                Ok(bytes) => image.supply(&missing, &bytes)?,
                Err(error) if is_index => absent.push((missing, error)),
                Err(error) => return Err(error.into()),
            }
        }
        if absent.is_empty() {
            continue;
        }
        if let Some(pause) = ask_again.take() {
            tokio::time::sleep(pause).await;
            continue;
        }
        for (missing, error) in absent {
            tracing::debug!(%error, "left out of the image's documents");
            image.supply_absent(&missing);
        }
    }
}

/// Makes sure that memory for documents of `bytes` is held; else says how much they need.
pub(crate) fn hold(memory: &mut MemoryHold, bytes: u64) -> Result<(), u64> {
    let needed = bytes.saturating_mul(DOCUMENT_FACTOR);
    let more = needed.saturating_sub(memory.bytes());
    if more == 0 || memory.try_grow(more) { Ok(()) } else { Err(needed) }
}

/// The image's own manifest or image index, if its tag is as it should be.
async fn fetch_root<S: ImageStore>(
    store: &S,
    name: &ImageName,
    source: Option<SourceTag<'_>>,
) -> Result<VerifiedManifest, IndexError> {
    let Some(source) = source else { return fetch(store, &name.target, MANIFEST_LIMIT).await };
    match tokio::join!(source.before(store), fetch(store, &name.target, MANIFEST_LIMIT)) {
        (Ok(()), root) => root,
        // A repository that holds neither may be the wrong one, which is more than a lost tag, so
        // then the missing image is the error.
        (Err(IndexError::TagGone { .. }), Err(error)) | (Err(error), _) => Err(error),
    }
}

/// A manifest of at most `limit` bytes with the media type that it has, be it not the one that was stated.
async fn fetch<S: ImageStore>(
    store: &S,
    target: &TagOrDigest,
    limit: usize,
) -> Result<VerifiedManifest, IndexError> {
    let target = || target.clone();
    let manifest = store.manifest_within(&target(), limit).await;
    let manifest = manifest.map_err(|source| IndexError::Read { target: target(), source })?;
    let manifest = manifest.ok_or_else(|| IndexError::NotFound { target: target() })?;
    let media_type = soci_oci::root_media_type(&manifest.media_type, &manifest.bytes)
        .map_err(|source| IndexError::NotADocument { target: target(), source })?;
    Ok(VerifiedManifest { media_type, ..manifest })
}

fn is_not_there(error: &IndexError) -> bool {
    match error {
        IndexError::NotFound { .. } => true,
        IndexError::Read { source, .. } => source.is_not_found(),
        _ => false,
    }
}

async fn fetch_document<S: ImageStore>(store: &S, missing: &Missing) -> Result<Bytes, IndexError> {
    let digest = missing.descriptor.digest;
    let target = TagOrDigest::Digest(digest);
    let limit = missing.descriptor.size.max(SHORT_DOCUMENT);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(MANIFEST_LIMIT);
    match missing.kind {
        MissingKind::Manifest => Ok(fetch(store, &target, limit).await?.bytes),
        MissingKind::Config => {
            let bytes = store.blob_bytes(&digest, limit).await;
            bytes.map_err(|source| IndexError::Read { target, source })
        }
    }
}
