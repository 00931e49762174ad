//! How large an image is, from its manifests.
//!
//! The sizes that descriptors state are believed: whoever indexes the image finds out whether they
//! are true, and a wrong one costs an invocation of the index Lambda. An index in an index, more
//! manifests than one call brings, or anything unreadable leaves the size unknown. That is no
//! mistake of the image, and it goes to the queue.

use std::collections::HashSet;

use soci_oci::{Descriptor, Digest, Document, DocumentError, media_type};
use soci_text::clip;

/// A manifest as a registry gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedManifest {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What an image may ask for before its size is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeLimits {
    /// Manifests under an image index.
    pub max_manifests: usize,
    /// Bytes of these together, as the image index states them.
    pub max_manifest_bytes: u64,
}

impl Default for SizeLimits {
    /// As many manifests as one call of ECR's `BatchGetImage` takes (Amazon ECR API reference), and
    /// 4 MiB, as much as one manifest may have.
    fn default() -> Self {
        Self { max_manifests: 100, max_manifest_bytes: 4 << 20 }
    }
}

/// Why nobody knows how large an image is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SizeError {
    /// A document is no manifest or image index.
    #[error("manifest {digest} cannot be read")]
    Document {
        /// Its digest.
        digest: Digest,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// A manifest was not among those that came.
    #[error("manifest {digest} is missing")]
    Missing {
        /// Its digest.
        digest: Digest,
    },
    /// An image index names something that is no manifest, such as another image index.
    #[error("the image index names {digest} of media type {media_type:?}, which is no manifest")]
    Child {
        /// Its digest.
        digest: Digest,
        /// Its media type.
        media_type: String,
    },
    /// An image index names too many manifests.
    #[error("the image index names {count} manifests, more than {limit}")]
    TooMany {
        /// How many.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The manifests together are too large.
    #[error("the manifests have {bytes} bytes, more than {limit}")]
    TooLarge {
        /// How many bytes.
        bytes: u64,
        /// How many there may be.
        limit: u64,
    },
}

/// Adds up the layers of an image. Every layer counts once, however many platforms share it, as it
/// is also read once. Attestations in an image index do not count.
#[derive(Debug, Default)]
pub struct ImageSize {
    layers: HashSet<Digest>,
    bytes: u64,
    children: Vec<Digest>,
}

impl ImageSize {
    /// Begins with an image's own manifest or image index.
    pub fn of_root(root: &FetchedManifest, limits: SizeLimits) -> Result<Self, SizeError> {
        let mut size = Self::default();
        match decode(root)? {
            Document::Manifest(manifest) => size.add(manifest.layers()),
            Document::Index(index) => size.children = children(index.manifests(), limits)?,
        }
        Ok(size)
    }

    /// The manifests that still have to be counted; all of them have to be given to
    /// [`count`](Self::count) at once.
    pub fn missing(&self) -> &[Digest] {
        &self.children
    }

    /// Counts the manifests under an image index. Those that nobody asked for are not counted.
    pub fn count(mut self, manifests: &[FetchedManifest]) -> Result<Self, SizeError> {
        for digest in std::mem::take(&mut self.children) {
            let fetched = manifests.iter().find(|manifest| manifest.digest == digest);
            let fetched = fetched.ok_or(SizeError::Missing { digest })?;
            match decode(fetched)? {
                Document::Manifest(manifest) => self.add(manifest.layers()),
                Document::Index(_) => {
                    let media_type = fetched.media_type.clone();
                    return Err(SizeError::Child { digest, media_type });
                }
            }
        }
        Ok(self)
    }

    /// Bytes of all compressed layers that were counted.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn add(&mut self, layers: &[Descriptor]) {
        for layer in layers {
            if self.layers.insert(layer.digest) {
                self.bytes = self.bytes.saturating_add(layer.size);
            }
        }
    }
}

fn decode(manifest: &FetchedManifest) -> Result<Document, SizeError> {
    Document::decode(&manifest.media_type, &manifest.bytes)
        .map_err(|source| SizeError::Document { digest: manifest.digest, source })
}

fn children(entries: &[Descriptor], limits: SizeLimits) -> Result<Vec<Digest>, SizeError> {
    let mut seen = HashSet::new();
    let images = || entries.iter().filter(|entry| !is_attestation(entry));
    if let Some(other) = images().find(|entry| !media_type::is_manifest(&entry.media_type)) {
        let media_type = clip(&other.media_type);
        return Err(SizeError::Child { digest: other.digest, media_type });
    }
    let images: Vec<&Descriptor> = images().filter(|entry| seen.insert(entry.digest)).collect();
    if images.len() > limits.max_manifests {
        return Err(SizeError::TooMany { count: images.len(), limit: limits.max_manifests });
    }
    let bytes = images.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.size));
    if bytes > limits.max_manifest_bytes {
        return Err(SizeError::TooLarge { bytes, limit: limits.max_manifest_bytes });
    }
    Ok(images.into_iter().map(|entry| entry.digest).collect())
}

