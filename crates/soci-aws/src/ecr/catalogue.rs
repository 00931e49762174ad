//! What is in ECR's repositories.

use std::fmt;
use std::time::Duration;

use aws_sdk_ecr::Client;
use aws_sdk_ecr::config::Builder;
use aws_sdk_ecr::config::retry::RetryConfig;
use aws_sdk_ecr::config::timeout::TimeoutConfig;
use aws_sdk_ecr::error::SdkError;
use aws_sdk_ecr::operation::describe_images::DescribeImagesError;
use aws_sdk_ecr::operation::describe_repositories::DescribeRepositoriesError;
use aws_sdk_ecr::types::{
    ImageDetail, ImageFailureCode, ImageIdentifier, Repository as EcrRepository,
};
use aws_smithy_async::future::pagination_stream::PaginationStream;
use soci_oci::{Digest, Repository, Tag, media_type};
use soci_push::event::{AccountId, Region, Timestamp};

use super::EcrError;
use crate::call_failure::CallFailure;
use crate::sdk::SdkConfig;

/// Entries of one page of a listing, the most that ECR gives (Amazon ECR API reference,
/// `DescribeImages`, `DescribeRepositories`).
const PAGE: i32 = 1000;

/// Most images of one `BatchGetImage` or `BatchDeleteImage` (Amazon ECR API reference).
const MAX_MANIFESTS: usize = 100;

/// What [`Catalogue::described`] asks for, in words.
const DESCRIBE: &str = "describe images";

/// How often a call of a listing is tried in all. Whoever lists thousands of repositories is bound
/// to be throttled, and has time.
const LISTING_ATTEMPTS: u32 = 8;

/// Longest time of such a call, the pauses of up to 20 s between the tries included.
const LISTING_TIMEOUT: Duration = Duration::from_mins(5);

/// The manifests that [`Catalogue::manifests`] asks for as they are; without the list ECR converts
/// to what old clients understand.
const ACCEPTED: [&str; 4] = [
    media_type::OCI_MANIFEST,
    media_type::OCI_INDEX,
    media_type::DOCKER_MANIFEST,
    media_type::DOCKER_MANIFEST_LIST,
];

/// Lists what the registry of an account has in one region.
#[derive(Clone)]
pub struct Catalogue {
    client: Client,
    /// The same, with more patience.
    listing: Client,
}

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryEntry {
    /// Where it is, at the host that ECR names.
    pub repository: Repository,
    /// The account that it belongs to.
    pub account: AccountId,
    /// The region it is in.
    pub region: Region,
}

/// An image, or some other manifest, in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEntry {
    /// Digest of the manifest or image index.
    pub digest: Digest,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// When it was first pushed, which is not when a tag was moved to it.
    pub pushed_at: Option<Timestamp>,
    /// Bytes of its layers as they are stored; of an image index those of its largest manifest, or 0.
    pub size: u64,
    /// Media type of the manifest.
    pub manifest_media_type: Option<String>,
    /// Media type of the artifact, or of the manifest's config.
    pub artifact_media_type: Option<String>,
    /// The manifest that it refers to.
    pub subject: Option<Digest>,
}

/// A manifest as ECR's API gives it: not yet parsed, and not held against its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawManifest {
    /// The digest that was asked for.
    pub digest: Digest,
    /// Its media type.
    pub media_type: Option<String>,
    /// Its text.
    pub body: String,
}

impl Catalogue {
    /// The registry of the configuration's account and region.
    pub fn new(config: &SdkConfig) -> Self {
        let patient = RetryConfig::standard().with_max_attempts(LISTING_ATTEMPTS);
        let mut timeouts = TimeoutConfig::builder().operation_timeout(LISTING_TIMEOUT).build();
        if let Some(configured) = config.timeout_config() {
            timeouts.take_defaults_from(configured);
        }
        let listing = Builder::from(config).retry_config(patient).timeout_config(timeouts);
        let listing = Client::from_conf(listing.build());
        Self { client: Client::new(config), listing }
    }

    /// All repositories, in ECR's order. One page is held at a time.
    pub fn repositories(&self) -> Repositories {
        let pages = self.listing.describe_repositories().into_paginator();
        Repositories(pages.page_size(PAGE).items().send())
    }

