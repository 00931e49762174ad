//! The words of the SOCI index formats.
//!
//! Source: soci-snapshotter, `soci/soci_index.go`.

use std::fmt;
use std::str::FromStr;

use soci_oci::{Descriptor, Digest};
use soci_text::clip;

/// Media type of a ztoc in a SOCI index.
pub const ZTOC_MEDIA_TYPE: &str = "application/octet-stream";

/// Content of the config of every SOCI index; nothing reads it.
pub const CONFIG: &[u8] = b"{}";

/// Annotation of a ztoc: digest of its layer.
pub const IMAGE_LAYER_DIGEST: &str = "com.amazon.soci.image-layer-digest";

/// Annotation of a ztoc: media type of its layer.
pub const IMAGE_LAYER_MEDIA_TYPE: &str = "com.amazon.soci.image-layer-mediaType";

/// Annotation of a ztoc: its span size in bytes.
pub const SPAN_SIZE: &str = "com.amazon.soci.span-size";

/// Media type of a prefetch artifact in a SOCI index.
pub const PREFETCH_MEDIA_TYPE: &str = "application/vnd.amazon.soci.prefetch.v1+json";

/// Label of an image that names the files to prefetch: paths with commas between them, or a JSON list of paths. It is
/// this project's own.
pub const PREFETCH_LABEL: &str = "soci-index-builder.prefetch-files";

/// Annotation of a ztoc: `true` if its layer can be mounted without extended attributes.
pub const DISABLE_XATTRS: &str = "com.amazon.soci.disable-xattrs";

/// Annotation of a SOCI index: the tool that built it.
pub const BUILD_TOOL_IDENTIFIER: &str = "com.amazon.soci.build-tool-identifier";

/// Annotation of a V2 SOCI index in an image index: digest of the image manifest it is for.
pub const IMAGE_MANIFEST_DIGEST: &str = "com.amazon.soci.image-manifest-digest";

/// Annotation of an image manifest: digest of its V2 SOCI index.
pub const INDEX_DIGEST: &str = "com.amazon.soci.index-digest";

/// The reference's minimum size of a layer that gets a ztoc: 10 MiB (`defaultMinLayerSize`).
pub const DEFAULT_MIN_LAYER_SIZE: u64 = 10 << 20;

/// The reference's name for itself (`defaultBuildToolIdentifier`).
pub const DEFAULT_BUILD_TOOL_IDENTIFIER: &str = "AWS SOCI CLI v0.2";

/// How a SOCI index is tied to its image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Version {
    /// The SOCI index names the image manifest as its subject; the image stays as it is.
    V1,
    /// The image is converted: an image index lists the image manifests and the SOCI indexes,
    /// which name each other in annotations.
    #[default]
    V2,
}

impl Version {
    /// Media type of the SOCI index's config, which tells what artifact the manifest is.
    pub const fn artifact_type(self) -> &'static str {
        match self {
            Self::V1 => "application/vnd.amazon.soci.index.v1+json",
            Self::V2 => "application/vnd.amazon.soci.index.v2+json",
        }
    }

    /// The descriptor of the SOCI index's config.
    pub fn config(self) -> Descriptor {
        Descriptor::new(self.artifact_type(), Digest::sha256_of(CONFIG), CONFIG.len() as u64)
    }

    /// The version of which `artifact_type` is the artifact type.
    pub(crate) fn of_artifact_type(artifact_type: &str) -> Option<Self> {
        [Self::V1, Self::V2].into_iter().find(|version| version.artifact_type() == artifact_type)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

/// A name that is no SOCI index version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a SOCI index version (v1 and v2 are)")]
pub struct VersionError(String);

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        match text.to_ascii_lowercase().as_str() {
            "v1" | "1" => Ok(Self::V1),
            "v2" | "2" => Ok(Self::V2),
            _ => Err(VersionError(clip(text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_is_the_empty_object() {
        let config = Version::V2.config();
        assert_eq!(
            config.digest.to_string(),
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        assert_eq!((config.size, config.media_type.as_str()), (2, Version::V2.artifact_type()));
    }

    #[test]
    fn a_version_prints_as_it_is_parsed() {
        for version in [Version::V1, Version::V2] {
            assert_eq!(version.to_string().parse(), Ok(version));
            assert_eq!(Version::of_artifact_type(version.artifact_type()), Some(version));
        }
        assert!("v3".parse::<Version>().is_err());
    }
}
