//! Credentials for ECR's registries: one token for a region, obtained when it is first needed.
//!
//! The token is a password for every registry of the region that trusts the caller, so where it may
//! go is decided here, before the registry's client learns it: to hosts that are ECR's beyond doubt
//! (`hosts`) and to those that the operator names. A reference in a message names any host it likes.
//!
//! - One call at a time. Those who wait for it take its result, a failure too, so that an outage
//!   makes one call and not one for each layer.
//! - A token is renewed half an hour before its end. If ECR does not give another by then, the old one
//!   serves as long as it lasts, and ECR is asked again after a pause that grows ([`RENEWAL`]): not
//!   by everybody who needs a token meanwhile, and for no longer than [`RENEWAL_PATIENCE`].
//! - A token that a registry refused is replaced, but not before it is [`MIN_HOLD`] old: within that
//!   time a refusal is the registry's last word, and another token would be refused as well. Who was
//!   refused never gets the refused token instead of a failed renewal.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::AuthorizationData;
use base64::Engine as _;
use soci_registry::{
    CredentialProvider, Credentials, CredentialsError, CredentialsFuture, Granted, Secret,
};
use tokio::sync::Mutex;
use tokio::time::Instant;

use soci_retry::Backoff;

use super::EcrError;
use super::hosts::{EcrHost, authority};
use crate::call_failure::CallFailure;
use crate::sdk::SdkConfig;

/// How long before its end a token is renewed. Tokens last 12 hours (Amazon ECR API reference,
/// `GetAuthorizationToken`), so an outage of half an hour goes unnoticed.
pub const RENEW_AHEAD: Duration = Duration::from_mins(30);

/// How long a token is handed out in any case, and so the least time between two calls that
/// succeed, whatever is said of its end. Some test servers give tokens that have always expired.
pub const MIN_HOLD: Duration = Duration::from_mins(5);

/// Longest lifetime that is believed.
const MAX_LIFETIME: Duration = Duration::from_hours(24);

/// The pauses between renewals that fail while the old token lasts.
pub const RENEWAL: Backoff =
    Backoff { first: Duration::from_secs(15), max: Duration::from_mins(2) };

/// Longest wait for a renewal while the old token lasts.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(10);

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
/// refused is replaced once it is older than [`MIN_HOLD`]. While a renewal fails, the old token does as
/// long as it lasts.
///
/// Clones share the token.
#[derive(Clone)]
pub struct EcrCredentials {
    source: Arc<TokenSource>,
}

struct TokenSource {
    client: Client,
    region: Option<String>,
    also_for: Vec<String>,
    cache: Mutex<TokenCache>,
}

#[derive(Default)]
struct TokenCache {
    token: Option<EcrToken>,
    /// The latest failure since the token was obtained, for those who waited while it came about.
    failure: Option<Failure>,
}

struct Failure {
    at: Instant,
    /// When ECR is asked again, if somebody can do without until then.
    pause: Instant,
    /// Failures since the last success.
    count: u32,
    error: Arc<EcrError>,
}

#[derive(Clone)]
struct EcrToken {
    credentials: Credentials,
    /// Host and port of `proxyEndpoint`.
    proxy: String,
    obtained: Instant,
    lifetime: Duration,
}

impl EcrCredentials {
    /// Credentials for the registries in the configuration's region.
    pub fn new(config: &SdkConfig) -> Self {
        let region = config.region().map(ToString::to_string);
        let client = Client::new(config);
        let cache = Mutex::default();
        Self { source: Arc::new(TokenSource { client, region, also_for: Vec::new(), cache }) }
    }

