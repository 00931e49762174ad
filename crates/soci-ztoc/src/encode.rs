//! Turns what was read of a layer into the bytes of its ztoc.
//!
//! The order of the calls here is the order of the bytes, from the end to the start; it is that
//! of `ztoc_marshaler.go` in soci-snapshotter. Any other order gives an equally valid ztoc with
//! another digest:
//!
//! 1. the format's version and the name of the tool;
//! 2. the entries from the last to the first, each as its name, type, link target, user, group and
//!    time, then its records by key, then its table;
//! 3. the vector of the entries and the table around it;
//! 4. the checkpoints;
//! 5. the digests of the spans from the first to the last, and the table with these two;
//! 6. the table of the ztoc.
//!
//! Within a table the order of the fields counts as well, since each is written where it is named.
//! A number that has its default value is left out. Go shares equal vtables and no equal strings.
//!
//! Entries are freed as they are written, and the checkpoints become a part of the result without
//! being copied, so that a ztoc is in memory once.

use std::io;

use sha2::{Digest as _, Sha256};

use crate::Compression;
use crate::flatbuf::field::{compression_info, file, tar_zinfo, toc, xattr, ztoc};
use crate::flatbuf::write::{Offset, Writer, unless};
use crate::span::Hash;
use crate::toc::{Entry, EntryFields, EntryStack, StoredRecords};

/// The version of the ztoc format, `Version09` in soci-snapshotter.
pub(crate) const VERSION: &str = "0.9";

/// The version of the description of an uncompressed layer's spans (`zinfoVersion`).
const TAR_ZINFO_VERSION: i32 = 2;

/// All that a ztoc holds.
#[derive(Debug)]
pub(crate) struct ZtocParts<'a> {
    pub(crate) build_tool_identifier: &'a str,
    pub(crate) compression: Compression,
    pub(crate) compressed_size: u64,
    pub(crate) uncompressed_size: u64,
    pub(crate) entries: EntryStack,
    /// The stored form of the checkpoints.
    pub(crate) checkpoints: Vec<Vec<u8>>,
    pub(crate) span_hashes: Vec<Hash>,
}

/// The bytes of a ztoc, in pieces that are better not joined: together they can be hundreds of
/// mebibytes.
#[derive(Clone, Debug)]
pub struct Encoded {
    pieces: Vec<Vec<u8>>,
    size: u64,
    sha256: [u8; 32],
}

impl Encoded {
    /// The bytes, in pieces.
    pub fn pieces(&self) -> &[Vec<u8>] {
        &self.pieces
    }

    /// The bytes, in pieces, to be taken over.
    pub fn into_pieces(self) -> Vec<Vec<u8>> {
        self.pieces
    }

    /// The bytes in one piece, for small ztocs and tests.
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    /// Writes the bytes to `writer`. Fails with its first error.
    pub fn write_to(&self, mut writer: impl io::Write) -> io::Result<()> {
        self.pieces.iter().try_for_each(|piece| writer.write_all(piece))
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// SHA-256 of the bytes.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// The digest as registries write it: `sha256:` and 64 hex digits in lower case.
    pub fn digest(&self) -> String {
        format!("sha256:{}", hex::encode(self.sha256))
    }
}

impl ZtocParts<'_> {
    /// The encoded form, or its size if that is over `limit` bytes.
    pub(crate) fn encode(mut self, limit: usize) -> Result<Encoded, usize> {
        let mut writer = Writer::new();
        let version = writer.string(VERSION.as_bytes());
        let tool = writer.string(self.build_tool_identifier.as_bytes());
        let toc = write_toc(&mut writer, &mut self.entries);
        let checkpoints = writer.byte_vector(std::mem::take(&mut self.checkpoints));
        let info = write_compression_info(&mut writer, &self, checkpoints);
        writer.begin_table(ztoc::COUNT);
        writer.field_offset(ztoc::VERSION, version);
        writer.field_offset(ztoc::BUILD_TOOL_IDENTIFIER, tool);
        writer.field_offset(ztoc::TOC, toc);
        let sizes = [
            (ztoc::COMPRESSED_ARCHIVE_SIZE, self.compressed_size),
            (ztoc::UNCOMPRESSED_ARCHIVE_SIZE, self.uncompressed_size),
        ];
        for (field, size) in sizes {
            writer.field(field, unless(size, 0, u64::to_le_bytes));
        }
        writer.field_offset(ztoc::COMPRESSION_INFO, info);
        let root = writer.end_table();
        let pieces = writer.finish(root);
        let size = pieces.iter().map(Vec::len).sum();
        if size > limit {
            return Err(size);
        }
        let mut sha256 = Sha256::new();
        for piece in &pieces {
            sha256.update(piece);
        }
        Ok(Encoded { pieces, size: size as u64, sha256: sha256.finalize().into() })
    }
}

