//! Opens a ztoc: lists its entries and spans, and extracts single files.
//!
//! A ztoc comes from a registry and may have been written by anyone. [`Reader::parse`] looks at all
//! of it once: offsets and lengths, the order of the checkpoints, the number of the digests, every
//! entry. After that every question has an answer, and no answer can send a caller outside the layer
//! or make it loop. The bytes stay as they are and entries are read from them when they are asked
//! for, because most of a ztoc is windows that nobody needs but the spans of one file.
//!
//! FlatBuffers may point to the same bytes many times. No writer of ztocs does, so what the entries
//! refer to is added up and may not be more than there is.
//!
//! What a ztoc says of the layer is believed only as far as the digests of its spans reach: a span's
//! bytes are verified before anything of them is handed out.

mod archive_path;
mod as_built;
mod error;
mod extract;
mod for_index;
mod probe;
mod read_file;

use std::ops::Range;

use crate::Compression;
use crate::checkpoint::{CHECKPOINT_SIZE, Cut, HEADER_SIZE};
use crate::encode::VERSION;
use crate::flatbuf::field::{compression_info, file, tar_zinfo, toc, xattr, ztoc};
use crate::flatbuf::read::{Malformed, Offsets, Table};
use crate::limits::LayerLimits;
use crate::span::Hash;
use crate::toc::FileType;
use archive_path::ArchivePath;
pub use error::ReadError;
pub use extract::{ExtractError, Extraction, FetchError};
pub use probe::ZtocHead;

/// Bytes of a span's digest as text.
const DIGEST_TEXT: usize = "sha256:".len() + 64;

/// An open ztoc over bytes that are kept as they are.
///
/// Everything is validated when it is opened. Invariants from then on: checkpoints are in order
/// and inside the layer, there is one digest for each span, and every entry can be read.
#[derive(Debug)]
pub struct Reader<B> {
    bytes: B,
    build_tool_identifier: String,
    compression: Compression,
    compressed_size: u64,
    uncompressed_size: u64,
    span_size: u64,
    starts: Vec<SpanStart>,
    hashes: Vec<Hash>,
    entries: usize,
}

/// Where a span begins.
#[derive(Clone, Copy, Debug)]
struct SpanStart {
    cut: Cut,
    /// Uncompressed offset.
    out: u64,
    /// Where the window is in the ztoc; none for an uncompressed layer and for the implied first
    /// checkpoint of old ztocs, whose window is all zeros.
    window: Option<usize>,
}

/// A piece of the layer that is fetched and verified as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Span {
    /// Which, from 0.
    pub index: usize,
    /// First compressed byte. The last byte of the span before may be the same one.
    pub start: u64,
    /// First compressed byte after it.
    pub end: u64,
    /// First uncompressed byte.
    pub uncompressed_start: u64,
    /// SHA-256 of its compressed bytes.
    pub sha256: [u8; 32],
}

/// An entry of the table of contents. Entries are equal if they say the same, wherever they
/// stand.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Which it is in the table of contents, from 0.
    pub index: usize,
    /// Path in the archive, as it stands there.
    pub name: &'a [u8],
    /// What it is.
    pub kind: FileType,
    /// Where its data begins in the uncompressed archive.
    pub offset: u64,
    /// Bytes of its data; for a sparse file its logical size. An entry without data may still
    /// carry what its header claimed, even if that is negative.
    pub size: i64,
    /// Target of a link.
    pub linkname: &'a [u8],
    /// Permission and mode bits.
    pub mode: i64,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Owner's name.
    pub uname: &'a [u8],
    /// Group's name.
    pub gname: &'a [u8],
    /// Modification time in RFC 3339, empty outside the years 0 to 9999.
    pub mod_time: &'a [u8],
    /// Major number of a device.
    pub devmajor: i64,
    /// Minor number of a device.
    pub devminor: i64,
    records: Offsets<'a>,
}

impl PartialEq for Entry<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.kind == other.kind
            && self.offset == other.offset
            && self.size == other.size
            && self.linkname == other.linkname
            && self.mode == other.mode
            && (self.uid, self.gid) == (other.uid, other.gid)
            && (self.uname, self.gname) == (other.uname, other.gname)
            && self.mod_time == other.mod_time
            && (self.devmajor, self.devminor) == (other.devmajor, other.devminor)
            && self.pax_records().eq(other.pax_records())
    }
}

impl Span {
    /// Its compressed bytes. The range is empty only where the ztoc promises data that the layer cannot hold.
    pub const fn range(&self) -> Range<u64> {
        self.start..self.end
    }
}

impl<'a> Entry<'a> {
    /// All PAX records of the entry by key, extended attributes among them as `SCHILY.xattr.*`.
    pub fn pax_records(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let records = self.records;
        // All of them were readable when the ztoc was opened.
        (0..records.len()).filter_map(move |index| read_record(&records, index).ok())
    }

