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
//!   registry has refused what was made of them. A password that was changed meanwhile is thus found
//!   without a restart.
//! - A token endpoint is any URL that a registry cares to name. Credentials are sent there over
//!   https only ([`realm_allowed`]), and never anything of the URL's own user information.
//! - There is one try: whoever is refused with new credentials is refused for good (`verdict`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Url;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::challenge::{self, Challenge};
use super::credentials::{CredentialProvider, Credentials};
use super::scope::Scope;
use super::token;
use crate::error::Error;
use crate::exchange::{HttpExchange, Payload, Registry, strip_userinfo};
use crate::redact::{RequestLine, Secret};
use crate::verdict::Asked;

/// Limit of a token endpoint's answer, in bytes.
const TOKEN_LIMIT: usize = 1 << 20;

/// Grants kept before all are forgotten: a long-lived process meets many repositories.
const MAX_GRANTS: usize = 4096;

/// The credentials and tokens of a client.
#[derive(Debug)]
pub(crate) struct Authorizer {
    provider: Arc<dyn CredentialProvider>,
    /// Named to token endpoints, OAuth 2.0 `client_id`.
    client_id: String,
    known: Table<String, Option<KnownCredentials>>,
    grants: Table<(String, Scope), Grant>,
}

type Table<K, V> = Mutex<HashMap<K, Arc<AsyncMutex<V>>>>;

/// Credentials that the provider gave.
#[derive(Clone, Debug)]
struct KnownCredentials {
    credentials: Credentials,
    until: Option<Instant>,
}

/// What a request is sent with.
#[derive(Debug, Default)]
struct Grant {
    challenge: Option<Challenge>,
    header: Option<HeaderValue>,
    until: Option<Instant>,
    /// Counts renewals, so that a request can tell whether another one renewed meanwhile.
    generation: u64,
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
        if grant.until.is_some_and(|until| until <= Instant::now()) {
            match grant.challenge.clone() {
                Some(challenge) => {
                    self.renew_locked(http, registry, scope, &mut grant, challenge, false).await?;
                }
                // Nothing says how to renew it, so the next 401 has to.
                None => grant.header = None,
            }
        }
        Ok(Authorization { header: grant.header.clone(), generation: grant.generation })
    }

    /// What to send after a 401 whose headers are `response`; `used` is what was sent.
    pub(crate) async fn renew(
        &self,
        http: &HttpExchange,
        registry: &Registry,
        scope: &Scope,
        used: &Authorization,
        request: &RequestLine,
        response: &HeaderMap,
    ) -> Result<Authorization, Error> {
        let grant = self.grant(registry, scope);
        let mut grant = grant.lock().await;
        // With a later renewal than the one that was refused, somebody else has done the work.
        if grant.generation == used.generation {
            let Some(challenge) = challenge::best(response) else {
                let reason = "it offers neither Basic nor Bearer authentication";
                return Err(unauthorized(request, registry, reason));
            };
            // A request without a header was refused for the want of one, which says nothing of the
            // credentials at hand.
            let refused = used.header.is_some();
            let renewed =
                self.renew_locked(http, registry, scope, &mut grant, challenge, refused).await;
            renewed.map_err(|error| match error {
                // The request that was refused says more than the registry's root or its token
                // endpoint.
                Error::Unauthorized { registry, reason, .. } => {
                    Error::Unauthorized { request: request.clone(), registry, reason }
                }
                error => error,
            })?;
        }
        Ok(Authorization { header: grant.header.clone(), generation: grant.generation })
    }

    async fn renew_locked(
        &self,
        http: &HttpExchange,
        registry: &Registry,
        scope: &Scope,
        grant: &mut Grant,
        challenge: Challenge,
        refused: bool,
    ) -> Result<(), Error> {
        let known = self.credentials(registry, refused).await?;
        let (header, until) = match &challenge {
            Challenge::Basic => (basic(registry, &known.credentials)?, known.until),
            Challenge::Bearer { realm, service, scope: challenged } => {
                let scopes = token::scopes(scope, challenged.as_deref());
                let service = service.as_deref();
                // A token's time runs from when it was made, which is after it was asked for.
                let asked = Instant::now();
                let token =
                    self.token(http, registry, realm, service, &scopes, &known.credentials).await?;
                (sensitive("Bearer ", &token.secret, registry)?, Some(asked + token.valid_for))
            }
        };
        *grant = Grant {
            challenge: Some(challenge),
            header: Some(header),
            until,
            generation: grant.generation + 1,
        };
        Ok(())
    }

    /// The registry's credentials; after a refusal the provider is asked again.
    async fn credentials(
        &self,
        registry: &Registry,
        refused: bool,
    ) -> Result<KnownCredentials, Error> {
        let known = entry(&self.known, registry.name.clone());
        let mut known = known.lock().await;
        let now = Instant::now();
        let stale =
            |known: &KnownCredentials| refused || known.until.is_some_and(|until| until <= now);
        if let Some(known) = known.as_ref().filter(|known| !stale(known)) {
            return Ok(known.clone());
        }
        let granted = self.provider.credentials(&registry.name).await?;
        let until = granted.valid_for.and_then(|valid| now.checked_add(token::usable(valid)));
        Ok(known.insert(KnownCredentials { credentials: granted.credentials, until }).clone())
    }

    async fn token(
        &self,
        http: &HttpExchange,
        registry: &Registry,
        realm: &str,
        service: Option<&str>,
        scopes: &[String],
        credentials: &Credentials,
    ) -> Result<token::Token, Error> {
        let base = RequestLine::new(&Method::GET, &registry.base);
        let mut realm = registry.base.join(realm).map_err(|_| Error::Protocol {
            request: base.clone(),
            what: "the realm of the Bearer challenge is not a URL".to_owned(),
        })?;
        strip_userinfo(&mut realm);
        // Without credentials there is nothing to protect: such a token opens what is public.
        let secret = *credentials != Credentials::Anonymous;
        if !realm_allowed(&realm, http.plain_http, secret) {
            let reason = "its token endpoint is not https, so the credentials are not sent there";
            return Err(unauthorized(&base, registry, reason));
        }
        let mut headers = HeaderMap::new();
        let (method, url, payload) = match credentials {
            Credentials::IdentityToken(refresh) => {
                let form = token::refresh_form(&self.client_id, service, scopes, refresh);
                let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
                headers.insert(CONTENT_TYPE, kind);
                (Method::POST, realm, Payload::Bytes(form.into()))
            }
            Credentials::Basic { .. } => {
                headers.insert(AUTHORIZATION, basic(registry, credentials)?);
                (Method::GET, token::get_url(&realm, service, scopes), Payload::None)
            }
            Credentials::Anonymous => {
                (Method::GET, token::get_url(&realm, service, scopes), Payload::None)
            }
        };
        let reply = http.exchange(&method, &url, headers, &payload).await?;
        let request = reply.request().clone();
        let body = match reply.status() {
            StatusCode::OK => reply.bytes(TOKEN_LIMIT).await?,
            _ => return Err(reply.into_error(Asked::Token(&registry.name)).await),
        };
        token::parse(&body).ok_or_else(|| Error::Protocol {
            request,
            what: "the token endpoint's answer holds no token".to_owned(),
        })
    }

    fn grant(&self, registry: &Registry, scope: &Scope) -> Arc<AsyncMutex<Grant>> {
        entry(&self.grants, (registry.base.to_string(), scope.clone()))
    }
}

