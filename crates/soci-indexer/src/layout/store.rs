//! A layout as a store.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use soci_oci::{Digest, Hasher, TagOrDigest};
use soci_registry::{
    BlobSource, MemoryLease, Referrers, ReferrersSource, TagNames, Transfer, VerifiedManifest,
};

use super::base::{Layout, digest_text, new_index};
use super::files::LayoutFiles;
use super::section::Section;
use crate::error::{LayoutError, StoreError};
use crate::store::{BlobStream, ImageStore};

impl ImageStore for Layout {
    type Blob = LayoutBlob;

    async fn manifest_within(
        &self,
        target: &TagOrDigest,
        limit: usize,
    ) -> Result<Option<VerifiedManifest>, StoreError> {
        let index = self.read_index().await?;
        let entries = self.entries(&index)?;
        let (digest, entry) = match target {
            TagOrDigest::Tag(tag) => {
                let entry = entries.iter().find(|entry| self.naming.names(entry, tag));
                let Some(entry) = entry else { return Ok(None) };
                (self.digest(entry)?, Some(entry))
            }
            TagOrDigest::Digest(digest) => {
                let text = digest.to_string();
                (*digest, entries.iter().find(|entry| digest_text(entry) == text))
            }
        };
        let Some(bytes) = self.document(&digest, limit).await? else { return Ok(None) };
        let media_type = entry.and_then(|entry| entry.get("mediaType")?.as_str());
        let media_type = media_type.unwrap_or_default().to_owned();
        Ok(Some(VerifiedManifest { media_type, digest, bytes }))
    }

    fn blob(&self, digest: &Digest, size: u64, _: MemoryLease) -> LayoutBlob {
        LayoutBlob {
            files: Arc::clone(&self.files),
            name: self.files.blob(digest),
            digest: *digest,
            left: size,
            hasher: Some(Hasher::new(digest.algorithm())),
            section: None,
            end: None,
        }
    }

    async fn blob_bytes(&self, digest: &Digest, limit: usize) -> Result<Bytes, StoreError> {
        let path = || self.files.shown(&self.files.blob(digest));
        let missing = || LayoutError::File { path: path(), source: io::ErrorKind::NotFound.into() };
        Ok(self.document(digest, limit).await?.ok_or_else(missing)?)
    }

    async fn blob_range(&self, digest: &Digest, range: Range<u64>) -> Result<Bytes, StoreError> {
        let name = self.files.blob(digest);
        let path = || self.files.shown(&name);
        let file = |source| LayoutError::File { path: path(), source };
        let mut blob = self.files.section(&name).await.map_err(file)?;
        blob.skip(range.start).await.map_err(file)?;
        let size = range.end.saturating_sub(range.start);
        let bytes = blob.read_up_to(size).await.map_err(file)?;
        if bytes.len() as u64 != size {
            return Err(LayoutError::Mismatch { path: path(), what: "size" }.into());
        }
        Ok(bytes)
    }

