//! The manifests that an image gets, once its ztocs are built.
//!
//! Nothing is decided any more: the plan and the digests of the ztocs give the bytes. They equal the
//! reference's, so doing it again gives the same digests, and what is there already is left out.
//!
//! The order of [`Assembly::manifests`] is the order of pushing. A registry refuses a manifest that
//! names what it does not have, and whoever finds a manifest must find all under it. So each comes
//! after all that it names, and the root of V2, which the tag will name, is the last. A push that
//! fails in between leaves things that nothing points to.
//!
//! V1 (`v1.rs`) attaches a SOCI index to each image manifest as its subject and leaves the image as
//! it is. V2 (`v2.rs`) writes the image again: each manifest gets an annotation with the digest of
//! its SOCI index, and a new image index lists the images and then the SOCI indexes.

mod found;
mod v1;
mod v2;

use std::collections::{HashMap, HashSet};

use soci_oci::media_type::OCI_MANIFEST;
use soci_oci::{Annotations, Descriptor, Digest, Manifest, Platform, referrers};

use crate::error::ImageError;
use crate::format::{self, Version};
use crate::plan::{IndexPlan, LayerDecision, LayerKey, Plan};
use crate::prefetch::{LayerPrefetch, Prefetch};
pub use found::unmarked_soci_index;

/// A ztoc that has been built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltZtoc {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Whether its layer can be mounted without extended attributes. It only counts where
    /// [`SociIndexSettings::optimize_xattrs`](crate::SociIndexSettings::optimize_xattrs) asks for it.
    pub without_xattrs: bool,
}

/// Everything that is pushed for an image: first the config ([`format::CONFIG`]), the ztocs and the prefetch
/// artifacts, then the manifests in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembly {
    /// The descriptor of the config that all SOCI indexes share.
    pub config: Descriptor,
    /// The ztocs that the SOCI indexes name, each once.
    pub ztocs: Vec<BuiltZtoc>,
    /// The prefetch artifacts that they name, with their layers, each once.
    pub prefetch: Vec<LayerPrefetch>,
    /// The manifests to push, each after all that it names. Those that the image's repository
    /// holds already are left out, except for the last one of V2.
    pub manifests: Vec<NewManifest>,
    /// What the image is known by afterwards. V2: the converted image index, to be tagged. V1:
    /// the first SOCI index; it needs no tag.
    pub root: Descriptor,
    /// The SOCI indexes, one for each platform that has any layer to index.
    pub indexes: Vec<SociIndex>,
}

/// A manifest or image index to push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewManifest {
    /// Its media type, digest and size.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it is.
    pub role: Role,
    /// Its place in a list of referrers, if it has a subject. Where the registry has no referrers
    /// API, the list is to be kept with [`soci_oci::referrers::add`].
    pub referrer: Option<Box<Referrer>>,
}

/// What a manifest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A SOCI index.
    SociIndex,
    /// A manifest of the converted image.
    Image,
    /// The image index of the converted image.
    Root,
}

/// A manifest among the referrers of its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referrer {
    /// Digest of the manifest that it refers to.
    pub subject: Digest,
    /// How the list of the subject's referrers names it.
    pub descriptor: Descriptor,
}

/// What a SOCI index is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SociIndex {
    /// The platform, if anything tells it.
    pub platform: Option<Platform>,
    /// Digest of the image manifest: V1 its subject, V2 the one in the converted image.
    pub image_manifest: Digest,
    /// Digest of the SOCI index.
    pub digest: Digest,
}

impl Plan {
    /// Writes the manifests. `ztocs` must have one for each of [`Plan::layers_to_build`].
    pub fn assemble(
        &self,
        ztocs: &HashMap<LayerKey, BuiltZtoc>,
        prefetch: &Prefetch,
    ) -> Result<Assembly, ImageError> {
        let soci_indexes = self
            .indexes()
            .iter()
            .map(|index| self.soci_index(index, ztocs, prefetch))
            .collect::<Result<Vec<_>, _>>()?;
        let written = match &self.conversion {
            None => self.write_v1(&soci_indexes)?,
            Some(conversion) => self.write_v2(conversion, &soci_indexes)?,
        };
        Ok(Assembly {
            config: self.version().config(),
            ztocs: unique_ztocs(&self.indexes, ztocs),
            prefetch: prefetch.listed(&self.indexes),
            manifests: written.manifests,
            root: written.root,
            indexes: written.indexes,
        })
    }

