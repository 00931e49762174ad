//! Where credentials come from.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
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

/// Finds the credentials for a registry. The client keeps what it is given until it expires or
/// until the registry refuses it; then it asks again.
pub trait CredentialProvider: Send + Sync + fmt::Debug {
    /// The credentials for `registry`, a host with an optional port as references name it
    /// (`docker.io` for Docker Hub). A registry without credentials is
    /// [`Credentials::Anonymous`], not an error.
    fn credentials<'a>(&'a self, registry: &'a str) -> CredentialsFuture<'a>;

    /// The same, after the registry or its token endpoint refused `refused`, which the provider gave
    /// before. There may be no others; then the refusal stands.
    fn credentials_after<'a>(
        &'a self,
        registry: &'a str,
        refused: &'a Credentials,
    ) -> CredentialsFuture<'a> {
        let _ = refused;
        self.credentials(registry)
    }
}

/// No credentials for any registry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl CredentialProvider for Anonymous {
    fn credentials<'a>(&'a self, _: &'a str) -> CredentialsFuture<'a> {
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
    fn credentials<'a>(&'a self, registry: &'a str) -> CredentialsFuture<'a> {
        let credentials = if registry == self.registry {
            self.credentials.clone()
        } else {
            Credentials::Anonymous
        };
        Box::pin(async { Ok(credentials.into()) })
    }
}

/// Why credentials cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The configuration file cannot be read.
    #[error("the docker configuration {path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration file is not what docker writes.
    #[error("the docker configuration {path} cannot be parsed")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// An entry of the configuration file is malformed.
    #[error("the entry for {registry} in the docker configuration is malformed: {reason}")]
    Entry {
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