    /// Whether the entry's data is a sparse file's, whose map a ztoc does not hold.
    pub fn is_sparse(&self) -> bool {
        crate::tar::is_sparse(|key| {
            let record = self.pax_records().find(|(candidate, _)| *candidate == key);
            record.map_or(&[], |(_, value)| value)
        })
    }
}

impl<B: AsRef<[u8]>> Reader<B> {
    /// Opens the ztoc in `bytes` and validates all of it, within [`LayerLimits::DEFAULT`]: a ztoc of at most
    /// 1 GiB, which is the largest that the reference writes.
    pub fn from_bytes(bytes: B) -> Result<Self, ReadError> {
        Self::parse(bytes, &LayerLimits::DEFAULT)
    }

    /// Opens the ztoc in `bytes` and validates all of it. Of the limits those on its size and on
    /// the numbers of entries, checkpoints and spans apply; everything else is bounded by its size.
    pub fn parse(bytes: B, limits: &LayerLimits) -> Result<Self, ReadError> {
        let buffer = bytes.as_ref();
        if buffer.len() > limits.ztoc_size {
            return Err(ReadError::Limit { what: "bytes", limit: limits.ztoc_size });
        }
        let root = Table::root(buffer)?;
        let version = root.bytes(ztoc::VERSION)?;
        if version != VERSION.as_bytes() {
            let version = String::from_utf8_lossy(&version[..version.len().min(32)]).into_owned();
            return Err(ReadError::Version(version));
        }
        let tool = String::from_utf8_lossy(root.bytes(ztoc::BUILD_TOOL_IDENTIFIER)?).into_owned();
        // Signed in the schema. A negative one has its highest bit set, which is refused below.
        let size = |field| Ok::<_, ReadError>(root.i64(field)?.cast_unsigned());
        let compressed_size = size(ztoc::COMPRESSED_ARCHIVE_SIZE)?;
        let uncompressed_size = size(ztoc::UNCOMPRESSED_ARCHIVE_SIZE)?;
        if (compressed_size | uncompressed_size) >> 63 != 0 {
            return Err(ReadError::Malformed);
        }

        let info = root.table(ztoc::COMPRESSION_INFO)?;
        let compression = read_compression(&info)?;
        let checkpoints = info.bytes(compression_info::CHECKPOINTS)?;
        let digests = info.offsets(compression_info::SPAN_DIGESTS)?;
        let (span_size, starts) = match compression {
            Compression::Gzip => gzip_starts(buffer, checkpoints, compressed_size, limits)?,
            Compression::Uncompressed => {
                plain_starts(checkpoints, compressed_size, digests.len(), limits)?
            }
        };
        // The number of spans is there three times, and nothing says which of them is right.
        let max_span_id = info.scalar(compression_info::MAX_SPAN_ID)?.map_or(0, i32::from_le_bytes);
        if usize::try_from(i64::from(max_span_id) + 1) != Ok(starts.len()) {
            return Err(ReadError::Checkpoints("their number is not that of the spans"));
        }
        if digests.len() != starts.len() {
            return Err(ReadError::Checkpoints("their number is not that of the digests"));
        }
        // No writer lets two share their bytes.
        if digests.len().saturating_mul(DIGEST_TEXT) > buffer.len() {
            return Err(ReadError::Malformed);
        }
        let hashes = (0..digests.len())
            .map(|index| parse_sha256(digests.bytes(index)?).ok_or(ReadError::SpanDigest(index)))
            .collect::<Result<_, _>>()?;

        let entries = root.table(ztoc::TOC)?.offsets(toc::METADATA)?;
        if entries.len() > limits.entries {
            return Err(ReadError::Limit { what: "entries", limit: limits.entries });
        }
        // Writers share no strings or vectors between entries. A ztoc that does could make few
        // bytes stand for a great many.
        let mut stored = 0usize;
        for index in 0..entries.len() {
            stored += check_entry(&entries.table(index)?, index)?;
            if stored > buffer.len() {
                return Err(ReadError::Malformed);
            }
        }
        let entries = entries.len();
        Ok(Self {
            bytes,
            build_tool_identifier: tool,
            compression,
            compressed_size,
            uncompressed_size,
            span_size,
            starts,
            hashes,
            entries,
        })
    }

    /// The tool that built it, by its own account.
    pub fn build_tool_identifier(&self) -> &str {
        &self.build_tool_identifier
    }

    /// How the layer is compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Size of the layer in bytes.
    pub fn compressed_size(&self) -> u64 {
        self.compressed_size
    }

    /// Size of the archive in bytes, up to its end mark.
    pub fn uncompressed_size(&self) -> u64 {
        self.uncompressed_size
    }

