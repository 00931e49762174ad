//! A layout and its own files: what is read and written of them, whoever asks.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::{Map, Value};
use soci_oci::{Digest, Hasher, Tag, media_type};
use soci_registry::{BlobSource, MANIFEST_LIMIT};

use super::archive::Archive;
use super::docker::{self, DockerImages};
use super::files::{LayoutFiles, MARKER};
use super::names::Naming;
use crate::error::LayoutError;

/// An OCI layout. Several processes may write to one in a folder at once.
#[derive(Clone, Debug)]
pub struct Layout {
    pub(super) files: Arc<LayoutFiles>,
    pub(super) naming: Naming,
    /// Documents that are in no file.
    pub(super) documents: Arc<Mutex<HashMap<Digest, Bytes>>>,
}

impl Layout {
    fn with(files: LayoutFiles) -> Self {
        let (naming, documents) = (Naming::default(), Arc::default());
        Self { files: Arc::new(files), naming, documents }
    }

    /// Opens the layout in a folder.
    pub async fn open(root: impl Into<PathBuf>) -> Result<Self, LayoutError> {
        let layout = Self::with(LayoutFiles::Folder(root.into()));
        layout.check().await?;
        Ok(layout)
    }

    /// Opens the layout in a folder, or makes one where there is nothing yet.
    pub async fn open_or_create(root: impl Into<PathBuf>) -> Result<Self, LayoutError> {
        let root = root.into();
        let failed = |source| LayoutError::File { path: root.clone(), source };
        let empty = match tokio::fs::read_dir(&root).await {
            Ok(mut folder) => folder.next_entry().await.map_err(failed)?.is_none(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(failed(error)),
        };
        if !empty {
            return Self::open(root).await;
        }
        let layout = Self::with(LayoutFiles::Folder(root.clone()));
        layout.write_index(&new_index()).await?;
        // Last, as it says that the others are there.
        let marker = BlobSource::from(Bytes::from_static(MARKER));
        layout.files.write("oci-layout", &marker).await.map_err(failed)?;
        Ok(layout)
    }

    /// Opens the layout in a tar archive. What is written to it is there when it is finished ([`Layout::finish`]).
    pub async fn open_archive(file: impl AsRef<Path>) -> Result<Self, LayoutError> {
        let archive = open_archive(file.as_ref()).await?;
        let docker = archive.section("manifest.json").await.is_ok();
        let layout = Self::with(LayoutFiles::Archive(archive));
        match layout.check().await {
            Err(LayoutError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let written = if docker {
                    ": `docker save` wrote it, so write docker-archive:FILE"
                } else {
                    ""
                };
                Err(layout.broken(format!("it has no oci-layout{written}")))
            }
            checked => checked.map(|()| layout),
        }
    }

    /// The same, or a new archive where there is none yet.
    pub async fn open_or_create_archive(file: impl AsRef<Path>) -> Result<Self, LayoutError> {
        let file = file.as_ref();
        match tokio::fs::metadata(file).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self::with(LayoutFiles::Archive(Archive::new(file))))
            }
            _ => Self::open_archive(file).await,
        }
    }

    /// Opens what `docker save` has written. It is only read.
    pub async fn open_docker_archive(file: impl AsRef<Path>) -> Result<Self, LayoutError> {
        let archive = open_archive(file.as_ref()).await?;
        let failed = |source| LayoutError::File { path: file.as_ref().to_owned(), source };
        let is_layout = archive.section("oci-layout").await.is_ok();
        let (index, images) = if is_layout {
            let index = archive.section("index.json").await.map_err(failed)?;
            let index = index.read_up_to(MANIFEST_LIMIT as u64).await.map_err(failed)?;
            (index, DockerImages::default())
        } else {
            let mut images = docker::read(&archive).await.map_err(failed)?;
            let mut index = new_index();
            index.insert("manifests".to_owned(), std::mem::take(&mut images.entries).into());
            (Bytes::from(Value::from(index).to_string()), images)
        };
        let places = images.places;
        let layout = Self::with(LayoutFiles::Docker { archive, index, places });
        let manifests = images.manifests.into_iter();
        layout.documents().extend(manifests.map(|bytes| (Digest::sha256_of(&bytes), bytes)));
        Ok(layout)
    }

    /// Completes what was written to an archive. A folder is complete at any time.
    pub async fn finish(&self) -> Result<(), LayoutError> {
        let LayoutFiles::Archive(archive) = &*self.files else { return Ok(()) };
        let path = archive.path().to_owned();
        archive.finish(MARKER).await.map_err(|source| LayoutError::File { path, source })
    }

    /// The same layout with tags as this name has one: `docker.io/library/a:1` leads to entries
    /// `docker.io/library/a:TAG`. With it comes the tag, if the name says one.
    #[must_use]
    pub fn named_as(&self, name: &str) -> (Self, Option<Tag>) {
        let (naming, tag) = Naming::of_name(name);
        let said = tag.filter(|tag| name == tag.as_str() || name.ends_with(&format!(":{tag}")));
        (Self { naming, ..self.clone() }, said)
    }

    pub(super) fn documents(&self) -> MutexGuard<'_, HashMap<Digest, Bytes>> {
        self.documents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A small blob, verified; none if it is not there.
    pub(super) async fn document(
        &self,
        digest: &Digest,
        limit: usize,
    ) -> Result<Option<Bytes>, LayoutError> {
        let known = self.documents().get(digest).cloned();
        let name = self.files.blob(digest);
        let bytes = match known {
            Some(bytes) if bytes.len() > limit => {
                return Err(LayoutError::TooLarge { path: self.files.shown(&name), limit });
            }
            Some(bytes) => return Ok(Some(bytes)),
            None => match self.read_limited(&name, limit).await {
                Err(LayoutError::File { source, .. })
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    return Ok(None);
                }
                bytes => bytes?,
            },
        };
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        if hasher.finish() != *digest {
            return Err(LayoutError::Mismatch { path: self.files.shown(&name), what: "digest" });
        }
        Ok(Some(bytes))
    }

    pub(super) async fn read_limited(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Bytes, LayoutError> {
        let path = || self.files.shown(name);
        let failed = |source| LayoutError::File { path: path(), source };
        let section = self.files.section(name).await.map_err(failed)?;
        let bytes = section.read_up_to(limit as u64 + 1).await.map_err(failed)?;
        if bytes.len() > limit {
            return Err(LayoutError::TooLarge { path: path(), limit });
        }
        Ok(bytes)
    }

    /// Fails if `oci-layout` does not say that this is a layout.
    async fn check(&self) -> Result<(), LayoutError> {
        let marker = self.read_limited("oci-layout", MANIFEST_LIMIT).await?;
        let version = serde_json::from_slice::<Value>(&marker)
            .ok()
            .and_then(|marker| Some(marker.get("imageLayoutVersion")?.as_str()?.to_owned()));
        match version {
            Some(version) if version.starts_with("1.") => Ok(()),
            Some(version) => Err(self.broken(format!("imageLayoutVersion is {version}, not 1.x"))),
            None => Err(self.broken("oci-layout names no imageLayoutVersion".to_owned())),
        }
    }

    pub(super) async fn read_index(&self) -> Result<Map<String, Value>, LayoutError> {
        let bytes = match self.read_limited("index.json", MANIFEST_LIMIT).await {
            // A new archive gets one with its first entry.
            Err(LayoutError::File { source, .. })
                if source.kind() == io::ErrorKind::NotFound
                    && matches!(&*self.files, LayoutFiles::Archive(_)) =>
            {
                return Ok(new_index());
            }
            bytes => bytes?,
        };
        serde_json::from_slice(&bytes).map_err(|error| self.broken(format!("index.json: {error}")))
    }

    async fn write_index(&self, index: &Map<String, Value>) -> Result<(), LayoutError> {
        let bytes = serde_json::to_vec(index)
            .map_err(|error| self.broken(format!("index.json: {error}")))?;
        let path = self.files.shown("index.json");
        let written = self.files.write_index(bytes.into()).await;
        written.map_err(|source| LayoutError::File { path, source })
    }

    pub(super) async fn write_blob(
        &self,
        digest: &Digest,
        content: &BlobSource,
    ) -> Result<(), LayoutError> {
        let name = self.files.blob(digest);
        let written = self.files.write(&name, content).await;
        written.map_err(|source| LayoutError::File { path: self.files.shown(&name), source })
    }

    pub(super) fn entries<'a>(
        &self,
        index: &'a Map<String, Value>,
    ) -> Result<&'a [Value], LayoutError> {
        let entries = index.get("manifests").and_then(Value::as_array);
        entries
            .map(Vec::as_slice)
            .ok_or_else(|| self.broken("index.json lists no manifests".to_owned()))
    }

    pub(super) fn digest(&self, entry: &Value) -> Result<Digest, LayoutError> {
        digest_text(entry).parse().map_err(|error| self.broken(format!("index.json: {error}")))
    }

    pub(super) fn broken(&self, reason: String) -> LayoutError {
        LayoutError::NotALayout { path: self.files.path().to_owned(), reason }
    }

    /// Lists a manifest in `index.json`, under a tag or without one.
    pub(super) async fn list(
        &self,
        tag: Option<&Tag>,
        mut entry: Value,
    ) -> Result<(), LayoutError> {
        let path = self.files.shown("oci-layout");
        let locked = self.files.lock().await;
        let _changing = locked.map_err(|source| LayoutError::File { path, source })?;
        let mut index = self.read_index().await?;
        if let Some(tag) = tag {
            entry["annotations"] = self.naming.annotations(tag);
        }
        let Some(Value::Array(entries)) = index.get_mut("manifests") else {
            return Err(self.broken("index.json lists no manifests".to_owned()));
        };
        let same = |other: &Value| match tag {
            Some(tag) => self.naming.names(other, tag),
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

async fn open_archive(file: &Path) -> Result<Archive, LayoutError> {
    let opened = Archive::open(file).await;
    opened.map_err(|source| LayoutError::File { path: file.to_owned(), source })
}

/// An index that lists nothing.
pub(super) fn new_index() -> Map<String, Value> {
    let mut index = Map::new();
    index.insert("schemaVersion".to_owned(), 2.into());
    index.insert("mediaType".to_owned(), media_type::OCI_INDEX.into());
    index.insert("manifests".to_owned(), Vec::<Value>::new().into());
    index
}

pub(super) fn digest_text(entry: &Value) -> &str {
    entry.get("digest").and_then(Value::as_str).unwrap_or_default()
}
