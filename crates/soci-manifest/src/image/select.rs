//! Which manifest is a platform's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use soci_oci::{Descriptor, Digest, Index, Manifest, Platform, PlatformRules};

use super::platforms::without_repetitions;
use super::{Image, Node, PlanRules};
use crate::error::ImageError;

/// The manifest that was found for a platform.
pub(crate) struct Selected {
    /// The entry of the image index, or the root. It may itself name an image index.
    pub(crate) descriptor: Descriptor,
    /// The image manifest that it leads to.
    pub(crate) manifest: Arc<Manifest>,
}

impl Image {
    /// Those of the platforms that the image has, each once, though their manifests may not be there. An image that tells no
    /// platform has none.
    pub(crate) fn present(
        &self,
        wanted: &[Platform],
        rules: PlanRules,
    ) -> Result<Vec<Platform>, ImageError> {
        let own = self.platforms(rules, &mut Vec::new())?;
        let root_platform = own.first();
        if root_platform.is_none() {
            return Ok(Vec::new());
        }
        let mut present = without_repetitions(wanted, rules.platform, self.limits.max_platforms);
        present.retain(|platform| {
            let selected = self.select(platform, rules, root_platform);
            !matches!(selected, Err(ImageError::PlatformNotFound { .. }))
        });
        Ok(present)
    }

    /// The first entry of the image index that is for `platform`, before those whose configuration says so. A manifest
    /// without an index is for every platform unless `root_platform` tells which.
    pub(crate) fn select(
        &self,
        platform: &Platform,
        PlanRules { platform: rules, strict }: PlanRules,
        root_platform: Option<&Platform>,
    ) -> Result<Selected, ImageError> {
        let not_found = || ImageError::PlatformNotFound { platform: Box::new(platform.clone()) };
        let descriptor = match self.node(&self.root)? {
            Node::Manifest(manifest)
                if root_platform.is_none_or(|own| rules.matches(platform, own)) =>
            {
                let descriptor = self.root.clone();
                return Ok(Selected { descriptor, manifest: Arc::clone(manifest) });
            }
            Node::Index(index) if strict => {
                first_entry(index.manifests(), platform, rules)?.ok_or_else(not_found)?
            }
            Node::Index(index) => self.entry_for(index, platform, rules).ok_or_else(not_found)?,
            Node::Manifest(_) | Node::Other | Node::Absent => return Err(not_found()),
        };
        if descriptor.platform.is_none()
            && let Node::Manifest(manifest) = self.node(descriptor)?
        {
            let descriptor = descriptor.clone();
            return Ok(Selected { descriptor, manifest: Arc::clone(manifest) });
        }
        let manifest = self.descend(descriptor, platform, rules)?.ok_or_else(not_found)?;
        Ok(Selected { descriptor: descriptor.clone(), manifest: Arc::clone(manifest) })
    }

    /// The first entry that names the platform, or else the first without one whose configuration tells it: containerd
    /// looks for them in this order.
    fn entry_for<'a>(
        &'a self,
        index: &'a Index,
        platform: &Platform,
        rules: PlatformRules,
    ) -> Option<&'a Descriptor> {
        let matches = |own: &Platform| rules.matches(platform, own);
        let named = |entry: &&Descriptor| entry.platform.as_ref().is_some_and(matches);
        let told = |entry: &&Descriptor| {
            entry.platform.is_none()
                && matches!(self.told_platform(entry, rules), Ok(Some(own)) if matches(&own))
        };
        let entries = || index.manifests().iter();
        entries().find(named).or_else(|| entries().find(told))
    }

    /// Follows indexes in the index down to a manifest, taking at each level the first entry that
    /// is for `platform`, or else the first that names none.
    fn descend<'a>(
        &'a self,
        entry: &'a Descriptor,
        platform: &Platform,
        rules: PlatformRules,
    ) -> Result<Option<&'a Arc<Manifest>>, ImageError> {
        let mut descriptor = entry;
        // The root's index is one level, each nested one another.
        for _ in 0..=self.limits.max_depth {
            match self.node(descriptor)? {
                Node::Manifest(manifest) => {
                    let own = self.config_platform(manifest, rules);
                    let fits = descriptor.platform.is_some()
                        || own.is_some_and(|own| rules.matches(platform, &own));
                    return Ok(fits.then_some(manifest));
                }
                Node::Index(index) => {
                    let matching = index.manifests().iter().find(|entry| {
                        entry.platform.as_ref().is_some_and(|own| rules.matches(platform, own))
                    });
                    let unnamed = || index.manifests().iter().find(|e| e.platform.is_none());
                    match matching.or_else(unnamed) {
                        Some(next) => descriptor = next,
                        None => return Ok(None),
                    }
                }
                Node::Absent => {
                    let platform = Some(Box::new(platform.clone()));
                    return Err(ImageError::ManifestMissing {
                        digest: descriptor.digest,
                        platform,
                    });
                }
                Node::Other => return Ok(None),
            }
        }
        Ok(None)
    }
}

/// Finds the manifest that stands for an entry of an image index when no platform is asked for.
pub(crate) struct FirstManifest<'a> {
    image: &'a Image,
    /// What nested indexes lead to; many entries may name the same one.
    known: HashMap<Digest, Option<Arc<Manifest>>>,
}

impl<'a> FirstManifest<'a> {
    pub(crate) fn new(image: &'a Image) -> Self {
        Self { image, known: HashMap::new() }
    }

    /// The entry's manifest, or the first under the entry's index. `None` if there is none, or if
    /// anything under the entry is neither a manifest nor an index, or is not there.
    pub(crate) fn of(&mut self, entry: &Descriptor) -> Result<Option<Arc<Manifest>>, ImageError> {
        match self.image.node(entry)? {
            Node::Manifest(manifest) => Ok(Some(Arc::clone(manifest))),
            Node::Other | Node::Absent => Ok(None),
            Node::Index(_) => {
                if let Some(known) = self.known.get(&entry.digest) {
                    return Ok(known.clone());
                }
                let found = self.under(entry)?;
                self.known.insert(entry.digest, found.clone());
                Ok(found)
            }
        }
    }

    fn under(&self, entry: &Descriptor) -> Result<Option<Arc<Manifest>>, ImageError> {
        let mut first = None;
        let mut seen = HashSet::new();
        let mut queue = vec![entry];
        while let Some(descriptor) = queue.pop() {
            match self.image.node(descriptor)? {
                Node::Manifest(manifest) => {
                    first.get_or_insert_with(|| Arc::clone(manifest));
                }
                Node::Index(index) if seen.insert(descriptor.digest) => {
                    queue.extend(index.manifests().iter().rev());
                }
                Node::Index(_) => {}
                Node::Other | Node::Absent => return Ok(None),
            }
        }
        Ok(first)
    }
}

fn first_entry<'a>(
    entries: &'a [Descriptor],
    platform: &Platform,
    rules: PlatformRules,
) -> Result<Option<&'a Descriptor>, ImageError> {
    for entry in entries {
        match &entry.platform {
            None => return Err(ImageError::EntryWithoutPlatform { digest: entry.digest }),
            Some(own) if rules.matches(platform, own) => return Ok(Some(entry)),
            Some(_) => {}
        }
    }
    Ok(None)
}
