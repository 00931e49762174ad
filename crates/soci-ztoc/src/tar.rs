//! Reads the table of contents out of a tar archive that arrives in pieces, as Go's
//! `archive/tar` does: what it accepts, what it rejects, and every field it derives.
//!
//! The `tar` crate reads other archives than Go does (prefixes, duplicate PAX keys, old types,
//! where an archive ends) and wants to pull from a reader, hence this one.
//!
//! An entry that is read differently gives a ztoc with another digest, and in the worst case a file
//! with another name or content than a full pull would have. So every rule of Go's reader is copied,
//! with those that other readers would call mistakes:
//!
//! - Extended headers wait for the entry behind them. Of two PAX headers in a row only the second
//!   counts. The long names of GNU win over those of PAX, unless they are empty.
//! - A header's own size must be valid even if a record replaces it. Only regular files have data;
//!   what another type claims as its size is stored and nothing is skipped.
//! - Type NUL is a directory if the name, also one from a record, ends in a slash. Type `0` never is.
//! - The archive ends with two zero blocks or with the stream, before or after the padding of the
//!   last file. One zero block with a header behind it is an error.
//! - Types that a ztoc has no word for fail the layer: global PAX headers (`g`), old GNU sparse
//!   files (`S`), contiguous files (`7`).
//!
//! One thing is not Go's: entries whose ztoc nobody reads rightly can be refused ([`MisreadEntries`]).
//!
//! The reader is a state machine over pieces of any size. Only headers, extended headers and sparse
//! maps are gathered, within limits; data is counted and passed over.

mod error;
mod header;
mod number;
mod pax;
mod sparse;

use crate::limits::LayerLimits;
use crate::members::MisreadEntries;
use crate::toc::{Entry, EntryFields, FileType, Kept};
pub use error::TarError;
pub use header::{BLOCK_SIZE, is_header};
use header::{BadHeader, Block, Header};
pub(crate) use pax::Records;
use sparse::{MAX_SPECIAL_SIZE, MapReader, Place};

/// The kinds of extended header, which describe the entry after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extended {
    Pax,
    LongName,
    LongLink,
}

/// What the next bytes are.
#[derive(Debug)]
enum NextBytes {
    /// A header, of which `filled` bytes are in `block`.
    Header,
    /// The second of two zero blocks.
    SecondZero,
    /// The body of an extended header.
    Extended { kind: Extended, missing: usize, padding: usize },
    /// The sparse map in front of a file's data.
    SparseMap { map: MapReader, file: Box<File>, remaining: u64, padding: usize },
    /// A file's data.
    Data { remaining: u64, padding: usize },
    /// The rest of the last block of data.
    Padding { remaining: usize },
    /// Two zero blocks were read: whatever follows does not belong to the archive.
    End,
}

/// An entry with all that extended headers say about it.
#[derive(Debug)]
struct File {
    header: Header,
    kind: FileType,
    records: Records,
}

/// What an extended header takes in memory, times its size: its body twice, and the places of its records,
/// of which the next header may have a second set.
const EXTENDED_HEADER_COST: usize = 8;

/// Extended headers that are no larger cost nothing to speak of.
const SMALL_EXTENDED_HEADER: usize = 64 << 10;

/// The reader. After an error it must not be used again.
#[derive(Debug)]
pub(crate) struct TarReader {
    next: NextBytes,
    block: Block,
    filled: usize,
    /// Bytes read so far, up to the end of the archive.
    position: u64,
    /// Body of the extended header being read.
    body: Vec<u8>,
    /// What extended headers said about the next entry.
    records: Records,
    long_name: Vec<u8>,
    long_link: Vec<u8>,
    /// Size of the largest extended header that memory was asked for.
    extended_header: usize,
    limits: LayerLimits,
    misread: MisreadEntries,
    /// Where soci-snapshotter looks for the next header: behind the last entry, by its logical size.
    next_header: u64,
}

impl TarReader {
    pub(crate) fn new(limits: LayerLimits, misread: MisreadEntries) -> Self {
        Self {
            next: NextBytes::Header,
            block: [0; BLOCK_SIZE],
            filled: 0,
            position: 0,
            body: Vec::new(),
            records: Records::default(),
            long_name: Vec::new(),
            long_link: Vec::new(),
            extended_header: SMALL_EXTENDED_HEADER,
            limits,
            misread,
            next_header: 0,
        }
    }

