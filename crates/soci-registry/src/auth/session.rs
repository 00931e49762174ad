//! Which `Authorization` a request carries, and how it is renewed.
//!
//! A first request carries nothing. The registry's 401 says what it wants (Basic, or a token and
//! where to get it), and what then works is kept as a [`Grant`], one for each registry and scope. A
//! token is renewed shortly before its end, so that a long job meets one 401 and not one an hour.
//!
//! - Of many requests that meet a 401 at once, one renews and the others use what it got: a grant
//!   has a lock of its own, held while the token endpoint is asked, and counts its renewals. A
//!   request that was refused with an older renewal than the present one simply tries again.
//! - The provider is asked for credentials when there are none, when they have ended, and when the
//!   registry or its token endpoint has refused what was made of them, which it is told. A password
//!   that was changed meanwhile is thus found without a restart, and none that was refused is kept
//!   for its stated time.
//! - A refusal need not be a 401: ECR answers an expired token by a 403 or a 400 that asks for nothing
//!   ([`Refusal::Doubted`]). As the same answers mean that a permission is missing, they cause a
//!   renewal only for what was sent with authorization, once in [`DOUBT_HOLD`] for each grant, and no
//!   second request where the renewal brings nothing new.
//! - A token endpoint is any URL that a registry cares to name, to which it may lead (`reach`). It
//!   gets the credentials for this registry and never anything of the URL's own user information;
//!   `endpoint` asks it.
//! - There is one try: whoever is refused with new credentials is refused for good (`verdict`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::challenge::{self, Challenge};
use super::credentials::{CredentialProvider, Credentials, CredentialsError};
use super::endpoint::{self, Wanted};
use super::header::{basic, sensitive, unauthorized};
use super::scope::Scope;
use super::token;
use crate::error::Error;
use crate::exchange::{HttpExchange, Registry};
use crate::redact::RequestLine;

/// Grants kept before all are forgotten: a long-lived process meets many repositories. Each has some two
/// kilobytes.
const MAX_GRANTS: usize = 1024;

/// Least time between two renewals of a grant for answers that ask for none.
const DOUBT_HOLD: Duration = Duration::from_mins(5);

/// Least time between two tries to renew a grant, if the first failed.
const FAILED_HOLD: Duration = Duration::from_secs(15);

/// The credentials and tokens of a client.
#[derive(Debug)]
pub(crate) struct Authorizer {
    provider: Arc<dyn CredentialProvider>,
    /// Named to token endpoints, OAuth 2.0 `client_id`.
    client_id: String,
    /// By registry and repository: a registry may have several logins.
    known: Table<(String, String), Option<KnownCredentials>>,
    grants: Table<(String, Scope), Grant>,
}

type Table<K, V> = Mutex<HashMap<K, Arc<AsyncMutex<V>>>>;

/// Credentials that the provider gave.
#[derive(Clone, Debug)]
struct KnownCredentials {
    credentials: Credentials,
    until: Option<Instant>,
    /// When they end, if they have an end.
    ends: Option<Instant>,
    /// Counts what the provider gave for this repository.
    serial: u64,
    /// The provider was asked just now.
    fresh: bool,
}

/// What a request is sent with.
#[derive(Debug, Default)]
struct Grant {
    challenge: Option<Challenge>,
    header: Option<HeaderValue>,
    /// When it is to be renewed: some time before its end.
    until: Option<Instant>,
    /// When it ends, if it has an end.
    ends: Option<Instant>,
    /// Counts renewals, so that a request can tell whether another one renewed meanwhile.
    generation: u64,
    /// Which credentials it was made of.
    serial: u64,
    /// Before that it is not renewed for an answer that does not ask for it.
    doubted_until: Option<Instant>,
    /// Before that nobody can say whether there is another one, and nobody asks.
    unknown_until: Option<Instant>,
}

/// How a registry showed that it does not take what it was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal<'a> {
    /// By a 401 with these headers.
    Challenged(&'a HeaderMap),
    /// By an answer that may mean something else (`verdict::doubts_credentials`).
    Doubted,
}

/// An `Authorization` value and which renewal it stems from.
#[derive(Debug)]
pub(crate) struct Authorization {
    pub(crate) header: Option<HeaderValue>,
    generation: u64,
}

impl Authorizer {
    pub(crate) fn new(provider: Arc<dyn CredentialProvider>, client_id: String) -> Self {
        Self { provider, client_id, known: Mutex::default(), grants: Mutex::default() }
    }