/// BuildKit lists attestations under a platform that is unknown.
fn is_attestation(entry: &Descriptor) -> bool {
    entry.platform.as_ref().is_some_and(soci_oci::Platform::is_unknown)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fetched(media_type: &str, document: &Value) -> FetchedManifest {
        let bytes = document.to_string().into_bytes();
        let media_type = media_type.to_owned();
        FetchedManifest { digest: Digest::sha256_of(&bytes), media_type, bytes }
    }

    fn layer(name: &str, size: u64) -> Value {
        let digest = Digest::sha256_of(name.as_bytes()).to_string();
        json!({ "mediaType": media_type::OCI_LAYER_GZIP, "digest": digest, "size": size })
    }

    fn manifest(layers: &[Value]) -> FetchedManifest {
        let config = json!({
            "mediaType": media_type::OCI_CONFIG, "digest": Digest::sha256_of(b"{}").to_string(), "size": 2,
        });
        let document = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        fetched(media_type::OCI_MANIFEST, &document)
    }

    fn index(manifests: &[(&FetchedManifest, &str)]) -> FetchedManifest {
        let entries: Vec<Value> = manifests
            .iter()
            .map(|(manifest, os)| {
                json!({
                    "mediaType": manifest.media_type, "digest": manifest.digest.to_string(),
                    "size": manifest.bytes.len(),
                    "platform": { "os": os, "architecture": if *os == "unknown" { "unknown" } else { "amd64" } },
                })
            })
            .collect();
        fetched(media_type::OCI_INDEX, &json!({ "schemaVersion": 2, "manifests": entries }))
    }

    fn begin(root: &FetchedManifest) -> Result<ImageSize, SizeError> {
        ImageSize::of_root(root, SizeLimits::default())
    }

    #[test]
    fn a_manifest_is_as_large_as_its_different_layers() {
        let size = begin(&manifest(&[layer("a", 5), layer("b", 7), layer("a", 5)])).unwrap();
        assert_eq!((size.bytes(), size.missing()), (12, &[][..]));
    }

    #[test]
    fn an_index_is_as_large_as_all_platforms_without_attestations() {
        let one = manifest(&[layer("base", 10), layer("one", 1)]);
        let two = manifest(&[layer("base", 10), layer("two", 2)]);
        let attestation = manifest(&[layer("provenance", 1000)]);
        let root = index(&[(&one, "linux"), (&two, "windows"), (&attestation, "unknown")]);
        let size = begin(&root).unwrap();
        assert_eq!(size.missing(), [one.digest, two.digest]);
        assert_eq!(size.count(&[two, attestation, one]).unwrap().bytes(), 13);
    }

    #[test]
    fn a_sum_beyond_all_numbers_is_the_largest_number() {
        let most = u64::try_from(i64::MAX).unwrap();
        let size = begin(&manifest(&[layer("a", most), layer("b", most), layer("c", most)]));
        assert_eq!(size.unwrap().bytes(), u64::MAX);
    }

    #[test]
    fn what_is_no_manifest_is_in_doubt() {
        let chart = fetched("application/vnd.unknown+json", &json!({}));
        assert!(matches!(begin(&chart), Err(SizeError::Document { .. })));
        let child = index(&[(&chart, "linux")]);
        assert!(matches!(begin(&child), Err(SizeError::Child { .. })));
        let nested = index(&[(&index(&[]), "linux")]);
        assert!(matches!(begin(&nested), Err(SizeError::Child { .. })));
        // An image index that the registry sends for a manifest.
        let one = manifest(&[]);
        let size = begin(&index(&[(&one, "linux")])).unwrap();
        let other = FetchedManifest { media_type: media_type::OCI_INDEX.to_owned(), ..one };
        assert!(size.count(&[other]).is_err());
    }

    #[test]
    fn a_manifest_that_did_not_come_is_in_doubt() {
        let one = manifest(&[]);
        let size = begin(&index(&[(&one, "linux")])).unwrap();
        let SizeError::Missing { digest } = size.count(&[]).unwrap_err() else { panic!() };
        assert_eq!(digest, one.digest);
    }

    #[test]
    fn too_many_and_too_large_manifests_are_not_asked_for() {
        let (one, two) = (manifest(&[layer("a", 1)]), manifest(&[layer("b", 1)]));
        let root = index(&[(&one, "linux"), (&two, "windows"), (&one, "linux")]);
        let of = |max_manifests, max_manifest_bytes| {
            ImageSize::of_root(&root, SizeLimits { max_manifests, max_manifest_bytes })
        };
        let bytes = (one.bytes.len() + two.bytes.len()) as u64;
        assert!(of(2, bytes).is_ok());
        assert!(matches!(of(1, bytes), Err(SizeError::TooMany { count: 2, limit: 1 })));
        assert!(matches!(of(2, bytes - 1), Err(SizeError::TooLarge { .. })));
    }
}
