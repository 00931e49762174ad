//! Which platforms an image has, as containerd's `images.Platforms` finds them.

use std::collections::HashSet;

use soci_oci::{Descriptor, Digest, Platform, media_type};

use super::{Image, Node, children};
use crate::error::ImageError;

impl Image {
    /// The platforms of the image in its order, with repetitions: those that an image index
    /// names, without looking further, and those that configurations tell where it names none.
    pub(crate) fn platforms(&self) -> Result<Vec<Platform>, ImageError> {
        let mut platforms = Vec::new();
        self.collect_platforms(&self.root, &mut HashSet::new(), &mut platforms)?;
        Ok(platforms)
    }

    /// Goes as deep as the image's indexes nest, which [`Image::missing`] has checked.
    fn collect_platforms(
        &self,
        descriptor: &Descriptor,
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
                            platforms.push(self.config(&child.digest)?.clone());
                        }
                        None => {}
                    }
                }
            }
            Node::Index(index) => {
                for child in index.manifests() {
                    self.collect_platforms(child, seen, platforms)?;
                }
            }
            Node::Other => {}
        }
        Ok(())
    }
}

/// The platforms without those that match an earlier one.
pub(crate) fn without_repetitions(platforms: &[Platform]) -> Vec<Platform> {
    let mut seen = HashSet::new();
    let mut first = |platform: &&Platform| {
        let normal = platform.normalized();
        seen.insert((normal.os, normal.architecture, normal.variant))
    };
    platforms.iter().filter(|platform| first(platform)).cloned().collect()
}
