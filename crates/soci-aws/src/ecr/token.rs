//! A token for registries: obtained when it is first needed, kept, renewed.
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
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_ecr::primitives::DateTime;
use base64::Engine as _;
use soci_registry::{Credentials, CredentialsError, Secret};
use soci_retry::Backoff;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::EcrError;
use super::hosts::authority;
use crate::call_failure::CallFailure;

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

/// The future of [`TokenApi::obtain`].
pub(super) type TokenFuture<'a> =
    Pin<Box<dyn Future<Output = Result<EcrToken, CallFailure>> + Send + 'a>>;

/// Where tokens come from.
pub(super) trait TokenApi: Send + Sync {
    /// Asks for one.
    fn obtain(&self) -> TokenFuture<'_>;
}

/// Tokens of one kind, one after the other.
pub(super) struct TokenSource {
    api: Arc<dyn TokenApi>,
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
pub(super) struct EcrToken {
    pub(super) credentials: Credentials,
    /// Host and port of `proxyEndpoint`.
    pub(super) proxy: String,
    obtained: Instant,
    lifetime: Duration,
}

impl TokenSource {
    pub(super) fn new(api: Arc<dyn TokenApi>) -> Self {
        Self { api, cache: Mutex::default() }
    }

    /// Another one from the same place, which has no token yet.
    pub(super) fn anew(&self) -> Self {
        Self::new(Arc::clone(&self.api))
    }

    /// A token for somebody who asks since `asked` and was refused with `refused`, and until when it
    /// does.
    pub(super) async fn token(
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

    /// Asks for a token, no longer than `patience`.
    async fn obtain(&self, patience: Option<Duration>) -> Result<EcrToken, CallFailure> {
        let call = self.api.obtain();
        match patience {
            None => call.await,
            Some(patience) => match tokio::time::timeout(patience, call).await {
                Ok(answer) => answer,
                Err(_) => Err(SilenceError(patience).into()),
            },
        }
    }
}

impl EcrToken {
    /// Reads the parts of an answer, which came at `now`. `proxy` is the URL that the token is for.
    pub(super) fn read(
        token: Option<&str>,
        ends: Option<&DateTime>,
        proxy: Option<&str>,
        now: SystemTime,
    ) -> Result<Self, MalformedToken> {
        let token = token.ok_or(MalformedToken("there is none"))?;
        let decoded = base64::engine::general_purpose::STANDARD.decode(token);
        let decoded = decoded.map_err(|_| MalformedToken("it is not base64"))?;
        let pair = String::from_utf8(decoded).map_err(|_| MalformedToken("it is not text"))?;
        let (username, password) =
            pair.split_once(':').ok_or(MalformedToken("it holds no user name and password"))?;
        let ends = ends.and_then(|ends| SystemTime::try_from(*ends).ok());
        let lifetime = ends.and_then(|ends| ends.duration_since(now).ok()).unwrap_or_default();
        // Whatever is said, a token that lasts is looked at again after a day.
        let lifetime = lifetime.min(MAX_LIFETIME);
        Ok(Self {
            credentials: Credentials::Basic {
                username: username.to_owned(),
                password: Secret::new(password),
            },
            proxy: authority(proxy.unwrap_or_default()).to_owned(),
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
pub(super) struct MalformedToken(&'static str);

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

/// One failure, for all who waited for the call.
#[derive(Debug)]
pub(super) struct SharedError(pub(super) Arc<EcrError>);

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

/// An error of a provider of credentials.
pub(super) fn provider(
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

    use super::*;

    fn read(token: &str, ends: i64, now: SystemTime) -> Result<EcrToken, MalformedToken> {
        let proxy = "https://111122223333.dkr.ecr.eu-west-1.amazonaws.com";
        EcrToken::read(Some(token), Some(&DateTime::from_secs(ends)), Some(proxy), now)
    }

    #[test]
    fn a_token_is_a_user_and_a_password_until_its_end() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        // "AWS:pa:ss"
        let token = read("QVdTOnBhOnNz", 44_200, now).unwrap();
        let (username, password) = ("AWS".to_owned(), Secret::new("pa:ss"));
        assert_eq!(token.credentials, Credentials::Basic { username, password });
        assert_eq!(token.proxy, "111122223333.dkr.ecr.eu-west-1.amazonaws.com");
        assert_eq!(token.lifetime, Duration::from_hours(12));
        let ended = read("QVdTOnBhOnNz", 0, now).unwrap();
        assert_eq!(ended.lifetime, Duration::ZERO);
    }

    #[test]
    fn what_is_no_token_is_told_without_repeating_it() {
        let now = UNIX_EPOCH;
        for (token, reason) in
            [("%", "not base64"), ("/w==", "not text"), ("c2VjcmV0", "no user name")]
        {
            let Err(error) = read(token, 0, now) else { panic!("{token}") };
            assert!(error.to_string().contains(reason) && !error.to_string().contains("secret"));
        }
        assert!(EcrToken::read(None, None, None, now).is_err());
    }
}