    /// Whether the archive's end has been seen, so that nothing more is read.
    pub(crate) const fn ended(&self) -> bool {
        matches!(self.next, NextBytes::End)
    }

    /// Where in the archive the reader is: the offset to name in an error.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// Takes the next bytes of the archive, and gives the entries in them to `kept`.
    pub(crate) fn push(&mut self, mut data: &[u8], kept: &mut Kept) -> Result<(), TarError> {
        while !data.is_empty() {
            let taken = match &mut self.next {
                // What follows the archive is not counted: a ztoc has the size that Go reads.
                NextBytes::End => return Ok(()),
                NextBytes::Data { remaining, padding } => {
                    let taken = clamp(*remaining, data.len());
                    *remaining -= taken as u64;
                    if *remaining == 0 {
                        self.next = NextBytes::Padding { remaining: *padding };
                        self.skip_empty();
                    }
                    taken
                }
                NextBytes::Padding { remaining } => {
                    let taken = data.len().min(*remaining);
                    *remaining -= taken;
                    self.skip_empty();
                    taken
                }
                NextBytes::Extended { missing, .. } => {
                    let taken = data.len().min(*missing);
                    *missing -= taken;
                    self.body.extend_from_slice(&data[..taken]);
                    taken
                }
                NextBytes::Header | NextBytes::SecondZero | NextBytes::SparseMap { .. } => {
                    let taken = data.len().min(BLOCK_SIZE - self.filled);
                    self.block[self.filled..self.filled + taken].copy_from_slice(&data[..taken]);
                    self.filled += taken;
                    taken
                }
            };
            data = &data[taken..];
            // Before the block is looked at: what it describes begins behind it.
            self.position += taken as u64;
            if self.filled == BLOCK_SIZE {
                self.filled = 0;
                self.end_block(kept)?;
            }
            if matches!(self.next, NextBytes::Extended { missing: 0, .. }) {
                self.end_extended()?;
            }
        }
        Ok(())
    }

    /// The stream has ended. Returns the size of the archive as Go counts it: up to its two zero
    /// blocks, or all of the stream.
    pub(crate) fn finish(self) -> Result<u64, TarError> {
        match self.next {
            // Go does not miss the padding behind the last file, nor the zero blocks.
            NextBytes::End | NextBytes::Padding { .. } => {}
            NextBytes::Header | NextBytes::SecondZero if self.filled == 0 => {}
            NextBytes::Header | NextBytes::SecondZero => {
                return Err(TarError::Truncated("a header"));
            }
            NextBytes::Extended { .. } => return Err(TarError::Truncated("an extended header")),
            NextBytes::SparseMap { .. } => return Err(TarError::Truncated("a sparse map")),
            NextBytes::Data { .. } => return Err(TarError::Truncated("a file's data")),
        }
        Ok(self.position)
    }

    /// Leaves a state that has nothing to read.
    fn skip_empty(&mut self) {
        if let NextBytes::Padding { remaining: 0 } = self.next {
            self.next = NextBytes::Header;
        }
    }

    /// A whole block is there.
    fn end_block(&mut self, kept: &mut Kept) -> Result<(), TarError> {
        match std::mem::replace(&mut self.next, NextBytes::Header) {
            NextBytes::SparseMap { mut map, file, remaining, padding } => {
                // The map is a part of the data, so what is left of the data gets shorter.
                let complete = map.push(&self.block).map_err(|_| TarError::Sparse)?;
                // A block is left of it, or `begin_sparse_map` would have refused.
                let remaining = remaining - BLOCK_SIZE as u64;
                if complete {
                    self.add(&file, kept)?;
                    self.begin_data(remaining, padding);
                    Ok(())
                } else {
                    self.begin_sparse_map(map, file, remaining, padding)
                }
            }
            NextBytes::SecondZero => {
                if self.block.iter().any(|byte| *byte != 0) {
                    return Err(TarError::LoneZeroBlock);
                }
                self.next = NextBytes::End;
                Ok(())
            }
            _ if self.block.iter().all(|byte| *byte == 0) => {
                self.next = NextBytes::SecondZero;
                Ok(())
            }
            _ => {
                let header = Header::parse(&self.block).map_err(|error| match error {
                    BadHeader::Checksum => TarError::Checksum,
                    BadHeader::Number => TarError::Number("a header"),
                })?;
                self.begin_entry(header, kept)
            }
        }
    }

