//! Stores that others write: one with no more than it has to have, as somebody without this source would do it.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use soci_indexer::{
    BlobSource, BlobStream, Budget, Bytes, Digest, ImageStore, IndexError, MemoryLease, Options,
    Reason, StoreError, Tag, TagNames, TagOrDigest, VerifiedManifest, Version, index_image,
    verify_image,
};
use soci_tests::{TestImage, gzip_layer};
use tokio::sync::Semaphore;

use crate::support::{indexed, name, options};

/// Blobs and manifests by their digests, and what tags name.
#[derive(Clone, Default)]
struct Own(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    blobs: HashMap<Digest, Bytes>,
    manifests: HashMap<Digest, (String, Bytes)>,
    tags: HashMap<Tag, Digest>,
    /// What asking for a blob ends in, and whether it may pass.
    failing: Option<bool>,
    hashes: Hashes,
    /// Has a permit for each layer that was begun. The first blob that is stored takes two.
    begun: Option<Arc<Semaphore>>,
}

/// Who hashes blobs, and what they say to the digest that others have found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Hashes {
    /// The store, it says, and never does.
    #[default]
    Here,
    /// Others; blobs say nothing of their own to it.
    Silently,
    /// Others, who are always right.
    Credulously,
    /// Others, who are right if they are.
    Rightly,
}

impl Own {
    /// A store that holds an image of one layer under the tag `1`.
    fn with_image() -> Self {
        Self::with_layers(1)
    }

    fn with_layers(count: u64) -> Self {
        let own = Self::default();
        let folder = tempfile::tempdir().unwrap();
        let layers: Vec<_> = (1..=count).map(|seed| gzip_layer(seed, 1 << 20)).collect();
        let image = TestImage::index(&[("linux/amd64", &layers)]);
        image.write_layout(folder.path(), "1").unwrap();
        let mut content = own.0.lock().unwrap();
        for file in std::fs::read_dir(folder.path().join("blobs/sha256")).unwrap() {
            let bytes = Bytes::from(std::fs::read(file.unwrap().path()).unwrap());
            let digest = Digest::sha256_of(&bytes);
            let document = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
            let media_type = document.as_ref().and_then(|json| json.get("mediaType")?.as_str());
            match media_type {
                Some(media_type) => {
                    content.manifests.insert(digest, (media_type.to_owned(), bytes));
                }
                None => {
                    content.blobs.insert(digest, bytes);
                }
            }
        }
        content.tags.insert("1".parse().unwrap(), image.digest());
        drop(content);
        own
    }

    fn blob_or_failure(&self, digest: &Digest) -> Result<Bytes, StoreError> {
        let content = self.0.lock().unwrap();
        if let Some(transient) = content.failing {
            return Err(StoreError::Own { transient, source: "the disk is on fire".into() });
        }
        content.blobs.get(digest).cloned().ok_or_else(|| StoreError::own("no such blob"))
    }
}

impl ImageStore for Own {
    type Blob = Pieces;

    async fn manifest_within(
        &self,
        target: &TagOrDigest,
        limit: usize,
    ) -> Result<Option<VerifiedManifest>, StoreError> {
        let content = self.0.lock().unwrap();
        let digest = match target {
            TagOrDigest::Tag(tag) => content.tags.get(tag).copied(),
            TagOrDigest::Digest(digest) => Some(*digest),
        };
        let found = digest.and_then(|digest| Some((digest, content.manifests.get(&digest)?)));
        let Some((digest, (media_type, bytes))) = found else { return Ok(None) };
        if bytes.len() > limit {
            return Err(StoreError::TooLarge { limit });
        }
        let (media_type, bytes) = (media_type.clone(), bytes.clone());
        Ok(Some(VerifiedManifest { media_type, digest, bytes }))
    }

