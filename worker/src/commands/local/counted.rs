//! A repository that tells how many bytes of blobs have been read, for a bar. It only reads.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use soci_indexer::{BlobStream, ImageStore, RemoteRepository, StoreError};
use soci_oci::{Digest, TagOrDigest};
use soci_registry::{BlobSource, MemoryLease, Referrers, TagNames, VerifiedManifest};

/// Told of bytes that were read.
type OnRead = Arc<dyn Fn(u64) + Send + Sync>;

/// A repository whose blobs are counted.
#[derive(Clone)]
pub(super) struct Counted {
    store: RemoteRepository,
    on_read: OnRead,
}

impl Counted {
    pub(super) fn new(
        store: RemoteRepository,
        on_read: impl Fn(u64) + Send + Sync + 'static,
    ) -> Self {
        Self { store, on_read: Arc::new(on_read) }
    }
}

/// A blob that is counted.
pub(super) struct CountedBlob {
    blob: <RemoteRepository as ImageStore>::Blob,
    on_read: OnRead,
}

impl BlobStream for CountedBlob {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let piece = BlobStream::next(&mut self.blob).await?;
        if let Some(piece) = &piece {
            (self.on_read)(piece.len() as u64);
        }
        Ok(piece)
    }

    fn leave_hashing(&mut self) -> bool {
        BlobStream::leave_hashing(&mut self.blob)
    }

    fn hashed(&mut self, actual: &Digest) -> Result<(), StoreError> {
        BlobStream::hashed(&mut self.blob, actual)
    }
}

impl ImageStore for Counted {
    type Blob = CountedBlob;

    async fn manifest_within(
        &self,
        target: &TagOrDigest,
        limit: usize,
    ) -> Result<Option<VerifiedManifest>, StoreError> {
        self.store.manifest_within(target, limit).await
    }

    fn blob(&self, digest: &Digest, size: u64, share: MemoryLease) -> CountedBlob {
        let blob = self.store.blob(digest, size, share);
        CountedBlob { blob, on_read: Arc::clone(&self.on_read) }
    }

    async fn blob_bytes(&self, digest: &Digest, limit: usize) -> Result<Bytes, StoreError> {
        self.store.blob_bytes(digest, limit).await
    }

    async fn blob_range(&self, digest: &Digest, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.store.blob_range(digest, range).await
    }

    async fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        self.store.has_blob(digest, size).await
    }

    async fn push_blob_again(
        &self,
        digest: &Digest,
        content: &BlobSource,
    ) -> Result<(), StoreError> {
        self.store.push_blob_again(digest, content).await
    }

    async fn push_manifest(
        &self,
        target: &TagOrDigest,
        media_type: &str,
        bytes: Bytes,
        condition: Option<&TagNames>,
    ) -> Result<bool, StoreError> {
        self.store.push_manifest(target, media_type, bytes, condition).await
    }

    async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: &str,
    ) -> Result<Referrers, StoreError> {
        self.store.referrers(subject, artifact_type).await
    }
}
