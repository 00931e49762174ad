//! What an image's index consists of.

use std::time::Duration;

use soci_manifest::{Assembly, LayerPrefetch, LeftOutPlatform, SkippedLayer, SociIndex, Version};
use soci_oci::{Digest, Tag};

/// An image's index, whether it was made or found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whether the same result was there, ztocs and all: before, in which case no layer was read, or when it was
    /// about to be written, because somebody else had been faster.
    pub already_there: bool,
    /// Digest of the image's manifest or image index.
    pub image: Digest,
    /// Version of the SOCI indexes.
    pub version: Version,
    /// What the image is known by now: V2 the converted image index, V1 the first SOCI index.
    pub index: Digest,
    /// The SOCI indexes, one for each platform that has a layer to index.
    pub indexes: Vec<SociIndex>,
    /// The tag of the converted image (V2).
    pub tag: Option<Tag>,
    /// The layers that were built, in the order of the image.
    pub layers: Vec<LayerReport>,
    /// The layers whose ztoc was there, as they had been indexed before, in the order of the image. Empty where the whole
    /// result was.
    pub reused: Vec<ReusedLayer>,
    /// The layers that have no ztoc, and why.
    pub skipped: Vec<SkippedLayer>,
    /// The platforms that have no SOCI index though the image has them, and why.
    pub left_out_platforms: Vec<LeftOutPlatform>,
    /// What of layers is prefetched.
    pub prefetch: Vec<LayerPrefetch>,
    /// The files that are prefetched, by their paths, if that was looked for.
    pub prefetch_files: Vec<String>,
    /// What was asked for and is not in the index, in words.
    pub warnings: Vec<String>,
    /// Bytes of layers that were read.
    pub bytes_read: u64,
    /// Time that everything took.
    pub elapsed: Duration,
}

impl Report {
    /// The result is this one instead, of the same layers.
    pub(crate) fn take_assembly(&mut self, assembly: &Assembly) {
        self.index = assembly.root.digest;
        self.indexes.clone_from(&assembly.indexes);
        self.warnings.push(
            "the registry takes no image index that lists what is not there, so the result lists only what is"
                .to_owned(),
        );
    }

    /// What soci-snapshotter would have done otherwise, in sentences; nothing if the result has its bytes.
    pub fn unlike_reference(&self) -> Vec<String> {
        let layers = self.skipped.iter().filter_map(|layer| {
            let reference = layer.decision.reference()?;
            Some(format!(
                "layer {} is left out ({}), where soci-snapshotter {reference}",
                layer.digest, layer.decision
            ))
        });
        let platforms = self.left_out_platforms.iter().map(|left_out| {
            let platform = left_out.platform.as_ref();
            let platform = platform.map_or("an entry without one".to_owned(), ToString::to_string);
            let reason = &left_out.reason;
            format!(
                "platform {platform} is left out ({reason}), where soci-snapshotter fails on the image"
            )
        });
        layers.chain(platforms).collect()
    }
}

/// A layer that was built.
#[derive(Clone, Debug)]
pub struct LayerReport {
    /// Digest of the layer.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Digest of its ztoc.
    pub ztoc: Digest,
    /// Size of its ztoc in bytes.
    pub ztoc_size: u64,
    /// Entries in its table of contents.
    pub files: usize,
    /// Its spans.
    pub spans: usize,
    /// Time from the first request to the ztoc.
    pub elapsed: Duration,
}

/// A layer that was not read, as its ztoc was there.
#[derive(Clone, Debug)]
pub struct ReusedLayer {
    /// Digest of the layer.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Digest of its ztoc.
    pub ztoc: Digest,
    /// Size of its ztoc in bytes.
    pub ztoc_size: u64,
    /// Entries in its table of contents.
    pub files: usize,
    /// Its spans.
    pub spans: usize,
    /// Whose work the ztoc is.
    pub from: ZtocSource,
    /// Time that it took to find it.
    pub elapsed: Duration,
}

/// Whose work a ztoc is that was not built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ZtocSource {
    /// This process has built it before.
    Process,
    /// A SOCI index in the image's repository names it.
    Repository,
}

impl ZtocSource {
    /// A stable name: `process` or `repository`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Repository => "repository",
        }
    }
}
