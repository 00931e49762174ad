//! Random layers for tests and benchmarks: archives of every kind of entry that a ztoc can hold,
//! compressed in the ways that tools compress layers.
#![allow(clippy::missing_panics_doc, reason = "writing an archive to memory cannot fail")]
#![allow(clippy::unwrap_used, reason = "writing an archive to memory cannot fail")]

pub mod fuzz;

use std::io::Write as _;

use fastrand::Rng;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use crate::Compression;

/// A layer with what is in it.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The layer's bytes.
    pub bytes: Vec<u8>,
    /// How it is compressed.
    pub compression: Compression,
    /// A span size that gives it some spans.
    pub span_size: u64,
    /// The archive in it.
    pub archive: Vec<u8>,
    /// Path and content of every regular file, in the archive's order.
    pub files: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The layer that `seed` stands for: always the same one.
pub fn random_layer(seed: u64) -> Layer {
    let mut random = Rng::with_seed(seed);
    let (mut archive, files) = archive(&mut random);
    match random.u8(..12) {
        // One zero block, none at all, or something behind them.
        0 => archive.truncate(archive.len() - 512),
        1 => archive.truncate(archive.len() - 1024),
        2 => archive.extend(content(&mut random, 3000)),
        _ => {}
    }
    let span_size = [1, 512, 4096, 30_000, 65_536, 262_144][random.usize(..6)];
    if random.u8(..5) == 0 {
        let span_size = span_size.max(512);
        let bytes = archive.clone();
        return Layer { bytes, compression: Compression::Uncompressed, span_size, archive, files };
    }
    let bytes = compress(&mut random, &archive);
    Layer { bytes, compression: Compression::Gzip, span_size, archive, files }
}

/// One entry of an archive with its data, padded. `size` is what its header says.
pub fn archive_entry(name: &str, kind: u8, size: u64, data: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_entry_type(EntryType::new(kind));
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    let padding = data.len().next_multiple_of(512) - data.len();
    [header.as_bytes(), data, &vec![0; padding]].concat()
}

/// A PAX header with these records: for the next entry (`x`) or for all that follow (`g`).
pub fn pax_header(kind: u8, records: &[(&str, &str)]) -> Vec<u8> {
    let record = |(key, value): &(&str, &str)| {
        let rest = key.len() + value.len() + 3;
        let digits = |length: usize| length.to_string().len();
        let mut length = rest + 1;
        while rest + digits(length) != length {
            length += 1;
        }
        format!("{length} {key}={value}\n")
    };
    let body: String = records.iter().map(record).collect();
    archive_entry("pax", kind, body.len() as u64, body.as_bytes())
}

