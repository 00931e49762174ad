//! What is to be built for an image, decided from its documents alone.
//!
//! A plan is made before the first byte of a layer is read. It answers three questions, each as the
//! reference does:
//!
//! - Which manifests get a SOCI index? See `targets.rs`.
//! - Which of their layers get a ztoc? See `layer.rs`.
//! - What is rewritten? V2 makes a new image index in which every manifest of the old one is written
//!   again as an OCI manifest, attestations too.
//!
//! An index without ztocs is of no use. A platform that would get one is left out; if all would, the
//! image is skipped, with the reason. An image is skipped only for what its own documents say:
//! what cannot be read, or contradicts itself, is an error. If it concerns one platform of several, that is left out, and
//! told (`left_out.rs`).

mod layer;
mod left_out;
mod reason;
mod targets;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use soci_oci::{Descriptor, Digest, Index, Manifest, Platform};

use crate::error::ImageError;
use crate::format::Version;
use crate::image::{FirstManifest, Image, PlanRules, UntoldEntry};
use crate::settings::{Platforms, SociIndexSettings};

use left_out::LeftOutSoFar;
use targets::Target;

pub use layer::{LayerDecision, LayerKey, LayerToBuild, SkippedLayer, WhyLeftOut};
pub use left_out::LeftOutPlatform;
pub use reason::SkipReason;

/// Why a platform is left out whose layers are not there: [`LeftOutPlatform::code`].
pub const LAYER_MISSING: &str = "layer-missing";

/// What [`Image::plan`] comes to.
#[derive(Clone, Debug)]
pub enum Planned {
    /// There are layers to build ztocs of.
    Build(Box<Plan>),
    /// There is nothing to do, and why.
    Skip(SkipReason),
}

/// The SOCI indexes that an image gets. Invariant: at least one, each with at least one ztoc.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) settings: SociIndexSettings,
    pub(crate) max_manifest_bytes: usize,
    pub(crate) indexes: Vec<IndexPlan>,
    /// What would be a SOCI index without a ztoc, of a platform beside others.
    empty: Vec<IndexPlan>,
    /// Platforms that cannot be indexed, beside others.
    left_out: Vec<LeftOutPlatform>,
    /// Why the first of them cannot.
    first_left_out: Option<ImageError>,
    /// Whether a platform may be left out.
    leaves_out: bool,
    /// What V2 converts.
    pub(crate) conversion: Option<Conversion>,
}

/// One SOCI index that is to be built.
#[derive(Clone, Debug)]
pub struct IndexPlan {
    /// The platform, if anything tells it.
    pub platform: Option<Platform>,
    /// The image manifest as the image names it.
    pub image: Descriptor,
    manifest: Arc<Manifest>,
    decisions: Vec<LayerDecision>,
}

/// The image index that V2 rewrites, and what it rewrites it from.
#[derive(Clone, Debug)]
pub(crate) struct Conversion {
    /// The image's index, or one made for its single manifest.
    pub(crate) index: Index,
    /// For each entry the manifest that takes its place; `None` leaves the entry alone.
    pub(crate) manifests: Vec<Option<Arc<Manifest>>>,
    /// Digests of what the image's repository already holds.
    pub(crate) present: HashSet<Digest>,
    /// Digests of entries that are not there. They stay as they are, as in the reference.
    absent: HashSet<Digest>,
}

impl Conversion {
    /// Leaves the entries of this manifest as they are.
    fn leave_alone(&mut self, image: Digest) {
        for (entry, manifest) in self.index.manifests().iter().zip(&mut self.manifests) {
            if entry.digest == image {
                *manifest = None;
            }
        }
    }
}

impl Plan {
    /// The plan without these layers, each with what was decided when it was read; or that nothing is left. If a platform
    /// was left out before, why that was is the error then.
    pub fn leave_out(
        mut self: Box<Self>,
        layers: &HashMap<LayerKey, LayerDecision>,
    ) -> Result<Planned, ImageError> {
        for index in &mut self.indexes {
            index.leave_out(layers);
        }
        self.empty.extend(self.indexes.extract_if(.., |index| index.is_empty()));
        if self.indexes.is_empty() {
            if let Some(error) = self.first_left_out {
                return Err(error);
            }
            let layers = self.empty.iter().flat_map(IndexPlan::layers);
            return Ok(Planned::Skip(SkipReason::nothing_to_index(&self.settings, layers)));
        }
        Ok(Planned::Build(self))
    }

