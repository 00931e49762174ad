//! An OCI layout on disk as a store.
//!
//! Source: OCI image specification 1.1, "OCI Image Layout".

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use soci_oci::{Digest, Hasher, Tag, TagOrDigest};
use soci_registry::{
    BlobSource, MANIFEST_LIMIT, MemoryLease, Referrers, ReferrersSource, TagNames, Transfer,
    VerifiedManifest,
};
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use soci_manifest::Version;

use crate::error::{LayoutError, StoreError};
use crate::store::{BlobStream, ImageStore};

/// The annotation that names an entry of `index.json`.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Most entries of `index.json` that are looked at to find the only image.
const MAX_ENTRIES: usize = 256;

/// Bytes read from a layer at a time.
const READ_SIZE: usize = 256 << 10;

/// What an entry of `index.json` is.
enum Kind {
    /// An image, or what may be one.
    Image,
    /// An image that lists its SOCI indexes.
    Converted,
    /// Something that belongs to another manifest, such as a SOCI index.
    Referrer,
}

/// An OCI layout. Several processes may write to it at once.
#[derive(Clone, Debug)]
pub struct Layout {
    root: Arc<PathBuf>,
}

impl Layout {
    /// Opens the layout in a folder.
    pub async fn open(root: impl Into<PathBuf>) -> Result<Self, LayoutError> {
        let layout = Self { root: Arc::new(root.into()) };
        let path = layout.root.join("oci-layout");
        let marker = fs::read(&path).await.map_err(|source| LayoutError::File { path, source })?;
        let version = serde_json::from_slice::<Value>(&marker)
            .ok()
            .and_then(|marker| Some(marker.get("imageLayoutVersion")?.as_str()?.to_owned()));
        match version {
            Some(version) if version.starts_with("1.") => Ok(layout),
            Some(version) => {
                Err(layout.broken(format!("imageLayoutVersion is {version}, not 1.x")))
            }
            None => Err(layout.broken("oci-layout names no imageLayoutVersion".to_owned())),
        }
    }

    /// What stands for the image when none is named: the only entry of `index.json` that is not
    /// the result of indexing another one. Its tag comes with it, if it has one.
    pub async fn only_image(&self) -> Result<(TagOrDigest, Option<Tag>), LayoutError> {
        let index = self.read_index().await?;
        let entries = self.entries(&index)?;
        let mut images = Vec::new();
        let mut converted = Vec::new();
        for entry in entries.iter().take(MAX_ENTRIES) {
            match self.kind(entry).await? {
                Kind::Image => images.push(entry),
                Kind::Converted => converted.push(entry),
                Kind::Referrer => {}
            }
        }
        let images = if images.is_empty() { converted } else { images };
        let [entry] = images.as_slice() else {
            if images.is_empty() {
                return Err(self.broken("index.json lists no image".to_owned()));
            }
            let tags: Vec<&str> = images.iter().filter_map(|entry| ref_name(entry)).collect();
            return Err(LayoutError::Ambiguous {
                path: self.root.to_path_buf(),
                count: images.len(),
                tags: tags.join(", "),
            });
        };
        let tag = ref_name(entry).and_then(|tag| tag.parse().ok());
        Ok((TagOrDigest::Digest(self.digest(entry)?), tag))
    }

    /// What an entry of `index.json` is, by the fields of its manifest.
    async fn kind(&self, entry: &Value) -> Result<Kind, LayoutError> {
        let bytes = read_limited(&self.blob_path(&self.digest(entry)?), MANIFEST_LIMIT).await?;
        let manifest = serde_json::from_slice::<Value>(&bytes).unwrap_or(Value::Null);
        let soci = |artifact_type: Option<&Value>| {
            let artifact_type = artifact_type.and_then(Value::as_str);
            [Version::V1, Version::V2]
                .iter()
                .any(|version| artifact_type == Some(version.artifact_type()))
        };
        let config = manifest.get("config").and_then(|config| config.get("mediaType"));
        if manifest.get("subject").is_some_and(Value::is_object) || soci(config) {
            return Ok(Kind::Referrer);
        }
        let listed = manifest.get("manifests").and_then(Value::as_array);
        let converted = listed.is_some_and(|listed| {
            listed.iter().any(|descriptor| soci(descriptor.get("artifactType")))
        });
        Ok(if converted { Kind::Converted } else { Kind::Image })
    }