/// Writes the entries from the last to the first, and frees each when it is written.
fn write_toc(writer: &mut Writer, entries: &mut EntryStack) -> Offset {
    let mut offsets = Vec::with_capacity(entries.len());
    while let Some((entry, records)) = entries.pop() {
        offsets.push(write_file(writer, &entry, records));
    }
    offsets.reverse();
    let metadata = writer.offset_vector(&offsets);
    writer.begin_table(toc::COUNT);
    writer.field_offset(toc::METADATA, metadata);
    writer.end_table()
}

fn write_file(writer: &mut Writer, entry: &Entry<'_>, records: StoredRecords<'_>) -> Offset {
    let EntryFields { offset, size, mode, devmajor, devminor, mtime, uid, gid, kind } =
        entry.fields;
    let name = writer.string(entry.name);
    let kind = writer.string(kind.as_str().as_bytes());
    let linkname = writer.string(entry.linkname);
    let uname = writer.string(entry.uname);
    let gname = writer.string(entry.gname);
    let mod_time = writer.string(mtime.to_rfc3339().as_bytes());
    let xattrs = write_records(writer, records);
    writer.begin_table(file::COUNT);
    writer.field_offset(file::NAME, name);
    writer.field_offset(file::TYPE, kind);
    writer.field(file::UNCOMPRESSED_OFFSET, unless(offset, 0, i64::to_le_bytes));
    writer.field(file::UNCOMPRESSED_SIZE, unless(size, 0, i64::to_le_bytes));
    writer.field_offset(file::LINKNAME, linkname);
    writer.field(file::MODE, unless(mode, 0, i64::to_le_bytes));
    writer.field(file::UID, unless(uid, 0, u32::to_le_bytes));
    writer.field(file::GID, unless(gid, 0, u32::to_le_bytes));
    writer.field_offset(file::UNAME, uname);
    writer.field_offset(file::GNAME, gname);
    writer.field_offset(file::MOD_TIME, mod_time);
    writer.field(file::DEVMAJOR, unless(devmajor, 0, i64::to_le_bytes));
    writer.field(file::DEVMINOR, unless(devminor, 0, i64::to_le_bytes));
    writer.field_offset(file::XATTRS, xattrs);
    writer.end_table()
}

fn write_records(writer: &mut Writer, records: StoredRecords<'_>) -> Offset {
    let offsets: Vec<Offset> = records
        .map(|(key, value)| {
            let key = writer.string(key);
            let value = writer.string(value);
            writer.begin_table(xattr::COUNT);
            writer.field_offset(xattr::KEY, key);
            writer.field_offset(xattr::VALUE, value);
            writer.end_table()
        })
        .collect();
    writer.offset_vector(&offsets)
}

fn write_compression_info(
    writer: &mut Writer,
    parts: &ZtocParts<'_>,
    checkpoints: Offset,
) -> Offset {
    let digests: Vec<Offset> = parts
        .span_hashes
        .iter()
        .map(|hash| writer.string(format!("sha256:{}", hex::encode(hash)).as_bytes()))
        .collect();
    let digests_vector = writer.offset_vector(&digests);
    // The limits keep the number of spans inside 31 bits; no span at all gives -1.
    let max_span_id = i32::try_from(parts.span_hashes.len()).map_or(i32::MAX, |spans| spans - 1);
    writer.begin_table(compression_info::COUNT);
    writer.field(compression_info::MAX_SPAN_ID, unless(max_span_id, 0, i32::to_le_bytes));
    writer.field_offset(compression_info::SPAN_DIGESTS, digests_vector);
    writer.field_offset(compression_info::CHECKPOINTS, checkpoints);
    let algorithm = parts.compression.stored();
    writer.field(
        compression_info::COMPRESSION_ALGORITHM,
        unless(algorithm, Compression::Gzip.stored(), i8::to_le_bytes),
    );
    writer.end_table()
}

/// The spans of an uncompressed layer, which need no checkpoints.
pub(crate) fn tar_zinfo(span_size: u64, size: u64) -> Vec<Vec<u8>> {
    let mut writer = Writer::new();
    writer.begin_table(tar_zinfo::COUNT);
    writer.field(tar_zinfo::VERSION, Some(TAR_ZINFO_VERSION.to_le_bytes()));
    writer.field(tar_zinfo::SPAN_SIZE, unless(span_size, 0, u64::to_le_bytes));
    writer.field(tar_zinfo::SIZE, unless(size, 0, u64::to_le_bytes));
    let root = writer.end_table();
    writer.finish(root)
}
