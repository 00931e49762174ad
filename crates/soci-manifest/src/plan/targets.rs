//! Which manifests of an image get a SOCI index: in V1 every image manifest, or those of the platforms asked for; in V2 the
//! first of each platform, as a runtime would choose that.

use std::collections::HashSet;
use std::sync::Arc;

use soci_oci::{Descriptor, Manifest, Platform, PlatformRules};

use super::left_out::LeftOutSoFar;
use crate::error::ImageError;
use crate::image::{
    Image, Node, PlanRules, Selected, UntoldEntry, manifest_not_an_image, without_repetitions,
};
use crate::settings::Platforms;

/// An image manifest that gets a SOCI index if it has layers for one.
pub(super) struct Target {
    pub(super) platform: Option<Platform>,
    pub(super) descriptor: Descriptor,
    pub(super) manifest: Arc<Manifest>,
}

impl Image {
    /// The image manifests of an index, nested ones too; or the single manifest.
    pub(super) fn all_manifests(
        &self,
        rules: PlanRules,
        left_out: &mut LeftOutSoFar,
    ) -> Result<Vec<Target>, ImageError> {
        let mut targets = Vec::new();
        let mut seen = HashSet::new();
        let mut queue = vec![(self.root(), 0)];
        while let Some((descriptor, depth)) = queue.pop() {
            let unknown = descriptor.platform.as_ref().is_some_and(Platform::is_unknown);
            if unknown || !seen.insert(descriptor.digest) {
                continue;
            }
            match self.node(descriptor)? {
                Node::Index(index) => {
                    queue.extend(index.manifests().iter().rev().map(|child| (child, depth + 1)));
                }
                Node::Manifest(manifest)
                    if manifest_not_an_image(descriptor, manifest).is_none() =>
                {
                    // The reference asks every entry of the root for its platform, no nested one.
                    if rules.strict && depth == 1 && descriptor.platform.is_none() {
                        return Err(ImageError::EntryWithoutPlatform { digest: descriptor.digest });
                    }
                    targets.push(Target {
                        platform: self.platform_of(descriptor, manifest, rules.platform),
                        descriptor: descriptor.clone(),
                        manifest: Arc::clone(manifest),
                    });
                }
                // What says that it is something else needs no SOCI index.
                Node::Absent if descriptor.artifact_type.is_empty() => {
                    let platform = descriptor.platform.as_ref();
                    let error = ImageError::ManifestMissing {
                        digest: descriptor.digest,
                        platform: platform.cloned().map(Box::new),
                    };
                    left_out.or_leave_out(platform, None, Err::<(), _>(error))?;
                }
                Node::Manifest(_) | Node::Other | Node::Absent => {}
            }
        }
        Ok(targets)
    }

    /// The manifests of the given platforms; the single manifest whatever its platform, as the
    /// reference takes it for V1.
    pub(super) fn manifests_of(
        &self,
        platforms: &[Platform],
        rules: PlanRules,
        left_out: &mut LeftOutSoFar,
    ) -> Result<Vec<Target>, ImageError> {
        let mut seen = HashSet::new();
        let mut targets = Vec::new();
        for platform in without_repetitions(platforms, rules.platform, self.limits().max_platforms)
        {
            let selected = self.select(&platform, rules, None);
            let selected = left_out.or_leave_out(Some(&platform), None, selected)?;
            let Some(Selected { descriptor, manifest }) = selected else { continue };
            if seen.insert(descriptor.digest) {
                let own = self.platform_of(&descriptor, &manifest, rules.platform);
                targets.push(Target { platform: own.or(Some(platform)), descriptor, manifest });
            }
        }
        Ok(targets)
    }

    /// The first manifest of every platform, or of those given.
    pub(super) fn conversion_targets(
        &self,
        platforms: &Platforms,
        rules: PlanRules,
        left_out: &mut LeftOutSoFar,
    ) -> Result<Vec<Target>, ImageError> {
        let mut untold = Vec::new();
        let all = self.platforms(rules, &mut untold)?;
        let root_platform = self.root_index().is_none().then(|| all.first()).flatten();
        let wanted = match platforms {
            Platforms::All => &all,
            Platforms::Only(platforms) | Platforms::AnyOf(platforms) => platforms,
        };
        let wanted = without_repetitions(wanted, rules.platform, self.limits().max_platforms);
        // Before one search per platform through what may be a long index.
        self.check_platforms(wanted.len())?;
        let mut targets = Vec::with_capacity(wanted.len());
        for platform in wanted {
            let selected = self.select(&platform, rules, root_platform);
            let selected = left_out.or_leave_out(Some(&platform), None, selected)?;
            targets.extend(selected.map(|Selected { descriptor, manifest }| Target {
                platform: Some(platform),
                descriptor,
                manifest,
            }));
        }
        // Whoever names platforms has not asked for these.
        for UntoldEntry { digest, error } in
            untold.into_iter().filter(|_| *platforms == Platforms::All)
        {
            left_out.or_leave_out(None, Some(digest), Err::<(), _>(error))?;
        }
        Ok(targets)
    }

    fn platform_of(
        &self,
        descriptor: &Descriptor,
        manifest: &Manifest,
        rules: PlatformRules,
    ) -> Option<Platform> {
        descriptor.platform.clone().or_else(|| self.config_platform(manifest, rules))
    }

    pub(super) fn check_limits(&self, targets: &[Target]) -> Result<(), ImageError> {
        self.check_platforms(targets.len())?;
        let layers: usize = targets.iter().map(|target| target.manifest.layers().len()).sum();
        let limit = self.limits().max_layers;
        if layers > limit {
            return Err(ImageError::Limit { what: "layers", limit });
        }
        Ok(())
    }

    fn check_platforms(&self, platforms: usize) -> Result<(), ImageError> {
        let limit = self.limits().max_platforms;
        if platforms > limit {
            return Err(ImageError::Limit { what: "platforms", limit });
        }
        Ok(())
    }
}
