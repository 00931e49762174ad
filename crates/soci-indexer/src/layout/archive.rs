//! The files of an archive, read where they lie, and written by making the archive anew.
//!
//! An archive has no place for changes: what is written goes into a new one beside it, `FILE.PID.N.tmp`, which begins
//! with what the old one holds as soon as there is anything to write. Blobs are added to it as they come.
//! [`Archive::finish`] adds `index.json` and puts it in the old one's place, so a reader sees either of the two, and a run
//! that fails leaves the old one as it was. One that does not finish begins from the old one again. The new one has the
//! old one's permissions, and where the path is a symbolic link, that stays and what it leads to is replaced. What the old
//! one holds under several names is written once, with links to it.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::StreamExt as _;
use soci_registry::BlobPieces;
use tokio::fs::{self, File};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::sync::Mutex;

use super::section::Section;
use super::tar::{self, BLOCK, Block, Extent};

/// The file that lists the images. The archive has one, which is written last.
const INDEX: &str = "index.json";

/// An archive. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Archive(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// The file that `path` led to when it was opened, which is what is read and replaced.
    target: PathBuf,
    files: StdMutex<Files>,
    new: Mutex<Option<NewArchive>>,
}

/// What is where.
#[derive(Debug, Default)]
struct Files {
    old: HashMap<String, Extent>,
    new: HashMap<String, Extent>,
    /// Where the new ones are.
    new_path: PathBuf,
    /// What `index.json` is to be.
    index: Option<Bytes>,
    /// What the old archive was when it was looked at; nothing if there was none.
    seen: Option<Seen>,
}

/// By which it shows that somebody else has changed a file.
type Seen = (u64, Option<SystemTime>);

fn seen(metadata: &Metadata) -> Seen {
    (metadata.len(), metadata.modified().ok())
}

/// The archive that takes the old one's place.
#[derive(Debug)]
struct NewArchive {
    path: PathBuf,
    file: File,
    /// Where the next entry begins. What is behind that was not finished.
    end: u64,
}