    /// The plan without the platforms that need one of these layers, which are not there; nothing if no platform is
    /// left, or none may be left out.
    #[must_use]
    pub fn without_missing(mut self: Box<Self>, layers: &HashSet<Digest>) -> Option<Box<Self>> {
        if !self.leaves_out {
            return None;
        }
        for index in std::mem::take(&mut self.indexes) {
            let missing = index.keys().find(|key| layers.contains(&key.digest));
            match missing {
                None => self.indexes.push(index),
                Some(layer) => {
                    let image = index.image.digest;
                    // A registry that looks for layers would refuse it if it were written anew.
                    if let Some(conversion) = &mut self.conversion {
                        conversion.leave_alone(image);
                    }
                    self.left_out.push(LeftOutPlatform {
                        reason: format!("layer {} of manifest {image} is not there", layer.digest),
                        code: LAYER_MISSING,
                        image: Some(image),
                        platform: index.platform,
                    });
                }
            }
        }
        (!self.indexes.is_empty()).then_some(self)
    }

    /// The plan for an image index that no longer lists what is not there, for registries that take no other; nothing if
    /// it lists no such thing. `lacking` are manifests of which that was found out after the plan was made.
    pub fn without_absent(&self, lacking: &HashSet<Digest>) -> Option<Box<Self>> {
        let conversion = self.conversion.as_ref().filter(|_| !self.settings.strict)?;
        let indexed = |digest| self.indexes.iter().any(|index| index.image.digest == digest);
        let absent = |entry: &Descriptor| {
            let digest = entry.digest;
            conversion.absent.contains(&digest) || lacking.contains(&digest) && !indexed(digest)
        };
        let absent: Vec<bool> = conversion.index.manifests().iter().map(absent).collect();
        if !absent.contains(&true) {
            return None;
        }
        let mut plan = self.clone();
        let conversion = plan.conversion.as_mut()?;
        let entries = conversion.index.manifests.take().unwrap_or_default();
        let manifests = std::mem::take(&mut conversion.manifests);
        conversion.absent.clear();
        let kept = entries.into_iter().zip(manifests).zip(absent).filter(|(_, absent)| !absent);
        let (entries, manifests) = kept.map(|(kept, _)| kept).unzip::<_, _, Vec<_>, _>();
        conversion.index.manifests = Some(entries);
        conversion.manifests = manifests;
        Some(Box::new(plan))
    }

    /// Whether a platform whose layers are not there may be left out, since others are.
    pub fn may_leave_out_platforms(&self) -> bool {
        self.leaves_out && self.indexes.len() > 1
    }

    /// The platforms that cannot be indexed, in the order in which that was found.
    pub fn left_out_platforms(&self) -> &[LeftOutPlatform] {
        &self.left_out
    }

    /// What it was made with.
    pub fn settings(&self) -> &SociIndexSettings {
        &self.settings
    }

    /// Version of the SOCI indexes.
    pub fn version(&self) -> Version {
        self.settings.version
    }

    /// The SOCI indexes, in the order of the platforms.
    pub fn indexes(&self) -> &[IndexPlan] {
        &self.indexes
    }

    /// The layers that get no ztoc, in the order of the image, each once.
    pub fn skipped_layers(&self) -> Vec<SkippedLayer> {
        let mut seen = HashSet::new();
        let layers = self.indexes.iter().chain(&self.empty).flat_map(IndexPlan::layers);
        let skipped = layers.filter(|(_, decision)| !matches!(decision, LayerDecision::Build(_)));
        skipped
            .filter(|(layer, _)| seen.insert(layer.digest))
            .map(|(layer, decision)| SkippedLayer {
                digest: layer.digest,
                size: layer.size,
                decision,
            })
            .collect()
    }

