//! What an image could be indexed to, for those who look at what is there and build nothing.
//!
//! Which layers an index has depends on what it was built with, and who looks does not know that. So an image is planned with
//! every layer that a ztoc can describe, however small. Where that fails, as small layers may be of kinds that no rule
//! knows, it is planned as whoever looks would build it; and where version 2 can make nothing of the image, for version 1.

use std::collections::HashSet;

use soci_manifest::format::DEFAULT_MIN_LAYER_SIZE;
use soci_manifest::{
    Image, ImageError, IndexPlan, Plan, Planned, Platforms, SkipReason, SociIndexSettings, Version,
};
use soci_oci::{Digest, Index};

use crate::error::IndexError;
use crate::gather::gather;
use crate::options::{ImageName, Options};
use crate::store::ImageStore;

/// What can be made of an image.
pub(crate) enum Outlook {
    /// SOCI indexes for these manifests, at most.
    Plan(Box<Plan>),
    /// Nothing, and why.
    Nothing(SkipReason),
}

/// What can be made of an image whose documents are there.
pub(crate) fn outlook(image: &Image) -> Result<Outlook, ImageError> {
    let mut first = None;
    for version in [Version::V2, Version::V1] {
        for min_layer_size in [0, DEFAULT_MIN_LAYER_SIZE] {
            let settings =
                SociIndexSettings { version, min_layer_size, ..SociIndexSettings::default() };
            match image.plan(&settings, &Platforms::All) {
                Ok(Planned::Build(plan)) => return Ok(Outlook::Plan(plan)),
                Ok(Planned::Skip(reason)) => first = first.or(Some(Ok(reason))),
                Err(error) => first = first.or(Some(Err(error))),
            }
        }
    }
    match first {
        Some(Ok(reason)) => Ok(Outlook::Nothing(reason)),
        Some(Err(error)) => Err(error),
        // Each of the four attempts ends in one of the three ways.
        None => Err(ImageError::NotSupplied { digest: image.root().digest }),
    }
}

/// What a converted image (V2) has to do with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MadeOf {
    /// It is what the image is converted to, by whatever settings.
    All,
    /// It has some of the image's manifests, as others were not there when it was made.
    Some,
    /// It has none of the manifests that are there, and others of the image are not.
    Unknown,
    /// Nothing.
    None,
}

/// What a converted image has to do with this image.
pub(crate) async fn made_of<S: ImageStore>(
    store: &S,
    image: &ImageName,
    converted: &Index,
    options: &Options,
) -> Result<MadeOf, IndexError> {
    let gathered = gather(store, image, None, options).await?;
    if let Outlook::Plan(plan) = outlook(&gathered.image)? {
        if plan.found_in(converted).is_some() {
            return Ok(MadeOf::All);
        }
        let entries = || converted.manifests().iter().map(|entry| entry.digest);
        let listed: HashSet<Digest> = entries().collect();
        let has = |index: &IndexPlan| {
            entries().any(|soci_index| listed.contains(&index.converted_digest(&soci_index)))
        };
        if plan.version() == Version::V2 && plan.indexes().iter().any(has) {
            return Ok(MadeOf::Some);
        }
    }
    let whole = gathered.image.absent_entries().next().is_none();
    Ok(if whole { MadeOf::None } else { MadeOf::Unknown })
}
