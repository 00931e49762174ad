//! Builds the ztoc of a layer in one pass over its bytes.
//!
//! The reference reads a layer three times: it inflates it with zlib for the checkpoints, reads it
//! with Go's `compress/gzip` and `archive/tar` for the table of contents, and hashes its spans. Here
//! every byte is seen once, as it comes from the registry, and all three happen side by side. What
//! any of the reference's readings refuses has no ztoc here either.
//!
//! Where a span ends is known only once the inflater has passed the place. [`Scanner::push`]
//! therefore decides all that a piece can decide, and returns the cuts that lie in it;
//! [`SpanHasher::push`] takes the same piece with these cuts. The two need nothing else of each
//! other. So they can run on two threads, one piece apart, and the result does not depend on how the
//! layer was cut into pieces.
//!
//! The ztoc is written in the end, because a FlatBuffer is written from its last byte to its first.
//! What is kept until then is the table of contents, the checkpoints in the form in which they are
//! stored, and one hash for each span. Nothing of the layer is kept.

use std::io::{self, Read};

use crate::ahead::Ahead;
use crate::checkpoint::{Checkpoints, Cut};
use crate::encode::{Encoded, ZtocParts, tar_zinfo};
use crate::error::{BuildError, BuildFromReaderError};
use crate::gzip::GzipScan;
use crate::limits::LayerLimits;
use crate::members::{GzipMembers, MisreadEntries};
use crate::memory::{MemoryGrant, Unbounded};
use crate::span::SpanHasher;
use crate::tar::TarReader;
use crate::toc::Kept;
use crate::{Compression, DEFAULT_SPAN_SIZE};

/// How a ztoc is to be built. The same layer and settings always give the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ZtocSettings {
    /// How the layer is compressed.
    pub compression: Compression,
    /// Bytes between checkpoints: uncompressed ones for gzip (a checkpoint is taken at the first
    /// block boundary after more than that many; 0 takes every one behind new output), plain ones otherwise (at least 1).
    /// At most 2^63 - 1.
    pub span_size: u64,
    /// The name that the ztoc carries of the tool that built it, and so a part of its digest. The
    /// reference's own is `AWS SOCI CLI v0.2`.
    pub build_tool_identifier: String,
    /// Whether a gzip layer may have several members.
    pub members: GzipMembers,
    /// Whether it may have entries that soci-snapshotter misreads.
    pub misread: MisreadEntries,
    /// What the layer may claim.
    pub limits: LayerLimits,
}

impl ZtocSettings {
    /// Settings with the reference's span size and the default limits.
    pub fn new(compression: Compression, build_tool_identifier: impl Into<String>) -> Self {
        Self {
            compression,
            span_size: DEFAULT_SPAN_SIZE,
            build_tool_identifier: build_tool_identifier.into(),
            members: GzipMembers::Any,
            misread: MisreadEntries::Listed,
            limits: LayerLimits::DEFAULT,
        }
    }
}

/// A ztoc that has been built, with the figures people ask for.
#[derive(Debug)]
#[non_exhaustive]
pub struct Ztoc {
    /// The ztoc itself.
    pub encoded: Encoded,
    /// Entries in the table of contents.
    pub files: usize,
    /// Spans.
    pub spans: usize,
    /// Size of the layer in bytes.
    pub compressed_size: u64,
    /// Members of a gzip layer; 0 for one that is not compressed.
    pub members: u64,
    /// Size of the archive in the layer in bytes, up to its end mark.
    pub uncompressed_size: u64,
}

/// Bytes that [`Ztoc::build`] reads at once.
const READ_SIZE: usize = 128 << 10;