    /// The layers that need a ztoc, in the order of the image, each once.
    pub fn layers_to_build(&self) -> Vec<LayerToBuild> {
        let mut seen = HashSet::new();
        let layers = self.indexes.iter().flat_map(IndexPlan::layers);
        layers.filter_map(layer::to_build).filter(|layer| seen.insert(layer.key)).collect()
    }
}

impl IndexPlan {
    /// The image's layers from the base up, each with what is done about it.
    pub fn layers(&self) -> impl Iterator<Item = (&Descriptor, LayerDecision)> {
        self.manifest.layers().iter().zip(self.decisions.iter().copied())
    }

    /// The layers that get a ztoc, in the order of the image.
    pub fn keys(&self) -> impl Iterator<Item = LayerKey> {
        self.layers().filter_map(|(layer, decision)| match decision {
            LayerDecision::Build(compression) => {
                Some(LayerKey { digest: layer.digest, compression })
            }
            _ => None,
        })
    }

    /// The image's configuration, as its manifest names it.
    pub fn config(&self) -> &Descriptor {
        &self.manifest.config
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn leave_out(&mut self, layers: &HashMap<LayerKey, LayerDecision>) {
        for (layer, decision) in self.manifest.layers().iter().zip(&mut self.decisions) {
            if let LayerDecision::Build(compression) = *decision
                && let Some(decided) = layers.get(&LayerKey { digest: layer.digest, compression })
            {
                *decision = *decided;
            }
        }
    }

    fn is_empty(&self) -> bool {
        !self.decisions.iter().any(|decision| matches!(decision, LayerDecision::Build(_)))
    }
}

impl Image {
    /// Decides which SOCI indexes the image gets and which layers they need ztocs of. Every
    /// document must have been supplied ([`Image::missing`] is empty).
    ///
    /// V1 builds one for every image manifest, or those of the platforms asked for. V2 builds one
    /// for the first manifest of every platform, as the reference does.
    pub fn plan(
        &self,
        settings: &SociIndexSettings,
        platforms: &Platforms,
    ) -> Result<Planned, ImageError> {
        if let Some(missing) = self.missing()?.first() {
            return Err(ImageError::NotSupplied { digest: missing.descriptor.digest });
        }
        if let Some(reason) = self.not_an_image()? {
            return Ok(Planned::Skip(SkipReason::NotAnImage(reason)));
        }
        let rules =
            PlanRules { platform: settings.generation.platform_rules(), strict: settings.strict };
        let by_name = matches!(platforms, Platforms::Only(_));
        let leaves_out = !settings.strict && !by_name;
        let mut left_out = LeftOutSoFar::new(leaves_out);
        let present;
        let platforms = match platforms {
            Platforms::AnyOf(wanted) => {
                let found = self.present(wanted, rules)?;
                if found.is_empty() {
                    let mut untold = Vec::new();
                    let has = self.platforms(rules, &mut untold)?;
                    // One that is only late may be for a platform that is wanted.
                    let late = untold.into_iter().find(|entry| entry.error.is_not_there());
                    if let Some(UntoldEntry { error, .. }) = late {
                        return Err(error);
                    }
                    return Ok(Planned::Skip(SkipReason::other_platforms(&has, wanted)));
                }
                present = Platforms::Only(found);
                &present
            }
            Platforms::All | Platforms::Only(_) => platforms,
        };
        let targets = match (settings.version, platforms) {
            (Version::V1, Platforms::All) => self.all_manifests(rules, &mut left_out)?,
            (Version::V1, Platforms::Only(platforms) | Platforms::AnyOf(platforms)) => {
                self.manifests_of(platforms, rules, &mut left_out)?
            }
            (Version::V2, _) => self.conversion_targets(platforms, rules, &mut left_out)?,
        };
        // Manifests may name the same layers again and again, so bytes alone do not bound them.
        self.check_limits(&targets)?;
        let mut indexes = Vec::with_capacity(targets.len());
        for target in targets {
            let (platform, digest) = (target.platform.clone(), target.descriptor.digest);
            let planned = plan_index(settings, target);
            indexes.extend(left_out.or_leave_out(platform.as_ref(), Some(digest), planned)?);
        }
        // A platform without a layer to index is nothing that is left.
        let nothing_left = indexes.iter().all(IndexPlan::is_empty);
        let (left_out, first_left_out) = left_out.finish(nothing_left)?;
        check_sizes(&indexes)?;
        if nothing_left {
            let layers = indexes.iter().flat_map(IndexPlan::layers);
            return Ok(Planned::Skip(SkipReason::nothing_to_index(settings, layers)));
        }
        // In V2 one platform may be empty beside another that is not.
        let (empty, indexes): (Vec<_>, Vec<_>) = indexes.into_iter().partition(IndexPlan::is_empty);
        let conversion = match settings.version {
            Version::V1 => None,
            Version::V2 => Some(self.conversion(&indexes, rules)?),
        };
        Ok(Planned::Build(Box::new(Plan {
            settings: settings.clone(),
            max_manifest_bytes: self.limits().max_manifest_bytes,
            indexes,
            empty,
            left_out,
            first_left_out,
            leaves_out,
            conversion,
        })))
    }

