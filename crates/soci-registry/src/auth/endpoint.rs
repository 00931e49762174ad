//! Asks a token endpoint, wherever a registry and the endpoint itself lead.
//!
//! - The realm may be relative. Plain http on the own host of a registry that speaks https is raised to https: a
//!   registry behind a proxy that ends TLS often does not know better. Where both are on this machine, `reach`
//!   admits plain http, and a port of its own is left as it is.
//! - Redirects are followed as Go follows them (`redirect`): a POST becomes a GET without its body at 301, 302 and
//!   303, and is sent again at 307 and 308.
//! - Credentials go to the realm's own scheme, host and port, and to https on the same host where the realm is
//!   plain http. Elsewhere a GET goes without them, as Go's does, and stays without; a body with an identity
//!   token does not go at all. (Go sends them to every port of the host and to the hosts below it.)

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use reqwest::Url;

use super::credentials::Credentials;
use super::header;
use super::token::{self, Token};
use crate::error::Error;
use crate::exchange::{HttpExchange, Payload, Registry, Reply, strip_userinfo};
use crate::reach::Reach;
use crate::redact::RequestLine;
use crate::redirect::{self, MAX_REDIRECTS, Turn};
use crate::verdict::Asked;

/// Limit of a token endpoint's answer, in bytes.
const TOKEN_LIMIT: usize = 1 << 20;

/// What a token is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// The endpoint, as the challenge names it.
    pub(super) realm: &'a str,
    pub(super) service: Option<&'a str>,
    pub(super) scopes: &'a [String],
    /// How this client is named.
    pub(super) client_id: &'a str,
}

/// Trades credentials for a token.
pub(super) async fn ask(
    http: &HttpExchange,
    registry: &Registry,
    wanted: Wanted<'_>,
    credentials: &Credentials,
) -> Result<Token, Error> {
    let Wanted { service, scopes, .. } = wanted;
    let realm = endpoint(&http.reach, registry, wanted.realm)?;
    let mut headers = HeaderMap::new();
    let mut authorization = None;
    let mut payload = Payload::None;
    let (mut method, mut url) = match credentials {
        Credentials::IdentityToken(refresh) => {
            let form = token::refresh_form(wanted.client_id, service, scopes, refresh);
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(CONTENT_TYPE, kind);
            payload = Payload::Bytes(form.into());
            (Method::POST, realm.clone())
        }
        Credentials::Basic { .. } => {
            authorization = Some(header::basic(registry, credentials)?);
            (Method::GET, token::get_url(&realm, service, scopes))
        }
        Credentials::Anonymous => (Method::GET, token::get_url(&realm, service, scopes)),
    };
    for _ in 0..=MAX_REDIRECTS {
        let mut sent = headers.clone();
        if let Some(authorization) = &authorization {
            sent.insert(AUTHORIZATION, authorization.clone());
        }
        let reply = http.exchange(registry, &method, &url, sent, &payload).await?;
        let Some(turn) = redirect::turn(&method, reply.status()) else {
            return read(reply, registry).await;
        };
        let next = redirect::location(&reply)?;
        if turn == Turn::Get {
            method = Method::GET;
            payload = Payload::None;
            headers.remove(CONTENT_TYPE);
        }
        if !may_know(&realm, &next) {
            authorization = None;
            if !matches!(payload, Payload::None) {
                let reason = "it would take an identity token to another host";
                return Err(Error::Redirect { request: reply.request().clone(), reason });
            }
        }
        redirect::refer(&mut headers, &url, &next);
        url = next;
    }
    let request = RequestLine::new(&method, &realm);
    Err(Error::Redirect { request, reason: "too many redirects" })
}

/// The URL of a realm.
fn endpoint(reach: &Reach, registry: &Registry, realm: &str) -> Result<Url, Error> {
    let base = &registry.base;
    let mut url = base.join(realm).map_err(|_| Error::Protocol {
        request: RequestLine::new(&Method::GET, base),
        what: "the realm of the Bearer challenge is not a URL".to_owned(),
    })?;
    strip_userinfo(&mut url);
    let own_host = url.host_str() == base.host_str();
    if own_host && (base.scheme(), url.scheme()) == ("https", "http") {
        let own_port = url.port().is_none_or(|port| Some(port) == base.port_or_known_default());
        if own_port || reach.admit(base, &url).is_err() {
            // Both are schemes with hosts, between which a URL can always change.
            let _ = url.set_scheme("https");
        }
    }
    Ok(url)
}

/// Whether what is for the endpoint `realm` may be shown at `url`.
fn may_know(realm: &Url, url: &Url) -> bool {
    let raised = (realm.scheme(), url.scheme()) == ("http", "https");
    realm.origin() == url.origin() || raised && realm.host_str() == url.host_str()
}

async fn read(reply: Reply, registry: &Registry) -> Result<Token, Error> {
    if !reply.status().is_success() {
        return Err(reply.into_error(Asked::Token(&registry.name)).await);
    }
    let request = reply.request().clone();
    let body = reply.bytes(TOKEN_LIMIT).await?;
    token::parse(&body).ok_or_else(|| Error::Protocol {
        request,
        what: "the token endpoint's answer holds no token".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_realm_on_the_registrys_own_host_is_as_safe_as_the_registry() {
        for (registry, realm, expected) in [
            ("https://r/", "https://t/token", "https://t/token"),
            ("https://r/", "http://t/token", "http://t/token"),
            ("https://r/", "http://r/token?a=b", "https://r/token?a=b"),
            ("https://r:5000/", "http://r:5000/token", "https://r:5000/token"),
            ("https://r:5000/", "http://r/token", "https://r/token"),
            ("https://r/", "http://r:5001/token", "https://r:5001/token"),
            ("https://r/", "/token", "https://r/token"),
            ("https://r/", "//r/token", "https://r/token"),
            ("https://r/", "http://u:p@r/token", "https://r/token"),
            ("http://r/", "http://r/token", "http://r/token"),
            ("https://127.0.0.1:1/", "http://127.0.0.1:1/t", "https://127.0.0.1:1/t"),
            ("https://127.0.0.1:1/", "http://127.0.0.1:2/t", "http://127.0.0.1:2/t"),
        ] {
            let reach = Reach::new(false, Arc::default());
            let known = Registry { name: "r".to_owned(), base: url(registry) };
            assert_eq!(endpoint(&reach, &known, realm).unwrap().as_str(), expected, "{registry}");
        }
    }

    #[test]
    fn credentials_go_to_the_realms_origin_and_to_https_on_its_host() {
        for (realm, to, may) in [
            ("https://t/a", "https://t/b?c", true),
            ("https://t/a", "https://t:444/a", false),
            ("https://t/a", "http://t/a", false),
            ("https://t/a", "https://sub.t/a", false),
            ("https://t/a", "https://other/a", false),
            ("http://t/a", "http://t/b", true),
            ("http://t/a", "http://t:81/b", false),
            ("http://t/a", "https://t/a", true),
            ("http://t:5000/a", "https://t:5001/a", true),
            ("http://t/a", "https://other/a", false),
        ] {
            assert_eq!(may_know(&url(realm), &url(to)), may, "{realm} {to}");
        }
    }
}
