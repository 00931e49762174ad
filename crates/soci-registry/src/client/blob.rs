//! Reading blobs.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::RANGE;
use http::{HeaderValue, Method, StatusCode};
use soci_oci::{Digest, Repository};

use super::Client;
use super::manifest::digest_as;
use crate::blob::{BlobReader, BlobTarget, Extent, PartReader, total_size};
use crate::error::Error;
use crate::exchange::Reply;
use crate::memory::MemoryLease;
use crate::transport::Call;
use crate::verdict::{Asked, may_refuse_the_way};

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

    /// Exactly the bytes `range` of a blob, or an error. A server that ignores or refuses ranges is coped
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

    /// The same without that price: a server that ignores or refuses ranges is a permanent error, and a registry that is
    /// known to refuse them is not asked.
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
    /// states no size gives 0. One that refuses HEAD, as storages do whose URLs are signed for GET, is asked
    /// for the first byte.
    pub async fn has_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<u64>, Error> {
        let registry = self.transport.registry(repository)?;
        let head = Self::read(&registry, repository, Method::HEAD, &format!("blobs/{digest}"))?;
        let mut retries = self.transport.retries();
        loop {
            match self.try_has_blob(&head).await {
                Ok(found) => return Ok(found),
                Err(error) => self.transport.pause(&mut retries, error).await?,
            }
        }
    }

    /// By HEAD where it is served, else by a GET that is not read further than its head.
    async fn try_has_blob(&self, head: &Call<'_>) -> Result<Option<u64>, Error> {
        let (name, lacks_head) = (&head.registry.name, &self.transport.lacking.blob_head);
        if !lacks_head.contains(name) {
            let mut reply = self.transport.send(head).await?;
            match reply.status() {
                StatusCode::OK => {
                    lacks_head.remove(name);
                    return Ok(Some(reply.content_length().unwrap_or(0)));
                }
                StatusCode::NOT_FOUND => return Ok(None),
                _ if may_refuse_the_way(&reply.status_error().await) => {}
                _ => return Err(reply.into_error(Asked::Plain).await),
            }
        }
        let found = self.has_first_byte(head).await?;
        // What is not there says nothing of how it was asked for.
        if found.is_some() {
            lacks_head.insert(name);
        }
        Ok(found)
    }

    async fn has_first_byte(&self, head: &Call<'_>) -> Result<Option<u64>, Error> {
        let mut get = Call { method: Method::GET, ..head.clone() };
        let lacks_ranges = self.transport.lacking.ranges.contains(&head.registry.name);
        let mut reply = None;
        if !lacks_ranges {
            get.headers.insert(RANGE, HeaderValue::from_static("bytes=0-0"));
            let mut ranged = self.transport.send(&get).await?;
            let refused =
                !ranged.status().is_success() && may_refuse_the_way(&ranged.status_error().await);
            reply = (!refused).then_some(ranged);
            get.headers.remove(RANGE);
        }
        let reply = match reply {
            Some(reply) => reply,
            None => self.transport.send(&get).await?,
        };
        match reply.status() {
            StatusCode::OK => Ok(Some(reply.content_length().unwrap_or(0))),
            // One that states no range, or another one, has the blob all the same.
            StatusCode::PARTIAL_CONTENT => Ok(Some(total_size(&reply).unwrap_or(0))),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(reply_error(reply).await),
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
            return Err(reply_error(reply).await);
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

/// The error of an answer to a GET of a blob: of the storage, if the registry has redirected to one.
async fn reply_error(reply: Reply) -> Error {
    let redirected = reply.is_redirected();
    reply.into_error(if redirected { Asked::RedirectedBlob } else { Asked::Blob }).await
}
