//! Where credentials come from.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::redact::Secret;

/// What a registry is to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    Anonymous,
    /// User name and password, sent to the registry or to its token endpoint.
    Basic {
        /// The user's name.
        username: String,
        /// The password, or a token that stands for one.
        password: Secret,
    },
    /// An OAuth 2.0 refresh token, traded for access tokens at the token endpoint.
    IdentityToken(Secret),
}

/// Credentials and how long they last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The credentials.
    pub credentials: Credentials,
    /// Time from now after which the provider must be asked again; `None` for no known end.
    pub valid_for: Option<Duration>,
}

impl From<Credentials> for Granted {
    fn from(credentials: Credentials) -> Self {
        Self { credentials, valid_for: None }
    }
}

/// The future of [`CredentialProvider::credentials`].
pub type CredentialsFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Granted, CredentialsError>> + Send + 'a>>;

/// Finds the credentials for a repository. The client keeps what it is given, for each repository
/// anew, until it expires or until the registry refuses it; then it asks again.
pub trait CredentialProvider: Send + Sync + fmt::Debug {
    /// The credentials for `registry`, a host with an optional port as references name it
    /// (`docker.io` for Docker Hub), to be used with `repository` of it, for example
    /// `library/debian`. Where there are no credentials the answer is
    /// [`Credentials::Anonymous`], not an error.
    fn credentials<'a>(&'a self, registry: &'a str, repository: &'a str) -> CredentialsFuture<'a>;

    /// The same, after the registry or its token endpoint refused `refused`, which the provider gave
    /// before. There may be no others; then the refusal stands.
    fn credentials_after<'a>(
        &'a self,
        registry: &'a str,
        repository: &'a str,
        refused: &'a Credentials,
    ) -> CredentialsFuture<'a> {
        let _ = refused;
        self.credentials(registry, repository)
    }
}

/// No credentials for any registry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl CredentialProvider for Anonymous {
    fn credentials<'a>(&'a self, _: &'a str, _: &'a str) -> CredentialsFuture<'a> {
        Box::pin(async { Ok(Credentials::Anonymous.into()) })
    }
}

/// The same credentials for one registry, none for all others.
#[derive(Clone, Debug)]
pub struct StaticCredentials {
    registry: String,
    credentials: Credentials,
}

impl StaticCredentials {
    /// `credentials` for `registry` (host with an optional port).
    pub fn new(registry: impl Into<String>, credentials: Credentials) -> Self {
        Self { registry: registry.into(), credentials }
    }
}

impl CredentialProvider for StaticCredentials {
    fn credentials<'a>(&'a self, registry: &'a str, _: &'a str) -> CredentialsFuture<'a> {
        let credentials = if registry == self.registry {
            self.credentials.clone()
        } else {
            Credentials::Anonymous
        };
        Box::pin(async { Ok(credentials.into()) })
    }
}

/// Several providers in order. The first that has credentials is the answer; one that fails is as
/// well, as nobody would expect another login to be used in its place.
#[derive(Clone, Debug, Default)]
pub struct CredentialChain(Vec<Arc<dyn CredentialProvider>>);

impl CredentialChain {
    /// A chain of these, the first of which is asked first.
    pub fn new(providers: impl IntoIterator<Item = Arc<dyn CredentialProvider>>) -> Self {
        Self(providers.into_iter().collect())
    }

    async fn first(
        &self,
        registry: &str,
        repository: &str,
        refused: Option<&Credentials>,
    ) -> Result<Granted, CredentialsError> {
        let mut valid_for = None;
        for provider in &self.0 {
            let granted = match refused {
                None => provider.credentials(registry, repository).await?,
                Some(refused) => provider.credentials_after(registry, repository, refused).await?,
            };
            if granted.credentials != Credentials::Anonymous {
                return Ok(granted);
            }
            // One that has nothing for now may have something later.
            valid_for = valid_for.into_iter().chain(granted.valid_for).min();
        }
        Ok(Granted { credentials: Credentials::Anonymous, valid_for })
    }
}

impl CredentialProvider for CredentialChain {
    fn credentials<'a>(&'a self, registry: &'a str, repository: &'a str) -> CredentialsFuture<'a> {
        Box::pin(self.first(registry, repository, None))
    }

    fn credentials_after<'a>(
        &'a self,
        registry: &'a str,
        repository: &'a str,
        refused: &'a Credentials,
    ) -> CredentialsFuture<'a> {
        Box::pin(self.first(registry, repository, Some(refused)))
    }
}

/// Why credentials cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A file of credentials cannot be read.
    #[error(
        "the credentials in {path} cannot be read; make the file readable, or log in anew: {source}"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of credentials is not what docker and podman write.
    #[error(
        "the credentials in {path} cannot be parsed; correct the file, or log in anew: {source}"
    )]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// An entry of such a file is malformed.
    #[error("the credentials for {registry} in {path} are malformed, {reason}; log in anew")]
    Entry {
        /// The file.
        path: PathBuf,
        /// The registry.
        registry: String,
        /// Why.
        reason: &'static str,
    },
    /// A credential helper failed.
    #[error("the credential helper {helper} failed for {registry}: {reason}")]
    Helper {
        /// The program.
        helper: String,
        /// The registry.
        registry: String,
        /// What it said, shortened, or why it could not be run.
        reason: String,
    },
    /// A provider of the caller failed.
    #[error("the credentials for {registry} cannot be obtained")]
    Provider {
        /// The registry.
        registry: String,
        /// Whether asking again may help.
        transient: bool,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl CredentialsError {
    /// Whether asking again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Provider { transient: true, .. })
    }
}