    fn conversion(
        &self,
        indexes: &[IndexPlan],
        rules: PlanRules,
    ) -> Result<Conversion, ImageError> {
        let mut index = if let Some(index) = self.root_index() {
            Index { media_type: soci_oci::media_type::OCI_INDEX.to_owned(), ..Index::clone(index) }
        } else {
            // A runtime chooses by the platform that an image index names.
            let platform = self.platforms(rules, &mut Vec::new())?.into_iter().next();
            Index::new(vec![Descriptor { platform, ..self.root().clone() }])
        };
        // The SOCI index gets the platform of its image. Were it the only entry with one, runtimes would take it for the
        // image.
        for entry in index.manifests.iter_mut().flatten().filter(|entry| entry.platform.is_none()) {
            let planned = indexes.iter().find(|planned| planned.image.digest == entry.digest);
            entry.platform = planned.and_then(|planned| planned.platform.clone());
        }
        let mut first = FirstManifest::new(self);
        let rewritten_from = |entry: &Descriptor| {
            // A SOCI index that is not replaced still serves its platform. The reference would
            // rewrite it to an image manifest, and then fails for not knowing the result.
            let soci_index = entry.artifact_type == Version::V2.artifact_type();
            if soci_index { Ok(None) } else { first.of(entry) }
        };
        let manifests =
            index.manifests().iter().map(rewritten_from).collect::<Result<Vec<_>, _>>()?;
        for (entry, manifest) in index.manifests().iter().zip(&manifests) {
            let planned = || indexes.iter().any(|index| index.image.digest == entry.digest);
            if manifest.is_none() && planned() {
                return Err(ImageError::NoManifest { digest: entry.digest });
            }
        }
        let absent = self.absent_entries().map(|entry| entry.digest).collect();
        Ok(Conversion { index, manifests, present: self.documents().collect(), absent })
    }
}

fn plan_index(settings: &SociIndexSettings, target: Target) -> Result<IndexPlan, ImageError> {
    let Target { platform, descriptor: image, manifest } = target;
    let decide = |layer| layer::decide(settings, image.digest, layer);
    let decisions = manifest.layers().iter().map(decide).collect::<Result<_, _>>()?;
    Ok(IndexPlan { platform, image, manifest, decisions })
}

/// A layer has one size; descriptors that disagree about it would make the plan depend on which
/// of them is read.
fn check_sizes(indexes: &[IndexPlan]) -> Result<(), ImageError> {
    let mut sizes = HashMap::new();
    for layer in indexes.iter().flat_map(IndexPlan::layers).filter_map(layer::to_build) {
        match sizes.entry(layer.key.digest) {
            Entry::Vacant(entry) => {
                entry.insert(layer.size);
            }
            Entry::Occupied(entry) if *entry.get() != layer.size => {
                let (first, second) = (*entry.get(), layer.size);
                let layer = layer.key.digest;
                return Err(ImageError::ConflictingSizes { layer, first, second });
            }
            Entry::Occupied(_) => {}
        }
    }
    Ok(())
}