    fn blob(&self, digest: &Digest, _: u64, _: MemoryLease) -> Pieces {
        if let Some(begun) = &self.0.lock().unwrap().begun {
            begun.add_permits(1);
        }
        let hashes = self.0.lock().unwrap().hashes;
        Pieces { left: Some(self.blob_or_failure(digest)), hashes, digest: *digest }
    }

    async fn blob_bytes(&self, digest: &Digest, _: usize) -> Result<Bytes, StoreError> {
        self.blob_or_failure(digest)
    }

    async fn blob_range(&self, digest: &Digest, range: Range<u64>) -> Result<Bytes, StoreError> {
        let blob = self.blob_or_failure(digest)?;
        Ok(blob.slice(range.start as usize..range.end as usize))
    }

    async fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        let content = self.0.lock().unwrap();
        Ok(content.blobs.get(digest).is_some_and(|blob| blob.len() as u64 == size))
    }

    async fn push_blob_again(&self, digest: &Digest, blob: &BlobSource) -> Result<(), StoreError> {
        let begun = self.0.lock().unwrap().begun.clone();
        if let Some(begun) = begun {
            let two = tokio::time::timeout(Duration::from_mins(1), begun.acquire_many(2)).await;
            drop(two.map_err(|_| StoreError::own("the next layer is not read meanwhile"))?);
        }
        self.0.lock().unwrap().blobs.insert(*digest, blob.segments().concat().into());
        Ok(())
    }

    async fn push_manifest(
        &self,
        target: &TagOrDigest,
        media_type: &str,
        bytes: Bytes,
        condition: Option<&TagNames>,
    ) -> Result<bool, StoreError> {
        let mut content = self.0.lock().unwrap();
        if let Some(TagNames { tag, one_of }) = condition {
            let now = content.tags.get(tag).copied();
            if !one_of.contains(&now) {
                return Err(StoreError::tag_moved(tag.clone(), now));
            }
        }
        let digest = Digest::sha256_of(&bytes);
        let written = content.manifests.insert(digest, (media_type.to_owned(), bytes)).is_none();
        match target {
            TagOrDigest::Tag(tag) => Ok(content.tags.insert(tag.clone(), digest) != Some(digest)),
            TagOrDigest::Digest(_) => Ok(written),
        }
    }
}

/// A blob in one piece after the other.
struct Pieces {
    left: Option<Result<Bytes, StoreError>>,
    hashes: Hashes,
    digest: Digest,
}

impl BlobStream for Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let Some(mut left) = self.left.take().transpose()? else { return Ok(None) };
        let piece = left.split_to(left.len().min(10_000));
        self.left = Some(Ok(left));
        Ok((!piece.is_empty()).then_some(piece))
    }

    fn leave_hashing(&mut self) -> bool {
        self.hashes != Hashes::Here
    }

    fn hashed(&mut self, actual: &Digest) -> Result<(), StoreError> {
        match self.hashes {
            Hashes::Credulously => Ok(()),
            Hashes::Rightly if self.digest == *actual => Ok(()),
            Hashes::Rightly => Err(StoreError::own("these are other bytes")),
            // What a stream has that says nothing of it.
            Hashes::Silently | Hashes::Here => BlobStream::hashed(&mut Nothing, actual),
        }
    }
}

/// A stream with no more than it has to have.
struct Nothing;

impl BlobStream for Nothing {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }
}

