//! Which layers of an image are not there. Each takes a request, so not all are asked for where there are very many.

use std::collections::HashSet;

use futures_util::stream::{self, StreamExt as _};
use soci_manifest::{IndexPlan, Plan};
use soci_oci::{Digest, media_type};

use crate::store::ImageStore;

/// Layers that are asked for at once.
const LAYERS_AT_ONCE: usize = 8;

/// Most layers that are asked for: those of the manifests that come first.
const MOST_LAYERS: usize = 200;

/// The layers of a plan that are not there; and a warning if of some it is not known.
pub(super) async fn missing_layers<S: ImageStore>(
    store: &S,
    plan: &Plan,
) -> (HashSet<Digest>, Option<String>) {
    let mut layers: Vec<(Digest, u64)> = Vec::new();
    let mut known = HashSet::new();
    for (layer, _) in plan.indexes().iter().flat_map(IndexPlan::layers) {
        if !media_type::is_nondistributable(&layer.media_type) && known.insert(layer.digest) {
            layers.push((layer.digest, layer.size));
        }
    }
    let mut unknown = layers.len().saturating_sub(MOST_LAYERS);
    layers.truncate(MOST_LAYERS);
    let checks = stream::iter(layers)
        .map(|(digest, size)| async move { (digest, store.sees_image_blob(&digest, size).await) });
    let mut checks = checks.buffered(LAYERS_AT_ONCE);
    let (mut missing, mut why) = (HashSet::new(), None);
    while let Some((digest, there)) = checks.next().await {
        match there {
            Ok(true) => {}
            Ok(false) => {
                missing.insert(digest);
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
    (missing, warning)
}
