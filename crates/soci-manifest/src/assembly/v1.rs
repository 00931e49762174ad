//! V1: SOCI indexes that refer to image manifests.

use soci_oci::Manifest;
use soci_oci::media_type::OCI_MANIFEST;

use super::{NewManifest, Role, SociIndex, Written, referrer};
use crate::error::ImageError;
use crate::plan::Plan;

impl Plan {
    pub(super) fn write_v1(&self, soci_indexes: &[Manifest]) -> Result<Written, ImageError> {
        let mut manifests = Vec::new();
        let mut indexes = Vec::new();
        let mut root = None;
        for (plan, soci_index) in self.indexes().iter().zip(soci_indexes) {
            let bytes = soci_index.encode();
            let descriptor = self.describe(OCI_MANIFEST, &bytes)?;
            let subject = plan.image.digest;
            indexes.push(SociIndex {
                platform: plan.platform.clone(),
                image_manifest: subject,
                digest: descriptor.digest,
            });
            let referrer = referrer(soci_index, &descriptor);
            root.get_or_insert_with(|| descriptor.clone());
            manifests.push(NewManifest { descriptor, bytes, role: Role::SociIndex, referrer });
        }
        // A plan has at least one SOCI index.
        let root = root.ok_or(ImageError::NothingPlanned)?;
        Ok(Written { manifests, root, indexes })
    }
}
