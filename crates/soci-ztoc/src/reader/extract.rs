//! Extracts one file from the spans it lies in.

use std::ops::Range;

use sha2::{Digest as _, Sha256};

use super::archive_path::ArchivePath;
use super::{Entry, Reader, Span};
use crate::Compression;
use crate::gzip::{GzipStream, Step};
use crate::toc::FileType;

/// Why a file cannot be extracted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// The entry has no data of its own.
    #[error("it is a {0}, not a file")]
    NotAFile(&'static str),
    /// The entry is a symbolic link, whose target may lie in another layer.
    #[error("it is a symbolic link to {0:?}")]
    Symlink(String),
    /// The entry is a hard link whose target is not in the layer.
    #[error("it is a hard link to {0:?}, which is not in front of it in the layer")]
    BrokenLink(String),
    /// The entry is a sparse file, whose map is not in the ztoc.
    #[error("it is a sparse file, whose map is not in the ztoc")]
    Sparse,
    /// The entry's data lies outside the archive.
    #[error("its data lies outside the archive")]
    OutOfBounds,
    /// The entry's data is larger than the caller takes.
    #[error("it has {size} bytes, over the limit of {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A span that was fetched has the wrong length.
    #[error("span {span} has {found} bytes instead of {expected}")]
    SpanSize {
        /// Which span, from 0.
        span: usize,
        /// Bytes it should have.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// A span that was fetched does not have the digest in the ztoc.
    #[error("span {span} (compressed bytes {} to {}) does not match its digest", .range.start, .range.end)]
    SpanDigest {
        /// Which span, from 0.
        span: usize,
        /// Where it is in the layer.
        range: Range<u64>,
    },
    /// A span cannot be inflated from its checkpoint.
    #[error("span {span} cannot be inflated from its checkpoint: {reason}")]
    Inflate {
        /// Which span, from 0.
        span: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// The spans hold less than the file.
    #[error("the spans end {missing} bytes before the file does")]
    Short {
        /// Bytes missing.
        missing: u64,
    },
}

/// Why [`Reader::extract`] or [`Reader::read_file`] failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError<E> {
    /// The file cannot be extracted from what was fetched.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// Fetching or passing on failed.
    #[error(transparent)]
    Fetch(E),
}

impl<B: AsRef<[u8]>> Reader<B> {
    /// Extracts the data of `entry`, following hard links: `fetch` returns the compressed bytes of
    /// a span, `sink` takes the data in pieces. Only the spans that the data lies in are fetched,
    /// and each is verified before anything of it is passed on.
    pub fn extract<E, F: AsRef<[u8]>>(
        &self,
        entry: &Entry<'_>,
        mut fetch: impl FnMut(&Span) -> Result<F, E>,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), FetchError<E>> {
        let mut extraction = self.extraction(entry)?;
        while let Some(span) = extraction.next_span() {
            let bytes = fetch(&span).map_err(FetchError::Fetch)?;
            extraction.push(bytes.as_ref(), &mut sink)?;
        }
        Ok(extraction.finish()?)
    }

    /// Begins an extraction that is fed span by span, for callers that fetch in their own way. Hard links
    /// are followed.
    ///
    /// # Errors
    /// [`ExtractError::NotAFile`], [`ExtractError::Symlink`], [`ExtractError::BrokenLink`],
    /// [`ExtractError::Sparse`] or [`ExtractError::OutOfBounds`] if the entry has no data that can be
    /// extracted.
    pub fn extraction(&self, entry: &Entry<'_>) -> Result<Extraction<'_, B>, ExtractError> {
        let (offset, size) = self.resolve(entry)?;
        let end = offset.checked_add(size).ok_or(ExtractError::OutOfBounds)?;
        self.extraction_at(offset..end)
    }

    /// Begins to extract a range of the uncompressed archive.
    pub fn extraction_at(&self, range: Range<u64>) -> Result<Extraction<'_, B>, ExtractError> {
        let Range { start: offset, end } = range;
        let size = end.checked_sub(offset).filter(|_| end <= self.uncompressed_size);
        let size = size.ok_or(ExtractError::OutOfBounds)?;
        let (next, last) = if size == 0 {
            (0, 0)
        } else {
            // Of several spans that begin at the same byte the last one holds it.
            let first = self.starts.partition_point(|start| start.out <= offset);
            let first = first.checked_sub(1).ok_or(ExtractError::OutOfBounds)?;
            (first, self.starts.partition_point(|start| start.out < end))
        };
        let skip = offset - self.starts.get(next).map_or(0, |start| start.out.min(offset));
        let decoder = match self.compression {
            Compression::Gzip => Some(Decoder::new()),
            Compression::Uncompressed => None,
        };
        Ok(Extraction { reader: self, first: next, next, last, skip, missing: size, decoder })
    }

    /// Where the data of an entry is, hard links followed.
    ///
    /// A link means what stood at its target when the archive came to it. So each search begins where the
    /// one before it ended, always going back: all of them together look at every entry once at most, and a
    /// chain of a million links takes no longer than one link.
    fn resolve(&self, entry: &Entry<'_>) -> Result<(u64, u64), ExtractError> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut entry = *entry;
        while entry.kind == FileType::HardLink {
            let target = ArchivePath::new(entry.linkname);
            let found = self.find_before(&target, entry.index.min(self.entries));
            entry = found.ok_or_else(|| ExtractError::BrokenLink(text(entry.linkname)))?;
        }
        match entry.kind {
            FileType::Regular if entry.is_sparse() => Err(ExtractError::Sparse),
            // The size of a regular file was not negative when the ztoc was opened.
            FileType::Regular => Ok((entry.offset, entry.size.cast_unsigned())),
            FileType::Symlink => Err(ExtractError::Symlink(text(entry.linkname))),
            kind => Err(ExtractError::NotAFile(kind.as_str())),
        }
    }
}

/// An extraction under way: give it the spans it asks for, in order.
///
/// It does no input and output of its own. [`Extraction::next_span`] says which compressed bytes are needed
/// next, [`Extraction::push`] verifies them and passes on what they hold of the file.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use soci_ztoc::{Compression, Reader, Ztoc, ZtocSettings};
/// # let mut header = tar::Header::new_gnu();
/// # header.set_size(6);
/// # let mut archive = tar::Builder::new(Vec::new());
/// # archive.append_data(&mut header, "etc/hostname", &b"tower\n"[..])?;
/// # let layer = archive.into_inner()?;
/// # let settings = ZtocSettings::new(Compression::Uncompressed, "my-tool 1.0");
/// # let ztoc = Ztoc::build(&layer[..], settings)?;
/// # let reader = Reader::from_bytes(ztoc.encoded.to_vec())?;
/// # let fetch = |range: std::ops::Range<u64>| &layer[range.start as usize..range.end as usize];
/// let entry = reader.find("etc/hostname").ok_or("no such file")?;
/// let mut extraction = reader.extraction(&entry)?;
/// let mut content = Vec::new();
/// while let Some(span) = extraction.next_span() {
///     let bytes = fetch(span.range());
///     extraction.push(bytes, &mut |data| {
///         content.extend_from_slice(data);
///         Ok::<_, std::convert::Infallible>(())
///     })?;
/// }
/// extraction.finish()?;
/// assert_eq!(content, b"tower\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Extraction<'a, B> {
    reader: &'a Reader<B>,
    first: usize,
    next: usize,
    /// The span after the last one needed.
    last: usize,
    /// Uncompressed bytes in front of the file.
    skip: u64,
    /// Bytes of the file still to come.
    missing: u64,
    /// Inflates a gzip layer.
    decoder: Option<Decoder>,
}

