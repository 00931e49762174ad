//! What ECR's own API knows and does of single images, for a service: the caller's credentials, and any region of hosts that
//! AWS documents.

use soci_oci::{Digest, Repository, Tag};
use soci_push::event::AccountId;
use soci_registry::{OwnApi, OwnApiError, OwnApiFuture};

use super::hosts::EcrHost;
use super::{Catalogue, EcrError, RepositoryEntry};
use crate::sdk::SdkConfig;

/// Codes of what stays for a reason: an image index lists it, or the tag names something else by now (Amazon ECR API
/// reference, `ImageFailure`).
const STAYS: [&str; 2] = ["ImageReferencedByManifestList", "ImageTagDoesNotMatchDigest"];

/// ECR's API for private registries.
#[derive(Clone, Debug)]
pub struct EcrApi {
    config: SdkConfig,
    /// That of the configuration's region, where nearly all images are.
    catalogue: Catalogue,
}

impl EcrApi {
    /// With the configuration's credentials.
    pub fn new(config: &SdkConfig) -> Self {
        Self { config: config.clone(), catalogue: Catalogue::new(config) }
    }

    /// The catalogue of a repository's region, and the repository in it.
    fn find(&self, repository: &Repository) -> Result<(Catalogue, RepositoryEntry), OwnApiError> {
        let registry = repository.registry();
        let host = EcrHost::parse(registry).filter(EcrHost::is_documented);
        let account = registry.split_once('.').and_then(|(account, _)| account.parse().ok());
        let (Some(host), Some(account)): (_, Option<AccountId>) = (host, account) else {
            let what = format!("{registry} is no private registry of ECR");
            return Err(OwnApiError { what, transient: false, source: None });
        };
        let region = aws_config::Region::new(host.region.as_str().to_owned());
        let catalogue = if self.config.region() == Some(&region) {
            self.catalogue.clone()
        } else {
            Catalogue::new(&self.config.to_builder().region(region).build())
        };
        let repository = repository.clone();
        Ok((catalogue, RepositoryEntry { repository, account, region: host.region }))
    }
}

impl OwnApi for EcrApi {
    fn tags_of<'a>(
        &'a self,
        repository: &'a Repository,
        digests: &'a [Digest],
    ) -> OwnApiFuture<'a, Vec<(Digest, Vec<Tag>)>> {
        Box::pin(async move {
            let (catalogue, entry) = self.find(repository)?;
            catalogue.tags_of(&entry, digests).await.map_err(failed)
        })
    }

    fn delete<'a>(
        &'a self,
        repository: &'a Repository,
        images: &'a [(Digest, Vec<Tag>)],
    ) -> OwnApiFuture<'a, Vec<(Digest, String)>> {
        Box::pin(async move {
            let (catalogue, entry) = self.find(repository)?;
            let refused = catalogue.delete(&entry, images).await.map_err(failed)?;
            // Only what a later push may have made so is an answer.
            let other = refused.iter().find(|(_, code)| !STAYS.contains(&code.as_str()));
            if let Some((digest, code)) = other {
                let what = format!("ECR did not delete {digest} of {repository}: {code}");
                return Err(OwnApiError { what, transient: true, source: None });
            }
            Ok(refused)
        })
    }
}

fn failed(error: EcrError) -> OwnApiError {
    let transient = error.is_transient();
    OwnApiError { what: error.to_string(), transient, source: Some(error.source) }
}
