//! Why an image is left as it is.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use soci_oci::Descriptor;

use super::LayerDecision;
use crate::image::NotAnImage;
use crate::settings::SociIndexSettings;

/// Why an image is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// There is no image to index.
    NotAnImage(NotAnImage),
    /// No layer gets a ztoc, and an index without ztocs is of no use.
    NothingToIndex {
        /// Layers with fewer bytes than the minimum, each counted once.
        too_small: usize,
        /// Layers compressed in a way that no ztoc can describe, by its name, each counted once.
        unsupported: BTreeMap<&'static str, usize>,
        /// The minimum in bytes.
        min_layer_size: u64,
    },
}

impl SkipReason {
    pub(super) fn nothing_to_index<'a>(
        settings: &SociIndexSettings,
        layers: impl Iterator<Item = (&'a Descriptor, LayerDecision)>,
    ) -> Self {
        let mut seen = HashSet::new();
        let (mut too_small, mut unsupported) = (0, BTreeMap::new());
        for (_, decision) in layers.filter(|(layer, _)| seen.insert(layer.digest)) {
            match decision {
                LayerDecision::TooSmall => too_small += 1,
                LayerDecision::Unsupported { compression } => {
                    *unsupported.entry(compression).or_insert(0) += 1;
                }
                LayerDecision::Build(_) => {}
            }
        }
        let min_layer_size = settings.min_layer_size;
        Self::NothingToIndex { too_small, unsupported, min_layer_size }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnImage(reason) => write!(f, "not an image: {reason}"),
            Self::NothingToIndex { too_small, unsupported, min_layer_size } => {
                f.write_str("no layer can be indexed: ")?;
                if *too_small == 0 && unsupported.is_empty() {
                    return f.write_str("the image has no layers");
                }
                let mut separator = "";
                if *too_small > 0 {
                    write!(f, "{too_small} smaller than {min_layer_size} bytes")?;
                    separator = ", ";
                }
                for (compression, layers) in unsupported {
                    write!(f, "{separator}{layers} with unsupported compression {compression}")?;
                    separator = ", ";
                }
                Ok(())
            }
        }
    }
}
