//! What is done about one layer.

use std::fmt;

use soci_oci::media_type::{self, LayerCompression};
use soci_oci::{Descriptor, Digest};
use soci_ztoc::Compression;

use crate::error::{ImageError, ListedLayer};
use crate::format::PREFETCH_MEDIA_TYPE;
use crate::generation::Generation;
use crate::settings::SociIndexSettings;

/// What is done about a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerDecision {
    /// A ztoc is built, reading the layer as so compressed.
    Build(Compression),
    /// It has fewer bytes than the minimum.
    TooSmall,
    /// No ztoc can describe its compression.
    Unsupported {
        /// The compression's name.
        compression: &'static str,
    },
    /// It has several gzip members, which only the newer [`Generation`](crate::Generation) describes. That shows
    /// when it is read: see [`Plan::leave_out`](crate::Plan::leave_out).
    SeveralMembers,
    /// It is a prefetch artifact, which the newer [`Generation`](crate::Generation) passes over.
    PrefetchArtifact,
    /// It turned out to be a layer that no ztoc describes, or none that anybody reads rightly. That shows when it is
    /// read, as for [`LayerDecision::SeveralMembers`].
    LeftOut(WhyLeftOut),
}

/// Why a layer that was to be indexed gets no ztoc, though it can be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhyLeftOut {
    /// It has a global PAX header, as `git archive` writes.
    GlobalHeader,
    /// It has an entry of a type that a ztoc has no word for.
    EntryType(u8),
    /// It has a sparse file in PAX format.
    SparseFile,
    /// An entry claims a size that reaches over the next one.
    SizeOverNext,
    /// There are bytes behind its last gzip member.
    TrailingBytes,
    /// It goes beyond a limit of this program.
    Limit,
}

/// What a ztoc is built from: a layer read as compressed in one way. The same bytes may be listed
/// under two media types, which would give two ztocs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerKey {
    /// Digest of the layer.
    pub digest: Digest,
    /// How it is read.
    pub compression: Compression,
}

/// A layer that needs a ztoc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerToBuild {
    /// The layer.
    pub key: LayerKey,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
}

/// A layer that gets no ztoc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedLayer {
    /// Digest of the layer.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Why.
    pub decision: LayerDecision,
}

impl fmt::Display for LayerDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(compression) => write!(f, "indexed as {compression}"),
            Self::TooSmall => f.write_str("smaller than the minimum"),
            Self::Unsupported { compression } => write!(f, "unsupported compression {compression}"),
            Self::SeveralMembers => {
                f.write_str("several gzip members, which soci-snapshotter before 0.14 misreads")
            }
            Self::PrefetchArtifact => f.write_str("a prefetch artifact, which is no layer"),
            Self::LeftOut(why) => why.fmt(f),
        }
    }
}

impl fmt::Display for WhyLeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GlobalHeader => f.write_str("a global PAX header, which no ztoc can describe"),
            Self::EntryType(kind) => {
                write!(f, "an entry of type {:?}, which no ztoc can describe", char::from(*kind))
            }
            Self::SparseFile => f.write_str("a sparse file, which soci-snapshotter misreads"),
            Self::SizeOverNext => f.write_str(
                "an entry's size reaches over the next one, and soci-snapshotter loads no such ztoc",
            ),
            Self::TrailingBytes => f.write_str("bytes behind the last gzip member"),
            Self::Limit => f.write_str("beyond a limit of this program"),
        }
    }
}

impl LayerDecision {
    /// A stable name for what is decided: lower case, words joined by hyphens.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Build(_) => "indexed",
            Self::TooSmall => "too-small",
            Self::Unsupported { .. } => "compression",
            Self::SeveralMembers => "several-members",
            Self::PrefetchArtifact => "prefetch-artifact",
            Self::LeftOut(WhyLeftOut::GlobalHeader) => "global-header",
            Self::LeftOut(WhyLeftOut::EntryType(_)) => "entry-type",
            Self::LeftOut(WhyLeftOut::SparseFile) => "sparse-file",
            Self::LeftOut(WhyLeftOut::SizeOverNext) => "size-over-next",
            Self::LeftOut(WhyLeftOut::TrailingBytes) => "trailing-bytes",
            Self::LeftOut(WhyLeftOut::Limit) => "limit",
        }
    }

    /// What soci-snapshotter does about such a layer, where that is something else.
    pub const fn reference(self) -> Option<&'static str> {
        Some(match self {
            Self::Build(_) | Self::TooSmall | Self::Unsupported { .. } | Self::PrefetchArtifact => {
                return None;
            }
            Self::SeveralMembers => "0.11 builds a ztoc that ends with the first member",
            Self::LeftOut(WhyLeftOut::GlobalHeader | WhyLeftOut::EntryType(_)) => {
                "fails on the image"
            }
            Self::LeftOut(WhyLeftOut::SparseFile | WhyLeftOut::SizeOverNext) => {
                "builds a ztoc that its own reader does not load or misreads"
            }
            Self::LeftOut(WhyLeftOut::TrailingBytes) => "0.11 indexes it, later releases fail",
            Self::LeftOut(WhyLeftOut::Limit) => "has no such limit",
        })
    }
}

