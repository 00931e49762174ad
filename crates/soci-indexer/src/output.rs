//! The result somewhere else than beside the image: another repository, another registry, a layout or an archive.
//!
//! [`WithOutput`] is one store made of two, so that indexing is the same as beside the image, and gives the same digests:
//!
//! | what | from or to |
//! | --- | --- |
//! | layers, and the image's own documents | the source, by their digests |
//! | documents and blobs that the source does not have: what an earlier run has written | the output |
//! | tags, referrers, whether a blob is there | the output |
//! | everything that is written | the output |
//!
//! A manifest is written after all that it names. What of that the output lacks is brought from the source first: mounted
//! where both are in one registry, else copied as a stream, in memory of the same [`Budget`] as layers that are indexed. A manifest
//! that is in the output is taken to be there with all that it names, so doing it again copies nothing, and a run that
//! was interrupted goes on where it was.
//!
//! What an image index lists need not be in the source, or lack a layer there. Such an entry is not brought, and an output
//! that takes no image index without it gets one that does not list it ([`ImageStore::lacking`]).
//!
//! A blob is verified while it is copied, and its last piece is sent only when its digest was found to be right: so
//! an upload of wrong bytes is never complete, whatever the registry checks.

pub(crate) mod blob_copy;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, TryStreamExt as _, stream};
use soci_manifest::Version;
use soci_oci::{Descriptor, Digest, Document, Index, Repository, Tag, TagOrDigest, media_type};
use soci_registry::{
    BlobSource, MANIFEST_LIMIT, MemoryLease, Referrers, TagNames, VerifiedManifest,
};

use crate::budget::Budget;
use crate::error::{IndexError, StoreError};
use crate::event::OnImageEvent;
use crate::index::index_image;
use crate::options::{ImageName, Options};
use crate::output_tag::OutputTag;
use crate::reason::is_of_wrong_bytes;
use crate::report::Report;
use crate::store::{ImageStore, ReadBack};

use blob_copy::BlobCopy;

/// Blobs of one manifest that are copied at once.
const COPIES_AT_ONCE: usize = 4;

/// How deep image indexes may lie in each other. Real ones do not at all.
pub(crate) const MAX_DEPTH: usize = 4;

/// How the output of [`index_image_to`] and [`copy_image`](crate::copy_image) goes with its source. The default is right for stores that have nothing to do
/// with each other.
#[derive(Clone, Debug, Default)]
pub struct OutputPlace {
    /// The source, if it is a repository of the registry that the output is in: blobs are mounted from there.
    pub mount_from: Option<Repository>,
    /// The tag that the image itself gets in the output (V1, and a copy). Without one it is there by its digest alone.
    pub image_tag: Option<Tag>,
}

/// Builds the SOCI index of an image in `source` and writes it to `output`, with what it needs of the image. What it
/// writes has the digests that [`index_image`] gives. In version V1 the image itself is copied as well.
///
/// Tags are the output's, so [`Options::follow_tag`](Options) has no meaning.
pub async fn index_image_to<S: ImageStore, T: ImageStore>(
    source: &S,
    output: &T,
    place: &OutputPlace,
    name: &ImageName,
    options: &Options,
) -> Result<Report, IndexError> {
    let target = || name.target.clone();
    let root = source.manifest(&target()).await;
    let root = root.map_err(|source| IndexError::Read { target: target(), source })?;
    let root = root.ok_or_else(|| IndexError::NotFound { target: target() })?;
    // From here on the image goes by its digest: tags are the output's.
    let by_digest = ImageName { target: root.digest.into(), tag: name.tag.clone() };
    let mut options = Options { follow_tag: false, ..options.clone() };
    if let Some(tag) = kept_tag(&root, name, &options.output) {
        options.output = OutputTag::Tag(tag);
    }
    let on_event = Arc::clone(&options.on_event);
    let store = WithOutput::new(source, output, place, &options.budget, on_event);
    let mut report = index_image(&store, &by_digest, &options).await?;
    if report.version == Version::V1 {
        let target = match &place.image_tag {
            Some(tag) => TagOrDigest::Tag(tag.clone()),
            None => TagOrDigest::Digest(root.digest),
        };
        let media_type = soci_oci::root_media_type(&root.media_type, &root.bytes)
            .map_err(|source| IndexError::NotADocument { target: target.clone(), source })?;
        let copied = store.push_manifest(&target, &media_type, root.bytes, None).await;
        let copied =
            copied.map_err(|source| IndexError::Write { what: "image", target, source })?;
        report.already_there &= !copied;
    }
    Ok(report)
}