    /// Keeps other processes from changing `index.json` until the file is dropped.
    async fn lock(&self) -> Result<std::fs::File, LayoutError> {
        let path = self.root.join("oci-layout");
        let failed = |source| LayoutError::File { path: path.clone(), source };
        let marker = path.clone();
        let locked = tokio::task::spawn_blocking(move || {
            let marker = std::fs::File::open(marker)?;
            marker.lock()?;
            Ok(marker)
        });
        locked.await.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
    }

    async fn read_index(&self) -> Result<Map<String, Value>, LayoutError> {
        let path = self.root.join("index.json");
        let bytes = read_limited(&path, MANIFEST_LIMIT).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.broken(format!("index.json: {error}")))
    }

    async fn write_index(&self, index: &Map<String, Value>) -> Result<(), LayoutError> {
        let bytes = serde_json::to_vec(index)
            .map_err(|error| self.broken(format!("index.json: {error}")))?;
        write_atomically(&self.root.join("index.json"), &[Bytes::from(bytes)]).await
    }

    fn entries<'a>(&self, index: &'a Map<String, Value>) -> Result<&'a [Value], LayoutError> {
        let entries = index.get("manifests").and_then(Value::as_array);
        entries
            .map(Vec::as_slice)
            .ok_or_else(|| self.broken("index.json lists no manifests".to_owned()))
    }

    fn digest(&self, entry: &Value) -> Result<Digest, LayoutError> {
        let digest = entry.get("digest").and_then(Value::as_str).unwrap_or_default();
        digest.parse().map_err(|error| self.broken(format!("index.json: {error}")))
    }

    fn broken(&self, reason: String) -> LayoutError {
        LayoutError::NotALayout { path: self.root.to_path_buf(), reason }
    }

    /// Lists a manifest in `index.json`, under a tag or without one.
    async fn list(&self, tag: Option<&Tag>, mut entry: Value) -> Result<(), LayoutError> {
        let _changing = self.lock().await?;
        let mut index = self.read_index().await?;
        let tag = tag.map(Tag::as_str);
        if let Some(tag) = tag {
            entry["annotations"] = json!({ REF_NAME: tag });
        }
        let Some(Value::Array(entries)) = index.get_mut("manifests") else {
            return Err(self.broken("index.json lists no manifests".to_owned()));
        };
        let same = |other: &Value| match tag {
            Some(tag) => ref_name(other) == Some(tag),
            None => other.get("digest") == entry.get("digest"),
        };
        match entries.iter_mut().find(|other| same(other)) {
            Some(other) if tag.is_some() => *other = entry,
            Some(_) => return Ok(()),
            None => entries.push(entry),
        }
        self.write_index(&index).await
    }
}

impl ImageStore for Layout {
    type Blob = LayoutBlob;

