//! Credentials for the ECR registries of one region, as the service has them.
//!
//! The token is a password for every registry of the region that trusts the caller, so where it may
//! go is decided here, before the registry's client learns it: to hosts that are ECR's beyond doubt
//! (`hosts`) and to those that the operator names. A reference in a message names any host it likes. How
//! it is kept and renewed is in `token`.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::AuthorizationData;
use soci_registry::{
    CredentialProvider, Credentials, CredentialsError, CredentialsFuture, Granted,
};
use tokio::time::Instant;

use super::hosts::EcrHost;
use super::token::{EcrToken, SharedError, TokenApi, TokenFuture, TokenSource, provider};
use crate::sdk::SdkConfig;

/// Gives the credentials for the registries of one region: `GetAuthorizationToken`, called again
/// before they end.
///
/// One token is good for every registry of the region that grants the caller access, of other
/// accounts as well ("Private registry authentication" in the Amazon ECR user guide). It is given
/// to
/// - the host of `proxyEndpoint`, which came with it,
/// - hosts of the form that AWS documents for ECR registries, in the region of the client,
/// - the hosts that [`also_for`](Self::also_for) names.
///
/// All other hosts get [`Credentials::Anonymous`]; a registry in another region is an error, which
/// says so. Of many that ask at once one calls and the others use its result. A token that was
/// refused is replaced once it is older than [`MIN_HOLD`](super::MIN_HOLD). While a renewal fails, the old token does as
/// long as it lasts.
///
/// Clones share the token.
#[derive(Clone)]
pub struct EcrCredentials {
    source: Arc<RegionSource>,
}

struct RegionSource {
    tokens: TokenSource,
    region: Option<String>,
    also_for: Vec<String>,
}

/// `GetAuthorizationToken` of ECR.
struct PrivateTokens {
    client: Client,
}

impl TokenApi for PrivateTokens {
    fn obtain(&self) -> TokenFuture<'_> {
        Box::pin(async {
            let answer = self.client.get_authorization_token().send().await?;
            let data = answer.authorization_data.unwrap_or_default().into_iter().next();
            let data = data.as_ref();
            let token = data.and_then(AuthorizationData::authorization_token);
            let ends = data.and_then(AuthorizationData::expires_at);
            let proxy = data.and_then(AuthorizationData::proxy_endpoint);
            Ok(EcrToken::read(token, ends, proxy, SystemTime::now())?)
        })
    }
}

impl EcrCredentials {
    /// Credentials for the registries in the configuration's region.
    pub fn new(config: &SdkConfig) -> Self {
        let region = config.region().map(ToString::to_string);
        let tokens = TokenSource::new(Arc::new(PrivateTokens { client: Client::new(config) }));
        Self { source: Arc::new(RegionSource { tokens, region, also_for: Vec::new() }) }
    }

    /// Gives the token to `hosts` as well (each with its port, if it has one), and forgets what was
    /// obtained so far. For registries that stand in for ECR.
    #[must_use]
    pub fn also_for(self, hosts: impl IntoIterator<Item = String>) -> Self {
        let RegionSource { tokens, region, also_for } = &*self.source;
        let also_for = also_for.iter().cloned().chain(hosts).collect();
        let (tokens, region) = (tokens.anew(), region.clone());
        Self { source: Arc::new(RegionSource { tokens, region, also_for }) }
    }

    async fn granted(
        &self,
        registry: &str,
        refused: Option<&Credentials>,
    ) -> Result<Granted, CredentialsError> {
        let asked = Instant::now();
        let host = EcrHost::parse(registry);
        if let (Some(host), Some(own)) = (&host, &self.source.region)
            && host.region.as_str() != own
        {
            let source =
                ElsewhereError { region: host.region.as_str().to_owned(), own: own.clone() };
            return Err(provider(registry, false, source));
        }
        // Asked even for a host that may turn out to be none of ECR's: where the token is for is
        // known only from the token (`proxyEndpoint`).
        let token = self.source.tokens.token(asked, refused).await;
        let (token, until) =
            token.map_err(|error| provider(registry, error.transient, SharedError(error)))?;
        let known = registry == token.proxy
            || host.is_some_and(|host| host.is_genuine(&token.proxy))
            || self.source.also_for.iter().any(|host| host == registry);
        if !known {
            return Ok(Credentials::Anonymous.into());
        }
        let valid_for = until.saturating_duration_since(Instant::now());
        Ok(Granted { credentials: token.credentials, valid_for: Some(valid_for) })
    }
}

impl CredentialProvider for EcrCredentials {
    fn credentials<'a>(&'a self, registry: &'a str, _: &'a str) -> CredentialsFuture<'a> {
        Box::pin(self.granted(registry, None))
    }

    fn credentials_after<'a>(
        &'a self,
        registry: &'a str,
        _: &'a str,
        refused: &'a Credentials,
    ) -> CredentialsFuture<'a> {
        Box::pin(self.granted(registry, Some(refused)))
    }
}

impl fmt::Debug for EcrCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RegionSource { region, also_for, .. } = &*self.source;
        f.debug_struct("EcrCredentials")
            .field("region", region)
            .field("also_for", also_for)
            .finish_non_exhaustive()
    }
}

/// A registry of another region.
#[derive(Debug, thiserror::Error)]
#[error(
    "the registry is in region {region}, and this process has credentials for {own} (AWS_REGION); \
     each region needs a worker of its own"
)]
struct ElsewhereError {
    region: String,
    own: String,
}