    /// A blob that is there is read and compared: nothing else has done so on this disk.
    async fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        let mut blob = self.blob(digest, size, Transfer::default().into());
        loop {
            match blob.read().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(true),
                Err(LayoutError::Mismatch { .. }) => return Ok(false),
                Err(LayoutError::File { source, .. })
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn sees_image_blob(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        let name = self.files.blob(digest);
        let found = async { self.files.section(&name).await?.size().await };
        match found.await {
            Ok(found) => Ok(found == size),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(LayoutError::File { path: self.files.shown(&name), source }.into()),
        }
    }

    async fn push_blob(&self, digest: &Digest, content: &BlobSource) -> Result<bool, StoreError> {
        if self.has_blob(digest, content.size()).await? {
            return Ok(false);
        }
        self.write_blob(digest, content).await?;
        Ok(true)
    }

    async fn push_blob_again(
        &self,
        digest: &Digest,
        content: &BlobSource,
    ) -> Result<(), StoreError> {
        Ok(self.write_blob(digest, content).await?)
    }

    async fn push_manifest(
        &self,
        target: &TagOrDigest,
        media_type: &str,
        bytes: Bytes,
        condition: Option<&TagNames>,
    ) -> Result<bool, StoreError> {
        if let Some(TagNames { tag, one_of }) = condition {
            let now = self.tagged(tag).await?;
            if !one_of.contains(&now) {
                return Err(soci_registry::Error::TagMoved { tag: tag.clone(), now }.into());
            }
        }
        let digest = match target {
            TagOrDigest::Digest(digest) => *digest,
            TagOrDigest::Tag(_) => Digest::sha256_of(&bytes),
        };
        let size = bytes.len();
        let fields = serde_json::from_slice::<Value>(&bytes).unwrap_or(Value::Null);
        let mut written = self.push_blob(&digest, &BlobSource::from(bytes)).await?;
        let entry = json!({ "mediaType": media_type, "digest": digest.to_string(), "size": size });
        match target {
            TagOrDigest::Tag(tag) => {
                let listed = self.manifest(target).await?;
                if listed.is_none_or(|listed| listed.digest != digest) {
                    self.list(Some(tag), entry).await?;
                    written = true;
                }
            }
            // A referrer is found through its entry; other manifests are named by their index.
            TagOrDigest::Digest(_) if fields.get("subject").is_some_and(Value::is_object) => {
                self.list(None, entry).await?;
            }
            TagOrDigest::Digest(_) => {}
        }
        Ok(written)
    }

    async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: &str,
    ) -> Result<Referrers, StoreError> {
        let index = self.read_index().await?;
        let subject = subject.to_string();
        let mut found = Vec::new();
        for entry in self.entries(&index)? {
            let target = TagOrDigest::Digest(self.digest(entry)?);
            let Some(manifest) = self.manifest(&target).await? else { continue };
            let Ok(fields) = serde_json::from_slice::<Value>(&manifest.bytes) else { continue };
            let kind = fields
                .get("artifactType")
                .or_else(|| fields.get("config")?.get("mediaType"))
                .and_then(Value::as_str);
            let names = fields.get("subject").and_then(|s| s.get("digest")).and_then(Value::as_str);
            if kind == Some(artifact_type) && names == Some(&subject) {
                found.push(json!({
                    "mediaType": manifest.media_type,
                    "digest": manifest.digest.to_string(),
                    "size": manifest.bytes.len(),
                    "artifactType": artifact_type,
                }));
            }
        }
        let mut page = new_index();
        page.insert("manifests".to_owned(), found.into());
        let page = Bytes::from(Value::from(page).to_string());
        // The layout is the store's own list, as a registry's API is: nobody has to keep a tag of it.
        Ok(Referrers { source: ReferrersSource::Api, pages: vec![page] })
    }
}

/// A layer being read from a layout.
#[derive(Debug)]
pub struct LayoutBlob {
    files: Arc<LayoutFiles>,
    name: String,
    digest: Digest,
    /// Bytes still to come.
    left: u64,
    /// None if whoever reads it hashes it, and once all was read.
    hasher: Option<Hasher>,
    section: Option<Section>,
    /// How it ended, once all was read.
    end: Option<BlobEnd>,
}

/// What a blob turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlobEnd {
    /// What whoever has hashed it will say.
    Unknown,
    Verified,
    Wrong,
}

impl LayoutBlob {
    async fn read(&mut self) -> Result<Option<Bytes>, LayoutError> {
        let path = || self.files.shown(&self.name);
        let failed = |source| LayoutError::File { path: path(), source };
        match self.end {
            None => {}
            Some(BlobEnd::Unknown | BlobEnd::Verified) => return Ok(None),
            Some(BlobEnd::Wrong) => return Err(self.wrong()),
        }
        if self.section.is_none() {
            self.section = Some(self.files.section(&self.name).await.map_err(failed)?);
        }
        let Some(section) = &mut self.section else { return Ok(None) };
        let Some(bytes) = section.read().await.map_err(failed)? else {
            if self.left > 0 {
                return Err(LayoutError::Mismatch { path: path(), what: "size" });
            }
            self.end = Some(BlobEnd::Unknown);
            if let Some(hasher) = self.hasher.take() {
                self.compare(&hasher.finish())?;
            }
            return Ok(None);
        };
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes);
        }
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            return Err(LayoutError::Mismatch { path: path(), what: "size" });
        };
        self.left = left;
        Ok(Some(bytes))
    }

    fn compare(&mut self, actual: &Digest) -> Result<(), LayoutError> {
        if *actual != self.digest {
            self.end = Some(BlobEnd::Wrong);
            return Err(self.wrong());
        }
        self.end = Some(BlobEnd::Verified);
        Ok(())
    }

    fn wrong(&self) -> LayoutError {
        LayoutError::Mismatch { path: self.files.shown(&self.name), what: "digest" }
    }
}

impl BlobStream for LayoutBlob {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read().await?)
    }

    fn leave_hashing(&mut self) -> bool {
        // Nothing was read before there is a file.
        if self.section.is_none() && self.end.is_none() {
            self.hasher = None;
        }
        self.hasher.is_none() && self.end.is_none()
    }

    fn hashed(&mut self, actual: &Digest) -> Result<(), StoreError> {
        if self.end != Some(BlobEnd::Unknown) {
            return Err(StoreError::own("the blob was not read to its end, or was hashed here"));
        }
        Ok(self.compare(actual)?)
    }
}