    /// What to send with a first try: what is known to work, or nothing. A grant that expired is
    /// renewed ahead of the 401 that it would meet.
    pub(crate) async fn current(
        &self,
        http: &HttpExchange,
        registry: &Registry,
        scope: &Scope,
    ) -> Result<Authorization, Error> {
        let grant = self.grant(registry, scope);
        let mut grant = grant.lock().await;
        let now = Instant::now();
        if grant.until.is_some_and(|until| until <= now) {
            match grant.challenge.clone() {
                Some(challenge) => {
                    let renewing =
                        self.renew_locked(http, registry, scope, &mut grant, challenge, false);
                    match Box::pin(renewing).await {
                        // What is still valid is sent on, and renewed a little later.
                        Err(error)
                            if error.is_transient()
                                && grant.ends.is_none_or(|ends| Instant::now() < ends) =>
                        {
                            grant.until = Some(Instant::now() + FAILED_HOLD);
                        }
                        result => result?,
                    }
                }
                // Nothing says how to renew it, so the next 401 has to.
                None => grant.header = None,
            }
        }
        Ok(Authorization { header: grant.header.clone(), generation: grant.generation })
    }

    /// What to send after a refusal of `used`; `None` if there is nothing else to send, so that it
    /// stands.
    pub(crate) async fn renew(
        &self,
        http: &HttpExchange,
        registry: &Registry,
        scope: &Scope,
        used: &Authorization,
        request: &RequestLine,
        refusal: Refusal<'_>,
    ) -> Result<Option<Authorization>, Error> {
        let grant = self.grant(registry, scope);
        let mut grant = grant.lock().await;
        // With a later renewal than the one that was refused, somebody else has done the work.
        if grant.generation == used.generation {
            match refusal {
                Refusal::Challenged(response) => {
                    let Some(challenge) = challenge::best(response) else {
                        let reason = "it offers neither Basic nor Bearer authentication";
                        return Err(unauthorized(request, registry, reason));
                    };
                    // A request without a header was refused for the want of one, which says
                    // nothing of the credentials at hand.
                    let refused = used.header.is_some();
                    let renewed =
                        self.renew_locked(http, registry, scope, &mut grant, challenge, refused);
                    Box::pin(renewed).await.map_err(|error| at_request(request, error))?;
                }
                Refusal::Doubted => self.renew_doubted(http, registry, scope, &mut grant).await?,
            }
        }
        let renewed = Authorization { header: grant.header.clone(), generation: grant.generation };
        let nothing_new = matches!(refusal, Refusal::Doubted) && renewed.header == used.header;
        Ok((!nothing_new).then_some(renewed))
    }

    /// Renews a grant of which it is not certain that it was refused, if that has not been done for a
    /// while. It stays as it is if there is no other.
    async fn renew_doubted(
        &self,
        http: &HttpExchange,
        registry: &Registry,
        scope: &Scope,
        grant: &mut Grant,
    ) -> Result<(), Error> {
        let now = Instant::now();
        let before = |until: Option<Instant>| until.is_some_and(|until| now < until);
        if before(grant.unknown_until) {
            let registry = registry.name.clone();
            let source = "others could not be had a moment ago".into();
            return Err(CredentialsError::Provider { registry, transient: true, source }.into());
        }
        let held = before(grant.doubted_until);
        let Some(challenge) = grant.challenge.clone().filter(|_| !held) else { return Ok(()) };
        match Box::pin(self.renew_locked(http, registry, scope, grant, challenge, true)).await {
            // Whether it was refused is not known until it can be renewed, which not every request tries.
            Err(error) if error.is_transient() => {
                grant.unknown_until = Some(Instant::now() + FAILED_HOLD);
                Err(error)
            }
            // Whatever cannot be had, the registry's own answer says more.
            Ok(()) | Err(_) => {
                grant.doubted_until = Some(now + DOUBT_HOLD);
                Ok(())
            }
        }
    }