impl Ztoc {
    /// Builds the ztoc of a layer that is read to its end, on this thread.
    ///
    /// The layer is read once, in pieces of up to 128 KiB. Memory is bounded as with [`Builder`], which
    /// builds the same from a layer that arrives in another way.
    ///
    /// # Errors
    /// [`BuildFromReaderError::Read`] with the first error of `layer` (interrupted reads are tried again),
    /// [`BuildFromReaderError::Build`] if the layer has no ztoc or passes a limit of `settings`.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use soci_ztoc::{Compression, Reader, Ztoc, ZtocSettings};
    ///
    /// # let mut header = tar::Header::new_gnu();
    /// # header.set_size(6);
    /// # let mut archive = tar::Builder::new(Vec::new());
    /// # archive.append_data(&mut header, "etc/hostname", &b"tower\n"[..])?;
    /// # let layer = archive.into_inner()?;
    /// let settings = ZtocSettings::new(Compression::Uncompressed, "my-tool 1.0");
    /// let ztoc = Ztoc::build(&layer[..], settings)?;
    /// assert_eq!((ztoc.files, ztoc.spans), (1, 1));
    ///
    /// let reader = Reader::from_bytes(ztoc.encoded.to_vec())?;
    /// assert_eq!(reader.find("etc/hostname").map(|file| file.size), Some(6));
    /// # Ok(())
    /// # }
    /// ```
    pub fn build(
        mut layer: impl Read,
        settings: ZtocSettings,
    ) -> Result<Self, BuildFromReaderError> {
        let mut builder = Builder::new(settings)?;
        let mut piece = vec![0; READ_SIZE];
        loop {
            match layer.read(&mut piece) {
                Ok(0) => return Ok(builder.finish()?),
                // A reader that breaks its contract may claim more than there is room for.
                Ok(read) => builder.push(&piece[..read.min(READ_SIZE)])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(BuildFromReaderError::Read(error)),
            }
        }
    }
}

/// Builds a ztoc from a layer that arrives in pieces of any size, on one thread.
///
/// Memory is bounded by the ztoc itself plus [`Scanner::FIXED_MEMORY`]. The result does not depend on how
/// the layer is cut into pieces. After an error the builder is of no use.
///
/// It waits for nothing, so that an async program pushes what it has received. To read a layer from an
/// [`io::Read`] there is [`Ztoc::build`]; to hash the spans on another thread, [`Scanner`] and
/// [`SpanHasher`].
///
/// # Examples
///
/// ```
/// use soci_ztoc::{BuildError, Builder, Compression, Ztoc, ZtocSettings};
///
/// fn build<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Ztoc, BuildError> {
///     let settings = ZtocSettings::new(Compression::Gzip, "my-tool 1.0");
///     let mut builder = Builder::new(settings)?;
///     for piece in pieces {
///         builder.push(piece)?;
///     }
///     builder.finish()
/// }
///
/// // This is no gzip stream.
/// let error = build([&b"not a "[..], b"layer"].into_iter()).unwrap_err();
/// assert!(matches!(error, BuildError::Gzip { .. }));
/// ```
#[derive(Debug)]
pub struct Builder {
    scanner: Scanner,
    hasher: SpanHasher,
}

impl Builder {
    /// A builder at the start of a layer. Fails if the span size cannot be used.
    pub fn new(settings: ZtocSettings) -> Result<Self, BuildError> {
        Ok(Self { scanner: Scanner::new(settings)?, hasher: SpanHasher::new() })
    }

    /// Takes the next bytes of the layer.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        let cuts = self.scanner.push(bytes)?;
        self.hasher.push(bytes, cuts);
        Ok(())
    }

    /// The layer has ended.
    pub fn finish(self) -> Result<Ztoc, BuildError> {
        self.scanner.finish(self.hasher)
    }
}

/// The half of a [`Builder`] that reads the layer and finds where its spans end.
#[derive(Debug)]
pub struct Scanner {
    settings: ZtocSettings,
    scan: Scan,
    tar: TarReader,
    kept: Kept,
    cuts: Vec<Cut>,
    /// Cuts found so far.
    cut_count: usize,
    compressed_size: u64,
    failed: bool,
}

#[derive(Debug)]
enum Scan {
    Gzip(Box<GzipScan>),
    Uncompressed {
        spans: usize,
        /// Why there is no ztoc, though the layer is read on.
        set_aside: Option<BuildError>,
    },
}

impl Scanner {
    /// Bytes that reading a layer takes whatever is in it, at most: the inflater with its window, the
    /// output, the unfinished pieces of what is kept and of what is written.
    pub const FIXED_MEMORY: u64 = 3 << 20;

    /// A scanner at the start of a layer. Fails if the span size cannot be used.
    pub fn new(settings: ZtocSettings) -> Result<Self, BuildError> {
        Self::with_memory(settings, Box::new(Unbounded))
    }