/// The error of a request that the registry refused even after renewal.
pub(crate) fn unauthorized(request: &RequestLine, registry: &Registry, reason: &str) -> Error {
    Error::Unauthorized {
        request: request.clone(),
        registry: registry.name.clone(),
        reason: reason.to_owned(),
    }
}

fn basic(registry: &Registry, known: &Credentials) -> Result<HeaderValue, Error> {
    let request = RequestLine::new(&Method::GET, &registry.base);
    match known {
        Credentials::Basic { username, password } => {
            let pair = format!("{username}:{}", password.expose());
            let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
            sensitive("Basic ", &Secret::new(encoded), registry)
        }
        Credentials::Anonymous => {
            Err(unauthorized(&request, registry, "it asks for a password and none is known"))
        }
        Credentials::IdentityToken(_) => Err(unauthorized(
            &request,
            registry,
            "it asks for a password and only an identity token is known",
        )),
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

/// Whether a server-chosen token endpoint may be asked. Credentials travel over https only,
/// except where plain http was allowed or never leaves the machine.
fn realm_allowed(realm: &Url, plain_http: bool, secret: bool) -> bool {
    match realm.scheme() {
        "https" => true,
        "http" => plain_http || !secret || is_loopback(realm),
        _ => false,
    }
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn sensitive(scheme: &str, secret: &Secret, registry: &Registry) -> Result<HeaderValue, Error> {
    let mut header =
        HeaderValue::from_str(&format!("{scheme}{}", secret.expose())).map_err(|_| {
            let request = RequestLine::new(&Method::GET, &registry.base);
            unauthorized(
                &request,
                registry,
                "the credentials have characters that no header can carry",
            )
        })?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_to_https_or_allowed_or_local_endpoints_only() {
        let allowed =
            |url: &str, plain, secret| realm_allowed(&Url::parse(url).unwrap(), plain, secret);
        assert!(allowed("https://t.example/", false, true));
        assert!(!allowed("http://t.example/", false, true));
        assert!(allowed("http://t.example/", false, false));
        assert!(allowed("http://t.example/", true, true));
        for local in ["http://localhost:1/", "http://127.0.0.1/", "http://[::1]:5/"] {
            assert!(allowed(local, false, true), "{local}");
        }
        assert!(!allowed("file:///etc/passwd", true, false));
    }
}
