//! An image while its documents are being gathered.
//!
//! An image is a graph: indexes list manifests and other indexes, manifests name configurations.
//! Which of these are needed shows only as they are read. So this crate, which does no I/O, says what
//! is missing, the caller fetches it, and so on until nothing is. Layers are never asked for.
//!
//! Configurations are needed for one thing, the platform of a manifest that no index gives one. The
//! reference looks for them among all that a manifest names, layers too, and so does this.
//!
//! The graph is hostile: it may be deep, wide, or name one document a thousand times. Documents are
//! kept by digest and fetched once; their number, their bytes and the depth of indexes are bounded.
//! Whether what was fetched has its digest is the caller's to check.
//!
//! It may also be incomplete: `docker save`, proxies and copies of one platform keep an image index whose other entries
//! are not there. That is told with [`Image::supply_absent`], and matters to the platforms that need it only.

mod classify;
mod platforms;
mod select;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use soci_oci::{
    Descriptor, Digest, Document, DocumentError, Index, Manifest, Platform, PlatformRules,
    media_type,
};

use crate::error::ImageError;
use crate::settings::ImageLimits;

pub use classify::NotAnImage;

pub(crate) use classify::manifest_not_an_image;
pub(crate) use platforms::{PlanRules, UntoldEntry, without_repetitions};
pub(crate) use select::{FirstManifest, Selected};

/// An image: its root, and every document under it that has been supplied.
///
/// The caller fetches what [`Image::missing`] lists and hands it to [`Image::supply`] until
/// nothing is missing; then [`Image::plan`] decides what is to be built.
#[derive(Clone, Debug)]
pub struct Image {
    root: Descriptor,
    limits: ImageLimits,
    manifests: HashMap<Digest, Arc<Manifest>>,
    indexes: HashMap<Digest, Arc<Index>>,
    configs: HashMap<Digest, Result<Platform, DocumentError>>,
    /// What was asked for and is not there.
    absent: HashSet<(Digest, MissingKind)>,
    /// Bytes of all documents supplied.
    bytes: usize,
}

/// A document that has to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Where it is fetched from.
    pub kind: MissingKind,
    /// Its media type, digest and size.
    pub descriptor: Descriptor,
}

/// Where a document is fetched from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MissingKind {
    /// A manifest or an image index, from among the manifests.
    Manifest,
    /// An image configuration, from among the blobs.
    Config,
}

impl Image {
    /// The image whose manifest or image index is `bytes`, which the registry calls `media_type`.
    /// `digest` is that of `bytes`.
    pub fn new(
        media_type: &str,
        digest: Digest,
        bytes: &[u8],
        limits: ImageLimits,
    ) -> Result<Self, ImageError> {
        let root = Descriptor::new(media_type, digest, bytes.len() as u64);
        let mut image = Self {
            root,
            limits,
            manifests: HashMap::new(),
            indexes: HashMap::new(),
            configs: HashMap::new(),
            absent: HashSet::new(),
            bytes: 0,
        };
        // A root of another kind is kept as one that is no image; `plan` says so.
        let root = image.root.clone();
        if media_type::is_manifest(media_type) || media_type::is_index(media_type) {
            image.supply_manifest(&root, bytes)?;
        }
        Ok(image)
    }

    /// The descriptor of the image's manifest or image index.
    pub fn root(&self) -> &Descriptor {
        &self.root
    }

    /// The documents to fetch next, in the order in which the image names them, each once. More
    /// may be missing once these are there.
    pub fn missing(&self) -> Result<Vec<Missing>, ImageError> {
        let mut missing = Vec::new();
        let mut seen = HashSet::new();
        let mut queue = vec![(&self.root, 0)];
        while let Some((descriptor, depth)) = queue.pop() {
            let media_type = descriptor.media_type.as_str();
            // One digest may be listed under two media types, and with a platform and without one:
            // these ask for different things.
            if !seen.insert((descriptor.digest, media_type, descriptor.platform.is_none())) {
                continue;
            }
            match self.node(descriptor) {
                Ok(Node::Manifest(manifest)) if descriptor.platform.is_none() => {
                    missing.extend(self.missing_configs(manifest));
                }
                Ok(Node::Index(index)) => {
                    if depth > self.limits.max_depth {
                        return Err(limit("nested image indexes", self.limits.max_depth));
                    }
                    queue.extend(index.manifests().iter().rev().map(|child| (child, depth + 1)));
                }
                Ok(Node::Manifest(_) | Node::Other | Node::Absent) => {}
                Err(_) => missing
                    .push(Missing { kind: MissingKind::Manifest, descriptor: descriptor.clone() }),
            }
        }
        let mut seen = HashSet::new();
        missing.retain(|missing| seen.insert((missing.descriptor.digest, missing.kind)));
        let held =
            self.manifests.len() + self.indexes.len() + self.configs.len() + self.absent.len();
        if held + missing.len() > self.limits.max_documents {
            return Err(limit("manifests and configurations", self.limits.max_documents));
        }
        Ok(missing)
    }

    /// Bytes that the documents supplied and those that are missing take together, going by the sizes
    /// that the image claims. An error if that is more than an image may have.
    pub fn document_bytes(&self, missing: &[Missing]) -> Result<u64, ImageError> {
        let claimed = missing.iter().map(|missing| missing.descriptor.size);
        let bytes = claimed.fold(self.bytes as u64, u64::saturating_add);
        let most = self.limits.max_document_bytes;
        if bytes > most as u64 {
            return Err(limit("bytes of manifests and configurations", most));
        }
        Ok(bytes)
    }

