//! What indexing needs of the place where images are read from and indexes are written to. Repositories
//! in registries (`remote.rs`) and OCI layouts on disk (`layout.rs`) provide it, and whatever else a caller has.

use std::collections::HashSet;
use std::future::Future;
use std::ops::Range;

use bytes::Bytes;
use soci_oci::{Digest, Hasher, Repository, Tag, TagOrDigest, referrers};
use soci_registry::{
    BlobSource, MANIFEST_LIMIT, MemoryLease, Referrers, ReferrersSource, TagNames, VerifiedManifest,
};

use crate::error::StoreError;
use crate::reason::is_of_wrong_bytes;

/// Bytes of a blob that are read at once to be compared with its digest. Most ztocs have no more.
const READ_BACK: u64 = 1 << 20;

/// What is there of what was written, found out by reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadBack {
    /// The bytes of the digest.
    Right,
    /// Other bytes.
    Wrong,
    /// Nothing.
    Missing,
}

/// One repository's content: manifests and blobs by their digests, and tags. Clones share what they stand for.
///
/// [`RemoteRepository`](crate::RemoteRepository) and [`Layout`](crate::Layout) are stores. The example
/// `examples/embed.rs` of this crate has one more, in memory, which shows the least that one has to do. All types that
/// the trait names are in this crate.
///
/// What a store says is believed, so it keeps these promises:
///
/// - Bytes that are asked for by a digest have that digest, or an error comes in their place. Only
///   [`blob_range`](Self::blob_range) cannot tell.
/// - A manifest keeps its bytes and its media type as they were written.
/// - Whether a failure may pass is right: [`StoreError::is_transient`] decides what is done about it.
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

    /// The same, of at most `limit` bytes. A longer one is [`StoreError::TooLarge`].
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
    /// it allows; a store that has one piece in memory at a time has no use for the lease.
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

    /// The same where that costs no more than the bytes themselves: a store that would have to read what is in front of
    /// them fails for good. By default there is none of that kind.
    fn blob_range_only(
        &self,
        digest: &Digest,
        range: Range<u64>,
    ) -> impl Future<Output = Result<Bytes, StoreError>> + Send {
        self.blob_range(digest, range)
    }

    /// Whether a blob of `size` bytes exists.
    fn has_blob(
        &self,
        digest: &Digest,
        size: u64,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Whether a blob of `size` bytes that is the image's own exists where the image is read from. That is elsewhere only
    /// for stores that write to another place than they read from.
    fn has_image_blob(
        &self,
        digest: &Digest,
        size: u64,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send {
        self.has_blob(digest, size)
    }

    /// The same without reading the blob, of which only the size is compared then. By default that is what
    /// [`has_image_blob`](Self::has_image_blob) does.
    fn sees_image_blob(
        &self,
        digest: &Digest,
        size: u64,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send {
        self.has_image_blob(digest, size)
    }

    /// The repository in a registry that this is, if it is one.
    fn repository(&self) -> Option<&Repository> {
        None
    }

    /// Another repository of the same registry, if this is a repository and can tell of others.
    fn in_repository(&self, repository: &Repository) -> Option<Self> {
        let _ = repository;
        None
    }

    /// Tags that results may have, in any order; as many as can be had at little cost. Layers that were indexed before are
    /// looked for under them. By default there are none, and such layers are found under the image's own tags only.
    fn tags(&self) -> impl Future<Output = Result<Vec<Tag>, StoreError>> + Send {
        async { Ok(Vec::new()) }
    }

    /// Makes a blob exist; true if its bytes had to be written.
    fn push_blob(
        &self,
        digest: &Digest,
        content: &BlobSource,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send {
        async move {
            if self.has_blob(digest, content.size()).await? {
                return Ok(false);
            }
            self.push_blob_again(digest, content).await?;
            Ok(true)
        }
    }

    /// Makes a blob exist that the repository `from` may have. A store that is in the same registry need not be
    /// sent what it can take over from there. By default the blob is pushed like any other.
    ///
    /// What is copied between stores is a stream: [`BlobSource::pieces`].
    fn push_blob_from(
        &self,
        digest: &Digest,
        content: &BlobSource,
        from: Option<&Repository>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send {
        let _ = from;
        self.push_blob(digest, content)
    }

    /// Makes a blob exist whatever the store says of it, by sending it again.
    fn push_blob_again(
        &self,
        digest: &Digest,
        content: &BlobSource,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Makes a manifest exist under a digest or a tag, as long as `condition` holds; true if it had to be
    /// written. A condition that does not hold is [`StoreError::tag_moved`]. There is one only with
    /// [`Options::follow_tag`](crate::Options::follow_tag) and for lists of referrers under a tag.
    ///
    /// A manifest that is written under a tag is also there under its digest.
    fn push_manifest(
        &self,
        target: &TagOrDigest,
        media_type: &str,
        bytes: Bytes,
        condition: Option<&TagNames>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Makes a manifest exist under its digest whatever the store says of it, by writing it again. By default it is pushed
    /// like any other, which is enough for a store that never says of wrong bytes that they are there.
    fn push_manifest_again(
        &self,
        digest: &Digest,
        media_type: &str,
        bytes: Bytes,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        let target = TagOrDigest::Digest(*digest);
        async move { self.push_manifest(&target, media_type, bytes, None).await.map(|_| ()) }
    }

    /// Reads a blob of `size` bytes that was written, from where it was written to.
    fn read_back_blob(
        &self,
        digest: &Digest,
        size: u64,
    ) -> impl Future<Output = Result<ReadBack, StoreError>> + Send {
        async move {
            if !self.has_blob(digest, size).await? {
                let of_other_size = self.blob_range(digest, 0..1).await;
                return of_other_size.map_or_else(read_back_failed, |_| Ok(ReadBack::Wrong));
            }
            let mut hasher = Hasher::new(digest.algorithm());
            let mut start = 0;
            while start < size {
                let end = size.min(start + READ_BACK);
                match self.blob_range(digest, start..end).await {
                    Ok(bytes) => hasher.update(&bytes),
                    Err(error) => return read_back_failed(error),
                }
                start = end;
            }
            Ok(if hasher.finish() == *digest { ReadBack::Right } else { ReadBack::Wrong })
        }
    }

    /// The same of a manifest.
    fn read_back_manifest(
        &self,
        digest: &Digest,
    ) -> impl Future<Output = Result<ReadBack, StoreError>> + Send {
        let target = TagOrDigest::Digest(*digest);
        async move {
            match self.manifest(&target).await {
                Ok(Some(_)) => Ok(ReadBack::Right),
                Ok(None) => Ok(ReadBack::Missing),
                Err(error) => read_back_failed(error),
            }
        }
    }

    /// The referrers of a manifest, of one artifact type where the store can tell them apart.
    ///
    /// SOCI indexes V1 refer to their image. Without a method of its own, a store has them listed under a tag, as
    /// registries without a referrers API have (OCI distribution specification 1.1, "Referrers Tag Schema"). One that
    /// finds the referrers among its manifests says so with [`ReferrersSource::Api`].
    fn referrers(
        &self,
        subject: &Digest,
        artifact_type: &str,
    ) -> impl Future<Output = Result<Referrers, StoreError>> + Send {
        let _ = artifact_type;
        let tag = referrers::tag(subject);
        async move {
            let list = match tag {
                Some(tag) => self.manifest(&TagOrDigest::Tag(tag)).await?,
                None => None,
            };
            let pages = list.into_iter().map(|list| list.bytes).collect();
            Ok(Referrers { source: ReferrersSource::TagSchema, pages })
        }
    }

    /// Manifests that an image index which was written lists, and of which it was found then that they cannot be in the
    /// store. Where the store refuses the index for that, it gets one that does not list them.
    fn lacking(&self) -> HashSet<Digest> {
        HashSet::new()
    }
}

/// What a failure to read says of what is there. Most say nothing.
fn read_back_failed(error: StoreError) -> Result<ReadBack, StoreError> {
    if error.is_not_found() {
        Ok(ReadBack::Missing)
    } else if is_of_wrong_bytes(&error) {
        Ok(ReadBack::Wrong)
    } else {
        Err(error)
    }
}

/// A blob that arrives in pieces, each of at most [`MAX_PIECE`](soci_registry::MAX_PIECE) bytes: the memory of a
/// [`Budget`](crate::Budget) is counted so.
pub trait BlobStream: Send + 'static {
    /// The next bytes. None only after the size and digest of all of them have been verified: what comes of a blob
    /// is written when this says that it is complete. Whoever [hashes](Self::leave_hashing) it verifies the digest.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, StoreError>> + Send;

    /// Leaves it to the caller to hash the bytes, before any were read: a layer's are hashed for little more than its spans take anyway.
    /// If it says yes, [`next`](Self::next) verifies the size alone, and the caller calls [`hashed`](Self::hashed) at the end. By default it
    /// says no, and [`next`](Self::next) verifies.
    fn leave_hashing(&mut self) -> bool {
        false
    }

    /// Says whether all bytes, of which the caller has found the digest, are the blob. A stream that leaves hashing to
    /// others has a method of its own.
    fn hashed(&mut self, actual: &Digest) -> Result<(), StoreError> {
        Err(StoreError::own(format!(
            "the stream does not say whether {actual} is the blob's digest"
        )))
    }
}
