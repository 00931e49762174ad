//! ECR: what is in its repositories, and the credentials for its registries.

#[cfg(feature = "commands")]
mod any_region;
mod catalogue;
mod credentials;
mod hosts;
mod own_api;
#[cfg(feature = "commands")]
mod own_repository;
#[cfg(feature = "commands")]
mod public;
mod token;

use std::error::Error;

use crate::call_failure::{CallFailure, Refusal};

#[cfg(feature = "commands")]
pub use any_region::AwsCredentialProvider;
pub use catalogue::{Catalogue, ImageEntry, Images, RawManifest, Repositories, RepositoryEntry};
pub use credentials::EcrCredentials;
pub use own_api::EcrApi;
#[cfg(feature = "commands")]
pub use own_repository::EcrRepository;
pub use token::{MIN_HOLD, RENEW_AHEAD, RENEWAL};

/// ECR did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("ECR did not {call}{}{}",
    repository.as_ref().map(|name| format!(" of repository {name}")).unwrap_or_default(),
    request_id.as_ref().map(|id| format!(" (request {id})")).unwrap_or_default())]
pub struct EcrError {
    /// What was asked.
    pub call: &'static str,
    /// The repository that it was about.
    pub repository: Option<String>,
    /// Whether the same call may succeed later.
    pub transient: bool,
    /// The service's identifier of the request.
    pub request_id: Option<String>,
    /// What happened.
    pub source: Box<dyn Error + Send + Sync>,
}

impl EcrError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// Whether the repository that was asked about does not exist.
    pub fn is_no_repository(&self) -> bool {
        let refusal = self.source.downcast_ref::<Refusal>();
        refusal.is_some_and(|refusal| refusal.code == "RepositoryNotFoundException")
    }

    fn new(call: &'static str, repository: Option<&str>, failure: CallFailure) -> Self {
        let CallFailure { transient, request_id, source, .. } = failure;
        Self { call, repository: repository.map(str::to_owned), transient, request_id, source }
    }
}
