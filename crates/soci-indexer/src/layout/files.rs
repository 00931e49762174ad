//! Where the files of a layout are: in a folder or in an archive.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::StreamExt as _;
use soci_oci::Digest;
use soci_registry::{BlobPieces, BlobSource};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;

use super::archive::Archive;
use super::section::Section;

/// What `oci-layout` says in a new layout.
pub(super) const MARKER: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The files of a layout.
#[derive(Debug)]
pub(super) enum LayoutFiles {
    Folder(PathBuf),
    /// An archive of a layout.
    Archive(Archive),
    /// An archive of docker, and in which of its files blobs are. It is only read.
    Docker {
        archive: Archive,
        index: Bytes,
        places: HashMap<Digest, String>,
    },
}

impl LayoutFiles {
    /// The folder or the archive.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder,
            Self::Archive(archive) | Self::Docker { archive, .. } => archive.path(),
        }
    }

    /// The name of a blob's file.
    pub(super) fn blob(&self, digest: &Digest) -> String {
        match self {
            Self::Docker { places, .. } if places.contains_key(digest) => places[digest].clone(),
            _ => format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex()),
        }
    }

    /// A file as people are told of it.
    pub(super) fn shown(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(super) async fn section(&self, name: &str) -> io::Result<Section> {
        match self {
            Self::Folder(folder) => Section::of_whole(&folder.join(name)).await,
            Self::Docker { index, .. } if name == "index.json" => {
                Ok(Section::of_bytes(index.clone()))
            }
            Self::Archive(archive) | Self::Docker { archive, .. } => archive.section(name).await,
        }
    }

    /// Writes a file so that a reader sees all of it or nothing.
    pub(super) async fn write(&self, name: &str, content: &BlobSource) -> io::Result<()> {
        match self {
            Self::Folder(folder) => {
                write_atomically(&folder.join(name), content.size(), content.pieces()).await
            }
            Self::Archive(archive) => archive.add(name, content.size(), content.pieces()).await,
            Self::Docker { .. } => Err(only_read()),
        }
    }

    pub(super) async fn write_index(&self, bytes: Bytes) -> io::Result<()> {
        match self {
            Self::Folder(_) => self.write("index.json", &BlobSource::from(bytes)).await,
            Self::Archive(archive) => {
                archive.set_index(bytes);
                Ok(())
            }
            Self::Docker { .. } => Err(only_read()),
        }
    }

    /// Keeps other processes from changing `index.json` until it is dropped. An archive is looked at when it is finished.
    pub(super) async fn lock(&self) -> io::Result<Option<std::fs::File>> {
        let Self::Folder(folder) = self else { return Ok(None) };
        let marker = folder.join("oci-layout");
        let locked = tokio::task::spawn_blocking(move || {
            let marker = std::fs::File::open(marker)?;
            marker.lock()?;
            Ok(Some(marker))
        });
        locked.await.map_err(io::Error::other)?
    }
}

fn only_read() -> io::Error {
    let told = "an archive of `docker save` is only read: say with --output where the result goes";
    io::Error::new(io::ErrorKind::Unsupported, told)
}

async fn write_atomically(path: &Path, size: u64, pieces: BlobPieces) -> io::Result<()> {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).await?;
    }
    // Of its own for every write of every process.
    let write = WRITES.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.{write}.tmp", std::process::id()));
    let partial = Partial(path.with_file_name(name));
    write_all(&partial.0, size, pieces).await?;
    fs::rename(&partial.0, path).await
}

/// A file that is not complete. What is left of it is of no use.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // Renamed, it is not there any more.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn write_all(path: &Path, size: u64, mut pieces: BlobPieces) -> io::Result<()> {
    let mut file = File::create(path).await?;
    let mut written = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        written += piece.len() as u64;
        file.write_all(&piece).await?;
    }
    if written != size {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it has not the size that was stated",
        ));
    }
    file.flush().await?;
    file.sync_all().await
}
