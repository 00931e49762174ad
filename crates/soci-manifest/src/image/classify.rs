//! What is no image.
//!
//! Registries hold signatures, attestations, charts and SOCI indexes as manifests, too. To build an
//! index of one is a waste, and to convert one may break what reads it. An image whose index lists
//! some of these beside real images is an image; only where nothing is one, there is none.

use std::collections::HashSet;
use std::fmt;

use soci_oci::{Descriptor, Digest, Manifest, media_type};

use super::{Image, Node};
use crate::error::ImageError;
use crate::format::Version;

/// Why something is not taken for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotAnImage {
    /// The media type is neither a manifest's nor an image index's.
    MediaType(String),
    /// A manifest of some other artifact: a chart, a signature, a module.
    Artifact {
        /// Media type of the artifact, or of its config.
        artifact_type: String,
    },
    /// A manifest whose layers are no file system layers, such as a signature or an attestation.
    NoFileSystem {
        /// Media type of the first layer.
        media_type: String,
    },
    /// A SOCI index, or a list of them.
    SociIndex,
    /// An image index that lists nothing, or only attestations.
    NoPlatform,
}

impl fmt::Display for NotAnImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MediaType(media_type) => {
                write!(f, "media type {media_type:?} is neither a manifest's nor an image index's")
            }
            Self::Artifact { artifact_type } => {
                write!(f, "it is an artifact of type {artifact_type:?}")
            }
            Self::NoFileSystem { media_type } => {
                write!(f, "its layers are no file systems but of media type {media_type:?}")
            }
            Self::SociIndex => f.write_str("it is a SOCI index"),
            Self::NoPlatform => f.write_str("it lists no image for any platform"),
        }
    }
}

impl Image {
    /// Why this is no image: the root is no manifest, or no manifest under it is an image's. In
    /// an index the first manifest's reason stands for all.
    pub(crate) fn not_an_image(&self) -> Result<Option<NotAnImage>, ImageError> {
        let mut reason = None;
        let mut absent = false;
        let mut seen: HashSet<Digest> = HashSet::new();
        let mut queue: Vec<&Descriptor> = vec![&self.root];
        while let Some(descriptor) = queue.pop() {
            if descriptor.platform.as_ref().is_some_and(soci_oci::Platform::is_unknown) {
                continue;
            }
            let why_not = match self.node(descriptor)? {
                Node::Manifest(manifest) => manifest_not_an_image(descriptor, manifest),
                Node::Other => Some(NotAnImage::MediaType(descriptor.media_type.clone())),
                Node::Absent => {
                    absent = true;
                    continue;
                }
                Node::Index(index) => {
                    if seen.insert(descriptor.digest) {
                        queue.extend(index.manifests().iter().rev());
                    }
                    continue;
                }
            };
            match why_not {
                None => return Ok(None),
                Some(why_not) => reason = reason.or(Some(why_not)),
            }
        }
        // What is not there may be an image; `plan` says which it would be.
        if absent {
            return Ok(None);
        }
        Ok(Some(reason.unwrap_or(NotAnImage::NoPlatform)))
    }
}

/// Why the manifest that `descriptor` names is no image's. One without layers is taken for an
/// image, and so is one with file system layers that an index lists for a platform, whatever its
/// config: old builders gave configs other media types.
pub(crate) fn manifest_not_an_image(
    descriptor: &Descriptor,
    manifest: &Manifest,
) -> Option<NotAnImage> {
    let config = &manifest.config.media_type;
    let soci = |artifact_type| Version::of_artifact_type(artifact_type).is_some();
    if soci(config) || soci(&manifest.artifact_type) {
        return Some(NotAnImage::SociIndex);
    }
    let file_system = manifest.layers().iter().any(|layer| media_type::is_layer(&layer.media_type));
    if !(media_type::is_config(config) || (descriptor.platform.is_some() && file_system)) {
        let named = [&manifest.artifact_type, config].into_iter().find(|name| !name.is_empty());
        let artifact_type = named.cloned().unwrap_or_default();
        return Some(NotAnImage::Artifact { artifact_type });
    }
    let first = manifest.layers().first()?;
    (!file_system).then(|| NotAnImage::NoFileSystem { media_type: first.media_type.clone() })
}