/// The tag of an image that is converted already and is named as one.
pub(crate) fn kept_tag(
    root: &VerifiedManifest,
    name: &ImageName,
    output: &OutputTag,
) -> Option<Tag> {
    let (OutputTag::Suffix(suffix), Some(tag)) = (output, &name.tag) else { return None };
    let index = Index::decode(&root.bytes).ok()?;
    let v2 = Version::V2.artifact_type();
    let converted = index.manifests().iter().any(|entry| entry.artifact_type == v2);
    (converted && tag.as_str().ends_with(suffix.as_str())).then(|| tag.clone())
}

/// A source and an output as one store. Clones are the same.
pub(crate) struct WithOutput<S, T>(Arc<Stores<S, T>>);

struct Stores<S, T> {
    source: S,
    output: T,
    mount_from: Option<Repository>,
    budget: Budget,
    on_event: OnImageEvent,
    /// Blobs that the output is known to have.
    in_output: Mutex<HashMap<Digest, Whose>>,
    /// Entries of image indexes that could not be brought, as the source has not all of them.
    lacking: Mutex<HashSet<Digest>>,
}

/// Whose a blob in the output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// The result's, which the source need not have.
    Result,
    /// The image's, which was brought from the source.
    Image,
}

impl<S, T> Clone for WithOutput<S, T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Clone, T: Clone> WithOutput<S, T> {
    pub(crate) fn new(
        source: &S,
        output: &T,
        place: &OutputPlace,
        budget: &Budget,
        on_event: OnImageEvent,
    ) -> Self {
        Self(Arc::new(Stores {
            source: source.clone(),
            output: output.clone(),
            mount_from: place.mount_from.clone(),
            budget: budget.clone(),
            on_event,
            in_output: Mutex::default(),
            lacking: Mutex::default(),
        }))
    }
}

impl<S, T> Stores<S, T> {
    fn in_output(&self) -> MutexGuard<'_, HashMap<Digest, Whose>> {
        self.in_output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lacking(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a document lists something that could not be brought.
    fn lists_lacking(&self, media_type: &str, bytes: &[u8]) -> bool {
        let Ok(Document::Index(index)) = decode(media_type, bytes) else { return false };
        let lacking = self.lacking();
        index.manifests().iter().any(|entry| lacking.contains(&entry.digest))
    }

    /// Whether a blob is to be read from the output.
    fn is_in_output(&self, digest: &Digest) -> bool {
        self.in_output().contains_key(digest)
    }
}

impl<S: ImageStore, T: ImageStore> ImageStore for WithOutput<S, T> {
    type Blob = S::Blob;

    async fn manifest_within(
        &self,
        target: &TagOrDigest,
        limit: usize,
    ) -> Result<Option<VerifiedManifest>, StoreError> {
        let Stores { source, output, .. } = &*self.0;
        if matches!(target, TagOrDigest::Tag(_)) {
            return output.manifest_within(target, limit).await;
        }
        let from_source = source.manifest_within(target, limit).await;
        match &from_source {
            Ok(Some(_)) => return from_source,
            Err(error) if error.is_transient() => return from_source,
            // A source need not be good at saying that it lacks what is another's.
            Ok(None) | Err(_) => {}
        }
        let Some(found) = output.manifest_within(target, limit).await? else { return from_source };
        if let Ok(Document::Manifest(manifest)) = decode(&found.media_type, &found.bytes) {
            let types = [&manifest.artifact_type, &manifest.config.media_type];
            let soci = [Version::V1, Version::V2]
                .iter()
                .any(|version| types.iter().any(|stated| *stated == version.artifact_type()));
            let whose = if soci { Whose::Result } else { Whose::Image };
            let blobs = manifest.layers().iter().chain([&manifest.config]);
            self.0.in_output().extend(blobs.map(|blob| (blob.digest, whose)));
        }
        Ok(Some(found))
    }

    async fn tagged(&self, tag: &Tag) -> Result<Option<Digest>, StoreError> {
        self.0.output.tagged(tag).await
    }