    /// All images of a repository, in ECR's order. One page is held at a time.
    pub fn images(&self, repository: &RepositoryEntry) -> Images {
        let name = repository.repository.name();
        let call = self.listing.describe_images();
        let call = call.registry_id(repository.account.as_str()).repository_name(name);
        let stream = call.into_paginator().page_size(PAGE).items().send();
        Images { repository: name.to_owned(), stream }
    }

    /// What ECR says of some images of a repository, at most 100. If one is not there, that is an error.
    pub async fn described(
        &self,
        repository: &RepositoryEntry,
        digests: &[Digest],
    ) -> Result<Vec<ImageEntry>, EcrError> {
        let found = self.describe(repository, digests).await;
        found.map_err(|e| EcrError::new(DESCRIBE, Some(repository.repository.name()), e))
    }

    async fn describe(
        &self,
        repository: &RepositoryEntry,
        digests: &[Digest],
    ) -> Result<Vec<ImageEntry>, CallFailure> {
        let name = repository.repository.name();
        let ids = digests.iter().map(by_digest).collect();
        let call = self.client.describe_images().registry_id(repository.account.as_str());
        let answer = call.repository_name(name).set_image_ids(Some(ids)).send().await;
        Ok(answer
            .map_err(CallFailure::from)?
            .image_details
            .unwrap_or_default()
            .into_iter()
            .filter_map(ImageEntry::read)
            .collect())
    }

    /// The tags of images of a repository, at most 100. What is not there is left out.
    pub(super) async fn tags_of(
        &self,
        repository: &RepositoryEntry,
        digests: &[Digest],
    ) -> Result<Vec<(Digest, Vec<Tag>)>, EcrError> {
        let mut tags = Vec::with_capacity(digests.len());
        // One that is not there fails the call for all, so that they are asked for one by one then.
        let mut asked: Vec<&[Digest]> = vec![digests];
        while let Some(digests) = asked.pop() {
            if digests.is_empty() {
                continue;
            }
            match self.describe(repository, digests).await {
                Ok(found) => tags.extend(found.into_iter().map(|image| (image.digest, image.tags))),
                Err(failure) if !failure.is(&["ImageNotFoundException"]) => {
                    let name = repository.repository.name();
                    return Err(EcrError::new(DESCRIBE, Some(name), failure));
                }
                Err(_) if digests.len() == 1 => {}
                Err(_) => asked.extend(digests.chunks(1)),
            }
        }
        Ok(tags)
    }

    /// Deletes images of a repository: one with tags by each of these, as long as they name it, and one without by its
    /// digest. What ECR did not delete comes back with its code; what an image index lists is among that. What is not
    /// there any more counts as deleted.
    pub async fn delete(
        &self,
        repository: &RepositoryEntry,
        images: &[(Digest, Vec<Tag>)],
    ) -> Result<Vec<(Digest, String)>, EcrError> {
        let name = repository.repository.name();
        let ids: Vec<ImageIdentifier> = images
            .iter()
            .flat_map(|(digest, tags)| match tags.as_slice() {
                [] => vec![by_digest(digest)],
                tags => tags.iter().map(|tag| by_digest_and_tag(digest, tag)).collect(),
            })
            .collect();
        let mut refused = Vec::new();
        for ids in ids.chunks(MAX_MANIFESTS) {
            let call = self.client.batch_delete_image().registry_id(repository.account.as_str());
            let answer = call.repository_name(name).set_image_ids(Some(ids.to_vec())).send().await;
            let answer =
                answer.map_err(|e| EcrError::new("delete images", Some(name), e.into()))?;
            refused.extend(answer.failures.unwrap_or_default().into_iter().filter_map(|failure| {
                let code = failure.failure_code?;
                let digest = failure.image_id?.image_digest?.parse().ok()?;
                let gone = code == ImageFailureCode::ImageNotFound;
                (!gone).then(|| (digest, code.as_str().to_owned()))
            }));
        }
        Ok(refused)
    }

