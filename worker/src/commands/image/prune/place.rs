//! A repository that is cleaned up.

use soci_indexer::RemoteRepository;
use soci_oci::Repository;

/// A repository, by the protocol of registries and, where it is in ECR, by ECR's API.
pub(super) struct Place {
    pub(super) store: RemoteRepository,
    pub(super) repository: Repository,
    #[cfg(feature = "aws")]
    pub(super) ecr: Option<soci_aws::ecr::EcrRepository>,
}