    fn blob(&self, digest: &Digest, size: u64, share: MemoryLease) -> S::Blob {
        self.0.source.blob(digest, size, share)
    }

    async fn blob_bytes(&self, digest: &Digest, limit: usize) -> Result<Bytes, StoreError> {
        if self.0.is_in_output(digest) {
            return self.0.output.blob_bytes(digest, limit).await;
        }
        match self.0.source.blob_bytes(digest, limit).await {
            // A ztoc that was taken over is in the output, and need not be known to be the result's yet.
            Err(error) if !error.is_transient() => {
                self.0.output.blob_bytes(digest, limit).await.map_err(|_| error)
            }
            found => found,
        }
    }

    async fn blob_range(&self, digest: &Digest, range: Range<u64>) -> Result<Bytes, StoreError> {
        if self.0.is_in_output(digest) {
            return self.0.output.blob_range(digest, range).await;
        }
        match self.0.source.blob_range(digest, range.clone()).await {
            Err(error) if !error.is_transient() => {
                self.0.output.blob_range(digest, range).await.map_err(|_| error)
            }
            found => found,
        }
    }

    async fn blob_range_only(
        &self,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        if self.0.is_in_output(digest) {
            return self.0.output.blob_range_only(digest, range).await;
        }
        self.0.source.blob_range_only(digest, range).await
    }

    async fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        self.0.output.has_blob(digest, size).await
    }

    async fn has_image_blob(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        self.0.source.has_blob(digest, size).await
    }

    async fn sees_image_blob(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        self.0.source.sees_image_blob(digest, size).await
    }

    fn repository(&self) -> Option<&Repository> {
        self.0.output.repository()
    }

    async fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        self.0.output.tags().await
    }

    async fn push_blob(&self, digest: &Digest, content: &BlobSource) -> Result<bool, StoreError> {
        let written = self.0.output.push_blob(digest, content).await?;
        self.0.in_output().insert(*digest, Whose::Result);
        Ok(written)
    }

    async fn push_blob_again(
        &self,
        digest: &Digest,
        content: &BlobSource,
    ) -> Result<(), StoreError> {
        self.0.output.push_blob_again(digest, content).await?;
        self.0.in_output().insert(*digest, Whose::Result);
        Ok(())
    }

    async fn push_manifest(
        &self,
        target: &TagOrDigest,
        media_type: &str,
        bytes: Bytes,
        condition: Option<&TagNames>,
    ) -> Result<bool, StoreError> {
        let output = &self.0.output;
        let digest = match target {
            TagOrDigest::Digest(digest) => *digest,
            TagOrDigest::Tag(_) => Digest::sha256_of(&bytes),
        };
        let there = match output.manifest(&digest.into()).await {
            // Whoever has it written finds out whether it stays so.
            Err(error) if is_of_wrong_bytes(&error) => false,
            found => found?.is_some(),
        };
        if !there {
            self.bring_content(media_type, &bytes, Bringing::IfMissing, 0).await?;
        }
        match output.push_manifest(target, media_type, bytes.clone(), condition).await {
            // The output has lost what it says that it has, unless it was never brought.
            Err(error)
                if error.is_missing_content() && !self.0.lists_lacking(media_type, &bytes) =>
            {
                tracing::info!(%error, manifest = %digest, "copying again");
                self.bring_content(media_type, &bytes, Bringing::Again, 0).await?;
                output.push_manifest(target, media_type, bytes, condition).await
            }
            pushed => pushed,
        }
    }

    async fn push_manifest_again(
        &self,
        digest: &Digest,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<(), StoreError> {
        self.0.output.push_manifest_again(digest, media_type, bytes).await
    }

    async fn read_back_blob(&self, digest: &Digest, size: u64) -> Result<ReadBack, StoreError> {
        self.0.output.read_back_blob(digest, size).await
    }

    async fn read_back_manifest(&self, digest: &Digest) -> Result<ReadBack, StoreError> {
        self.0.output.read_back_manifest(digest).await
    }

    async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: &str,
    ) -> Result<Referrers, StoreError> {
        self.0.output.referrers(subject, artifact_type).await
    }

    fn lacking(&self) -> HashSet<Digest> {
        self.0.lacking().clone()
    }
}

/// Whether the output is believed that it has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bringing {
    IfMissing,
    Again,
}