    /// Gives the token to `hosts` as well (each with its port, if it has one), and forgets what was
    /// obtained so far. For registries that stand in for ECR.
    #[must_use]
    pub fn also_for(self, hosts: impl IntoIterator<Item = String>) -> Self {
        let TokenSource { client, region, also_for, .. } = &*self.source;
        let also_for = also_for.iter().cloned().chain(hosts).collect();
        let (client, region) = (client.clone(), region.clone());
        let cache = Mutex::default();
        Self { source: Arc::new(TokenSource { client, region, also_for, cache }) }
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
        let token = self.source.token(asked, refused).await;
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
    fn credentials<'a>(&'a self, registry: &'a str) -> CredentialsFuture<'a> {
        Box::pin(self.granted(registry, None))
    }

    fn credentials_after<'a>(
        &'a self,
        registry: &'a str,
        refused: &'a Credentials,
    ) -> CredentialsFuture<'a> {
        Box::pin(self.granted(registry, Some(refused)))
    }
}

impl fmt::Debug for EcrCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TokenSource { region, also_for, .. } = &*self.source;
        f.debug_struct("EcrCredentials")
            .field("region", region)
            .field("also_for", also_for)
            .finish_non_exhaustive()
    }
}

impl TokenSource {
    /// A token for somebody who asks since `asked` and was refused with `refused`, and until when it
    /// does.
    async fn token(
        &self,
        asked: Instant,
        refused: Option<&Credentials>,
    ) -> Result<(EcrToken, Instant), Arc<EcrError>> {
        // Held during the call, so that there is one call at a time.
        let mut cache = self.cache.lock().await;
        let now = Instant::now();
        let token = cache.token.as_ref();
        let refused = token.is_some_and(|token| refused == Some(&token.credentials));
        if let Some(token) = token
            && (now < token.obtained + MIN_HOLD || !refused && now < token.renew_at())
        {
            return Ok((token.clone(), token.renew_at()));
        }
        let old = token.filter(|token| !refused && now < token.end()).cloned();
        if let Some(failure) = &cache.failure {
            // It failed while this one waited for the lock, so it failed for this one as well.
            let shared = failure.at >= asked;
            let paused = now < failure.pause && (old.is_some() || refused);
            if shared || paused {
                return match old {
                    Some(old) => Ok((old.clone(), failure.pause.min(old.end()))),
                    None => Err(Arc::clone(&failure.error)),
                };
            }
        }
        match self.obtain(old.is_some().then_some(RENEWAL_PATIENCE)).await {
            Ok(token) => {
                *cache = TokenCache { token: Some(token.clone()), failure: None };
                let until = token.renew_at();
                Ok((token, until))
            }
            Err(failure) => {
                let error = Arc::new(EcrError::new("give an authorization token", None, failure));
                let count = cache.failure.as_ref().map_or(0, |failure| failure.count) + 1;
                let at = Instant::now();
                let pause = at + RENEWAL.delay(count, fastrand::f64());
                cache.failure = Some(Failure { at, pause, count, error: Arc::clone(&error) });
                match old {
                    Some(old) => {
                        let error: &dyn Error = &*error;
                        tracing::warn!(error, "the ECR token cannot be renewed; the old one does");
                        let until = pause.min(old.end());
                        Ok((old, until))
                    }
                    None => Err(error),
                }
            }
        }
    }

    /// Asks ECR for a token, no longer than `patience`.
    async fn obtain(&self, patience: Option<Duration>) -> Result<EcrToken, CallFailure> {
        let call = self.client.get_authorization_token().send();
        let answer = match patience {
            None => call.await,
            Some(patience) => match tokio::time::timeout(patience, call).await {
                Ok(answer) => answer,
                Err(_) => return Err(SilenceError(patience).into()),
            },
        };
        let data = answer?.authorization_data.unwrap_or_default().into_iter().next();
        Ok(EcrToken::read(data.as_ref(), SystemTime::now())?)
    }
}