    /// Bytes of the documents that were supplied.
    pub fn supplied_bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// Takes the bytes of a document that was missing. The caller has verified their digest.
    pub fn supply(&mut self, missing: &Missing, bytes: &[u8]) -> Result<(), ImageError> {
        match missing.kind {
            MissingKind::Manifest => self.supply_manifest(&missing.descriptor, bytes),
            MissingKind::Config => {
                self.hold(bytes)?;
                // One that cannot be read fails the image only if its platform is needed.
                self.configs.insert(missing.descriptor.digest, soci_oci::config_platform(bytes));
                Ok(())
            }
        }
    }

    /// Takes note that a document is not where the image is, so that it is not missed any more. What that comes to is for
    /// [`Image::plan`] to say: other platforms may be there.
    pub fn supply_absent(&mut self, missing: &Missing) {
        self.absent.insert((missing.descriptor.digest, missing.kind));
    }

    /// The entries of the image index that are not there, in its order.
    pub fn absent_entries(&self) -> impl Iterator<Item = &Descriptor> {
        let entries = self.root_index().into_iter().flat_map(|index| index.manifests());
        entries.filter(|entry| self.is_absent(&entry.digest))
    }

    fn is_absent(&self, manifest: &Digest) -> bool {
        self.absent.contains(&(*manifest, MissingKind::Manifest))
    }

    pub(crate) fn limits(&self) -> &ImageLimits {
        &self.limits
    }

    /// Digests of the manifests and image indexes of this image.
    pub(crate) fn documents(&self) -> impl Iterator<Item = Digest> {
        self.manifests.keys().chain(self.indexes.keys()).copied()
    }

    /// The root, if it is an image index.
    pub(crate) fn root_index(&self) -> Option<&Arc<Index>> {
        self.indexes.get(&self.root.digest)
    }

    /// The platform that a manifest's configuration tells, if it is there and can be read.
    pub(crate) fn config_platform(
        &self,
        manifest: &Manifest,
        rules: PlatformRules,
    ) -> Option<Platform> {
        let config = self.configs.get(&manifest.config.digest)?.as_ref().ok()?;
        Some(rules.of_config(config))
    }

    /// The document that a descriptor names, by its media type.
    pub(crate) fn node(&self, descriptor: &Descriptor) -> Result<Node<'_>, ImageError> {
        let digest = descriptor.digest;
        let node = if media_type::is_manifest(&descriptor.media_type) {
            self.manifests.get(&digest).map(Node::Manifest)
        } else if media_type::is_index(&descriptor.media_type) {
            self.indexes.get(&digest).map(Node::Index)
        } else {
            Some(Node::Other)
        };
        let absent = || self.is_absent(&digest).then_some(Node::Absent);
        node.or_else(absent).ok_or(ImageError::NotSupplied { digest })
    }

    /// The platform that a configuration tells.
    fn config(&self, digest: &Digest) -> Result<&Platform, ImageError> {
        match self.configs.get(digest) {
            Some(Ok(platform)) => Ok(platform),
            Some(Err(source)) => {
                Err(ImageError::Config { digest: *digest, source: Box::new(source.clone()) })
            }
            None if self.absent.contains(&(*digest, MissingKind::Config)) => {
                Err(ImageError::ConfigMissing { digest: *digest })
            }
            None => Err(ImageError::NotSupplied { digest: *digest }),
        }
    }

    fn supply_manifest(&mut self, descriptor: &Descriptor, bytes: &[u8]) -> Result<(), ImageError> {
        self.hold(bytes)?;
        let digest = descriptor.digest;
        let document = Document::decode(&descriptor.media_type, bytes)
            .map_err(|source| ImageError::Document { digest, source: Box::new(source) })?;
        match document {
            Document::Manifest(manifest) => {
                self.manifests.insert(digest, Arc::from(manifest));
            }
            Document::Index(index) => {
                self.indexes.insert(digest, Arc::from(index));
            }
        }
        Ok(())
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > self.limits.max_document_bytes {
            let most = self.limits.max_document_bytes;
            return Err(limit("bytes of manifests and configurations", most));
        }
        Ok(())
    }

    fn missing_configs(&self, manifest: &Manifest) -> impl Iterator<Item = Missing> {
        let configs = children(manifest).filter(|child| {
            child.platform.is_none()
                && media_type::is_config(&child.media_type)
                && !self.configs.contains_key(&child.digest)
                && !self.absent.contains(&(child.digest, MissingKind::Config))
        });
        configs.map(|config| Missing { kind: MissingKind::Config, descriptor: config.clone() })
    }
}

/// What a descriptor names.
#[derive(Clone, Copy)]
pub(crate) enum Node<'a> {
    Manifest(&'a Arc<Manifest>),
    Index(&'a Arc<Index>),
    /// Neither a manifest nor an image index, going by the media type.
    Other,
    /// A manifest or an image index that is not where the image is.
    Absent,
}

/// Everything a manifest names: its config, then its layers.
fn children(manifest: &Manifest) -> impl Iterator<Item = &Descriptor> {
    std::iter::once(&manifest.config).chain(manifest.layers())
}

fn limit(what: &'static str, limit: usize) -> ImageError {
    ImageError::Limit { what, limit }
}
