//! Which platforms an image has, as containerd's `images.Platforms` finds them.

use std::collections::HashSet;

use soci_oci::{Descriptor, Digest, Platform, PlatformRules, media_type};

use super::{Image, Node, children};
use crate::error::ImageError;

impl Image {
    /// The platforms of the image in its order, with repetitions: those that an image index
    /// names, without looking further, and those that configurations tell where it names none.
    pub(crate) fn platforms(&self, rules: PlatformRules) -> Result<Vec<Platform>, ImageError> {
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
