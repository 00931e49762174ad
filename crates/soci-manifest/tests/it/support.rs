//! Images made of documents in memory.

use std::collections::HashMap;

use soci_manifest::{
    Assembly, BuiltZtoc, Image, ImageError, ImageLimits, LayerKey, Plan, Prefetch,
};
use soci_manifest::{Planned, Platforms, SkipReason, SociIndexSettings};
use soci_oci::media_type::{OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST};
use soci_oci::{Annotations, Descriptor, Digest, Index, Manifest, Platform};

/// Documents by digest, as a registry holds them.
#[derive(Debug, Default)]
pub(crate) struct Store(pub(crate) HashMap<Digest, Vec<u8>>);

impl Store {
    /// Puts a document and describes it.
    pub(crate) fn put(&mut self, media_type: &str, bytes: impl Into<Vec<u8>>) -> Descriptor {
        let bytes = bytes.into();
        let descriptor = Descriptor::new(media_type, Digest::sha256_of(&bytes), bytes.len() as u64);
        self.0.insert(descriptor.digest, bytes);
        descriptor
    }

    /// Puts an image for a platform with these layers.
    pub(crate) fn put_image(&mut self, name: &str, layers: Vec<Descriptor>) -> Descriptor {
        let platform = platform(name);
        let config =
            format!(r#"{{"os":"{}","architecture":"{}"}}"#, platform.os, platform.architecture);
        let config = self.put(OCI_CONFIG, config);
        self.put(OCI_MANIFEST, manifest(config, layers).encode())
    }

    /// Puts an image for a platform with one large layer.
    pub(crate) fn put_large(&mut self, name: &str) -> Descriptor {
        self.put_image(name, vec![layer(name, LARGE)])
    }

    pub(crate) fn put_index(&mut self, entries: Vec<Descriptor>) -> Descriptor {
        self.put(OCI_INDEX, Index::new(entries).encode())
    }

    /// The image index with this digest.
    pub(crate) fn index(&self, descriptor: &Descriptor) -> Index {
        Index::decode(&self.0[&descriptor.digest]).unwrap()
    }

    /// The image at `root` with all that it asks for.
    pub(crate) fn image(&self, root: &Descriptor) -> Result<Image, ImageError> {
        self.image_within(root, ImageLimits::DEFAULT)
    }

    pub(crate) fn image_within(
        &self,
        root: &Descriptor,
        limits: ImageLimits,
    ) -> Result<Image, ImageError> {
        let mut image = Image::new(&root.media_type, root.digest, &self.0[&root.digest], limits)?;
        loop {
            let missing = image.missing()?;
            if missing.is_empty() {
                return Ok(image);
            }
            for missing in missing {
                match self.0.get(&missing.descriptor.digest) {
                    Some(bytes) => image.supply(&missing, bytes)?,
                    None => image.supply_absent(&missing),
                }
            }
        }
    }

    /// What the image at `root` comes to with the default settings.
    pub(crate) fn plan_by_default(&self, root: &Descriptor) -> Result<Planned, ImageError> {
        self.plan(root, &SociIndexSettings::default(), &Platforms::All)
    }

    /// What the image at `root` comes to.
    pub(crate) fn plan(
        &self,
        root: &Descriptor,
        settings: &SociIndexSettings,
        platforms: &Platforms,
    ) -> Result<Planned, ImageError> {
        self.image(root)?.plan(settings, platforms)
    }

    /// The assembly of the image at `root`, which is pushed into the store as well. Ztocs are
    /// made up.
    pub(crate) fn convert(
        &mut self,
        root: &Descriptor,
        settings: &SociIndexSettings,
        platforms: &Platforms,
    ) -> Assembly {
        let plan = build(self.plan(root, settings, platforms));
        let assembly = plan.assemble(&made_up(&plan), &Prefetch::default()).unwrap();
        for manifest in &assembly.manifests {
            let put = self.put(&manifest.descriptor.media_type, manifest.bytes.clone());
            assert_eq!(put, manifest.descriptor);
        }
        assembly
    }
}

/// Size of the layers that are large enough for a ztoc.
pub(crate) const LARGE: u64 = 20 << 20;

/// A layer of `size` bytes whose digest comes from `name`.
pub(crate) fn layer(name: &str, size: u64) -> Descriptor {
    Descriptor::new(OCI_LAYER_GZIP, Digest::sha256_of(name.as_bytes()), size)
}

/// A platform by its name.
pub(crate) fn platform(name: &str) -> Platform {
    name.parse().unwrap()
}

/// `descriptor` as an image index lists it for a platform.
pub(crate) fn on(name: &str, descriptor: Descriptor) -> Descriptor {
    Descriptor { platform: Some(platform(name)), ..descriptor }
}

/// A manifest with these layers and nothing else.
pub(crate) fn manifest(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
    Manifest {
        schema_version: 2,
        media_type: OCI_MANIFEST.to_owned(),
        artifact_type: String::new(),
        config,
        layers: Some(layers),
        subject: None,
        annotations: Annotations::new(),
    }
}

/// The plan of an image that must have one.
pub(crate) fn build(planned: Result<Planned, ImageError>) -> Plan {
    match planned.unwrap() {
        Planned::Build(plan) => *plan,
        Planned::Skip(reason) => panic!("skipped: {reason}"),
    }
}

/// The reason of an image that must be skipped.
pub(crate) fn skip(planned: Result<Planned, ImageError>) -> SkipReason {
    match planned.unwrap() {
        Planned::Build(_) => panic!("planned to build"),
        Planned::Skip(reason) => reason,
    }
}

/// Made-up ztocs for all layers of a plan.
pub(crate) fn made_up(plan: &Plan) -> HashMap<LayerKey, BuiltZtoc> {
    let ztoc = |key: LayerKey| BuiltZtoc {
        digest: Digest::sha256_of(format!("ztoc of {} {}", key.compression, key.digest).as_bytes()),
        size: 1000,
        without_xattrs: false,
    };
    plan.layers_to_build().into_iter().map(|layer| (layer.key, ztoc(layer.key))).collect()
}