/// Decides as the reference does, in its order: what is no layer fails whatever its size, and a
/// small layer is skipped whatever its compression.
pub(super) fn decide(
    settings: &SociIndexSettings,
    manifest: Digest,
    layer: &Descriptor,
) -> Result<LayerDecision, ImageError> {
    let media_type = layer.media_type.as_str();
    let listed = || {
        let media_type = media_type.to_owned();
        Box::new(ListedLayer { manifest, layer: layer.digest, media_type })
    };
    if media_type == PREFETCH_MEDIA_TYPE && settings.generation == Generation::Newer {
        return Ok(LayerDecision::PrefetchArtifact);
    }
    if !media_type::is_layer(media_type) {
        return Err(ImageError::NotALayer(listed()));
    }
    if layer.size < settings.min_layer_size {
        return Ok(LayerDecision::TooSmall);
    }
    let compression = media_type::layer_compression(media_type)
        .map_err(|_| ImageError::UnknownCompression(listed()))?;
    let compression = match compression {
        LayerCompression::Gzip => Compression::Gzip,
        LayerCompression::None if media_type == media_type::OCI_LAYER => Compression::Uncompressed,
        // The reference reads Docker's plain layers as tar and fails on those that are not.
        LayerCompression::Unknown => Compression::Uncompressed,
        LayerCompression::Zstd => return Ok(LayerDecision::Unsupported { compression: "zstd" }),
        LayerCompression::None => return Ok(LayerDecision::Unsupported { compression: "unknown" }),
    };
    if is_left_behind(media_type) {
        return Err(ImageError::Nondistributable(listed()));
    }
    Ok(LayerDecision::Build(compression))
}

pub(super) fn to_build((layer, decision): (&Descriptor, LayerDecision)) -> Option<LayerToBuild> {
    let LayerDecision::Build(compression) = decision else { return None };
    Some(LayerToBuild {
        key: LayerKey { digest: layer.digest, compression },
        size: layer.size,
        media_type: layer.media_type.clone(),
    })
}

/// Whether the library that the reference copies images with leaves layers of this type behind.
/// It copies Docker's plain foreign layers, and so can index one that a registry holds.
fn is_left_behind(media_type: &str) -> bool {
    media_type::is_nondistributable(media_type) && media_type != media_type::DOCKER_LAYER_FOREIGN
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: u64 = crate::format::DEFAULT_MIN_LAYER_SIZE;

    fn decide_type(media_type: &str, size: u64) -> Result<LayerDecision, ImageError> {
        let digest = Digest::sha256_of(b"");
        decide(&SociIndexSettings::default(), digest, &Descriptor::new(media_type, digest, size))
    }

    #[test]
    fn the_media_type_decides_how_a_large_layer_is_read() {
        let unsupported = |compression| LayerDecision::Unsupported { compression };
        for (media_type, expected) in [
            (media_type::OCI_LAYER_GZIP, LayerDecision::Build(Compression::Gzip)),
            (media_type::OCI_LAYER, LayerDecision::Build(Compression::Uncompressed)),
            (media_type::OCI_LAYER_ZSTD, unsupported("zstd")),
            (media_type::DOCKER_LAYER, LayerDecision::Build(Compression::Uncompressed)),
            (media_type::DOCKER_LAYER_GZIP, LayerDecision::Build(Compression::Gzip)),
            (media_type::DOCKER_LAYER_FOREIGN, LayerDecision::Build(Compression::Uncompressed)),
            (media_type::OCI_LAYER_NONDISTRIBUTABLE, unsupported("unknown")),
            ("application/vnd.oci.image.layer.v1.tar+encrypted", unsupported("unknown")),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip+x", unsupported("unknown")),
        ] {
            assert_eq!(decide_type(media_type, MIN).unwrap(), expected, "{media_type}");
        }
    }

    #[test]
    fn the_minimum_itself_is_large_enough() {
        assert_eq!(
            decide_type(media_type::OCI_LAYER_GZIP, MIN - 1).unwrap(),
            LayerDecision::TooSmall
        );
        assert!(matches!(
            decide_type(media_type::OCI_LAYER_GZIP, MIN),
            Ok(LayerDecision::Build(_))
        ));
    }

    #[test]
    fn what_is_no_layer_fails_whatever_its_size() {
        assert!(matches!(decide_type("text/plain", 1), Err(ImageError::NotALayer(_))));
    }

    #[test]
    fn large_layers_of_unknown_or_undistributed_kinds_fail_and_small_ones_do_not() {
        let unknown = "application/vnd.oci.image.layer.v2.tar";
        let foreign = media_type::DOCKER_LAYER_FOREIGN_GZIP;
        for media_type in [unknown, foreign] {
            assert_eq!(decide_type(media_type, 1).unwrap(), LayerDecision::TooSmall);
        }
        let failed = decide_type(unknown, MIN);
        assert!(matches!(failed, Err(ImageError::UnknownCompression(_))));
        assert!(matches!(decide_type(foreign, MIN), Err(ImageError::Nondistributable(_))));
    }
}