/// Puts other bytes of the same length in the place of the layers.
fn damage(store: &Own, how: impl Fn(&mut [u8])) {
    for blob in store.0.lock().unwrap().blobs.values_mut().filter(|blob| blob.len() > 100_000) {
        let mut bytes = blob.to_vec();
        how(&mut bytes);
        *blob = bytes.into();
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_of_bytes_that_are_not_those_of_the_digest_whoever_hashes_them() {
    // The system in the gzip header is another one, which changes nothing of the ztoc; the stream is broken; there is none.
    let ways: [fn(&mut [u8]); 3] =
        [|bytes| bytes[9] ^= 1, |bytes| bytes[50_000] ^= 0x55, |bytes| bytes.fill(0)];
    for hashes in [Hashes::Here, Hashes::Silently, Hashes::Credulously, Hashes::Rightly] {
        for (number, way) in ways.into_iter().enumerate() {
            let store = Own::with_image();
            store.0.lock().unwrap().hashes = hashes;
            damage(&store, way);
            let before = store.0.lock().unwrap().blobs.len();
            let error = index_image(&store, &name("1"), &options(Version::V2)).await.unwrap_err();
            let error = format!("{error:?}");
            let expected = match hashes {
                Hashes::Here | Hashes::Credulously => "WrongBytes",
                Hashes::Silently => "the stream does not say whether",
                Hashes::Rightly => "these are other bytes",
            };
            assert!(error.contains(expected), "{hashes:?} {number}: {error}");
            assert_eq!(store.0.lock().unwrap().blobs.len(), before, "{number}");
        }
        // Right bytes are indexed if somebody says that they are.
        let store = Own::with_image();
        store.0.lock().unwrap().hashes = hashes;
        let result = index_image(&store, &name("1"), &options(Version::V2)).await;
        assert_eq!(result.is_ok(), hashes != Hashes::Silently, "{result:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_with_no_more_than_it_has_to_have_gets_indexes_of_both_versions() {
    for version in [Version::V1, Version::V2] {
        let store = Own::with_image();
        let options = options(version);
        let report = indexed(index_image(&store, &name("1"), &options).await);
        let target = match version {
            Version::V1 => name("1").target,
            Version::V2 => name("1-soci").target,
        };
        let verification = verify_image(&store, &target, &options.budget).await.unwrap();
        assert_eq!(verification.layers.len(), 1, "{version}");
        let again = index_image(&store, &name("1"), &options).await.unwrap();
        assert!(again.already_there && again.index == report.index, "{version}: {again:?}");
    }
}

#[tokio::test]
async fn the_tag_of_the_image_is_followed_in_a_store_of_ones_own_too() {
    let store = Own::with_image();
    let stale = Digest::sha256_of(b"an image of yesterday");
    let image = store.0.lock().unwrap().tags[&"1".parse::<Tag>().unwrap()];
    let stale = soci_indexer::ImageName { target: stale.into(), ..name("1") };
    let options = Options { follow_tag: true, ..options(Version::V2) };
    let error = index_image(&store, &stale, &options).await.unwrap_err();
    assert!(matches!(error, IndexError::Superseded { now, .. } if now == image), "{error}");

    let current = soci_indexer::ImageName { target: image.into(), ..name("1") };
    indexed(index_image(&store, &current, &options).await);
}

#[tokio::test]
async fn whether_a_failure_of_a_store_of_ones_own_may_pass_is_what_it_says() {
    for (transient, reason) in [(true, Reason::RegistryUnavailable), (false, Reason::Layout)] {
        let store = Own::with_image();
        store.0.lock().unwrap().failing = Some(transient);
        let error = index_image(&store, &name("1"), &options(Version::V2)).await.unwrap_err();
        assert_eq!((error.is_transient(), error.reason()), (transient, reason), "{error}");
        let text = soci_text::error_chain(&error);
        assert!(text.ends_with("the store failed: the disk is on fire"), "{text}");
    }
}

/// With one slot, so that layers are read one after the other.
#[tokio::test(start_paused = true)]
async fn a_layer_is_read_while_the_ztoc_of_the_one_before_is_stored() {
    let store = Own::with_layers(3);
    store.0.lock().unwrap().begun = Some(Arc::new(Semaphore::new(0)));
    let budget = Budget::new(NonZeroUsize::MIN, 64 << 20);
    let options = Options { budget, ..options(Version::V2) };
    let report = indexed(index_image(&store, &name("1"), &options).await);
    assert_eq!(report.layers.len(), 3);
}