impl EcrToken {
    fn read(data: Option<&AuthorizationData>, now: SystemTime) -> Result<Self, MalformedToken> {
        let token = data.and_then(AuthorizationData::authorization_token);
        let token = token.ok_or(MalformedToken("there is none"))?;
        let decoded = base64::engine::general_purpose::STANDARD.decode(token);
        let decoded = decoded.map_err(|_| MalformedToken("it is not base64"))?;
        let pair = String::from_utf8(decoded).map_err(|_| MalformedToken("it is not text"))?;
        let (username, password) =
            pair.split_once(':').ok_or(MalformedToken("it holds no user name and password"))?;
        let ends = data.and_then(AuthorizationData::expires_at);
        let ends = ends.and_then(|ends| SystemTime::try_from(*ends).ok());
        let lifetime = ends.and_then(|ends| ends.duration_since(now).ok()).unwrap_or_default();
        // Whatever is said, a token that lasts is looked at again after a day.
        let lifetime = lifetime.min(MAX_LIFETIME);
        let proxy = data.and_then(AuthorizationData::proxy_endpoint).unwrap_or_default();
        Ok(Self {
            credentials: Credentials::Basic {
                username: username.to_owned(),
                password: Secret::new(password),
            },
            proxy: authority(proxy).to_owned(),
            obtained: Instant::now(),
            lifetime,
        })
    }

    fn renew_at(&self) -> Instant {
        self.obtained + self.lifetime.saturating_sub(RENEW_AHEAD).max(MIN_HOLD)
    }

    fn end(&self) -> Instant {
        self.obtained + self.lifetime
    }
}

/// What ECR gave is no token.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer holds no token: {0}")]
struct MalformedToken(&'static str);

impl From<MalformedToken> for CallFailure {
    fn from(error: MalformedToken) -> Self {
        Self { code: None, transient: true, request_id: None, source: Box::new(error) }
    }
}

/// ECR said nothing for as long as somebody waited.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("there was no answer within {0:?}")]
struct SilenceError(Duration);

impl From<SilenceError> for CallFailure {
    fn from(error: SilenceError) -> Self {
        Self { code: None, transient: true, request_id: None, source: Box::new(error) }
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

/// One failure, for all who waited for the call.
#[derive(Debug)]
struct SharedError(Arc<EcrError>);

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for SharedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

fn provider(
    registry: &str,
    transient: bool,
    source: impl Error + Send + Sync + 'static,
) -> CredentialsError {
    CredentialsError::Provider {
        registry: registry.to_owned(),
        transient,
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use aws_sdk_ecr::primitives::DateTime;

    use super::*;

    fn data(token: &str, expires_at: i64) -> AuthorizationData {
        AuthorizationData::builder()
            .authorization_token(token)
            .expires_at(DateTime::from_secs(expires_at))
            .proxy_endpoint("https://111122223333.dkr.ecr.eu-west-1.amazonaws.com")
            .build()
    }

    #[test]
    fn a_token_is_a_user_and_a_password_until_its_end() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        // "AWS:pa:ss"
        let token = EcrToken::read(Some(&data("QVdTOnBhOnNz", 44_200)), now).unwrap();
        let (username, password) = ("AWS".to_owned(), Secret::new("pa:ss"));
        assert_eq!(token.credentials, Credentials::Basic { username, password });
        assert_eq!(token.proxy, "111122223333.dkr.ecr.eu-west-1.amazonaws.com");
        assert_eq!(token.lifetime, Duration::from_hours(12));
        let ended = EcrToken::read(Some(&data("QVdTOnBhOnNz", 0)), now).unwrap();
        assert_eq!(ended.lifetime, Duration::ZERO);
    }

    #[test]
    fn what_is_no_token_is_told_without_repeating_it() {
        let now = UNIX_EPOCH;
        for (token, reason) in
            [("%", "not base64"), ("/w==", "not text"), ("c2VjcmV0", "no user name")]
        {
            let Err(error) = EcrToken::read(Some(&data(token, 0)), now) else { panic!("{token}") };
            assert!(error.to_string().contains(reason) && !error.to_string().contains("secret"));
        }
        assert!(EcrToken::read(None, now).is_err());
    }
}