    /// Renewals are rare, so their futures are boxed by those who await them: every request would
    /// carry one with it.
    async fn renew_locked(
        &self,
        http: &HttpExchange,
        registry: &Registry,
        scope: &Scope,
        grant: &mut Grant,
        challenge: Challenge,
        refused: bool,
    ) -> Result<(), Error> {
        let refused = refused.then_some(grant.serial);
        let mut known = self.credentials(registry, scope, refused).await?;
        let mut made = self.made_of(&known, http, registry, scope, &challenge).await;
        // Credentials that were kept may have ended before their time. The endpoint says so only here.
        if matches!(made, Err(Error::Unauthorized { .. })) && !known.fresh {
            let other = self.credentials(registry, scope, Some(known.serial)).await?;
            if other.credentials != known.credentials {
                known = other;
                made = self.made_of(&known, http, registry, scope, &challenge).await;
            }
        }
        let (header, until, ends) = made?;
        *grant = Grant {
            challenge: Some(challenge),
            header: Some(header),
            until,
            ends,
            generation: grant.generation + 1,
            serial: known.serial,
            doubted_until: grant.doubted_until,
            unknown_until: None,
        };
        Ok(())
    }

    /// The `Authorization` that a challenge asks for, when it is to be renewed, and when it ends.
    async fn made_of(
        &self,
        known: &KnownCredentials,
        http: &HttpExchange,
        registry: &Registry,
        scope: &Scope,
        challenge: &Challenge,
    ) -> Result<(HeaderValue, Option<Instant>, Option<Instant>), Error> {
        match challenge {
            Challenge::Basic => Ok((basic(registry, &known.credentials)?, known.until, known.ends)),
            Challenge::Bearer { realm, service, scope: challenged } => {
                let scopes = token::scopes(scope, challenged.as_deref());
                // A token's time runs from when it was made, which is after it was asked for.
                let asked = Instant::now();
                let (service, client_id) = (service.as_deref(), self.client_id.as_str());
                let wanted = Wanted { realm, service, scopes: &scopes, client_id };
                let token = endpoint::ask(http, registry, wanted, &known.credentials).await?;
                let header = sensitive("Bearer ", &token.secret, registry)?;
                let (until, ends) = (asked + token.valid_for, asked + token.lifetime);
                Ok((header, Some(until), Some(ends)))
            }
        }
    }

    /// The credentials for the scope's repository. If those of this serial number were `refused`, and no others are
    /// here yet, the provider is asked for others.
    async fn credentials(
        &self,
        registry: &Registry,
        scope: &Scope,
        refused: Option<u64>,
    ) -> Result<KnownCredentials, Error> {
        let (registry, repository) = (registry.name.as_str(), scope.repository());
        let known = entry(&self.known, (registry.to_owned(), repository.to_owned()));
        let mut known = known.lock().await;
        let now = Instant::now();
        let (granted, serial) = match &*known {
            Some(known) if refused.is_some_and(|serial| serial >= known.serial) => {
                let refused = &known.credentials;
                let granted = self.provider.credentials_after(registry, repository, refused);
                (granted.await?, known.serial + 1)
            }
            Some(known) if known.until.is_none_or(|until| until > now) => {
                return Ok(KnownCredentials { fresh: false, ..known.clone() });
            }
            ended => {
                let serial = ended.as_ref().map_or(1, |known| known.serial + 1);
                (self.provider.credentials(registry, repository).await?, serial)
            }
        };
        let until = granted.valid_for.and_then(|valid| now.checked_add(token::usable(valid)));
        let ends = granted.valid_for.and_then(|valid| now.checked_add(valid));
        let credentials = granted.credentials;
        Ok(known.insert(KnownCredentials { credentials, until, ends, serial, fresh: true }).clone())
    }

    fn grant(&self, registry: &Registry, scope: &Scope) -> Arc<AsyncMutex<Grant>> {
        entry(&self.grants, (registry.base.to_string(), scope.clone()))
    }
}

/// An error of the authorization, told as one of the request that needed it: that says more than the
/// registry's root or its token endpoint.
fn at_request(request: &RequestLine, error: Error) -> Error {
    match error {
        Error::Unauthorized { registry, reason, .. } => {
            Error::Unauthorized { request: request.clone(), registry, reason }
        }
        error => error,
    }
}

fn entry<K: Eq + std::hash::Hash, V: Default>(table: &Table<K, V>, key: K) -> Arc<AsyncMutex<V>> {
    let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
    // Forgetting costs one 401 for each that is met again. Those in use live on in their requests.
    if table.len() >= MAX_GRANTS && !table.contains_key(&key) {
        table.clear();
    }
    Arc::clone(table.entry(key).or_default())
}