    /// The manifests `digests` of the repository called `name` in the registry of `account` (`None`
    /// for the caller's own). Those that ECR does not have are left out, the order is ECR's. Nothing
    /// verifies them, so they serve for estimates only.
    pub async fn manifests(
        &self,
        account: Option<&AccountId>,
        name: &str,
        digests: &[Digest],
    ) -> Result<Vec<RawManifest>, EcrError> {
        let mut manifests = Vec::with_capacity(digests.len());
        for digests in digests.chunks(MAX_MANIFESTS) {
            let answer = self
                .client
                .batch_get_image()
                .set_registry_id(account.map(|account| account.as_str().to_owned()))
                .repository_name(name)
                .set_image_ids(Some(digests.iter().map(by_digest).collect()))
                .set_accepted_media_types(Some(ACCEPTED.map(str::to_owned).to_vec()))
                .send()
                .await
                .map_err(|e| EcrError::new("give the manifests", Some(name), e.into()))?;
            manifests.extend(answer.images.unwrap_or_default().into_iter().filter_map(|image| {
                Some(RawManifest {
                    digest: image.image_id?.image_digest?.parse().ok()?,
                    media_type: image.image_manifest_media_type,
                    body: image.image_manifest?,
                })
            }));
        }
        Ok(manifests)
    }
}

fn by_digest(digest: &Digest) -> ImageIdentifier {
    ImageIdentifier::builder().image_digest(digest.to_string()).build()
}

fn by_digest_and_tag(digest: &Digest, tag: &Tag) -> ImageIdentifier {
    ImageIdentifier::builder().image_digest(digest.to_string()).image_tag(tag.as_str()).build()
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalogue").finish_non_exhaustive()
    }
}

/// The repositories of a registry, one after the other.
pub struct Repositories(
    PaginationStream<Result<EcrRepository, SdkError<DescribeRepositoriesError>>>,
);

impl Repositories {
    /// The next repository; `None` after the last. Those whose names this project cannot read are
    /// left out with a warning.
    pub async fn next(&mut self) -> Option<Result<RepositoryEntry, EcrError>> {
        loop {
            let found = match self.0.next().await? {
                Ok(found) => found,
                Err(error) => {
                    return Some(Err(EcrError::new("list the repositories", None, error.into())));
                }
            };
            if let Some(entry) = RepositoryEntry::read(&found) {
                return Some(Ok(entry));
            }
            tracing::warn!(uri = found.repository_uri(), "a repository has a name that is none");
        }
    }
}

impl fmt::Debug for Repositories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repositories").finish_non_exhaustive()
    }
}

/// The images of a repository, one after the other.
pub struct Images {
    repository: String,
    stream: PaginationStream<Result<ImageDetail, SdkError<DescribeImagesError>>>,
}

impl Images {
    /// The next image; `None` after the last. Those whose digest this project cannot read are left
    /// out with a warning.
    pub async fn next(&mut self) -> Option<Result<ImageEntry, EcrError>> {
        loop {
            let found = match self.stream.next().await? {
                Ok(found) => found,
                Err(error) => {
                    let failure = CallFailure::from(error);
                    let error = EcrError::new("list the images", Some(&self.repository), failure);
                    return Some(Err(error));
                }
            };
            if let Some(entry) = ImageEntry::read(found) {
                return Some(Ok(entry));
            }
            tracing::warn!(repository = self.repository, "an image has a digest that is none");
        }
    }
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Images").field("repository", &self.repository).finish_non_exhaustive()
    }
}

impl RepositoryEntry {
    /// Reads `repositoryUri`, `registryId` and the region in
    /// `arn:aws:ecr:<region>:<account>:repository/<name>`.
    fn read(found: &EcrRepository) -> Option<Self> {
        let (host, name) = found.repository_uri()?.split_once('/')?;
        let mut arn = found.repository_arn()?.split(':').skip(3);
        let region = arn.next()?.parse().ok()?;
        let account = found.registry_id().or(arn.next())?.parse().ok()?;
        Some(Self { repository: Repository::new(host, name).ok()?, account, region })
    }
}

impl ImageEntry {
    fn read(found: ImageDetail) -> Option<Self> {
        let pushed_at = found.image_pushed_at;
        let pushed_at = pushed_at.and_then(|time| u64::try_from(time.secs()).ok());
        let tags = found.image_tags.unwrap_or_default();
        Some(Self {
            digest: found.image_digest?.parse().ok()?,
            tags: tags.iter().filter_map(|tag| tag.parse().ok()).collect(),
            pushed_at: pushed_at.map(Timestamp::from_unix_seconds),
            size: found.image_size_in_bytes.and_then(|size| size.try_into().ok()).unwrap_or(0),
            manifest_media_type: found.image_manifest_media_type,
            artifact_media_type: found.artifact_media_type,
            subject: found.subject_manifest_digest.and_then(|digest| digest.parse().ok()),
        })
    }
}
