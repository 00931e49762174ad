//! A file, a part of one, or bytes in memory, being read.

use std::io;
use std::path::Path;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use soci_registry::BlobPieces;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

/// Bytes read at a time.
const READ_SIZE: usize = 256 << 10;

/// What is left to be read.
#[derive(Debug)]
pub(super) struct Section {
    origin: Origin,
    left: u64,
}

#[derive(Debug)]
enum Origin {
    File(File),
    Bytes(Bytes),
}

impl Section {
    /// A whole file.
    pub(super) async fn of_whole(path: &Path) -> io::Result<Self> {
        Ok(Self { origin: Origin::File(File::open(path).await?), left: u64::MAX })
    }

    /// A part of a file.
    pub(super) async fn of_file(path: &Path, offset: u64, size: u64) -> io::Result<Self> {
        let mut file = File::open(path).await?;
        file.seek(io::SeekFrom::Start(offset)).await?;
        Ok(Self { origin: Origin::File(file), left: size })
    }

    pub(super) fn of_bytes(bytes: Bytes) -> Self {
        Self { left: bytes.len() as u64, origin: Origin::Bytes(bytes) }
    }

    /// Bytes that are left. How many a whole file has is not known.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Bytes that it has, if nothing was read yet.
    pub(super) async fn size(&self) -> io::Result<u64> {
        match &self.origin {
            Origin::File(file) if self.left == u64::MAX => Ok(file.metadata().await?.len()),
            Origin::File(_) | Origin::Bytes(_) => Ok(self.left),
        }
    }

    /// Goes on behind the next `bytes`.
    pub(super) async fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let bytes = bytes.min(self.left);
        match &mut self.origin {
            Origin::File(file) => {
                let bytes = i64::try_from(bytes).map_err(io::Error::other)?;
                file.seek(io::SeekFrom::Current(bytes)).await?;
            }
            Origin::Bytes(content) => {
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(content.len());
                drop(content.split_to(bytes));
            }
        }
        self.left -= bytes;
        Ok(())
    }

    /// The next bytes; none at the end.
    pub(super) async fn read(&mut self) -> io::Result<Option<Bytes>> {
        let most = READ_SIZE.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let bytes = match &mut self.origin {
            Origin::File(file) => {
                let mut bytes = vec![0; most];
                let read = if most == 0 { 0 } else { file.read(&mut bytes).await? };
                bytes.truncate(read);
                Bytes::from(bytes)
            }
            Origin::Bytes(content) => content.split_to(most.min(content.len())),
        };
        self.left -= bytes.len() as u64;
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    /// All that is left, at most `limit` bytes of it.
    pub(super) async fn read_up_to(mut self, limit: u64) -> io::Result<Bytes> {
        self.left = self.left.min(limit);
        let mut all = Vec::new();
        // Grows by what is there, not by what is asked for.
        while let Some(bytes) = self.read().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.into())
    }

    /// All that is left, in pieces.
    pub(super) fn pieces(self) -> BlobPieces {
        stream::unfold(Some(self), |section| async {
            let mut section = section?;
            match section.read().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(section))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }
}
