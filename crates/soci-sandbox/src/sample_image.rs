//! A sample image to try things on: two platforms, each with four layers of files that compress
//! like software.
//!
//! It is the same on every machine and in every release, for one size: what it is made of comes from
//! a fixed sequence of numbers, and modification times are constant. It is made layer by layer, so
//! that it is never in memory as a whole. Each platform has one file, [`PROBE`], in the middle of a
//! layer, whose digest is known, to be read lazily once the image has its indexes.
//!
//! [`layer`] makes the layers from the base up; what they are called goes into [`config`] and
//! [`manifest`]. Pushing is the caller's.

mod file_content;

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use soci_oci::{Algorithm, Descriptor, Digest, Hasher, Manifest, media_type};
use tar::{Builder, EntryType, Header};

use file_content::{SplitMix64, WordList};

/// The architectures of the image's platforms; their system is Linux.
pub const PLATFORMS: [&str; 2] = ["amd64", "arm64"];

/// How many layers each platform has.
pub const LAYER_COUNT: usize = 4;

/// Path of the file that is read lazily.
pub const PROBE: &str = "opt/app/bin/server";

/// Its size in bytes.
const PROBE_SIZE: u64 = 64 << 10;

/// Modification time of everything, 2026-01-01.
const TIME: u64 = 1_767_225_600;

/// Bytes of a layer that are kept together.
const PIECE: usize = 1 << 20;

/// How a layer is made: where its files are, and its share of a platform's bytes.
#[derive(Clone, Copy, Debug)]
struct LayerRecipe {
    folder: &'static str,
    /// Percent of the platform's size.
    share: u64,
    /// Whether the files are texts rather than programs.
    text: bool,
    /// Whether [`PROBE`] is in it.
    probe: bool,
}

/// The layers from the base up. The last one is small, as configuration is.
const LAYERS: [LayerRecipe; LAYER_COUNT] = [
    LayerRecipe { folder: "usr/lib", share: 40, text: false, probe: false },
    LayerRecipe { folder: "usr/share", share: 24, text: true, probe: false },
    LayerRecipe { folder: "opt/app", share: 35, text: false, probe: true },
    LayerRecipe { folder: "etc/app", share: 1, text: true, probe: false },
];

/// A layer that was made.
#[derive(Debug)]
pub struct SampleLayer {
    /// Its bytes as a registry stores them, in order.
    pub pieces: Vec<Bytes>,
    /// What its image says of it.
    pub names: LayerNames,
    /// How many files are in it.
    pub files: usize,
    /// Digest of the content of [`PROBE`], if the layer has it.
    pub probe: Option<Digest>,
}

/// What an image says of a layer.
#[derive(Clone, Debug)]
pub struct LayerNames {
    /// Type, digest and size of the layer as it is stored.
    pub descriptor: Descriptor,
    /// Digest of the archive in it.
    pub diff_id: Digest,
}

/// Makes the layer `number` (0 is the base) of the platform with this number in [`PLATFORMS`]. Its
/// compressed size is about the layer's share of `size`, the bytes of the platform. Takes the time of
/// a core.
pub fn layer(platform: usize, number: usize, size: u64) -> io::Result<SampleLayer> {
    let Some(&LayerRecipe { folder, share, text, probe }) = LAYERS.get(number) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the image has no such layer"));
    };
    let target = size * share / 100;
    let seed = (platform as u64) << 32 | (number as u64) << 16;
    let words = if text { WordList::text(seed) } else { WordList::machine(seed) };
    let mut numbers = SplitMix64::new(seed);
    // The fastest level that begins new blocks again and again. Checkpoints stand between blocks, and
    // the level below makes one block of a layer.
    let encoder = GzEncoder::new(Pieces::default(), Compression::new(2));
    let mut archive = Builder::new(Archive { encoder, hasher: Hasher::new(Algorithm::Sha256) });
    let mut made = Probed { wanted: probe, digest: None };
    let mut files = 0;
    for index in 0u64.. {
        let written = archive.get_ref().encoder.get_ref().size;
        made.add(&mut archive, &words, written * 2 >= target)?;
        if written >= target {
            break;
        }
        if index % 64 == 0 {
            let path = format!("{folder}/{:03}/", index / 64);
            entry(&mut archive, EntryType::Directory, &path, 0, io::empty())?;
        }
        let size = file_size(&mut numbers, target);
        let path =
            format!("{folder}/{:03}/{:05}{}", index / 64, index, if text { ".txt" } else { ".so" });
        let content = words.content(seed ^ (index + 1), size);
        entry(&mut archive, EntryType::Regular, &path, size, content)?;
        files += 1;
    }
    let Archive { encoder, hasher } = archive.into_inner()?;
    let Pieces { full: mut pieces, last, size, hasher: compressed } = encoder.finish()?;
    pieces.push(last.into());
    Ok(SampleLayer {
        pieces,
        names: LayerNames {
            descriptor: Descriptor::new(media_type::OCI_LAYER_GZIP, compressed.finish(), size),
            diff_id: hasher.finish(),
        },
        files: files + usize::from(probe),
        probe: made.digest,
    })
}

/// The configuration of a platform's image.
pub fn config(architecture: &str, layers: &[LayerNames]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Entrypoint": [format!("/{PROBE}")] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    config.to_string().into_bytes()
}

