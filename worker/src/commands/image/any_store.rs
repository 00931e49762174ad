//! A repository in a registry or a layout as one type, so that what is done with an image is compiled once.

use std::ops::Range;

use bytes::Bytes;
use soci_indexer::{BlobStream, ImageStore, Layout, ReadBack, RemoteRepository, StoreError};
use soci_oci::{Digest, Repository, Tag, TagOrDigest};
use soci_registry::{BlobSource, MemoryLease, Referrers, TagNames, VerifiedManifest};

/// A store of either kind.
#[derive(Clone, Debug)]
pub(crate) enum AnyStore {
    Registry(RemoteRepository),
    Layout(Layout),
}

/// A blob of either kind.
pub(crate) enum AnyBlob {
    Registry(<RemoteRepository as ImageStore>::Blob),
    Layout(<Layout as ImageStore>::Blob),
}

impl BlobStream for AnyBlob {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        match self {
            Self::Registry(blob) => BlobStream::next(blob).await,
            Self::Layout(blob) => BlobStream::next(blob).await,
        }
    }

    fn leave_hashing(&mut self) -> bool {
        match self {
            Self::Registry(blob) => BlobStream::leave_hashing(blob),
            Self::Layout(blob) => BlobStream::leave_hashing(blob),
        }
    }

    fn hashed(&mut self, actual: &Digest) -> Result<(), StoreError> {
        match self {
            Self::Registry(blob) => BlobStream::hashed(blob, actual),
            Self::Layout(blob) => BlobStream::hashed(blob, actual),
        }
    }
}

/// The same of whichever store it is.
macro_rules! of_either {
    ($store:expr, $either:ident => $call:expr) => {
        match $store {
            AnyStore::Registry($either) => $call,
            AnyStore::Layout($either) => $call,
        }
    };
}

impl ImageStore for AnyStore {
    type Blob = AnyBlob;

    async fn manifest_within(
        &self,
        target: &TagOrDigest,
        limit: usize,
    ) -> Result<Option<VerifiedManifest>, StoreError> {
        of_either!(self, store => store.manifest_within(target, limit).await)
    }

    async fn tagged(&self, tag: &Tag) -> Result<Option<Digest>, StoreError> {
        of_either!(self, store => store.tagged(tag).await)
    }

    fn blob(&self, digest: &Digest, size: u64, share: MemoryLease) -> AnyBlob {
        match self {
            Self::Registry(store) => AnyBlob::Registry(store.blob(digest, size, share)),
            Self::Layout(store) => AnyBlob::Layout(store.blob(digest, size, share)),
        }
    }

    async fn blob_bytes(&self, digest: &Digest, limit: usize) -> Result<Bytes, StoreError> {
        of_either!(self, store => store.blob_bytes(digest, limit).await)
    }

    async fn blob_range(&self, digest: &Digest, range: Range<u64>) -> Result<Bytes, StoreError> {
        of_either!(self, store => store.blob_range(digest, range).await)
    }

    async fn blob_range_only(
        &self,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        of_either!(self, store => store.blob_range_only(digest, range).await)
    }

    async fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        of_either!(self, store => store.has_blob(digest, size).await)
    }

    async fn has_image_blob(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        of_either!(self, store => store.has_image_blob(digest, size).await)
    }

    async fn sees_image_blob(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        of_either!(self, store => store.sees_image_blob(digest, size).await)
    }

    fn repository(&self) -> Option<&Repository> {
        of_either!(self, store => store.repository())
    }

    fn in_repository(&self, repository: &Repository) -> Option<Self> {
        match self {
            Self::Registry(store) => store.in_repository(repository).map(Self::Registry),
            Self::Layout(store) => store.in_repository(repository).map(Self::Layout),
        }
    }

    async fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        of_either!(self, store => store.tags().await)
    }

    async fn push_blob(&self, digest: &Digest, content: &BlobSource) -> Result<bool, StoreError> {
        of_either!(self, store => store.push_blob(digest, content).await)
    }

    async fn push_blob_from(
        &self,
        digest: &Digest,
        content: &BlobSource,
        from: Option<&Repository>,
    ) -> Result<bool, StoreError> {
        of_either!(self, store => store.push_blob_from(digest, content, from).await)
    }

    async fn push_blob_again(
        &self,
        digest: &Digest,
        content: &BlobSource,
    ) -> Result<(), StoreError> {
        of_either!(self, store => store.push_blob_again(digest, content).await)
    }

    async fn push_manifest(
        &self,
        target: &TagOrDigest,
        media_type: &str,
        bytes: Bytes,
        condition: Option<&TagNames>,
    ) -> Result<bool, StoreError> {
        of_either!(self, store => store.push_manifest(target, media_type, bytes, condition).await)
    }

    async fn push_manifest_again(
        &self,
        digest: &Digest,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<(), StoreError> {
        of_either!(self, store => store.push_manifest_again(digest, media_type, bytes).await)
    }

    async fn read_back_blob(&self, digest: &Digest, size: u64) -> Result<ReadBack, StoreError> {
        of_either!(self, store => store.read_back_blob(digest, size).await)
    }

    async fn read_back_manifest(&self, digest: &Digest) -> Result<ReadBack, StoreError> {
        of_either!(self, store => store.read_back_manifest(digest).await)
    }

    async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: &str,
    ) -> Result<Referrers, StoreError> {
        of_either!(self, store => store.referrers(subject, artifact_type).await)
    }
}