    /// The span size that the ztoc was built with, in bytes.
    pub fn span_size(&self) -> u64 {
        self.span_size
    }

    /// Number of spans.
    pub fn span_count(&self) -> usize {
        self.starts.len()
    }

    /// A span, by its index from 0.
    pub fn span(&self, index: usize) -> Option<Span> {
        let start = self.starts.get(index)?;
        let end = self.starts.get(index + 1).map_or(self.compressed_size, |next| next.cut.end());
        Some(Span {
            index,
            start: start.cut.start(),
            end,
            uncompressed_start: start.out,
            sha256: *self.hashes.get(index)?,
        })
    }

    /// All spans in order.
    pub fn spans(&self) -> impl Iterator<Item = Span> + '_ {
        (0..self.span_count()).filter_map(|index| self.span(index))
    }

    /// The window of the checkpoint that a span begins with: the 32 KiB of output before it. None
    /// for an uncompressed layer.
    pub fn checkpoint_window(&self, span: usize) -> Option<&[u8]> {
        let start = self.starts.get(span)?;
        (self.compression == Compression::Gzip).then(|| self.window(start))
    }

    /// Number of entries in the table of contents.
    pub fn entry_count(&self) -> usize {
        self.entries
    }

    /// An entry, by its index from 0.
    pub fn entry(&self, index: usize) -> Option<Entry<'_>> {
        // All of them were readable when the ztoc was opened.
        let entries = Table::root(self.bytes.as_ref()).and_then(|root| root.table(ztoc::TOC));
        let table = entries.and_then(|toc| toc.offsets(toc::METADATA)).ok()?.table(index).ok()?;
        read_entry(&table, index).ok()
    }

    /// All entries in the archive's order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> + '_ {
        (0..self.entries).filter_map(|index| self.entry(index))
    }

    /// The entry at `path`. Empty and `.` components do not count, on either side. Where an
    /// archive has a path more than once, the last entry is the one that an extracted archive
    /// would show. Links are entries of their own and are not followed.
    ///
    /// Takes time in proportion to the number of entries. To look up many paths, make a map of
    /// [`Reader::entries`].
    pub fn find(&self, path: impl AsRef<[u8]>) -> Option<Entry<'_>> {
        self.find_before(&ArchivePath::new(path.as_ref()), self.entries)
    }

    /// The last entry at `path` in front of entry `end`.
    fn find_before(&self, path: &ArchivePath<'_>, end: usize) -> Option<Entry<'_>> {
        (0..end).rev().filter_map(|index| self.entry(index)).find(|entry| path.names(entry.name))
    }

    /// The window of a checkpoint.
    fn window(&self, start: &SpanStart) -> &[u8] {
        static ZEROS: [u8; crate::WINDOW_SIZE] = [0; crate::WINDOW_SIZE];
        // A window was inside the buffer when the ztoc was opened.
        start
            .window
            .and_then(|at| self.bytes.as_ref().get(at..at + crate::WINDOW_SIZE))
            .unwrap_or(&ZEROS)
    }
}

fn read_compression(info: &Table<'_>) -> Result<Compression, ReadError> {
    let algorithm = info
        .scalar(compression_info::COMPRESSION_ALGORITHM)?
        .map_or(Compression::Gzip.stored(), i8::from_le_bytes);
    [Compression::Gzip, Compression::Uncompressed]
        .into_iter()
        .find(|known| known.stored() == algorithm)
        .ok_or(ReadError::Compression(algorithm))
}