    /// The digest that one of the plan's SOCI indexes gets, if all its layers have a ztoc.
    pub fn index_digest(
        &self,
        index: &IndexPlan,
        ztocs: &HashMap<LayerKey, BuiltZtoc>,
        prefetch: &Prefetch,
    ) -> Option<Digest> {
        let soci_index = self.soci_index(index, ztocs, prefetch).ok()?;
        Some(Digest::sha256_of(&soci_index.encode()))
    }

    fn soci_index(
        &self,
        index: &IndexPlan,
        ztocs: &HashMap<LayerKey, BuiltZtoc>,
        prefetch: &Prefetch,
    ) -> Result<Manifest, ImageError> {
        let mut layers = Vec::new();
        for (layer, decision) in index.layers() {
            let LayerDecision::Build(compression) = decision else { continue };
            let ztoc = ztocs
                .get(&LayerKey { digest: layer.digest, compression })
                .ok_or(ImageError::ZtocMissing { layer: layer.digest })?;
            layers.push(self.ztoc_descriptor(layer, *ztoc));
        }
        layers.extend(prefetch.descriptors(index));
        let subject = match self.version() {
            Version::V1 => {
                let image = &index.image;
                Some(Descriptor::new(image.media_type.as_str(), image.digest, image.size))
            }
            // Without a subject, platforms with the same indexed layers share one SOCI index.
            Version::V2 => None,
        };
        let tool = self.settings.build_tool_identifier.clone();
        Ok(Manifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_owned(),
            artifact_type: String::new(),
            config: self.version().config(),
            layers: Some(layers),
            subject,
            annotations: Annotations::from([(format::BUILD_TOOL_IDENTIFIER.to_owned(), tool)]),
        })
    }

    fn ztoc_descriptor(&self, layer: &Descriptor, ztoc: BuiltZtoc) -> Descriptor {
        let mut annotations = Annotations::from([
            (format::IMAGE_LAYER_DIGEST.to_owned(), layer.digest.to_string()),
            (format::IMAGE_LAYER_MEDIA_TYPE.to_owned(), layer.media_type.clone()),
        ]);
        if self.settings.optimize_xattrs && ztoc.without_xattrs {
            annotations.insert(format::DISABLE_XATTRS.to_owned(), "true".to_owned());
        }
        if self.settings.tells_span_size() {
            let span_size = self.settings.span_size.to_string();
            annotations.insert(format::SPAN_SIZE.to_owned(), span_size);
        }
        Descriptor {
            annotations,
            ..Descriptor::new(format::ZTOC_MEDIA_TYPE, ztoc.digest, ztoc.size)
        }
    }

    /// Checks the size of a manifest's bytes and describes them.
    fn describe(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, ImageError> {
        let limit = self.max_manifest_bytes;
        if bytes.len() > limit {
            return Err(ImageError::TooLarge { limit });
        }
        Ok(Descriptor::new(media_type, Digest::sha256_of(bytes), bytes.len() as u64))
    }
}

fn referrer(manifest: &Manifest, named: &Descriptor) -> Option<Box<Referrer>> {
    let subject = manifest.subject.as_ref()?.digest;
    let descriptor = referrers::manifest(manifest, named.clone());
    Some(Box::new(Referrer { subject, descriptor }))
}

/// What is written for one version.
struct Written {
    manifests: Vec<NewManifest>,
    root: Descriptor,
    indexes: Vec<SociIndex>,
}

/// The ztocs of the SOCI indexes in order, each once.
fn unique_ztocs(indexes: &[IndexPlan], ztocs: &HashMap<LayerKey, BuiltZtoc>) -> Vec<BuiltZtoc> {
    let mut seen = HashSet::new();
    let keys = indexes.iter().flat_map(IndexPlan::keys);
    keys.filter_map(|key| ztocs.get(&key).copied())
        .filter(|ztoc| seen.insert(ztoc.digest))
        .collect()
}
