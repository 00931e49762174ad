//! A repository in a registry as a store: the client's answers in the terms of [`ImageStore`].

use std::ops::Range;

use bytes::Bytes;
use soci_oci::{Digest, Repository, Tag, TagOrDigest};
use soci_registry::{
    BlobReader, BlobSource, Client, MemoryLease, Referrers, TagList, TagNames, VerifiedManifest,
};

use crate::error::StoreError;
use crate::store::{BlobStream, ImageStore};

/// Pages of tags that are read, of 1,000 each: more would cost a job more than they bring.
const PAGES_OF_TAGS: usize = 4;

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

    /// All of its tags, at most 1,000 times `pages`.
    pub(crate) async fn tag_list(&self, pages: usize) -> Result<TagList, StoreError> {
        Ok(self.client.tag_list(&self.repository, pages).await?)
    }

    /// Everything that refers to a manifest.
    pub(crate) async fn all_referrers(&self, subject: &Digest) -> Result<Referrers, StoreError> {
        Ok(self.client.referrers(&self.repository, subject, None).await?)
    }

    /// Deletes a manifest; false if it is not there.
    pub(crate) async fn delete_manifest(
        &self,
        digest: &Digest,
    ) -> Result<bool, soci_registry::Error> {
        self.client.delete_manifest(&self.repository, digest).await
    }
}

impl ImageStore for RemoteRepository {
    type Blob = BlobReader;

    async fn manifest_within(
        &self,
        target: &TagOrDigest,
        limit: usize,
    ) -> Result<Option<VerifiedManifest>, StoreError> {
        match self.client.manifest_within(&self.repository, target, limit).await {
            Ok(manifest) => Ok(Some(manifest)),
            Err(soci_registry::Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn tagged(&self, tag: &Tag) -> Result<Option<Digest>, StoreError> {
        Ok(self.client.tagged(&self.repository, tag).await?)
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

    async fn blob_range_only(
        &self,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        Ok(self.client.blob_range_only(&self.repository, digest, range).await?)
    }

    async fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        let found = self.client.has_blob(&self.repository, digest).await?;
        // Not every registry states the size, which the client tells as 0.
        Ok(found.is_some_and(|found| found == size || found == 0))
    }

    fn repository(&self) -> Option<&Repository> {
        Some(&self.repository)
    }

    fn in_repository(&self, repository: &Repository) -> Option<Self> {
        let same = repository.registry() == self.repository.registry();
        same.then(|| Self::new(self.client.clone(), repository.clone()))
    }

    async fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        Ok(self.client.tags(&self.repository, PAGES_OF_TAGS).await?)
    }

    async fn push_blob(&self, digest: &Digest, content: &BlobSource) -> Result<bool, StoreError> {
        self.push_blob_from(digest, content, None).await
    }

    async fn push_blob_from(
        &self,
        digest: &Digest,
        content: &BlobSource,
        from: Option<&Repository>,
    ) -> Result<bool, StoreError> {
        let pushed = self.client.push_blob(&self.repository, digest, content, from).await?;
        Ok(pushed == soci_registry::PushedBlob::Uploaded)
    }

    async fn push_blob_again(
        &self,
        digest: &Digest,
        content: &BlobSource,
    ) -> Result<(), StoreError> {
        Ok(self.client.upload_blob(&self.repository, digest, content).await?)
    }

    async fn push_manifest(
        &self,
        target: &TagOrDigest,
        media_type: &str,
        bytes: Bytes,
        condition: Option<&TagNames>,
    ) -> Result<bool, StoreError> {
        let repository = &self.repository;
        let put = self.client.put_manifest_if(repository, target, media_type, bytes, condition);
        Ok(!put.await?.already_there)
    }

    async fn push_manifest_again(
        &self,
        digest: &Digest,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<(), StoreError> {
        let put = self.client.put_manifest_again(&self.repository, digest, media_type, bytes);
        Ok(put.await?)
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

    fn leave_hashing(&mut self) -> bool {
        BlobReader::leave_hashing(self)
    }

    fn hashed(&mut self, actual: &Digest) -> Result<(), StoreError> {
        Ok(BlobReader::hashed(self, *actual)?)
    }
}
