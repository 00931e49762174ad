//! What a manifest is, told by its content. Pure.
//!
//! What may be deleted has to show that this program or the reference made it: a SOCI index by its config, which only they
//! write, and by ztocs that all say which layer they are of; a converted manifest by the annotation that names its SOCI index; a
//! converted image by SOCI indexes that all say which of its own manifests they are for. Anything else is somebody else's,
//! whatever its tag.

use soci_manifest::Version;
use soci_manifest::format::{IMAGE_LAYER_DIGEST, IMAGE_MANIFEST_DIGEST, INDEX_DIGEST};
use soci_oci::{Digest, Document, Index, Manifest};

/// What a manifest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A SOCI index.
    SociIndex(Version),
    /// An image manifest that names its SOCI index (V2).
    ConvertedManifest {
        /// Digest of the SOCI index.
        soci_index: Digest,
    },
    /// An image index that lists its SOCI indexes (V2).
    ConvertedImage {
        /// Each SOCI index with the image manifest that it is for.
        pairs: Vec<(Digest, Digest)>,
    },
    /// Somebody else's.
    Other,
}

impl Content {
    pub(super) fn of(document: &Document) -> Self {
        match document {
            Document::Manifest(manifest) => Self::of_manifest(manifest),
            Document::Index(index) => Self::of_index(index),
        }
    }

    fn of_manifest(manifest: &Manifest) -> Self {
        for version in [Version::V1, Version::V2] {
            let config = version.config();
            let is_ours = manifest.config.media_type == config.media_type
                && manifest.config.digest == config.digest
                && manifest.subject.is_some() == (version == Version::V1)
                && !manifest.layers().is_empty()
                && manifest
                    .layers()
                    .iter()
                    .all(|e| digest_in(&e.annotations, IMAGE_LAYER_DIGEST).is_some());
            if is_ours {
                return Self::SociIndex(version);
            }
        }
        match digest_in(&manifest.annotations, INDEX_DIGEST) {
            Some(soci_index) => Self::ConvertedManifest { soci_index },
            None => Self::Other,
        }
    }

    fn of_index(index: &Index) -> Self {
        let soci = |artifact_type: &str| artifact_type == Version::V2.artifact_type();
        let mut pairs = Vec::new();
        for entry in index.manifests().iter().filter(|entry| soci(&entry.artifact_type)) {
            let image = digest_in(&entry.annotations, IMAGE_MANIFEST_DIGEST);
            let Some(image) = image.filter(|image| {
                let mut others = index.manifests().iter().filter(|e| !soci(&e.artifact_type));
                others.any(|other| other.digest == *image)
            }) else {
                return Self::Other;
            };
            pairs.push((entry.digest, image));
        }
        if pairs.is_empty() { Self::Other } else { Self::ConvertedImage { pairs } }
    }

    /// Whether this program or the reference made it.
    pub(super) fn is_made_here(&self) -> bool {
        *self != Self::Other
    }
}

fn digest_in(annotations: &soci_oci::Annotations, key: &str) -> Option<Digest> {
    annotations.get(key)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use soci_oci::media_type::{OCI_INDEX, OCI_MANIFEST};

    use super::*;

    fn content(kind: &str, document: &Value) -> Content {
        Content::of(&Document::decode(kind, document.to_string().as_bytes()).unwrap())
    }

    fn digest(text: &str) -> String {
        Digest::sha256_of(text.as_bytes()).to_string()
    }

    /// A SOCI index, with one change.
    fn soci_index(change: impl Fn(&mut Value)) -> Content {
        let mut document = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": Version::V2.artifact_type(), "digest": digest("{}"), "size": 2,
            },
            "layers": [{
                "mediaType": "application/octet-stream", "digest": digest("ztoc"), "size": 4,
                "annotations": { IMAGE_LAYER_DIGEST: digest("layer") },
            }],
        });
        change(&mut document);
        content(OCI_MANIFEST, &document)
    }

    #[test]
    fn a_soci_index_is_told_by_its_config_and_its_ztocs() {
        assert_eq!(soci_index(|_| {}), Content::SociIndex(Version::V2));
        let subject = json!({ "mediaType": OCI_MANIFEST, "digest": digest("image"), "size": 1 });
        let v1 = |document: &mut Value| {
            document["config"]["mediaType"] = Version::V1.artifact_type().into();
            document["subject"] = subject.clone();
        };
        assert_eq!(soci_index(v1), Content::SociIndex(Version::V1));
        let changes: [&dyn Fn(&mut Value); 6] = [
            &|document| document["config"]["mediaType"] = "application/x".into(),
            &|document| document["config"]["digest"] = digest("other").into(),
            &|document| document["layers"][0]["annotations"] = json!({}),
            &|document| document["layers"] = json!([]),
            &|document| document["subject"] = subject.clone(),
            &|document| document["config"]["mediaType"] = Version::V1.artifact_type().into(),
        ];
        for (number, change) in changes.iter().enumerate() {
            assert_eq!(soci_index(change), Content::Other, "{number}");
        }
    }

    #[test]
    fn a_converted_image_is_told_by_soci_indexes_of_its_own_manifests() {
        let index = |image: &str, annotated: bool| {
            let annotations = if annotated {
                json!({ IMAGE_MANIFEST_DIGEST: digest("image") })
            } else {
                json!({})
            };
            content(
                OCI_INDEX,
                &json!({
                    "schemaVersion": 2, "mediaType": OCI_INDEX,
                    "manifests": [
                        { "mediaType": OCI_MANIFEST, "digest": digest(image), "size": 1 },
                        {
                            "mediaType": OCI_MANIFEST, "digest": digest("soci"), "size": 1,
                            "artifactType": Version::V2.artifact_type(),
                            "annotations": annotations,
                        },
                    ],
                }),
            )
        };
        let pairs = vec![(digest("soci").parse().unwrap(), digest("image").parse().unwrap())];
        assert_eq!(index("image", true), Content::ConvertedImage { pairs });
        assert_eq!(index("other", true), Content::Other);
        assert_eq!(index("image", false), Content::Other);
        let plain = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] });
        assert_eq!(content(OCI_INDEX, &plain), Content::Other);
    }
}
