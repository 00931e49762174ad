//! V2: the image converted to one whose index lists its SOCI indexes.
//!
//! A SOCI index must be known before the manifest that names it, and that manifest before the entry
//! of the SOCI index can name it in turn. The annotation of the entry is in the image index, not in
//! the SOCI index, so there is no circle: SOCI indexes are written first, then the manifests, then
//! the entries are completed, and the image index comes last.
//!
//! Every manifest is written again, also those that get no SOCI index: the reference turns the whole
//! image into OCI media types. An entry that led to its manifest through another index becomes an
//! entry of that manifest.

use std::collections::HashMap;
use std::sync::Arc;

use soci_oci::media_type::{OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use soci_oci::{Annotations, Descriptor, Digest, Index, Manifest, PlatformRules, referrers};

use super::{NewManifest, Referrer, Role, SociIndex, Written, referrer};
use crate::error::ImageError;
use crate::format::{IMAGE_MANIFEST_DIGEST, INDEX_DIGEST, Version};
use crate::plan::{Conversion, Plan};

impl Plan {
    pub(super) fn write_v2(
        &self,
        conversion: &Conversion,
        soci_indexes: &[Manifest],
    ) -> Result<Written, ImageError> {
        let mut manifests = Vec::new();
        let mut soci_entries = Vec::new();
        for (plan, soci_index) in self.indexes().iter().zip(soci_indexes) {
            let bytes = soci_index.encode();
            let descriptor = self.describe(OCI_MANIFEST, &bytes)?;
            soci_entries.push(Descriptor {
                artifact_type: Version::V2.artifact_type().to_owned(),
                platform: plan.platform.clone(),
                ..descriptor.clone()
            });
            manifests.push(NewManifest {
                descriptor,
                bytes,
                role: Role::SociIndex,
                referrer: None,
            });
        }
        let mut rewriter = Rewriter::new(self, conversion);
        let mut entries = conversion.index.manifests().to_vec();
        for (entry, manifest) in entries.iter_mut().zip(&conversion.manifests) {
            if let Some(manifest) = manifest {
                rewriter.rewrite(entry, manifest, &mut soci_entries)?;
            }
        }
        let indexes = rewriter.summary(&soci_entries);
        manifests.append(&mut rewriter.written);
        // An image that was converted before has entries of SOCI indexes; none is listed twice.
        for soci_entry in soci_entries {
            place(&mut entries, soci_entry, self.settings.generation.platform_rules());
        }
        let index = Index { manifests: Some(entries), ..conversion.index.clone() };
        let bytes = index.encode();
        let root = self.describe(OCI_INDEX, &bytes)?;
        // What is written again and comes out the same is there already. The root is pushed in any
        // case, since the tag comes with it.
        let mut seen = conversion.present.clone();
        manifests.retain(|manifest| seen.insert(manifest.descriptor.digest));
        let referrer = index.subject.as_ref().map(|subject| {
            let descriptor = referrers::index(&index, root.clone());
            Box::new(Referrer { subject: subject.digest, descriptor })
        });
        manifests.push(NewManifest { descriptor: root.clone(), bytes, role: Role::Root, referrer });
        Ok(Written { manifests, root, indexes })
    }
}

/// Writes the image manifests again, with OCI media types and the digests of their SOCI indexes.
struct Rewriter<'a> {
    plan: &'a Plan,
    /// The SOCI index of an image manifest, by the manifest's digest before it is rewritten: its
    /// place in the plan. The reference looks for the first one, so of two platforms that share a
    /// manifest only the first is linked to it.
    soci_index_of: HashMap<Digest, usize>,
    /// What a manifest was rewritten to, by its digest before: many entries may name the same.
    rewritten: HashMap<Digest, (Descriptor, Arc<Annotations>)>,
    /// Bytes of the annotations that entries have taken over from their manifests.
    annotation_bytes: usize,
    written: Vec<NewManifest>,
}

impl<'a> Rewriter<'a> {
    fn new(plan: &'a Plan, conversion: &Conversion) -> Self {
        let mut soci_index_of = HashMap::new();
        for (place, index) in plan.indexes().iter().enumerate() {
            soci_index_of.entry(index.image.digest).or_insert(place);
        }
        Self {
            plan,
            soci_index_of,
            rewritten: HashMap::with_capacity(conversion.manifests.len()),
            annotation_bytes: 0,
            written: Vec::new(),
        }
    }

