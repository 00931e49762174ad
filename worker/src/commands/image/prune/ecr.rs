//! Cleaning up in ECR.

use std::collections::HashMap;

use soci_aws::ecr::{EcrRepository, ImageEntry};
use soci_aws::{Catalogue, sdk};
use soci_indexer::{
    Deleter, Leftover, ListedManifest, NotDeleted, Reason, RemoteRepository, RepositoryListing,
};
use soci_oci::{Digest, Repository, Tag};
use soci_push::event::Timestamp;
use soci_registry::Client;
use soci_text::error_chain;

use super::super::connection::tls_options;
use super::place::Place;
use crate::cli::PruneArgs;
use crate::report::Failure;

/// The repository as ECR's own API sees it, if it is in ECR.
pub(super) async fn open(args: &PruneArgs, repository: &Repository) -> Option<EcrRepository> {
    EcrRepository::open(repository, tls_options(&args.connection)).await
}

/// The repositories of the configured account and region whose names match.
pub(super) async fn matching(args: &PruneArgs, client: &Client) -> Result<Vec<Place>, Failure> {
    let config = sdk::load_trusting(tls_options(&args.connection)).await;
    let catalogue = Catalogue::new(&config);
    let (mut listing, mut places) = (catalogue.repositories(), Vec::new());
    while let Some(entry) = listing.next().await {
        let entry = entry.map_err(|error| Failure::of_ecr(&error))?;
        let repository = entry.repository.clone();
        if args.repository.iter().any(|glob| glob.matches(repository.name(), None)) {
            places.push(Place {
                store: RemoteRepository::new(client.clone(), repository.clone()),
                repository,
                ecr: Some(EcrRepository::of(catalogue.clone(), entry)),
            });
        }
    }
    if places.is_empty() {
        let detail = "no repository matches".to_owned();
        return Err(Failure::new(Reason::ImageGone.code(), detail));
    }
    places.sort_by(|a, b| a.repository.name().cmp(b.repository.name()));
    Ok(places)
}

/// All that is in the repository, with its age.
pub(super) async fn listing(ecr: &EcrRepository) -> Result<RepositoryListing, Failure> {
    let images = ecr.images().await.map_err(|error| Failure::of_ecr(&error))?;
    Ok(listed(images, super::super::super::enqueue::now()))
}

fn listed(images: Vec<ImageEntry>, now: Timestamp) -> RepositoryListing {
    let manifests = images.into_iter().map(|image| ListedManifest {
        digest: image.digest,
        age: image.pushed_at.map(|pushed| now.since(pushed)),
        tags: image.tags,
    });
    RepositoryListing { manifests: manifests.collect(), complete: true }
}

/// Deletes by ECR's API.
pub(super) struct EcrDeleter<'a>(pub(super) &'a EcrRepository);

impl Deleter for EcrDeleter<'_> {
    async fn delete(&self, leftovers: &[&Leftover]) -> Vec<Result<bool, NotDeleted>> {
        let images: Vec<(Digest, Vec<Tag>)> =
            leftovers.iter().map(|leftover| (leftover.digest, leftover.tags.clone())).collect();
        match self.0.delete(&images).await {
            Ok(refused) => outcomes(&images, &refused),
            Err(error) => {
                // What may have been deleted is found out by the next run.
                let failed = NotDeleted { reason: error_chain(&error), hopeless: true };
                vec![Err(failed); images.len()]
            }
        }
    }
}

fn outcomes(
    images: &[(Digest, Vec<Tag>)],
    refused: &[(Digest, String)],
) -> Vec<Result<bool, NotDeleted>> {
    let refused: HashMap<Digest, &String> =
        refused.iter().map(|(digest, code)| (*digest, code)).collect();
    let outcome = |(digest, _): &(Digest, Vec<Tag>)| match refused.get(digest) {
        None => Ok(true),
        Some(code) => {
            Err(NotDeleted { reason: format!("ECR does not delete it: {code}"), hopeless: false })
        }
    };
    images.iter().map(outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ecr_lists_has_its_age_and_what_it_refuses_its_code() {
        let digest = Digest::sha256_of(b"1");
        let image = |pushed: Option<u64>| ImageEntry {
            digest,
            tags: vec!["1-soci".parse().unwrap()],
            pushed_at: pushed.map(Timestamp::from_unix_seconds),
            size: 1,
            manifest_media_type: None,
            artifact_media_type: None,
            subject: None,
        };
        let now = Timestamp::from_unix_seconds(1_000);
        let found = listed(vec![image(Some(400)), image(None)], now);
        assert!(found.complete);
        assert_eq!(found.manifests[0].age.unwrap().as_secs(), 600);
        assert_eq!(found.manifests[1].age, None);
        let images = [(digest, vec![]), (Digest::sha256_of(b"2"), vec![])];
        let outcomes = outcomes(&images, &[(digest, "ImageReferencedByManifestList".to_owned())]);
        assert!(
            outcomes[0].as_ref().unwrap_err().reason.ends_with("ImageReferencedByManifestList")
        );
        assert_eq!(outcomes[1], Ok(true));
    }
}