impl<S: ImageStore, T: ImageStore> WithOutput<S, T> {
    /// Brings into the output what a manifest names and the source has.
    async fn bring_content(
        &self,
        media_type: &str,
        bytes: &[u8],
        bringing: Bringing,
        depth: usize,
    ) -> Result<(), StoreError> {
        // What cannot be read names nothing that anybody could look for.
        let Ok(document) = decode(media_type, bytes) else { return Ok(()) };
        let subject = match document {
            Document::Manifest(manifest) => {
                let blobs = manifest.layers().iter().chain([&manifest.config]);
                // Those are anywhere but in registries.
                let blobs = blobs.filter(|blob| !media_type::is_nondistributable(&blob.media_type));
                stream::iter(blobs.map(Ok))
                    .try_for_each_concurrent(COPIES_AT_ONCE, |blob| self.bring_blob(blob, bringing))
                    .await?;
                manifest.subject
            }
            Document::Index(index) => {
                for entry in index.manifests() {
                    self.bring_manifest(entry, bringing, depth).await?;
                }
                index.subject
            }
        };
        match subject {
            Some(subject) => self.bring_manifest(&subject, bringing, depth).await,
            None => Ok(()),
        }
    }

    /// Brings a manifest that the source has with all that it names. One that it does not have is no error here, nor one
    /// that lacks a layer: images are in use of which only some platforms are there.
    fn bring_manifest<'a>(
        &'a self,
        entry: &'a Descriptor,
        bringing: Bringing,
        depth: usize,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let Stores { source, output, .. } = &*self.0;
            let target = TagOrDigest::Digest(entry.digest);
            let there = output.manifest(&target).await?.is_some();
            if depth >= MAX_DEPTH || there && bringing == Bringing::IfMissing {
                return Ok(());
            }
            let Some(manifest) = source.manifest_within(&target, MANIFEST_LIMIT).await? else {
                tracing::debug!(manifest = %entry.digest, "the source does not have it");
                self.0.lacking().insert(entry.digest);
                return Ok(());
            };
            let stated = if manifest.media_type.is_empty() {
                &entry.media_type
            } else {
                &manifest.media_type
            };
            match self.bring_content(stated, &manifest.bytes, bringing, depth + 1).await {
                Err(StoreError::Copy { digest, reading: true, source })
                    if source.is_not_found() =>
                {
                    tracing::info!(manifest = %entry.digest, blob = %digest, "the source lacks a blob of it");
                    self.0.lacking().insert(entry.digest);
                    return Ok(());
                }
                brought => brought?,
            }
            output.push_manifest(&target, stated, manifest.bytes.clone(), None).await?;
            self.0.lacking().remove(&entry.digest);
            Ok(())
        }
        .boxed()
    }

    async fn bring_blob(&self, blob: &Descriptor, bringing: Bringing) -> Result<(), StoreError> {
        let Stores { source, output, mount_from, budget, on_event, .. } = &*self.0;
        let digest = blob.digest;
        let known = self.0.in_output().get(&digest).copied();
        match known {
            // It is sent again by whoever has built it.
            Some(Whose::Result) => return Ok(()),
            Some(Whose::Image) if bringing == Bringing::IfMissing => return Ok(()),
            _ => {}
        }
        // In the order in which layers take them, who likewise wait for nothing else then.
        let _slot = budget.slot().await;
        let copy = BlobCopy::new(source.clone(), blob, budget, Arc::clone(on_event)).await;
        let content = copy.content();
        let pushed = match bringing {
            Bringing::IfMissing => {
                output.push_blob_from(&digest, &content, mount_from.as_ref()).await.map(|_| ())
            }
            Bringing::Again => output.push_blob_again(&digest, &content).await,
        };
        let failed =
            |reading, source| StoreError::Copy { digest, reading, source: Box::new(source) };
        if let Err(error) = pushed {
            // Why it could not be read is why its upload broke off.
            return Err(match copy.take_failure() {
                Some(unread) => failed(true, unread),
                None => failed(false, error),
            });
        }
        self.0.in_output().insert(digest, Whose::Image);
        Ok(())
    }
}

/// A document by what is stated of it, or by what it looks like.
pub(crate) fn decode(stated: &str, bytes: &[u8]) -> Result<Document, soci_oci::DocumentError> {
    Document::decode(&soci_oci::root_media_type(stated, bytes)?, bytes)
}