/// The manifest of a platform's image; `config` names its configuration.
pub fn manifest(config: Descriptor, layers: &[LayerNames]) -> Vec<u8> {
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST.to_owned(),
        artifact_type: String::new(),
        config,
        layers: Some(layers.iter().map(|layer| layer.descriptor.clone()).collect()),
        subject: None,
        annotations: soci_oci::Annotations::new(),
    };
    manifest.encode()
}

/// Sizes of files as they are found in images: many small ones and some large ones, none of which
/// is a large part of its layer.
fn file_size(numbers: &mut SplitMix64, target: u64) -> u64 {
    let size = match numbers.below(40) {
        0 => (1 << 20) + numbers.next() % (3 << 20),
        1..=9 => (64 << 10) + numbers.next() % (192 << 10),
        _ => (1 << 10) + numbers.next() % (48 << 10),
    };
    size.min(target / 4 + 1)
}

/// The file that is read lazily later on, in the middle of its layer.
struct Probed {
    /// Whether it is still to be added.
    wanted: bool,
    digest: Option<Digest>,
}

impl Probed {
    fn add(
        &mut self,
        archive: &mut Builder<impl Write>,
        words: &WordList,
        now: bool,
    ) -> io::Result<()> {
        if !self.wanted || !now {
            return Ok(());
        }
        self.wanted = false;
        let mut content = Vec::new();
        words.content(u64::MAX, PROBE_SIZE).read_to_end(&mut content)?;
        self.digest = Some(Digest::sha256_of(&content));
        entry(archive, EntryType::Regular, PROBE, PROBE_SIZE, &content[..])
    }
}

fn entry(
    archive: &mut Builder<impl Write>,
    kind: EntryType,
    path: &str,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_mtime(TIME);
    header.set_size(size);
    archive.append_data(&mut header, path, content)
}

/// Takes an archive: hashes it and compresses it.
struct Archive {
    encoder: GzEncoder<Pieces>,
    hasher: Hasher,
}

impl Write for Archive {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.encoder.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()
    }
}

/// Takes a layer in pieces, which never move: a buffer that doubles would need three times the
/// layer.
struct Pieces {
    full: Vec<Bytes>,
    last: Vec<u8>,
    size: u64,
    hasher: Hasher,
}

impl Default for Pieces {
    fn default() -> Self {
        let hasher = Hasher::new(Algorithm::Sha256);
        Self { full: Vec::new(), last: Vec::with_capacity(PIECE), size: 0, hasher }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.last.len());
        let bytes = &bytes[..taken];
        self.last.extend_from_slice(bytes);
        self.hasher.update(bytes);
        self.size += taken as u64;
        if self.last.len() == PIECE {
            let full = std::mem::replace(&mut self.last, Vec::with_capacity(PIECE));
            self.full.push(full.into());
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compressed size of the layers together.
    const SIZE: u64 = 4 << 20;

    fn archive(layer: &SampleLayer) -> Vec<u8> {
        let compressed = layer.pieces.concat();
        assert_eq!(Digest::sha256_of(&compressed), layer.names.descriptor.digest);
        assert_eq!(compressed.len() as u64, layer.names.descriptor.size);
        let mut archive = Vec::new();
        flate2::read::GzDecoder::new(&compressed[..]).read_to_end(&mut archive).unwrap();
        archive
    }

    #[test]
    fn a_layer_is_about_as_large_as_it_should_be_and_says_what_it_is() {
        for (number, kind) in LAYERS.iter().enumerate() {
            let made = layer(0, number, SIZE).unwrap();
            let target = SIZE * kind.share / 100;
            // Over the target by a file, and what the encoder holds back.
            assert!((target..target + target / 2 + 200_000).contains(&made.names.descriptor.size));
            let archive = archive(&made);
            assert_eq!(Digest::sha256_of(&archive), made.names.diff_id);
            let mut archive = tar::Archive::new(&archive[..]);
            let files = archive.entries().unwrap().map(Result::unwrap);
            let files = files.filter(|file| file.header().entry_type().is_file()).count();
            assert_eq!(files, made.files);
        }
    }

    #[test]
    fn the_probe_is_in_one_layer_only_and_has_its_digest() {
        let made: Vec<_> =
            (0..LAYERS.len()).map(|number| layer(1, number, SIZE).unwrap()).collect();
        let probed: Vec<_> = made.iter().filter(|layer| layer.probe.is_some()).collect();
        assert_eq!(probed.len(), 1);
        let archive = archive(probed[0]);
        let mut archive = tar::Archive::new(&archive[..]);
        let mut entries = archive.entries().unwrap().map(Result::unwrap);
        let mut probe =
            entries.find(|entry| entry.path().unwrap().to_str() == Some(PROBE)).unwrap();
        let mut content = Vec::new();
        probe.read_to_end(&mut content).unwrap();
        assert_eq!(Some(Digest::sha256_of(&content)), probed[0].probe);
    }

    #[test]
    fn the_sample_is_the_same_each_time_and_differs_between_platforms() {
        let digest = |platform| layer(platform, 0, SIZE).unwrap().names.descriptor.digest;
        assert_eq!(digest(0), digest(0));
        assert_ne!(digest(0), digest(1));
    }
}
