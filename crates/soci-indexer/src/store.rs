//! Where images are read from and indexes are written to: a repository in a registry, or an OCI
//! layout on disk.

use std::future::Future;
use std::ops::Range;

use bytes::Bytes;
use soci_oci::{Digest, Repository, Tag, TagOrDigest};
use soci_registry::{
    BlobReader, BlobSource, Client, Manifest, ManifestHead, MemoryLease, Referrers, ReferrersSource,
};

use crate::layout::LayoutError;

/// Why a store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The registry, or the way to it.
    #[error(transparent)]
    Registry(#[from] soci_registry::Error),
    /// The layout on disk.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl StoreError {
    /// Whether the same operation may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_transient(),
            Self::Layout(_) => false,
        }
    }
}

/// One repository's content. Clones share what they stand for.
pub trait ImageStore: Clone + Send + Sync + 'static {
    /// A blob being read.
    type Blob: BlobStream;

    /// A manifest or image index with its bytes verified; none if it does not exist. Its media
    /// type is what the store states, which may be nothing.
    fn manifest(
        &self,
        target: &TagOrDigest,
    ) -> impl Future<Output = Result<Option<Manifest>, StoreError>> + Send;

    /// The digest of what a tag names; none if the tag does not exist.
    fn tagged(&self, tag: &Tag) -> impl Future<Output = Result<Option<Digest>, StoreError>> + Send {
        let target = TagOrDigest::Tag(tag.clone());
        async move { Ok(self.manifest(&target).await?.map(|manifest| manifest.digest)) }
    }

    /// Begins to read a blob of `size` bytes, `share` telling how much of it may be underway.
    fn blob(&self, digest: &Digest, size: u64, share: MemoryLease) -> Self::Blob;

    /// A small blob, verified, of at most `limit` bytes.
    fn blob_bytes(
        &self,
        digest: &Digest,
        limit: usize,
    ) -> impl Future<Output = Result<Bytes, StoreError>> + Send;

    /// Bytes `range` of a blob, which no digest of the blob can verify.
    fn blob_range(
        &self,
        digest: &Digest,
        range: Range<u64>,
    ) -> impl Future<Output = Result<Bytes, StoreError>> + Send;

    /// Whether a blob of `size` bytes exists.
    fn has_blob(
        &self,
        digest: &Digest,
        size: u64,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Makes a blob exist; true if its bytes had to be written.
    fn push_blob(
        &self,
        digest: &Digest,
        content: &BlobSource,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Makes a manifest exist under a digest or a tag; true if it had to be written.
    fn push_manifest(
        &self,
        target: &TagOrDigest,
        media_type: &str,
        bytes: Bytes,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The referrers of a manifest, of one artifact type where the store can tell them apart.
    fn referrers(
        &self,
        subject: &Digest,
        artifact_type: &str,
    ) -> impl Future<Output = Result<Referrers, StoreError>> + Send;
}

/// A blob that arrives in pieces.
pub trait BlobStream: Send + 'static {
    /// The next bytes. None only after the size and digest of all of them have been verified.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, StoreError>> + Send;
}

/// A repository in a registry.
#[derive(Clone, Debug)]
pub struct RemoteRepository {
    client: Client,
    repository: Repository,
}

impl RemoteRepository {
    /// The repository as seen through `client`.
    pub fn new(client: Client, repository: Repository) -> Self {
        Self { client, repository }
    }
}

impl ImageStore for RemoteRepository {
    type Blob = BlobReader;

    async fn manifest(&self, target: &TagOrDigest) -> Result<Option<Manifest>, StoreError> {
        match self.client.manifest(&self.repository, target).await {
            Ok(manifest) => Ok(Some(manifest)),
            Err(soci_registry::Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks for the digest alone, and for the manifest only where the registry does not state it.
    async fn tagged(&self, tag: &Tag) -> Result<Option<Digest>, StoreError> {
        let target = TagOrDigest::Tag(tag.clone());
        let head = self.client.head_manifest(&self.repository, &target).await?;
        match head {
            None => Ok(None),
            Some(ManifestHead { digest: Some(digest), .. }) => Ok(Some(digest)),
            Some(_) => Ok(self.manifest(&target).await?.map(|manifest| manifest.digest)),
        }
    }

    fn blob(&self, digest: &Digest, size: u64, share: MemoryLease) -> BlobReader {
        self.client.blob_with(&self.repository, digest, size, share)
    }

    async fn blob_bytes(&self, digest: &Digest, limit: usize) -> Result<Bytes, StoreError> {
        Ok(self.client.blob_bytes(&self.repository, digest, limit).await?)
    }

    async fn blob_range(&self, digest: &Digest, range: Range<u64>) -> Result<Bytes, StoreError> {
        Ok(self.client.blob_range(&self.repository, digest, range).await?)
    }

    async fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        let found = self.client.has_blob(&self.repository, digest).await?;
        // Not every registry states the size, which the client tells as 0.
        Ok(found.is_some_and(|found| found == size || found == 0))
    }

    async fn push_blob(&self, digest: &Digest, content: &BlobSource) -> Result<bool, StoreError> {
        let pushed = self.client.push_blob(&self.repository, digest, content, None).await?;
        Ok(pushed == soci_registry::PushedBlob::Uploaded)
    }

    async fn push_manifest(
        &self,
        target: &TagOrDigest,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<bool, StoreError> {
        let put = self.client.put_manifest(&self.repository, target, media_type, bytes).await?;
        Ok(!put.already_there)
    }

    async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: &str,
    ) -> Result<Referrers, StoreError> {
        Ok(self.client.referrers(&self.repository, subject, Some(artifact_type)).await?)
    }
}

impl BlobStream for BlobReader {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        Ok(BlobReader::next(self).await?)
    }
}

/// Referrers that the store itself keeps track of.
pub(crate) fn kept_by_store(pages: Vec<Bytes>) -> Referrers {
    Referrers { source: ReferrersSource::Api, pages }
}
