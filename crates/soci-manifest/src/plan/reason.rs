//! Why an image is left as it is.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use soci_oci::{Descriptor, Platform, Tag};
use soci_text::{clip, size};

use super::{LayerDecision, SkippedLayer};
use crate::image::NotAnImage;
use crate::settings::SociIndexSettings;

/// Most platforms that are named.
const MAX_NAMED: usize = 8;

/// Why an image is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// There is no image to index.
    NotAnImage(NotAnImage),
    /// The image has an index with prefetch artifacts, and would get one without.
    PrefetchKept {
        /// The tag of the index.
        tag: Tag,
    },
    /// No layer gets a ztoc, and an index without ztocs is of no use.
    NothingToIndex {
        /// Layers with fewer bytes than the minimum, each counted once.
        too_small: usize,
        /// Layers compressed in a way that no ztoc can describe, by its name, each counted once.
        unsupported: BTreeMap<&'static str, usize>,
        /// Layers of several gzip members, each counted once.
        several_members: usize,
        /// Layers that no ztoc describes though they are gzip or tar, by why, each counted once.
        left_out: BTreeMap<String, usize>,
        /// The minimum in bytes.
        min_layer_size: u64,
        /// The layers, in the order of the image, each once.
        layers: Vec<SkippedLayer>,
    },
    /// The image has none of the platforms that are wanted ([`Platforms::AnyOf`](crate::Platforms::AnyOf)).
    OtherPlatforms {
        /// Those that it has, as text; empty if nothing tells.
        has: String,
        /// Those that are wanted, as text.
        wanted: String,
    },
}

impl SkipReason {
    pub(super) fn other_platforms(has: &[Platform], wanted: &[Platform]) -> Self {
        Self::OtherPlatforms { has: listed(has), wanted: listed(wanted) }
    }

    pub(super) fn nothing_to_index<'a>(
        settings: &SociIndexSettings,
        layers: impl Iterator<Item = (&'a Descriptor, LayerDecision)>,
    ) -> Self {
        let mut seen = HashSet::new();
        let (mut too_small, mut several_members, mut unsupported) = (0, 0, BTreeMap::new());
        let (mut left_out, mut skipped) = (BTreeMap::new(), Vec::new());
        for (layer, decision) in layers.filter(|(layer, _)| seen.insert(layer.digest)) {
            skipped.push(SkippedLayer { digest: layer.digest, size: layer.size, decision });
            match decision {
                LayerDecision::TooSmall => too_small += 1,
                LayerDecision::Unsupported { compression } => {
                    *unsupported.entry(compression).or_insert(0) += 1;
                }
                LayerDecision::SeveralMembers => several_members += 1,
                LayerDecision::LeftOut(why) => *left_out.entry(why.to_string()).or_insert(0) += 1,
                LayerDecision::Build(_) | LayerDecision::PrefetchArtifact => {}
            }
        }
        Self::NothingToIndex {
            too_small,
            unsupported,
            several_members,
            left_out,
            min_layer_size: settings.min_layer_size,
            layers: skipped,
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnImage(reason) => write!(f, "not an image: {reason}"),
            Self::OtherPlatforms { has, wanted } if has.is_empty() => {
                write!(f, "nothing tells the image's platform, and only {wanted} are indexed")
            }
            Self::OtherPlatforms { has, wanted } => {
                write!(f, "the image is for {has}, and only {wanted} are indexed")
            }
            Self::PrefetchKept { tag } => write!(
                f,
                "the index under {tag} has a list of files to prefetch, which the one that would take its place has \
                 not: index with --compatible-with 0.16 and the settings it was built with to keep the list, name the files \
                 anew, or do without by --force"
            ),
            Self::NothingToIndex {
                too_small,
                unsupported,
                several_members,
                left_out,
                min_layer_size,
                layers: _,
            } => {
                let mut parts = Vec::new();
                if *too_small > 0 {
                    parts.push(format!("{too_small} smaller than {}", size(*min_layer_size)));
                }
                for (compression, layers) in unsupported {
                    parts.push(format!("{layers} with unsupported compression {compression}"));
                }
                if *several_members > 0 {
                    parts.push(format!(
                        "{several_members} of several gzip members, which soci-snapshotter before 0.14 misreads"
                    ));
                }
                for (why, layers) in left_out {
                    parts.push(format!("{layers} with {why}"));
                }
                if parts.is_empty() {
                    parts.push("the image has no layers".to_owned());
                }
                write!(f, "no layer can be indexed: {}", parts.join(", "))
            }
        }
    }
}

/// The first platforms, each cut short, and how many more there are.
fn listed(platforms: &[Platform]) -> String {
    let named = platforms.iter().take(MAX_NAMED).map(|platform| clip(&platform.to_string()));
    let named = named.collect::<Vec<_>>().join(", ");
    match platforms.len().saturating_sub(MAX_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
