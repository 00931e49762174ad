//! The folder that the content is kept in, and the catalogue of it in memory.
//!
//! ```text
//! soci-index-builder-registry           marks the folder, and is locked while it is in use
//! blobs/<algorithm>/<hex>               the bytes of blobs and manifests
//! uploads/<name>                        what is being written; emptied at start
//! repositories/<name>/_blobs/<algorithm>-<hex>       that the repository has a blob
//! repositories/<name>/_manifests/<algorithm>-<hex>   that it has a manifest, with its media type
//! repositories/<name>/_tags/<hash>      a tag and its digest
//! ```
//!
//! Components of repository names begin with a letter or digit, so those with an underscore are
//! free. Tags differ in case where some file systems do not, hence the hash.
//!
//! Everything here blocks, except for what only looks into the catalogue.

mod below;
mod folders;
mod load;

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;
use soci_oci::{Digest, Hasher, Tag, TagOrDigest};

use crate::catalogue::{Catalogue, ManifestRecord};
use crate::error::OpenError;
use crate::route::Name;
pub(crate) use below::make_below;
use folders::{BLOBS, MANIFESTS, TAGS};

/// The file that marks a folder as a registry's, with the version of its form.
const MARK: &str = "soci-index-builder-registry";

/// The content of [`MARK`].
const FORM: &str = "1\n";

/// Bytes read at once when a blob is hashed again.
const BLOCK: usize = 256 << 10;

/// An open folder.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    /// Whether files are flushed to the disk before they become visible.
    durable: bool,
    catalogue: Mutex<Catalogue>,
    /// Held while a record is written and then entered, so that the last write on disk is the last
    /// one in the catalogue.
    writing: Mutex<()>,
    files: AtomicU64,
    /// Held for as long as the store is open.
    _lock: File,
}

/// Bytes that are being received.
#[derive(Debug)]
pub(crate) struct Incoming {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    size: u64,
    /// Whether the file has become a blob, or was removed.
    done: bool,
}

/// Why bytes did not become a blob.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// They have another digest.
    Mismatch(Digest),
    Disk(io::Error),
}