impl Drop for NewArchive {
    fn drop(&mut self) {
        // Renamed, it is not there any more; else nobody needs it.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Archive {
    /// The archive in a file.
    pub(super) async fn open(path: &Path) -> io::Result<Self> {
        let owned = path.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            let file = std::fs::File::open(&owned)?;
            let metadata = file.metadata()?;
            if metadata.is_dir() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a folder"));
            }
            let target = std::fs::canonicalize(&owned)?;
            let mut file = io::BufReader::with_capacity(2 * 512, file);
            Ok((tar::files(&mut file)?, seen(&metadata), target))
        });
        let (old, seen, target) = read.await.map_err(io::Error::other)??;
        Ok(Self::with(path, target, Files { old, seen: Some(seen), ..Files::default() }))
    }

    /// An archive that is not there yet.
    pub(super) fn new(path: &Path) -> Self {
        Self::with(path, path.to_owned(), Files::default())
    }

    fn with(path: &Path, target: PathBuf, files: Files) -> Self {
        let path = path.to_owned();
        Self(Arc::new(Shared { path, target, files: StdMutex::new(files), new: Mutex::new(None) }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn section(&self, name: &str) -> io::Result<Section> {
        let (path, extent) = {
            let files = self.files();
            if name == INDEX
                && let Some(index) = &files.index
            {
                return Ok(Section::of_bytes(index.clone()));
            }
            match (files.new.get(name), files.old.get(name)) {
                (Some(extent), _) => (files.new_path.clone(), *extent),
                (None, Some(extent)) => (self.0.target.clone(), *extent),
                (None, None) => return Err(io::ErrorKind::NotFound.into()),
            }
        };
        Section::of_file(&path, extent.offset, extent.size).await
    }

    /// Remembers what `index.json` is to be.
    pub(super) fn set_index(&self, bytes: Bytes) {
        self.files().index = Some(bytes);
    }

    /// Adds a file of `size` bytes, or puts it in the place of the one of its name.
    pub(super) async fn add(&self, name: &str, size: u64, pieces: BlobPieces) -> io::Result<()> {
        let mut new = self.0.new.lock().await;
        self.begin(&mut new).await?;
        // It has just been begun.
        let Some(new) = new.as_mut() else { return Ok(()) };
        let extent = new.add(name, size, pieces).await?;
        self.files().new.insert(name.to_owned(), extent);
        Ok(())
    }

    /// Begins the new archive with what is in the old one.
    async fn begin(&self, new: &mut Option<NewArchive>) -> io::Result<()> {
        if new.is_some() {
            return Ok(());
        }
        let mut begun = NewArchive::create(&self.0.target).await?;
        // Before anything is in it that not everybody may read.
        if let Ok(old) = fs::metadata(&self.0.target).await {
            fs::set_permissions(&begun.path, old.permissions()).await?;
        }
        let mut old: Vec<(String, Extent)> = {
            let files = self.files();
            files.old.iter().map(|(name, extent)| (name.clone(), *extent)).collect()
        };
        old.retain(|(name, _)| name != INDEX);
        old.sort_unstable_by(|(a, x), (b, y)| (x.offset, a).cmp(&(y.offset, b)));
        let mut copied = HashMap::new();
        let mut last: Option<(String, Extent)> = None;
        for (name, extent) in old {
            if let Some((written, of)) = &last
                && of.offset == extent.offset
            {
                begun.link(&name, written).await?;
                copied.insert(name, copied[written]);
                continue;
            }
            let section = Section::of_file(&self.0.target, extent.offset, extent.size).await?;
            let place = begun.add(&name, extent.size, section.pieces()).await?;
            copied.insert(name.clone(), place);
            last = Some((name, extent));
        }
        let mut files = self.files();
        files.new_path.clone_from(&begun.path);
        files.new = copied;
        *new = Some(begun);
        Ok(())
    }

    /// Puts what was written in the place of the old archive. Nothing is done where nothing was written.
    pub(super) async fn finish(&self, marker: &[u8]) -> io::Result<()> {
        let mut new = self.0.new.lock().await;
        let (index, has_marker) = {
            let files = self.files();
            (files.index.clone(), files.old.contains_key("oci-layout"))
        };
        // Blobs that nothing lists are of no use.
        let Some(index) = index else {
            *new = None;
            return Ok(());
        };
        self.begin(&mut new).await?;
        let Some(mut done) = new.take() else { return Ok(()) };
        let small = |bytes: Bytes| futures_util::stream::iter([Ok(bytes)]).boxed();
        if !has_marker {
            let marker = Bytes::copy_from_slice(marker);
            done.add("oci-layout", marker.len() as u64, small(marker)).await?;
        }
        done.add(INDEX, index.len() as u64, small(index)).await?;
        done.file.write_all(&[0; 2 * size_of::<Block>()]).await?;
        done.file.flush().await?;
        done.file.sync_all().await?;
        let before = self.files().seen;
        let now = fs::metadata(&self.0.target).await.ok();
        if now.as_ref().map(seen) != before {
            return Err(io::Error::other("somebody else has changed it meanwhile; try again"));
        }
        fs::rename(&done.path, &self.0.target).await?;
        let reopened = Self::open(&self.0.target).await?;
        *self.files() = std::mem::take(&mut *reopened.files());
        Ok(())
    }
}

impl NewArchive {
    async fn create(beside: &Path) -> io::Result<Self> {
        static ARCHIVES: AtomicU64 = AtomicU64::new(0);
        let number = ARCHIVES.fetch_add(1, Ordering::Relaxed);
        let mut name = beside.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.{number}.tmp", std::process::id()));
        let path = beside.with_file_name(name);
        let file = File::create(&path).await?;
        Ok(Self { path, file, end: 0 })
    }

    /// Adds a link to a file that it holds.
    async fn link(&mut self, name: &str, to: &str) -> io::Result<()> {
        let header = tar::link(name, to);
        self.file.seek(io::SeekFrom::Start(self.end)).await?;
        self.file.write_all(&header).await?;
        self.end += header.len() as u64;
        Ok(())
    }

    async fn add(&mut self, name: &str, size: u64, mut pieces: BlobPieces) -> io::Result<Extent> {
        // What an earlier one has left that came to no end.
        self.file.set_len(self.end).await?;
        self.file.seek(io::SeekFrom::Start(self.end)).await?;
        let header = tar::header(name, size);
        let offset = self.end + header.len() as u64;
        self.file.write_all(&header).await?;
        let mut left = size;
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            left = left.checked_sub(piece.len() as u64).ok_or_else(wrong_size)?;
            self.file.write_all(&piece).await?;
        }
        if left > 0 {
            return Err(wrong_size());
        }
        let end = (offset + size).next_multiple_of(BLOCK);
        let padding: Block = [0; 512];
        let pad = usize::try_from(end - offset - size).unwrap_or(0);
        self.file.write_all(&padding[..pad]).await?;
        // Others read it through a handle of their own.
        self.file.flush().await?;
        self.end = end;
        Ok(Extent { offset, size })
    }
}

fn wrong_size() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it has not the size that was stated")
}
