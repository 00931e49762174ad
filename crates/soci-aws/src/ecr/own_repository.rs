//! One repository in ECR by its name, as commands on a repository need it.
//!
//! Only a host that AWS documents for ECR is asked about, and its name says account and region; for any other registry nothing
//! of AWS is touched. What is configured for the host in docker's or podman's files does not count here: these are calls of
//! ECR's own API, which takes the credentials of AWS.

use soci_oci::{Digest, Repository, Tag};
use soci_push::event::AccountId;
use soci_registry::TlsOptions;

use super::hosts::EcrHost;
use super::{Catalogue, EcrError, ImageEntry, RepositoryEntry};
use crate::sdk;

/// A private repository in ECR.
#[derive(Clone, Debug)]
pub struct EcrRepository {
    catalogue: Catalogue,
    entry: RepositoryEntry,
}

impl EcrRepository {
    /// The repository, if it is in a private registry of ECR. AWS's servers are trusted as `tls` says.
    pub async fn open(repository: &Repository, tls: TlsOptions) -> Option<Self> {
        let (account, host) = private(repository.registry())?;
        let config = sdk::load_in(host.region.as_str(), tls).await;
        let region = aws_config::Region::new(host.region.as_str().to_owned());
        let catalogue = Catalogue::new(&config.to_builder().region(region).build());
        let entry =
            RepositoryEntry { repository: repository.clone(), account, region: host.region };
        Some(Self { catalogue, entry })
    }

    /// Whether a host is a private registry of ECR.
    pub fn is_at(registry: &str) -> bool {
        private(registry).is_some()
    }

    /// All images and other manifests in it.
    pub async fn images(&self) -> Result<Vec<ImageEntry>, EcrError> {
        let (mut listing, mut images) = (self.catalogue.images(&self.entry), Vec::new());
        while let Some(image) = listing.next().await {
            images.push(image?);
        }
        Ok(images)
    }

    /// One of those that [`Catalogue::repositories`] lists.
    pub fn of(catalogue: Catalogue, entry: RepositoryEntry) -> Self {
        Self { catalogue, entry }
    }

    /// The repository as references name it.
    pub fn repository(&self) -> &Repository {
        &self.entry.repository
    }

    /// Deletes some of them ([`Catalogue::delete`]).
    pub async fn delete(
        &self,
        images: &[(Digest, Vec<Tag>)],
    ) -> Result<Vec<(Digest, String)>, EcrError> {
        self.catalogue.delete(&self.entry, images).await
    }

    /// What ECR says of some of them, at most 100. If one is not there, that is an error.
    pub async fn described(&self, digests: &[Digest]) -> Result<Vec<ImageEntry>, EcrError> {
        self.catalogue.described(&self.entry, digests).await
    }
}

/// The account and the rest of a private registry's host.
fn private(registry: &str) -> Option<(AccountId, EcrHost<'_>)> {
    let host = EcrHost::parse(registry).filter(EcrHost::is_documented)?;
    let account = registry.split_once('.')?.0.parse().ok()?;
    Some((account, host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_registries_of_ecr_are_asked_about() {
        assert!(EcrRepository::is_at("123456789012.dkr.ecr.eu-west-1.amazonaws.com"));
        for other in
            ["public.ecr.aws", "docker.io", "localhost:5000", "123456789012.dkr.ecr.x.example"]
        {
            assert!(!EcrRepository::is_at(other), "{other}");
        }
    }
}
