//! What indexing needs of the place where images are read from and indexes are written to. Repositories
//! in registries (`remote.rs`) and OCI layouts on disk (`layout.rs`) provide it.

use std::future::Future;
use std::ops::Range;

use bytes::Bytes;
use soci_oci::{Digest, Tag, TagOrDigest};
use soci_registry::{
    BlobSource, MANIFEST_LIMIT, MemoryLease, Referrers, TagNames, VerifiedManifest,
};

use crate::error::StoreError;

/// One repository's content. Clones share what they stand for.
pub trait ImageStore: Clone + Send + Sync + 'static {
    /// A blob being read.
    type Blob: BlobStream;

    /// A manifest or image index with its bytes verified; none if it does not exist. Its media
    /// type is what the store states, which may be nothing.
    fn manifest(
        &self,
        target: &TagOrDigest,
    ) -> impl Future<Output = Result<Option<VerifiedManifest>, StoreError>> + Send {
        self.manifest_within(target, MANIFEST_LIMIT)
    }

    /// The same, of at most `limit` bytes.
    fn manifest_within(
        &self,
        target: &TagOrDigest,
        limit: usize,
    ) -> impl Future<Output = Result<Option<VerifiedManifest>, StoreError>> + Send;

    /// The digest of what a tag names; none if the tag does not exist.
    fn tagged(&self, tag: &Tag) -> impl Future<Output = Result<Option<Digest>, StoreError>> + Send {
        let target = TagOrDigest::Tag(tag.clone());
        async move { Ok(self.manifest(&target).await?.map(|manifest| manifest.digest)) }
    }

    /// Begins to read a blob of `size` bytes. As much of it is under way as the memory that is leased for
    /// it allows.
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

    /// Makes a blob exist whatever the store says of it, by sending it again.
    fn push_blob_again(
        &self,
        digest: &Digest,
        content: &BlobSource,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Makes a manifest exist under a digest or a tag, as long as `condition` holds; true if it had to be
    /// written.
    fn push_manifest(
        &self,
        target: &TagOrDigest,
        media_type: &str,
        bytes: Bytes,
        condition: Option<&TagNames>,
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