/// Reads the checkpoints of a gzip layer. Old ztocs leave out the first: it is behind a gzip
/// header of ten bytes (`ZINFO_VERSION_ONE` in `gzip_zinfo.h`).
fn gzip_starts(
    buffer: &[u8],
    blob: &[u8],
    compressed_size: u64,
    limits: &LayerLimits,
) -> Result<(u64, Vec<SpanStart>), ReadError> {
    let bad = ReadError::Checkpoints;
    let (header, body) = blob.split_at_checked(HEADER_SIZE).ok_or(bad("they are cut short"))?;
    let mut count = [0; 4];
    count.copy_from_slice(&header[..4]);
    let count = usize::try_from(i32::from_le_bytes(count)).map_err(|_| bad("their number"))?;
    let mut size = [0; 8];
    size.copy_from_slice(&header[4..]);
    if count > limits.checkpoints {
        return Err(ReadError::Limit { what: "checkpoints", limit: limits.checkpoints });
    }
    let mut starts = Vec::with_capacity(body.len() / CHECKPOINT_SIZE + 1);
    if body.len() + CHECKPOINT_SIZE == count * CHECKPOINT_SIZE {
        starts.push(SpanStart { cut: Cut { offset: 10, bits: 0 }, out: 0, window: None });
    } else if body.len() != count * CHECKPOINT_SIZE || count == 0 {
        return Err(bad("their number is not that of their bytes"));
    }
    let body_at = body.as_ptr().addr() - buffer.as_ptr().addr();
    for (index, stored) in body.chunks_exact(CHECKPOINT_SIZE).enumerate() {
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&stored[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let cut = Cut { offset: number(0), bits: stored[16] };
        let window = Some(body_at + index * CHECKPOINT_SIZE + 17);
        starts.push(SpanStart { cut, out: number(8), window });
    }
    // In order, so that spans have no negative length and can be searched by halves. Equal offsets in
    // the output are fine: spans in front of the first output have none of it.
    let mut last = (0, 0);
    for start in &starts {
        let cut = start.cut;
        if cut.bits > 7 || cut.offset == 0 || cut.offset > compressed_size {
            return Err(bad("one lies outside the layer"));
        }
        if cut.offset <= last.0 || start.out < last.1 {
            return Err(bad("they are out of order"));
        }
        last = (cut.offset, start.out);
    }
    Ok((u64::from_le_bytes(size), starts))
}

fn plain_starts(
    blob: &[u8],
    compressed_size: u64,
    digests: usize,
    limits: &LayerLimits,
) -> Result<(u64, Vec<SpanStart>), ReadError> {
    let bad = ReadError::Checkpoints;
    let table = Table::root(blob)?;
    let size = table.i64(tar_zinfo::SIZE)?.cast_unsigned();
    let span_size = table.i64(tar_zinfo::SPAN_SIZE)?;
    let span_size = u64::try_from(span_size).ok().filter(|size| *size > 0);
    let span_size = span_size.ok_or(bad("the span size is not positive"))?;
    if size != compressed_size {
        return Err(bad("the layer's size is given twice and differs"));
    }
    let count = usize::try_from(size.div_ceil(span_size)).unwrap_or(usize::MAX);
    if count > limits.spans {
        return Err(ReadError::Limit { what: "spans", limit: limits.spans });
    }
    // Before anything is made of the number: the digests are really there.
    if count != digests {
        return Err(bad("their number is not that of the digests"));
    }
    let starts = (0..count as u64)
        .map(|index| index * span_size)
        .map(|offset| SpanStart { cut: Cut { offset, bits: 0 }, out: offset, window: None })
        .collect();
    Ok((span_size, starts))
}

fn parse_sha256(text: &[u8]) -> Option<Hash> {
    let digits = text.strip_prefix(b"sha256:")?;
    // `hex` takes capitals as well, which no digest has.
    if digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut hash = Hash::default();
    hex::decode_to_slice(digits, &mut hash).ok()?;
    Some(hash)
}

/// Reads all of an entry and returns how many bytes it must take at least.
fn check_entry(table: &Table<'_>, index: usize) -> Result<usize, ReadError> {
    let entry = read_entry(table, index)?;
    let strings = [entry.name, entry.linkname, entry.uname, entry.gname, entry.mod_time];
    let stored = strings.iter().map(|text| text.len()).sum::<usize>() + 4 * entry.records.len();
    for record in 0..entry.records.len() {
        read_record(&entry.records, record)?;
    }
    Ok(stored)
}

fn read_entry<'a>(table: &Table<'a>, index: usize) -> Result<Entry<'a>, ReadError> {
    let bad = |reason| ReadError::Entry { index, reason };
    let kind = FileType::from_name(table.bytes(file::TYPE)?).ok_or(bad("unknown type"))?;
    let offset = table.i64(file::UNCOMPRESSED_OFFSET)?;
    let size = table.i64(file::UNCOMPRESSED_SIZE)?;
    if kind.has_data() && size < 0 {
        return Err(bad("negative size"));
    }
    Ok(Entry {
        index,
        name: table.bytes(file::NAME)?,
        kind,
        offset: u64::try_from(offset).map_err(|_| bad("negative offset"))?,
        size,
        linkname: table.bytes(file::LINKNAME)?,
        mode: table.i64(file::MODE)?,
        uid: table.scalar(file::UID)?.map_or(0, u32::from_le_bytes),
        gid: table.scalar(file::GID)?.map_or(0, u32::from_le_bytes),
        uname: table.bytes(file::UNAME)?,
        gname: table.bytes(file::GNAME)?,
        mod_time: table.bytes(file::MOD_TIME)?,
        devmajor: table.i64(file::DEVMAJOR)?,
        devminor: table.i64(file::DEVMINOR)?,
        records: table.offsets(file::XATTRS)?,
    })
}

fn read_record<'a>(records: &Offsets<'a>, index: usize) -> Result<(&'a [u8], &'a [u8]), Malformed> {
    let record = records.table(index)?;
    Ok((record.bytes(xattr::KEY)?, record.bytes(xattr::VALUE)?))
}