    /// The same with what it keeps, beside some [`Scanner::FIXED_MEMORY`], taken from `memory`. If that gives
    /// no more, the layer is read to its end all the same, and [`BuildError::OutOfMemory`] says how much is needed.
    pub fn with_memory(
        settings: ZtocSettings,
        memory: Box<dyn MemoryGrant>,
    ) -> Result<Self, BuildError> {
        let size = settings.span_size;
        if i64::try_from(size).is_err() {
            return Err(BuildError::SpanSize { size, reason: "it is over 2^63 - 1" });
        }
        let scan = match settings.compression {
            Compression::Gzip => {
                let scan = GzipScan::new(size, settings.members, settings.limits);
                Scan::Gzip(Box::new(scan))
            }
            Compression::Uncompressed if size == 0 => {
                let reason = "an uncompressed layer has no boundaries of its own";
                return Err(BuildError::SpanSize { size, reason });
            }
            Compression::Uncompressed => Scan::Uncompressed { spans: 0, set_aside: None },
        };
        let tar = TarReader::new(settings.limits, settings.misread);
        let kept = Kept::new(Checkpoints::new(size), memory);
        Ok(Self {
            settings,
            scan,
            tar,
            kept,
            cuts: Vec::new(),
            cut_count: 0,
            compressed_size: 0,
            failed: false,
        })
    }