    async fn manifest_within(
        &self,
        target: &TagOrDigest,
        limit: usize,
    ) -> Result<Option<VerifiedManifest>, StoreError> {
        let index = self.read_index().await?;
        let entries = self.entries(&index)?;
        let entry = match target {
            TagOrDigest::Tag(tag) => {
                let entry = entries.iter().find(|entry| ref_name(entry) == Some(tag.as_str()));
                let Some(entry) = entry else { return Ok(None) };
                Some(entry)
            }
            TagOrDigest::Digest(digest) => {
                let digest = digest.to_string();
                entries.iter().find(|e| e.get("digest").and_then(Value::as_str) == Some(&digest))
            }
        };
        let digest = match (target, entry) {
            (TagOrDigest::Digest(digest), _) => *digest,
            (TagOrDigest::Tag(_), Some(entry)) => self.digest(entry)?,
            (TagOrDigest::Tag(_), None) => return Ok(None),
        };
        let path = self.blob_path(&digest);
        let bytes = match read_limited(&path, limit).await {
            Ok(bytes) => bytes,
            Err(LayoutError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        verify(&path, &digest, &bytes)?;
        let media_type = entry.and_then(|entry| entry.get("mediaType")?.as_str());
        let media_type = media_type.unwrap_or_default().to_owned();
        Ok(Some(VerifiedManifest { media_type, digest, bytes }))
    }

    fn blob(&self, digest: &Digest, size: u64, _: MemoryLease) -> LayoutBlob {
        LayoutBlob {
            path: self.blob_path(digest),
            digest: *digest,
            left: size,
            hasher: Some(Hasher::new(digest.algorithm())),
            file: None,
        }
    }

    async fn blob_bytes(&self, digest: &Digest, limit: usize) -> Result<Bytes, StoreError> {
        let path = self.blob_path(digest);
        let bytes = read_limited(&path, limit).await?;
        verify(&path, digest, &bytes)?;
        Ok(bytes)
    }

    async fn blob_range(&self, digest: &Digest, range: Range<u64>) -> Result<Bytes, StoreError> {
        let path = self.blob_path(digest);
        let file = |source| LayoutError::File { path: path.clone(), source };
        let mut blob = File::open(&path).await.map_err(file)?;
        blob.seek(io::SeekFrom::Start(range.start)).await.map_err(file)?;
        let size = range.end.saturating_sub(range.start);
        let mut bytes = Vec::new();
        // Grows by what is there, not by what is asked for.
        blob.take(size).read_to_end(&mut bytes).await.map_err(file)?;
        if bytes.len() as u64 != size {
            return Err(LayoutError::Mismatch { path, what: "size" }.into());
        }
        Ok(bytes.into())
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

    async fn push_blob(&self, digest: &Digest, content: &BlobSource) -> Result<bool, StoreError> {
        if self.has_blob(digest, content.size()).await? {
            return Ok(false);
        }
        write_atomically(&self.blob_path(digest), content.segments()).await?;
        Ok(true)
    }

    async fn push_blob_again(
        &self,
        digest: &Digest,
        content: &BlobSource,
    ) -> Result<(), StoreError> {
        Ok(write_atomically(&self.blob_path(digest), content.segments()).await?)
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
        let page = json!({
            "schemaVersion": 2,
            "mediaType": soci_oci::media_type::OCI_INDEX,
            "manifests": found,
        });
        // The layout is the store's own list, as a registry's API is: nobody has to keep a tag of it.
        Ok(Referrers { source: ReferrersSource::Api, pages: vec![Bytes::from(page.to_string())] })
    }
}

/// A layer being read from a layout.
#[derive(Debug)]
pub struct LayoutBlob {
    path: PathBuf,
    digest: Digest,
    /// Bytes still to come.
    left: u64,
    hasher: Option<Hasher>,
    file: Option<File>,
}

impl LayoutBlob {
    async fn read(&mut self) -> Result<Option<Bytes>, LayoutError> {
        let failed = |source| LayoutError::File { path: self.path.clone(), source };
        let Some(hasher) = &mut self.hasher else { return Ok(None) };
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(File::open(&self.path).await.map_err(failed)?),
        };
        let mut bytes = vec![0; READ_SIZE];
        let read = file.read(&mut bytes).await.map_err(failed)?;
        bytes.truncate(read);
        if read == 0 {
            let found = self.hasher.take().map(Hasher::finish);
            let what = if self.left > 0 { "size" } else { "digest" };
            if self.left > 0 || found != Some(self.digest) {
                return Err(LayoutError::Mismatch { path: self.path.clone(), what });
            }
            return Ok(None);
        }
        hasher.update(&bytes);
        let Some(left) = self.left.checked_sub(read as u64) else {
            return Err(LayoutError::Mismatch { path: self.path.clone(), what: "size" });
        };
        self.left = left;
        Ok(Some(bytes.into()))
    }
}

impl BlobStream for LayoutBlob {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read().await?)
    }
}

fn ref_name(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

fn verify(path: &Path, digest: &Digest, bytes: &[u8]) -> Result<(), LayoutError> {
    let mut hasher = Hasher::new(digest.algorithm());
    hasher.update(bytes);
    if hasher.finish() == *digest {
        return Ok(());
    }
    Err(LayoutError::Mismatch { path: path.to_owned(), what: "digest" })
}

async fn read_limited(path: &Path, limit: usize) -> Result<Bytes, LayoutError> {
    let failed = |source| LayoutError::File { path: path.to_owned(), source };
    let file = File::open(path).await.map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).await.map_err(failed)?;
    if bytes.len() > limit {
        return Err(LayoutError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes.into())
}

/// Writes a file so that a reader sees all of it or nothing.
async fn write_atomically(path: &Path, segments: &[Bytes]) -> Result<(), LayoutError> {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let failed = |source| LayoutError::File { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).await.map_err(failed)?;
    }
    // Of its own for every write of every process.
    let write = WRITES.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.{write}.tmp", std::process::id()));
    let partial = path.with_file_name(name);
    let written = match write_all(&partial, segments).await {
        Ok(()) => fs::rename(&partial, path).await,
        Err(error) => Err(error),
    };
    if written.is_err() {
        // What is left is of no use, and the first error is the one to tell.
        let _ = fs::remove_file(&partial).await;
    }
    written.map_err(failed)
}

async fn write_all(path: &Path, segments: &[Bytes]) -> io::Result<()> {
    let mut file = File::create(path).await?;
    for segment in segments {
        file.write_all(segment).await?;
    }
    file.flush().await?;
    file.sync_all().await
}
