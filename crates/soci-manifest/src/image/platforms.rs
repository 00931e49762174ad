//! Which platforms an image has, as containerd's `images.Platforms` finds them.
//!
//! containerd fails on a whole image for an entry of its index without a platform whose manifest or configuration is not
//! there or cannot be read, and the reference for every entry without a platform in front of the one looked for. Here such
//! an entry has the platform of its configuration, as runtimes see it, and one that tells none is left alone.

use std::collections::HashSet;

use soci_oci::{Descriptor, Digest, Platform, PlatformRules, media_type};

use super::{Image, Node, children, manifest_not_an_image};
use crate::error::ImageError;

/// How a plan is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlanRules {
    /// What counts of a platform.
    pub(crate) platform: PlatformRules,
    /// Whether an image fails where the reference fails on it.
    pub(crate) strict: bool,
}

/// An entry of the image index that tells no platform, and why.
pub(crate) struct UntoldEntry {
    pub(crate) digest: Digest,
    pub(crate) error: ImageError,
}

impl Image {
    /// The platforms of the image in its order, with repetitions. Entries of the image index that tell none are put into
    /// `untold`, or fail if the rules are strict.
    pub(crate) fn platforms(
        &self,
        rules: PlanRules,
        untold: &mut Vec<UntoldEntry>,
    ) -> Result<Vec<Platform>, ImageError> {
        let Some(index) = self.root_index().filter(|_| !rules.strict) else {
            return self.platforms_as_listed(rules.platform);
        };
        let mut platforms = Vec::new();
        for entry in index.manifests() {
            match &entry.platform {
                Some(platform) if platform.is_unknown() => {}
                Some(platform) => platforms.push(platform.clone()),
                None => match self.told_platform(entry, rules.platform) {
                    Ok(platform) => platforms.extend(platform),
                    Err(error) => untold.push(UntoldEntry { digest: entry.digest, error }),
                },
            }
        }
        Ok(platforms)
    }

    /// The platform of an entry without one: that of its configuration, nothing if it is no image.
    pub(crate) fn told_platform(
        &self,
        entry: &Descriptor,
        rules: PlatformRules,
    ) -> Result<Option<Platform>, ImageError> {
        let digest = entry.digest;
        match self.node(entry)? {
            Node::Manifest(manifest) if manifest_not_an_image(entry, manifest).is_some() => {
                Ok(None)
            }
            Node::Manifest(manifest) => {
                let platform = rules.of_config(self.config(&manifest.config.digest)?);
                if platform.os.is_empty() || platform.architecture.is_empty() {
                    return Err(ImageError::EntryWithoutPlatform { digest });
                }
                Ok(Some(platform))
            }
            // What says that it is something else is no image.
            Node::Absent if !entry.artifact_type.is_empty() => Ok(None),
            Node::Absent => Err(ImageError::ManifestMissing { digest, platform: None }),
            Node::Index(_) => Err(ImageError::EntryWithoutPlatform { digest }),
            Node::Other => Ok(None),
        }
    }

    /// The platforms of the image in its order, with repetitions: those that an image index
    /// names, without looking further, and those that configurations tell where it names none.
    fn platforms_as_listed(&self, rules: PlatformRules) -> Result<Vec<Platform>, ImageError> {
        let mut platforms = Vec::new();
        self.collect_platforms(&self.root, rules, &mut HashSet::new(), &mut platforms)?;
        Ok(platforms)
    }

    /// Goes as deep as the image's indexes nest, which [`Image::missing`] has checked.
    fn collect_platforms(
        &self,
        descriptor: &Descriptor,
        rules: PlatformRules,
        seen: &mut HashSet<Digest>,
        platforms: &mut Vec<Platform>,
    ) -> Result<(), ImageError> {
        if let Some(platform) = &descriptor.platform {
            if !platform.is_unknown() {
                platforms.push(platform.clone());
            }
            return Ok(());
        }
        // A document that is met again would only repeat platforms.
        if !seen.insert(descriptor.digest) {
            return Ok(());
        }
        match self.node(descriptor)? {
            Node::Manifest(manifest) => {
                for child in children(manifest) {
                    match &child.platform {
                        Some(platform) if platform.is_unknown() => {}
                        Some(platform) => platforms.push(platform.clone()),
                        None if media_type::is_config(&child.media_type) => {
                            platforms.push(rules.of_config(self.config(&child.digest)?));
                        }
                        None => {}
                    }
                }
            }
            Node::Index(index) => {
                for child in index.manifests() {
                    self.collect_platforms(child, rules, seen, platforms)?;
                }
            }
            Node::Absent => {
                let digest = descriptor.digest;
                return Err(ImageError::ManifestMissing { digest, platform: None });
            }
            Node::Other => {}
        }
        Ok(())
    }
}

/// The platforms without those that an earlier one stands for, and no more than `most` and one.
pub(crate) fn without_repetitions(
    platforms: &[Platform],
    rules: PlatformRules,
    most: usize,
) -> Vec<Platform> {
    let mut kept: Vec<Platform> = Vec::new();
    let mut normal_forms: Vec<Platform> = Vec::new();
    for platform in platforms {
        let normal = rules.normalized(platform);
        let repeated = |earlier| rules.normal_forms_match(earlier, &normal);
        if kept.len() <= most && !normal_forms.iter().any(repeated) {
            kept.push(platform.clone());
            normal_forms.push(normal);
        }
    }
    kept
}