    fn begin_entry(&mut self, header: Header, kept: &mut Kept) -> Result<(), TarError> {
        // A header's own size must be valid even where a PAX record overrides it.
        if header.size < 0 && !is_header_only(header.kind) {
            return Err(TarError::NegativeSize);
        }
        match header.kind {
            b'x' => self.begin_extended(Extended::Pax, header.size, kept),
            b'L' => self.begin_extended(Extended::LongName, header.size, kept),
            b'K' => self.begin_extended(Extended::LongLink, header.size, kept),
            _ => self.begin_file(header, kept),
        }
    }

    fn begin_extended(
        &mut self,
        kind: Extended,
        size: i64,
        kept: &mut Kept,
    ) -> Result<(), TarError> {
        let limit = self.limits.extended_header.min(MAX_SPECIAL_SIZE);
        // The size is not negative, `begin_entry` checked it.
        let claimed = size.cast_unsigned();
        let size = usize::try_from(claimed).ok().filter(|size| *size <= limit);
        let Some(missing) = size else {
            return Err(TarError::ExtendedHeaderTooLarge { size: claimed, limit });
        };
        if missing > self.extended_header {
            let more = (missing - self.extended_header) * EXTENDED_HEADER_COST;
            self.extended_header = missing;
            // Read in any case: the archive goes on behind it, and its size is bounded.
            let _ = kept.take(more as u64);
        }
        self.body.clear();
        self.next = NextBytes::Extended { kind, missing, padding: padding(claimed) };
        if missing == 0 { self.end_extended() } else { Ok(()) }
    }

    fn end_extended(&mut self) -> Result<(), TarError> {
        let NextBytes::Extended { kind, padding, .. } = self.next else { return Ok(()) };
        match kind {
            Extended::Pax => {
                // A second extended header replaces the first.
                self.records = pax::parse(&self.body).map_err(bad_pax)?;
            }
            Extended::LongName => self.long_name = number::c_string(&self.body).to_vec(),
            Extended::LongLink => self.long_link = number::c_string(&self.body).to_vec(),
        }
        self.next = NextBytes::Padding { remaining: padding };
        self.skip_empty();
        Ok(())
    }

    /// A header that stands for an entry of its own, with all extended headers before it.
    fn begin_file(&mut self, mut header: Header, kept: &mut Kept) -> Result<(), TarError> {
        // Taken, as they are for this entry alone.
        let records = std::mem::take(&mut self.records);
        pax::apply(&records, &mut header).map_err(bad_pax)?;
        // The GNU names win over those of PAX, unless they are empty.
        let long_name = std::mem::take(&mut self.long_name);
        if !long_name.is_empty() {
            header.name = long_name;
        }
        let long_link = std::mem::take(&mut self.long_link);
        if !long_link.is_empty() {
            header.linkname = long_link;
        }
        // Before ustar had types, a directory was a file whose name ends in a slash.
        let flag = match header.kind {
            0 if header.name.last() == Some(&b'/') => b'5',
            0 => b'0',
            flag => flag,
        };
        let kind = FileType::from_flag(flag).ok_or(TarError::UnsupportedType(flag))?;
        let stored = if kind.has_data() { header.size } else { 0 };
        let stored = u64::try_from(stored).map_err(|_| TarError::NegativeSize)?;
        let padding = padding(stored);

        let place = sparse::place(&records);
        if place.is_some() {
            if !kind.has_data() {
                return Err(TarError::Sparse);
            }
            if self.misread == MisreadEntries::Refused {
                return Err(TarError::SparseFile);
            }
            if let Some(name) = sparse::name(&records) {
                header.name = name.to_vec();
            }
            // What a ztoc lists is the file as it is unpacked: its real name and its logical size.
            if let Some(size) = sparse::size(&records).map_err(|_| TarError::Sparse)? {
                header.size = size;
            }
        }
        self.check_names(&header)?;
        let file = File { header, kind, records };
        match place {
            // The entry's data begins behind the map, so it is added once the map has been read.
            Some(Place::Data) => {
                let map = MapReader::new(file.header.size).map_err(|_| TarError::Sparse)?;
                return self.begin_sparse_map(map, Box::new(file), stored, padding);
            }
            Some(Place::Records) => {
                sparse::check_records(&file.records, file.header.size)
                    .map_err(|_| TarError::Sparse)?;
            }
            None => {}
        }
        self.add(&file, kept)?;
        self.begin_data(stored, padding);
        Ok(())
    }

