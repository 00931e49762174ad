//! AWS's side of the [shortcut](crate::Shortcut).

use soci_aws::sdk::SdkConfig;
use soci_aws::{Catalogue, EcrError};
use soci_oci::Digest;
use soci_push::event::PushEvent;

use crate::dispatch::Manifests;
use crate::size::FetchedManifest;

/// Manifests in ECR, from its API: one call for all of an image index.
#[derive(Clone, Debug)]
pub struct EcrManifests {
    catalogue: Catalogue,
    region: Option<String>,
}

impl EcrManifests {
    /// Manifests in the registries of the configuration's region.
    pub fn new(config: &SdkConfig) -> Self {
        let region = config.region().map(ToString::to_string);
        Self { catalogue: Catalogue::new(config), region }
    }
}

/// Manifests were not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestsError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] EcrError),
    /// The push was in another region, whose registry this client does not reach.
    #[error("the image was pushed in region {0}, which is not this function's")]
    Elsewhere(String),
}

impl Manifests for EcrManifests {
    type Error = ManifestsError;

    async fn fetch(
        &self,
        push: &PushEvent,
        digests: &[Digest],
    ) -> Result<Vec<FetchedManifest>, ManifestsError> {
        let region = push.region.as_str();
        if self.region.as_deref().is_some_and(|own| own != region) {
            return Err(ManifestsError::Elsewhere(region.to_owned()));
        }
        let (account, name) = (Some(&push.account), push.repository.name());
        let found = self.catalogue.manifests(account, name, digests).await?;
        let fetched = |manifest: soci_aws::ecr::RawManifest| FetchedManifest {
            digest: manifest.digest,
            // Without one it is none that can be read, which is what the reader then says.
            media_type: manifest.media_type.unwrap_or_default(),
            bytes: manifest.body.into_bytes(),
        };
        Ok(found.into_iter().map(fetched).collect())
    }
}