impl Store {
    /// Opens a folder that is there. What it holds is trusted. The folder itself is never made here, as a temporary one may
    /// have been removed just now (`temporary.rs`).
    pub(crate) fn open(folder: &Path, durable: bool) -> Result<Self, OpenError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| OpenError::File { path, source }
        };
        let mark = folder.join(MARK);
        if !mark.exists() && fs::read_dir(folder).map_err(failed(folder))?.next().is_some() {
            return Err(OpenError::Foreign { path: folder.to_owned() });
        }
        let options =
            File::options().read(true).write(true).create(true).truncate(false).to_owned();
        let mut lock = options.open(&mark).map_err(failed(&mark))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse { path: folder.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(&mark)(source)),
        }
        match fs::read_to_string(&mark).map_err(failed(&mark))?.as_str() {
            FORM => {}
            "" => lock.write_all(FORM.as_bytes()).map_err(failed(&mark))?,
            _ => return Err(OpenError::Foreign { path: folder.to_owned() }),
        }
        let uploads = folder.join("uploads");
        if uploads.exists() {
            // What was cut off cannot be continued.
            fs::remove_dir_all(&uploads).map_err(failed(&uploads))?;
        }
        for made in ["uploads", "repositories"] {
            make_below(folder, Path::new(made)).map_err(failed(&folder.join(made)))?;
        }
        let catalogue = load::catalogue(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            durable,
            catalogue: Mutex::new(catalogue),
            writing: Mutex::default(),
            files: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// What is there. Not to be held over anything that waits.
    pub(crate) fn catalogue(&self) -> MutexGuard<'_, Catalogue> {
        self.catalogue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the bytes of a blob or manifest are.
    pub(crate) fn path_of(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
    }

    /// Begins to receive bytes.
    pub(crate) fn receive(&self) -> io::Result<Incoming> {
        let path = self.fresh();
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        let hasher = Hasher::new(soci_oci::Algorithm::Sha256);
        Ok(Incoming { path, file, hasher, size: 0, done: false })
    }

    /// Makes what was received the blob `digest` of a repository, if it is.
    pub(crate) fn commit(
        &self,
        name: &Name,
        mut incoming: Incoming,
        digest: Digest,
    ) -> Result<(), CommitError> {
        let found = incoming.digest(digest.algorithm()).map_err(CommitError::Disk)?;
        if found != digest {
            return Err(CommitError::Mismatch(found));
        }
        self.keep(&mut incoming, &digest).map_err(CommitError::Disk)?;
        self.link_blob(name, digest).map_err(CommitError::Disk)
    }

    /// Makes a blob that another repository has one of this repository, too.
    pub(crate) fn link_blob(&self, name: &Name, digest: Digest) -> io::Result<()> {
        self.record(name, BLOBS, &file_name(&digest), "", |catalogue| {
            catalogue.add_blob(name, digest);
        })
    }

    /// Stores a manifest, and lets a tag name it.
    pub(crate) fn put_manifest(
        &self,
        name: &Name,
        digest: Digest,
        manifest: ManifestRecord,
        bytes: &[u8],
        tag: Option<&Tag>,
    ) -> io::Result<()> {
        let mut incoming = self.receive()?;
        incoming.append(bytes)?;
        self.keep(&mut incoming, &digest)?;
        let record = json!({
            "mediaType": manifest.media_type,
            "subject": manifest.subject.map(|subject| subject.to_string()),
        });
        self.record(name, MANIFESTS, &file_name(&digest), &record.to_string(), |catalogue| {
            catalogue.add_manifest(name, digest, manifest);
        })?;
        let Some(tag) = tag else { return Ok(()) };
        let hash = Digest::sha256_of(tag.as_str().as_bytes()).hex();
        let record = json!({ "tag": tag.as_str(), "digest": digest.to_string() });
        self.record(name, TAGS, &hash, &record.to_string(), |catalogue| {
            catalogue.set_tag(name, tag, digest);
        })
    }

    /// Forgets a manifest and the tags that name it, or a tag alone. The bytes stay in their place.
    pub(crate) fn remove_manifest(&self, name: &Name, target: &TagOrDigest) -> io::Result<()> {
        let folder = self.folder.join("repositories").join(name.as_str());
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let tags: Vec<String> = match target {
            TagOrDigest::Tag(tag) => vec![tag.as_str().to_owned()],
            TagOrDigest::Digest(digest) => {
                let mut catalogue = self.catalogue();
                let tags = catalogue.content(name).tags.iter();
                tags.filter(|(_, named)| *named == digest).map(|(tag, _)| tag.clone()).collect()
            }
        };
        for tag in tags {
            let hash = Digest::sha256_of(tag.as_bytes()).hex();
            remove_record(&folder.join(TAGS).join(hash))?;
            self.catalogue().content(name).tags.remove(&tag);
        }
        if let TagOrDigest::Digest(digest) = target {
            remove_record(&folder.join(MANIFESTS).join(file_name(digest)))?;
            self.catalogue().remove_manifest(name, digest);
        }
        Ok(())
    }

    /// The bytes of a manifest.
    pub(crate) fn read(&self, digest: &Digest) -> io::Result<Vec<u8>> {
        fs::read(self.path_of(digest))
    }

    /// Whether a repository has a blob. One whose file somebody has deleted is not there.
    pub(crate) fn has_blob(&self, name: &Name, digest: &Digest) -> bool {
        let known = self.catalogue().has_blob(name, digest);
        known && self.path_of(digest).exists()
    }

    /// The same of a manifest.
    pub(crate) fn has_manifest(&self, name: &Name, digest: &Digest) -> bool {
        let known = self.catalogue().manifest(name, &TagOrDigest::Digest(*digest)).is_some();
        known && self.path_of(digest).exists()
    }

    /// Moves received bytes to their place. Their digest was verified, and that of what is there may not hold any more.
    fn keep(&self, incoming: &mut Incoming, digest: &Digest) -> io::Result<()> {
        let path = self.path_of(digest);
        if self.durable {
            incoming.file.sync_all()?;
        }
        make_below(&self.folder, &Path::new("blobs").join(digest.algorithm().as_str()))?;
        fs::rename(&incoming.path, &path)?;
        incoming.done = true;
        self.sync_parent(&path)
    }

    /// Writes a record of a repository and enters it into the catalogue.
    fn record(
        &self,
        name: &Name,
        kind: &str,
        file: &str,
        text: &str,
        enter: impl FnOnce(&mut Catalogue),
    ) -> io::Result<()> {
        let way = Path::new("repositories").join(name.as_str()).join(kind);
        let path = self.folder.join(&way).join(file);
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        make_below(&self.folder, &way)?;
        let mut incoming = self.receive()?;
        incoming.append(text.as_bytes())?;
        if self.durable {
            incoming.file.sync_all()?;
        }
        fs::rename(&incoming.path, &path)?;
        incoming.done = true;
        self.sync_parent(&path)?;
        enter(&mut self.catalogue());
        Ok(())
    }

    /// Makes a rename last.
    fn sync_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if self.durable && cfg!(unix) => File::open(parent)?.sync_all(),
            _ => Ok(()),
        }
    }

    /// A name that no other file has.
    fn fresh(&self) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        self.folder.join("uploads").join(number.to_string())
    }
}

impl Incoming {
    /// Bytes received.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Takes more bytes. After a failure nothing more can be received.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// The digest of everything. SHA-256, which nearly all are, was computed on the way.
    fn digest(&self, algorithm: soci_oci::Algorithm) -> io::Result<Digest> {
        use std::io::{Read as _, Seek as _, SeekFrom};
        let sha256 = self.hasher.clone().finish();
        if algorithm == sha256.algorithm() {
            return Ok(sha256);
        }
        let mut hasher = Hasher::new(algorithm);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))?;
        let mut block = vec![0; BLOCK];
        loop {
            let count = file.read(&mut block)?;
            if count == 0 {
                return Ok(hasher.finish());
            }
            hasher.update(&block[..count]);
        }
    }

    fn remove(&mut self) -> io::Result<()> {
        self.done = true;
        fs::remove_file(&self.path)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.done {
            // What is left is removed at the next start.
            let _ = self.remove();
        }
    }
}

/// Removes a record that may be gone.
fn remove_record(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn file_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().as_str(), digest.hex())
}

#[cfg(test)]
mod tests;