impl<B: AsRef<[u8]>> Extraction<'_, B> {
    /// The span to push next, until the file is complete.
    pub fn next_span(&self) -> Option<Span> {
        if self.next < self.last { self.reader.span(self.next) } else { None }
    }

    /// Bytes of the file still to come; all of them before the first span is pushed.
    pub fn remaining(&self) -> u64 {
        self.missing
    }

    /// Takes the compressed bytes of the span asked for and passes on what it holds of the file.
    /// After an error the extraction must not be used again.
    pub fn push<E>(
        &mut self,
        bytes: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), FetchError<E>> {
        let Some(span) = self.next_span() else { return Ok(()) };
        verify(&span, bytes)?;
        let start = self.reader.starts[span.index];
        let (mut skip, mut missing) = (self.skip, self.missing);
        let mut pass = |data: &[u8]| {
            let begin = usize::try_from(skip).unwrap_or(usize::MAX).min(data.len());
            skip -= begin as u64;
            let data = &data[begin..];
            let data = &data[..usize::try_from(missing).unwrap_or(usize::MAX).min(data.len())];
            missing -= data.len() as u64;
            if !data.is_empty() {
                sink(data).map_err(FetchError::Fetch)?;
            }
            Ok(missing > 0)
        };
        match &mut self.decoder {
            None => {
                pass(bytes)?;
            }
            Some(decoder) => {
                let shared = usize::from(start.cut.bits > 0);
                // The shared byte is in the span: its length has been verified.
                let (head, bytes) = bytes.split_at(shared.min(bytes.len()));
                if span.index == self.first {
                    let head = head.first().copied().unwrap_or(0);
                    decoder.enter(self.reader.window(&start), start.cut.bits, head);
                }
                decoder.push(bytes, span.index, &mut pass)?;
            }
        }
        (self.skip, self.missing) = (skip, missing);
        self.next += 1;
        Ok(())
    }

    /// All spans have been pushed. Fails if the file is not complete.
    pub fn finish(self) -> Result<(), ExtractError> {
        if self.missing > 0 {
            return Err(ExtractError::Short { missing: self.missing });
        }
        Ok(())
    }
}

fn verify(span: &Span, bytes: &[u8]) -> Result<(), ExtractError> {
    let (expected, found) = (span.end - span.start, bytes.len() as u64);
    if expected != found {
        return Err(ExtractError::SpanSize { span: span.index, expected, found });
    }
    if <[u8; 32]>::from(Sha256::digest(bytes)) != span.sha256 {
        return Err(ExtractError::SpanDigest { span: span.index, range: span.start..span.end });
    }
    Ok(())
}

/// Inflates from a checkpoint on, across the members of a gzip layer. The checksum of the first one is not looked at, as its
/// beginning is not known.
#[derive(Debug)]
struct Decoder(GzipStream);

impl Decoder {
    fn new() -> Self {
        Self(GzipStream::new())
    }

    /// Starts at a checkpoint; `shared` is the byte whose high `bits` bits come first.
    fn enter(&mut self, window: &[u8], bits: u8, shared: u8) {
        let value = if bits == 0 { 0 } else { shared >> (8 - bits) };
        self.0.enter(window, bits, value);
    }

    /// Inflates `input`, which is a part of span `span`, until `pass` wants no more.
    fn push<E>(
        &mut self,
        mut input: &[u8],
        span: usize,
        pass: &mut impl FnMut(&[u8]) -> Result<bool, FetchError<E>>,
    ) -> Result<(), FetchError<E>> {
        loop {
            let (taken, step) = self
                .0
                .step(input, u64::MAX)
                .map_err(|corrupt| ExtractError::Inflate { span, reason: corrupt.0 })?;
            input = &input[taken..];
            if !pass(self.0.output())? || step == Step::NeedsInput && input.is_empty() {
                return Ok(());
            }
        }
    }
}
