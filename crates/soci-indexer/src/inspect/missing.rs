//! Which layers of an image are not there. Each takes a request, so not all are asked for where there are very many.

use std::collections::{HashMap, HashSet};

use futures_util::stream::{self, StreamExt as _};
use soci_manifest::{IndexPlan, Plan};
use soci_oci::{Digest, media_type};

use crate::store::ImageStore;

/// Layers that are asked for at once.
const LAYERS_AT_ONCE: usize = 8;

/// Most layers that are asked for: those of the manifests that come first.
const MOST_LAYERS: usize = 200;

/// Which layers of a plan are there, as far as it is known; and a warning if of some it is not.
pub(super) async fn layers_there<S: ImageStore>(
    store: &S,
    plan: &Plan,
) -> (HashMap<Digest, bool>, Option<String>) {
    let mut layers: Vec<(Digest, u64)> = Vec::new();
    let mut seen = HashSet::new();
    for (layer, _) in plan.indexes().iter().flat_map(IndexPlan::layers) {
        if !media_type::is_nondistributable(&layer.media_type) && seen.insert(layer.digest) {
            layers.push((layer.digest, layer.size));
        }
    }
    let mut unknown = layers.len().saturating_sub(MOST_LAYERS);
    layers.truncate(MOST_LAYERS);
    let checks = stream::iter(layers)
        .map(|(digest, size)| async move { (digest, store.sees_image_blob(&digest, size).await) });
    let mut checks = checks.buffered(LAYERS_AT_ONCE);
    let (mut known, mut why) = (HashMap::new(), None);
    while let Some((digest, there)) = checks.next().await {
        match there {
            Ok(there) => {
                known.insert(digest, there);
            }
            Err(error) => {
                unknown += 1;
                why.get_or_insert_with(|| error.to_string());
            }
        }
    }
    let why = why.unwrap_or_else(|| format!("only {MOST_LAYERS} are asked for"));
    let warning = (unknown > 0)
        .then(|| format!("whether {unknown} of the image's layers are there is not known: {why}"));
    (known, warning)
}