    /// Makes `entry` name what `manifest` is rewritten to. The entry's annotations give way to
    /// the manifest's, as in the reference.
    fn rewrite(
        &mut self,
        entry: &mut Descriptor,
        manifest: &Manifest,
        soci_entries: &mut [Descriptor],
    ) -> Result<(), ImageError> {
        let place = self.soci_index_of.get(&entry.digest).copied();
        let (descriptor, annotations) = if let Some(known) = self.rewritten.get(&entry.digest) {
            known.clone()
        } else {
            let soci_index = place.and_then(|place| soci_entries.get(place));
            let written = self.write(entry, manifest, soci_index)?;
            self.rewritten.insert(entry.digest, written.clone());
            written
        };
        self.annotation_bytes +=
            annotations.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        // The image index cannot be smaller than the annotations in it.
        let limit = self.plan.max_manifest_bytes;
        if self.annotation_bytes > limit {
            return Err(ImageError::TooLarge { limit });
        }
        *entry = renamed(entry, &descriptor);
        entry.annotations = Annotations::clone(&annotations);
        if let Some(soci_entry) = place.and_then(|place| soci_entries.get_mut(place)) {
            let digest = descriptor.digest.to_string();
            soci_entry.annotations.insert(IMAGE_MANIFEST_DIGEST.to_owned(), digest);
        }
        Ok(())
    }

    fn write(
        &mut self,
        entry: &Descriptor,
        manifest: &Manifest,
        soci_index: Option<&Descriptor>,
    ) -> Result<(Descriptor, Arc<Annotations>), ImageError> {
        let manifest = converted(manifest, soci_index.map(|soci_index| &soci_index.digest));
        let bytes = manifest.encode();
        let descriptor = self.plan.describe(OCI_MANIFEST, &bytes)?;
        self.written.push(NewManifest {
            descriptor: descriptor.clone(),
            bytes,
            role: Role::Image,
            referrer: referrer(&manifest, &renamed(entry, &descriptor)),
        });
        Ok((descriptor, Arc::new(manifest.annotations)))
    }

    /// What each SOCI index is for.
    fn summary(&self, soci_entries: &[Descriptor]) -> Vec<SociIndex> {
        let pairs = self.plan.indexes().iter().zip(soci_entries);
        let summary = pairs.map(|(plan, entry)| {
            let before = plan.image.digest;
            let after = self.rewritten.get(&before).map_or(before, |(after, _)| after.digest);
            SociIndex {
                platform: plan.platform.clone(),
                image_manifest: after,
                digest: entry.digest,
            }
        });
        summary.collect()
    }
}

/// What a manifest is rewritten to, with the digest of its SOCI index if it gets one.
pub(super) fn converted(manifest: &Manifest, soci_index: Option<&Digest>) -> Manifest {
    let mut manifest = manifest.clone();
    OCI_MANIFEST.clone_into(&mut manifest.media_type);
    OCI_CONFIG.clone_into(&mut manifest.config.media_type);
    if let Some(soci_index) = soci_index {
        manifest.annotations.insert(INDEX_DIGEST.to_owned(), soci_index.to_string());
    }
    manifest
}

/// The entry with the content that `content` names.
fn renamed(entry: &Descriptor, content: &Descriptor) -> Descriptor {
    Descriptor {
        media_type: content.media_type.clone(),
        digest: content.digest,
        size: content.size,
        ..entry.clone()
    }
}

/// Puts a SOCI index in the place of the one for the same platform, or last.
fn place(entries: &mut Vec<Descriptor>, soci_entry: Descriptor, rules: PlatformRules) {
    let replaces = |old: &&mut Descriptor| {
        old.artifact_type == Version::V2.artifact_type()
            && match (&old.platform, &soci_entry.platform) {
                (Some(old), Some(new)) => rules.matches(new, old),
                _ => false,
            }
    };
    match entries.iter_mut().find(replaces) {
        Some(old) => *old = soci_entry,
        None => entries.push(soci_entry),
    }
}