    /// Takes the next bytes of the layer and returns where spans begin or end in them, for
    /// [`SpanHasher::push`] with the same bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<&[Cut], BuildError> {
        if self.failed {
            return Err(BuildError::Failed);
        }
        let scanned = self.scan(bytes);
        self.went(scanned, |()| bytes.len() as u64)?;
        Ok(&self.cuts)
    }

    /// The same for a chunk of which `ahead` was decoded, but that the bytes from which it was need not be inflated again. It
    /// may reach beyond `bytes`: returns how many bytes of the layer have been taken then, with the cuts in them, and what follows
    /// is the next byte behind those. If it was not [taken](Ahead::was_taken), it may be given once more with what follows.
    pub fn push_chunk(
        &mut self,
        bytes: &[u8],
        ahead: &mut Ahead,
    ) -> Result<(u64, &[Cut]), BuildError> {
        if self.failed {
            return Err(BuildError::Failed);
        }
        let taken = self.scan_chunk(bytes, ahead);
        self.went(taken, |taken| *taken)?;
        Ok((self.compressed_size, &self.cuts))
    }

    /// How many blocks there were so far at which an [`Ahead`] may begin. Where there are none, decoding ahead is of no use.
    pub fn blocks(&self) -> u64 {
        match &self.scan {
            Scan::Gzip(scan) => scan.blocks(),
            Scan::Uncompressed { .. } => 0,
        }
    }

    /// Counts what was taken.
    fn went<T>(
        &mut self,
        taken: Result<T, BuildError>,
        bytes: impl Fn(&T) -> u64,
    ) -> Result<T, BuildError> {
        self.failed = taken.is_err();
        let taken = taken?;
        self.cut_count += self.cuts.len();
        self.compressed_size += bytes(&taken);
        Ok(taken)
    }

    fn scan_chunk(&mut self, bytes: &[u8], ahead: &mut Ahead) -> Result<u64, BuildError> {
        let Scan::Gzip(scan) = &mut self.scan else {
            return self.scan(bytes).map(|()| bytes.len() as u64);
        };
        self.cuts.clear();
        let (tar, kept, cuts) = (&mut self.tar, &mut self.kept, &mut self.cuts);
        let mut taken = 0;
        if let Some(end) = ahead.end().filter(|_| !ahead.was_taken()) {
            let mut skipped = scan.push_ahead(ahead, tar, kept, cuts)?;
            if !skipped {
                taken = scan.push_to(ahead.start(), bytes, tar, kept, cuts)? as u64;
                skipped = scan.push_ahead(ahead, tar, kept, cuts)?;
            }
            if skipped {
                taken = end.div_ceil(8) - self.compressed_size;
            }
        }
        let rest = usize::try_from(taken).ok().and_then(|taken| bytes.get(taken..));
        if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
            scan.push(rest, tar, kept, cuts)?;
        }
        Ok(taken.max(bytes.len() as u64))
    }

    fn scan(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        self.cuts.clear();
        let before = self.compressed_size;
        match &mut self.scan {
            Scan::Gzip(scan) => scan.push(bytes, &mut self.tar, &mut self.kept, &mut self.cuts)?,
            Scan::Uncompressed { spans, set_aside } => {
                let after = before + bytes.len() as u64;
                // Checked before the tar reader sees the piece, so that it never counts further.
                if after > self.settings.limits.uncompressed_size {
                    let limit = self.settings.limits.uncompressed_size;
                    return Err(BuildError::TooLarge { limit });
                }
                if set_aside.is_some() {
                    return Ok(());
                }
                if let Err(source) = self.tar.push(bytes, &mut self.kept) {
                    let error = BuildError::tar(source, &self.tar, self.tar.position());
                    if !error.is_set_aside() {
                        return Err(error);
                    }
                    *set_aside = Some(error);
                    return Ok(());
                }
                // A span begins where a byte comes after the end of the one before.
                let span_size = self.settings.span_size;
                while let Some(offset) =
                    (*spans as u64).checked_mul(span_size).filter(|offset| *offset < after)
                {
                    if *spans >= self.settings.limits.spans {
                        let limit = self.settings.limits.spans;
                        return Err(BuildError::TooManySpans { limit });
                    }
                    self.cuts.push(Cut { offset, bits: 0 });
                    *spans += 1;
                    self.kept.add_span();
                }
            }
        }
        Ok(())
    }

    /// Why there will be no ztoc whatever comes, if that is known by now and the layer is read on only to see whether
    /// it is broken, too. [`Scanner::finish`] says the same of a layer that is not.
    pub fn set_aside(&self) -> Option<&BuildError> {
        match &self.scan {
            Scan::Gzip(scan) => scan.set_aside(),
            Scan::Uncompressed { set_aside, .. } => set_aside.as_ref(),
        }
    }

    /// The layer has ended, and `hasher` has seen all of it.
    pub fn finish(self, hasher: SpanHasher) -> Result<Ztoc, BuildError> {
        if self.failed {
            return Err(BuildError::Failed);
        }
        // The hasher is the caller's. Digests of other bytes would make every span unreadable.
        if !hasher.has_seen(self.compressed_size, self.cut_count) {
            return Err(BuildError::SpansNotHashed);
        }
        let Self { settings, scan, tar, kept, compressed_size, .. } = self;
        let members = match scan {
            Scan::Gzip(scan) => match scan.finish() {
                Ok(members) => Some(members),
                // Bytes behind a gzip stream make no whole archive of one that is cut short.
                Err(error @ BuildError::TrailingBytes { .. }) => {
                    return Err(tar_finish(tar, compressed_size).err().unwrap_or(error));
                }
                Err(error) => return Err(error),
            },
            Scan::Uncompressed { set_aside: Some(error), .. } => return Err(error),
            Scan::Uncompressed { .. } => None,
        };
        let uncompressed_size = tar_finish(tar, compressed_size)?;
        if let Some(needed) = kept.refused() {
            return Err(BuildError::OutOfMemory { needed });
        }
        let checkpoints = if members.is_some() {
            kept.checkpoints.into_pieces()
        } else {
            tar_zinfo(settings.span_size, compressed_size)
        };
        let span_hashes = hasher.finish();
        let (files, spans) = (kept.files, span_hashes.len());
        let parts = ZtocParts {
            build_tool_identifier: &settings.build_tool_identifier,
            compression: settings.compression,
            compressed_size,
            uncompressed_size,
            entries: kept.entries,
            checkpoints,
            span_hashes,
        };
        // A larger ztoc could be written here, but not by the reference, whose buffer ends there.
        let limit = settings.limits.ztoc_size.min(crate::limits::MAX_ZTOC_SIZE);
        let checkpoints = parts.checkpoints.iter().map(Vec::len).sum();
        let encoded = parts.encode(limit).map_err(|size| BuildError::ZtocTooLarge {
            size,
            limit,
            checkpoints,
        })?;
        let members = members.unwrap_or_default();
        Ok(Ztoc { encoded, files, spans, compressed_size, members, uncompressed_size })
    }
}

/// The size of the archive. It may end in the middle of what it announces, which shows only now.
fn tar_finish(tar: TarReader, compressed_offset: u64) -> Result<u64, BuildError> {
    let archive_offset = tar.position();
    tar.finish().map_err(|source| BuildError::Tar { source, archive_offset, compressed_offset })
}
