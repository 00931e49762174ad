//! How a job gets at its image.

use std::fmt;
use std::str::FromStr;

use soci_indexer::{ImageStore, RemoteRepository};
use soci_oci::{ReferenceError, Repository};
use soci_registry::Client;

/// Opens repositories.
pub trait RepositoryOpener: Clone + Send + Sync + 'static {
    /// What an open repository is.
    type Store: ImageStore;

    /// The content of a repository.
    fn open(&self, repository: &Repository) -> Self::Store;
}

/// Repositories in registries.
#[derive(Clone, Debug)]
pub struct RegistryOpener {
    client: Client,
    endpoint: Option<EndpointOverride>,
}

impl RegistryOpener {
    /// Repositories as seen through `client`, all of them at `endpoint` if there is one. The client
    /// must then speak plain http if [`EndpointOverride::plain_http`] says so, and is asked for the
    /// credentials of the endpoint.
    pub fn new(client: Client, endpoint: Option<EndpointOverride>) -> Self {
        Self { client, endpoint }
    }
}

impl RepositoryOpener for RegistryOpener {
    type Store = RemoteRepository;

    fn open(&self, repository: &Repository) -> RemoteRepository {
        let repository = match &self.endpoint {
            Some(endpoint) => endpoint.apply(repository),
            None => repository.clone(),
        };
        RemoteRepository::new(self.client.clone(), repository)
    }
}

/// Another registry in the place of the one that jobs name, for tests and for private endpoints.
/// Jobs, reports and metrics keep the name of the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointOverride {
    /// Any repository there: what checks and carries the host.
    there: Repository,
    plain_http: bool,
}

/// A string that is no [`EndpointOverride`]. The string is not shown, as it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The scheme is another one.
    #[error("the scheme is neither http nor https")]
    Scheme,
    /// There is a user name or a password.
    #[error("it has credentials, which belong elsewhere")]
    Credentials,
    /// There is a path, a query or a fragment.
    #[error("it has more than a host and a port")]
    Path,
    /// The host or the port is malformed.
    #[error("it has no valid host and port")]
    Host(#[source] ReferenceError),
}

impl EndpointOverride {
    /// Host and port of the registry, as credentials are looked up for.
    pub fn host(&self) -> &str {
        self.there.registry()
    }

    /// Whether the registry speaks http instead of https.
    pub fn plain_http(&self) -> bool {
        self.plain_http
    }

    /// The repository of the same name at this endpoint.
    #[must_use]
    pub fn apply(&self, repository: &Repository) -> Repository {
        repository.in_registry_of(&self.there)
    }
}

impl FromStr for EndpointOverride {
    type Err = EndpointError;

    /// Reads `http://host:port` or `https://host:port`. Without a scheme it is https, without a
    /// port the scheme's own.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let plain_http = match scheme.to_ascii_lowercase().as_str() {
            "http" => true,
            "https" => false,
            _ => return Err(EndpointError::Scheme),
        };
        if rest.contains('@') {
            return Err(EndpointError::Credentials);
        }
        let host = rest.strip_suffix('/').unwrap_or(rest);
        if host.contains(['/', '?', '#']) {
            return Err(EndpointError::Path);
        }
        // Any repository name does to have the host checked.
        let there = Repository::new(host, "a").map_err(EndpointError::Host)?;
        Ok(Self { there, plain_http })
    }
}

impl fmt::Display for EndpointOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.plain_http { "http" } else { "https" };
        write!(f, "{scheme}://{}", self.host())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_scheme_a_host_and_a_port() {
        for (text, shown, plain_http) in [
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000", true),
            ("http://[::1]:5000/", "http://[::1]:5000", true),
            ("https://registry.example:443", "https://registry.example:443", false),
            ("HTTPS://registry.example/", "https://registry.example", false),
            ("registry.example:5000", "https://registry.example:5000", false),
            ("localhost", "https://localhost", false),
        ] {
            let endpoint: EndpointOverride = text.parse().unwrap();
            assert_eq!((endpoint.to_string().as_str(), endpoint.plain_http()), (shown, plain_http));
        }
    }

    #[test]
    fn what_is_more_or_less_is_refused() {
        let error = |text: &str| text.parse::<EndpointOverride>().unwrap_err();
        for text in ["ftp://r.example", "://r.example", "unix:///run/r.sock"] {
            assert_eq!(error(text), EndpointError::Scheme, "{text}");
        }
        for text in ["http://user:secret@r.example", "secret@r.example"] {
            assert_eq!(error(text), EndpointError::Credentials, "{text}");
            assert!(!format!("{:?}", error(text)).contains("secret"));
        }
        for text in ["http://r.example/v2", "http://r.example?x", "r.example/#", "http://r//"] {
            assert_eq!(error(text), EndpointError::Path, "{text}");
        }
        for text in ["", "http://", "http:///", "http://r..example", "r.example:99999", "a b"] {
            assert!(matches!(error(text), EndpointError::Host(_)), "{text}");
        }
    }

    #[test]
    fn repositories_move_and_keep_their_names() {
        let endpoint: EndpointOverride = "http://127.0.0.1:5000".parse().unwrap();
        let ecr = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        let repository = Repository::new(ecr, "team/app").unwrap();
        assert_eq!(endpoint.apply(&repository).to_string(), "127.0.0.1:5000/team/app");
    }
}
