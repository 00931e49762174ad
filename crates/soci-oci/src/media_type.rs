//! Media types of images and what containerd concludes from them.
//!
//! Sources: OCI image specification 1.1, "OCI Image Media Types"; Docker's image manifest
//! version 2, schema 2; containerd's `images` package, whose answers the predicates give.

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, an uncompressed tar archive.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// OCI layer, compressed with gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, compressed with zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// OCI layer that may not be redistributed (deprecated by the specification).
pub const OCI_LAYER_NONDISTRIBUTABLE: &str =
    "application/vnd.oci.image.layer.nondistributable.v1.tar";
/// Docker image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list, Docker's image index.
pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker layer whose compression the media type leaves open.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker layer, compressed with gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker layer, compressed with zstd.
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
/// Docker layer that may not be redistributed.
pub const DOCKER_LAYER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
/// Docker layer that may not be redistributed, compressed with gzip.
pub const DOCKER_LAYER_FOREIGN_GZIP: &str =
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/// Most suffixes that are told apart in one media type; containerd's limit.
const MAX_SUFFIXES: usize = 50;

/// How a layer is compressed, as far as its media type tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerCompression {
    /// The media type names no compression that containerd knows.
    None,
    /// Docker's plain layer type, which in practice may be compressed or not.
    Unknown,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// A media type that does not name a layer containerd can unpack.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("media type {0:?} does not tell how a layer is compressed")]
pub struct UnknownLayerType(pub String);

/// Whether `media_type` is an image manifest's, OCI or Docker schema 2.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
}

/// Whether `media_type` is an image index's or a Docker manifest list's.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_MANIFEST_LIST)
}

/// Whether `media_type` is an image configuration's.
pub fn is_config(media_type: &str) -> bool {
    matches!(media_type, OCI_CONFIG | DOCKER_CONFIG)
}

/// Whether `media_type` is a layer's: anything under the OCI layer prefix, or Docker's types with
/// or without suffixes.
pub fn is_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.")
        || matches!(
            base_and_suffixes(media_type).0,
            DOCKER_LAYER
                | DOCKER_LAYER_GZIP
                | DOCKER_LAYER_ZSTD
                | DOCKER_LAYER_FOREIGN
                | DOCKER_LAYER_FOREIGN_GZIP
        )
}

/// Whether `media_type` is that of a layer that may not be redistributed.
pub fn is_nondistributable(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.nondistributable.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.")
}

/// The compression that a layer's media type names. Of several suffixes the last in
/// alphabetical order decides; a Docker type with any suffix names none.
pub fn layer_compression(media_type: &str) -> Result<LayerCompression, UnknownLayerType> {
    let (base, suffixes) = base_and_suffixes(media_type);
    let unless_wrapped = |compression| {
        if suffixes.is_empty() { compression } else { LayerCompression::None }
    };
    Ok(match base {
        DOCKER_LAYER | DOCKER_LAYER_FOREIGN => unless_wrapped(LayerCompression::Unknown),
        DOCKER_LAYER_GZIP | DOCKER_LAYER_FOREIGN_GZIP => unless_wrapped(LayerCompression::Gzip),
        DOCKER_LAYER_ZSTD => unless_wrapped(LayerCompression::Zstd),
        // containerd sorts the suffixes and goes by the last, so `+zstd+gzip` is zstd.
        OCI_LAYER | OCI_LAYER_NONDISTRIBUTABLE => match suffixes.iter().max() {
            Some(&"gzip") => LayerCompression::Gzip,
            Some(&"zstd") => LayerCompression::Zstd,
            _ => LayerCompression::None,
        },
        _ => return Err(UnknownLayerType(media_type.to_owned())),
    })
}

fn base_and_suffixes(media_type: &str) -> (&str, Vec<&str>) {
    match media_type.split_once('+') {
        Some((base, suffixes)) => (base, suffixes.splitn(MAX_SUFFIXES, '+').collect()),
        None => (media_type, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_follows_the_suffixes() {
        let of = |media_type: &str| layer_compression(media_type).unwrap();
        assert_eq!(of(OCI_LAYER), LayerCompression::None);
        assert_eq!(of(OCI_LAYER_GZIP), LayerCompression::Gzip);
        assert_eq!(of(OCI_LAYER_ZSTD), LayerCompression::Zstd);
        assert_eq!(of(&format!("{OCI_LAYER}+zstd+gzip")), LayerCompression::Zstd);
        assert_eq!(of(&format!("{OCI_LAYER_GZIP}+encrypted")), LayerCompression::Gzip);
        assert_eq!(of(&format!("{OCI_LAYER_GZIP}+z")), LayerCompression::None);
        assert_eq!(of(DOCKER_LAYER), LayerCompression::Unknown);
        assert_eq!(of(DOCKER_LAYER_FOREIGN_GZIP), LayerCompression::Gzip);
        assert_eq!(of(DOCKER_LAYER_ZSTD), LayerCompression::Zstd);
        assert_eq!(of(&format!("{DOCKER_LAYER}+gzip")), LayerCompression::None);
        assert_eq!(of(&format!("{OCI_LAYER_NONDISTRIBUTABLE}+gzip")), LayerCompression::Gzip);
        for unknown in ["", "text/plain", "application/vnd.oci.image.layer.v2.tar"] {
            assert_eq!(layer_compression(unknown), Err(UnknownLayerType(unknown.to_owned())));
        }
    }

    #[test]
    fn layers_are_told_from_other_media_types() {
        for layer in [
            OCI_LAYER_ZSTD,
            "application/vnd.oci.image.layer.v2.tar",
            DOCKER_LAYER,
            "application/vnd.docker.image.rootfs.diff.tar.gzip+encrypted",
        ] {
            assert!(is_layer(layer), "{layer}");
        }
        for other in ["", OCI_CONFIG, "application/vnd.in-toto+json", "application/octet-stream"] {
            assert!(!is_layer(other), "{other}");
        }
        assert!(is_nondistributable(OCI_LAYER_NONDISTRIBUTABLE));
        assert!(is_nondistributable(DOCKER_LAYER_FOREIGN_GZIP));
        assert!(!is_nondistributable(DOCKER_LAYER_GZIP));
    }

    #[test]
    fn docker_types_count_as_manifests_indexes_and_configs() {
        assert!(is_manifest(DOCKER_MANIFEST) && !is_manifest(OCI_INDEX));
        assert!(is_index(DOCKER_MANIFEST_LIST) && !is_index(OCI_MANIFEST));
        assert!(is_config(DOCKER_CONFIG) && !is_config("application/vnd.oci.empty.v1+json"));
        assert!(!is_manifest("application/vnd.docker.distribution.manifest.v1+prettyjws"));
    }
}
