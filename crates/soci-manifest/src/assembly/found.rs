//! Whether an image index is what an image was converted to (V2), by whatever settings.
//!
//! Nothing is taken on trust: each entry of the image is converted again, with each SOCI index that the image index lists
//! and without one, and the digest that comes out has to be listed. So a result of an older image of the same tag is not
//! taken for this one's, be there a single manifest that differs; and one that was built with another span size, or by
//! the reference, is found.

use std::collections::HashSet;

use soci_oci::{Descriptor, Digest, Index};

use super::v2::converted;
use crate::format::{IMAGE_MANIFEST_DIGEST, Version};
use crate::plan::{IndexPlan, Plan};

/// Most SOCI indexes of an image index that are looked at. A result has one for each platform, and what somebody else wrote
/// under its tag must not cost more than a moment.
const MAX_SOCI_INDEXES: usize = 256;

impl Plan {
    /// The SOCI index that `root` has for each of [`Plan::indexes`], in their order, if `root` is a result of this image.
    /// A platform may have none, as it was left out for what is in its layers, but not all of them. Only version V2
    /// makes such results.
    pub fn found_in(&self, root: &Index) -> Option<Vec<Option<Digest>>> {
        let conversion = self.conversion.as_ref()?;
        let is_soci = |artifact_type: &str| artifact_type == Version::V2.artifact_type();
        let (soci, images): (Vec<_>, Vec<_>) =
            root.manifests().iter().partition(|entry| is_soci(&entry.artifact_type));
        if soci.len() > MAX_SOCI_INDEXES {
            return None;
        }
        let images: HashSet<Digest> = images.iter().map(|entry| entry.digest).collect();
        let mut accounted = HashSet::new();
        for (entry, manifest) in conversion.index.manifests().iter().zip(&conversion.manifests) {
            if is_soci(&entry.artifact_type) {
                continue;
            }
            let rewritten = manifest.iter().flat_map(|manifest| {
                let with = soci.iter().map(|soci| converted(manifest, Some(&soci.digest)));
                with.chain([converted(manifest, None)])
                    .map(|manifest| Digest::sha256_of(&manifest.encode()))
            });
            let found = rewritten.chain([entry.digest]).find(|digest| images.contains(digest));
            match found {
                Some(digest) => accounted.insert(digest),
                // Some registries take no image index that lists what is not there.
                None if manifest.is_none() => continue,
                None => return None,
            };
        }
        if accounted != images {
            return None;
        }
        let found: Vec<Option<Digest>> = self
            .indexes()
            .iter()
            .map(|index| {
                let names = |soci: &Digest| images.contains(&index.converted_digest(soci));
                soci.iter().map(|soci| soci.digest).find(names)
            })
            .collect();
        found.iter().any(Option::is_some).then_some(found)
    }
}

/// A SOCI index (V2) that an image index lists without saying that it is one. No client takes it for one, so it is of no use.
/// That is what copies come to by tools that know no `artifactType` in an image index.
pub fn unmarked_soci_index(root: &Index) -> Option<Digest> {
    let is_unmarked = |entry: &&Descriptor| {
        entry.artifact_type.is_empty() && entry.annotations.contains_key(IMAGE_MANIFEST_DIGEST)
    };
    root.manifests().iter().find(is_unmarked).map(|entry| entry.digest)
}

impl IndexPlan {
    /// The digest of the manifest that takes the place of this one's in the converted image, with this SOCI index (V2).
    pub fn converted_digest(&self, soci_index: &Digest) -> Digest {
        Digest::sha256_of(&converted(self.manifest(), Some(soci_index)).encode())
    }
}
