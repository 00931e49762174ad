//! Reading blobs.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use soci_oci::{Digest, Repository};

use super::Client;
use super::manifest::digest_as;
use crate::blob::{BlobReader, BlobTarget, Extent, PartReader};
use crate::error::Error;
use crate::memory::MemoryLease;
use crate::transport::Call;
use crate::verdict::Asked;

impl Client {
    /// A reader of the blob with this digest and size, as its descriptor states them. Nothing is
    /// requested before the first [`BlobReader::next`].
    pub fn blob(&self, repository: &Repository, digest: &Digest, size: u64) -> BlobReader {
        self.blob_with(repository, digest, size, self.transfer())
    }

    /// Like [`Client::blob`], with a window of its own, a [`Transfer`] in the place of the client's,
    /// or with a lease on the memory that several readers have together.
    ///
    /// [`Transfer`]: crate::Transfer
    pub fn blob_with(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        lease: impl Into<MemoryLease>,
    ) -> BlobReader {
        BlobReader::new(self.target(repository, digest), size, lease.into())
    }

    /// A whole blob of at most `limit` bytes, verified.
    pub async fn blob_bytes(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: usize,
    ) -> Result<Bytes, Error> {
        let registry = self.transport.registry(repository)?;
        let call = Self::read(&registry, repository, Method::GET, &format!("blobs/{digest}"))?;
        let mut retries = self.transport.retries();
        loop {
            match self.try_blob_bytes(&call, digest, limit).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => self.transport.pause(&mut retries, error).await?,
            }
        }
    }

    /// Exactly the bytes `range` of a blob, or an error. A server that ignores ranges is coped
    /// with at the price of reading the bytes in front.
    ///
    /// A part has no digest: the caller must verify the bytes by other means. `range` bounds what
    /// is held in memory.
    pub async fn blob_range(
        &self,
        repository: &Repository,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Bytes, Error> {
        self.read_part(repository, digest, range, Extent::Part(None)).await
    }

    /// The same without that price: a server that ignores ranges is a permanent error.
    pub async fn blob_range_only(
        &self,
        repository: &Repository,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Bytes, Error> {
        self.read_part(repository, digest, range, Extent::PartOnly).await
    }

    async fn read_part(
        &self,
        repository: &Repository,
        digest: &Digest,
        range: Range<u64>,
        extent: Extent,
    ) -> Result<Bytes, Error> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let mut part = PartReader::new(self.target(repository, digest), range, extent);
        let Some(first) = part.next().await? else { return Ok(Bytes::new()) };
        let Some(second) = part.next().await? else { return Ok(first) };
        let mut bytes = BytesMut::from(first);
        bytes.extend_from_slice(&second);
        while let Some(chunk) = part.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }

    /// The size of a blob in bytes, `None` if the repository does not have it. A registry that
    /// states no size gives 0.
    pub async fn has_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<u64>, Error> {
        let registry = self.transport.registry(repository)?;
        let call = Self::read(&registry, repository, Method::HEAD, &format!("blobs/{digest}"))?;
        let mut retries = self.transport.retries();
        loop {
            let error = match self.transport.send(&call).await {
                Ok(reply) => match reply.status() {
                    StatusCode::OK => return Ok(Some(reply.content_length().unwrap_or(0))),
                    StatusCode::NOT_FOUND => return Ok(None),
                    _ => reply.into_error(Asked::Plain).await,
                },
                Err(error) => error,
            };
            self.transport.pause(&mut retries, error).await?;
        }
    }

    async fn try_blob_bytes(
        &self,
        call: &Call<'_>,
        digest: &Digest,
        limit: usize,
    ) -> Result<Bytes, Error> {
        let reply = self.transport.send(call).await?;
        if reply.status() != StatusCode::OK {
            return Err(reply.into_error(Asked::Plain).await);
        }
        let request = reply.request().clone();
        let bytes = reply.bytes(limit).await?;
        digest_as(*digest, &bytes, &request)?;
        Ok(bytes)
    }

    fn target(&self, repository: &Repository, digest: &Digest) -> std::sync::Arc<BlobTarget> {
        BlobTarget::new(std::sync::Arc::clone(&self.transport), repository.clone(), *digest)
    }
}