/// An archive of about `size` bytes of files of a few kibibytes each, as they are found in real
/// images: text that compresses well, with binaries among it.
pub fn plain_archive(seed: u64, size: usize) -> Vec<u8> {
    let mut random = Rng::with_seed(seed);
    let mut builder = Builder::new(Vec::with_capacity(size + (size >> 3)));
    let mut written = 0;
    for number in 0.. {
        if written >= size {
            break;
        }
        let length = random.usize(..32 << 10);
        let content = content(&mut random, length);
        written += length + 1024;
        let mut header = header(&mut random, EntryType::Regular, length);
        let path = format!("usr/lib/package-{}/file-{number}", number / 50);
        builder.append_data(&mut header, path, &content[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// `archive` as one gzip member, at zlib's default level.
pub fn gzip(archive: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(archive).unwrap();
    encoder.finish().unwrap()
}

/// Path and content of files.
type Files = Vec<(Vec<u8>, Vec<u8>)>;

fn archive(random: &mut Rng) -> (Vec<u8>, Files) {
    let mut builder = Builder::new(Vec::new());
    let mut files = Vec::new();
    for number in 0..random.usize(..40) {
        let path = path(random, number);
        if random.u8(..5) == 0 {
            append_records(random, &mut builder);
        }
        let kind = match random.u8(..12) {
            0 => EntryType::Directory,
            1 => EntryType::Symlink,
            2 => EntryType::Link,
            3 => EntryType::Fifo,
            4 => EntryType::Char,
            5 => EntryType::Block,
            _ => EntryType::Regular,
        };
        match kind {
            EntryType::Regular => {
                let largest = [0, 1, 600, 5000, 100_000, 400_000][random.usize(..6)];
                let length = random.usize(..=largest);
                let content = content(random, length);
                let mut header = header(random, kind, length);
                builder.append_data(&mut header, &path, &content[..]).unwrap();
                files.push((path.into_bytes(), content));
            }
            EntryType::Symlink | EntryType::Link => {
                let target = if random.bool() { "target".to_owned() } else { "t/".repeat(80) };
                let mut header = header(random, kind, 0);
                builder.append_link(&mut header, &path, target).unwrap();
            }
            _ => {
                let mut header = header(random, kind, 0);
                if random.bool() {
                    header.set_device_major(random.u32(..256)).unwrap();
                    header.set_device_minor(random.u32(..256)).unwrap();
                }
                builder.append_data(&mut header, &path, &[][..]).unwrap();
            }
        }
    }
    (builder.into_inner().unwrap(), files)
}

/// A path of its own for every number, now and then too long for a header.
fn path(random: &mut Rng, number: usize) -> String {
    let depth = if random.u8(..6) == 0 { random.usize(4..40) } else { random.usize(..4) };
    let word = ["a", "usr", "lib", "größe", "with space"][random.usize(..5)];
    format!("{}{number}", format!("{word}/").repeat(depth))
}

fn header(random: &mut Rng, kind: EntryType, length: usize) -> Header {
    let mut header = match random.u8(..3) {
        0 => Header::new_ustar(),
        1 => Header::new_gnu(),
        _ => {
            let mut header = Header::new_ustar();
            header.set_username("root").unwrap();
            header.set_groupname("wheel").unwrap();
            header
        }
    };
    header.set_entry_type(kind);
    header.set_size(length as u64);
    header.set_mode(random.u32(..0o10_000));
    header.set_uid(u64::from(random.u32(..2000)));
    header.set_gid(u64::from(random.u32(..2000)));
    header.set_mtime(u64::from(random.u32(..2_000_000_000)));
    header.set_cksum();
    header
}

/// PAX records for the next entry, none of which change its place or size.
fn append_records(random: &mut Rng, builder: &mut Builder<Vec<u8>>) {
    let mtime = format!("{}.{}", random.u32(..), random.u32(..));
    let records: [(&str, &[u8]); 5] = [
        ("mtime", mtime.as_bytes()),
        ("SCHILY.xattr.user.note", b"\x01\x00binary"),
        ("SCHILY.xattr.security.capability", b"x"),
        ("comment", b"a comment"),
        ("uname", b"somebody"),
    ];
    let first = random.usize(..records.len());
    builder.append_pax_extensions(records[first..].iter().copied()).unwrap();
}

/// Bytes between noise and repetition.
fn content(random: &mut Rng, length: usize) -> Vec<u8> {
    let mut content = Vec::with_capacity(length);
    while content.len() < length {
        match random.u8(..4) {
            0 => content.extend((0..random.usize(..2000)).map(|_| random.u8(..))),
            1 => content.extend(std::iter::repeat_n(random.u8(..), random.usize(..4000))),
            _ => {
                for _ in 0..random.usize(..400) {
                    let word = ["fn ", "let ", "return ", "self", "0x", "\n", "    ", "the "];
                    content.extend_from_slice(word[random.usize(..word.len())].as_bytes());
                    content.push(random.alphanumeric() as u8);
                }
            }
        }
    }
    content.truncate(length);
    content
}

/// One or several gzip members, cut anywhere, some of them flushed in the middle or empty.
fn compress(random: &mut Rng, archive: &[u8]) -> Vec<u8> {
    let members = [1, 1, 1, 2, 5, 30][random.usize(..6)];
    let mut cuts: Vec<usize> = (1..members).map(|_| random.usize(..=archive.len())).collect();
    cuts.push(archive.len());
    cuts.sort_unstable();
    let mut bytes = Vec::new();
    let mut start = 0;
    for cut in cuts {
        let level = flate2::Compression::new(random.u32(..=9));
        let mut builder = flate2::GzBuilder::new().mtime(random.u32(..));
        if random.u8(..4) == 0 {
            builder = builder.filename("layer.tar").comment("a layer").extra(vec![0; 9]);
        }
        let mut encoder = builder.write(std::mem::take(&mut bytes), level);
        for piece in archive[start..cut].chunks(random.usize(5000..200_000)) {
            encoder.write_all(piece).unwrap();
            if random.u8(..4) == 0 {
                encoder.flush().unwrap();
            }
        }
        bytes = encoder.finish().unwrap();
        start = cut;
    }
    bytes
}