    fn begin_sparse_map(
        &mut self,
        map: MapReader,
        file: Box<File>,
        remaining: u64,
        padding: usize,
    ) -> Result<(), TarError> {
        // The map is read in whole blocks of the data; a part of one is no block.
        if remaining < BLOCK_SIZE as u64 {
            return Err(TarError::Sparse);
        }
        self.next = NextBytes::SparseMap { map, file, remaining, padding };
        Ok(())
    }

    fn begin_data(&mut self, remaining: u64, padding: usize) {
        self.next = if remaining == 0 {
            NextBytes::Padding { remaining: padding }
        } else {
            NextBytes::Data { remaining, padding }
        };
        self.skip_empty();
    }

    fn check_names(&self, header: &Header) -> Result<(), TarError> {
        let limit = self.limits.name;
        let names = [&header.name, &header.linkname, &header.uname, &header.gname];
        match names.into_iter().find(|name| name.len() > limit) {
            Some(name) => Err(TarError::NameTooLong { size: name.len(), limit }),
            None => Ok(()),
        }
    }

    /// Adds an entry whose data begins at the current position.
    fn add(&mut self, file: &File, kept: &mut Kept) -> Result<(), TarError> {
        let File { header, kind, records } = file;
        if self.next_header > self.position && self.misread == MisreadEntries::Refused {
            return Err(TarError::SizeOverNext);
        }
        let end = self.position.saturating_add_signed(header.size);
        self.next_header = end.saturating_add(padding(end) as u64);
        let entry = Entry {
            name: &header.name,
            linkname: &header.linkname,
            uname: &header.uname,
            gname: &header.gname,
            fields: EntryFields {
                offset: self.position.cast_signed(),
                size: header.size,
                mode: header.mode,
                devmajor: header.devmajor,
                devminor: header.devminor,
                mtime: header.mtime,
                uid: low_bits(header.uid),
                gid: low_bits(header.gid),
                kind: *kind,
            },
        };
        let limit = self.limits.entries;
        if kept.files >= limit {
            return Err(TarError::TooManyEntries { limit });
        }
        // A ztoc that cannot be written in the end is not gathered in memory either.
        let size = entry.encoded_size(records);
        let limit = self.limits.ztoc_size;
        if kept.least_toc_size + size.least > limit as u64 {
            return Err(TarError::TooLarge { limit });
        }
        kept.add(&entry, records, size);
        Ok(())
    }
}

/// Whether PAX records, whose values `get` tells, make their entry a sparse file.
pub(crate) fn is_sparse<'a>(get: impl Fn(&[u8]) -> &'a [u8]) -> bool {
    sparse::place_by(get).is_some()
}

/// Types that Go never expects data behind, whatever size they claim.
fn is_header_only(kind: u8) -> bool {
    FileType::from_flag(kind).is_some_and(|kind| !kind.has_data())
}

/// A ztoc has 32 bits for a user or group; the reference keeps the low ones.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "that is its purpose")]
const fn low_bits(id: i64) -> u32 {
    id as u32
}

/// Bytes from `size` to the next block.
#[expect(clippy::cast_possible_truncation, reason = "a remainder of 512 fits")]
const fn padding(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK_SIZE as u64) as usize
}

fn clamp(remaining: u64, available: usize) -> usize {
    usize::try_from(remaining).unwrap_or(usize::MAX).min(available)
}

fn bad_pax(error: pax::BadPax) -> TarError {
    match error {
        pax::BadPax::Record => TarError::Pax("has a malformed record"),
        pax::BadPax::Nul => TarError::Pax("has a NUL in a key or name"),
        pax::BadPax::SparseMap => TarError::Pax("has sparse records out of order"),
        pax::BadPax::Number => TarError::Number("a PAX record"),
    }
}

/// The records of an extended header, for tests of what keeps them.
#[cfg(test)]
pub(crate) fn parse_records(body: &[u8]) -> Option<Records> {
    pax::parse(body).ok()
}
