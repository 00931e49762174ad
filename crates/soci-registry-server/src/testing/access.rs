//! Who may do what: passwords, tokens and their endpoint.

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use super::options::{FakeAuth, TokenUser};
use super::request::Asked;
use super::state::Fake;
use crate::reply::{empty, json_response, with_header};
use crate::route::parameter;

/// The service that the fake's challenges name.
const SERVICE: &str = "fake registry";

/// The answer to a request that may not be carried out.
pub(super) fn refuse(fake: &Fake, asked: &Asked) -> Option<Response> {
    let sent = asked.authorization.as_deref().unwrap_or_default();
    let challenge = match &fake.auth {
        FakeAuth::None => return None,
        FakeAuth::Basic { username, password } => {
            (sent != basic(username, password)).then(|| "Basic realm=\"fake\"".to_owned())
        }
        FakeAuth::Bearer { .. } => {
            let scope = needed(asked);
            let token = sent.strip_prefix("Bearer ").unwrap_or_default();
            let good = fake.state().tokens.get(token).is_some_and(|(scopes, until)| {
                Instant::now() < *until && scope.as_ref().is_none_or(|scope| allows(scopes, scope))
            });
            (!good).then(|| {
                format!(
                    "Bearer realm=\"http://{}/token\",service=\"{SERVICE}\",scope=\"{}\"",
                    fake.address,
                    scope.unwrap_or_default()
                )
            })
        }
    };
    challenge.map(|challenge| with_header(unauthorized(), "www-authenticate", challenge))
}

/// The token endpoint. `form` is the request's body.
pub(super) fn token(fake: &Fake, asked: &Asked, form: &[u8]) -> Response {
    let FakeAuth::Bearer { user, lifetime } = &fake.auth else {
        return empty(StatusCode::NOT_FOUND);
    };
    let form = String::from_utf8_lossy(form);
    let sent = if asked.method == Method::POST { &*form } else { asked.query.as_str() };
    let value = |name: &str| parameter(Some(sent), name);
    let good = match user {
        TokenUser::Anyone => true,
        TokenUser::Basic { username, password } => {
            asked.authorization.as_ref() == Some(&basic(username, password))
        }
        TokenUser::IdentityToken(token) => {
            asked.method == Method::POST
                && value("grant_type").as_deref() == Some("refresh_token")
                && value("refresh_token").as_ref() == Some(token)
        }
    };
    if !good || value("service").as_deref() != Some(SERVICE) {
        return unauthorized();
    }
    let scopes: Vec<String> =
        sent.split('&').filter_map(|pair| parameter(Some(pair), "scope")).collect();
    let mut state = fake.state();
    let token = state.fresh("bearer-of-the-fake-");
    state.tokens.insert(token.clone(), (scopes.join(" "), Instant::now() + *lifetime));
    let answer = json!({ "token": token, "expires_in": lifetime.as_secs() });
    json_response(StatusCode::OK, "application/json", &answer)
}

fn unauthorized() -> Response {
    let error = json!({ "code": "UNAUTHORIZED", "message": "authentication required" });
    let list = json!({ "errors": [error] });
    json_response(StatusCode::UNAUTHORIZED, "application/json", &list)
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

/// The scope that a request needs.
fn needed(asked: &Asked) -> Option<String> {
    let name = asked.repository()?;
    let read = asked.method == Method::GET || asked.method == Method::HEAD;
    Some(format!("repository:{name}:{}", if read { "pull" } else { "pull,push" }))
}

fn allows(scopes: &str, needed: &str) -> bool {
    let Some((resource, actions)) = needed.rsplit_once(':') else { return false };
    scopes.split(' ').filter_map(|scope| scope.rsplit_once(':')).any(|(have, granted)| {
        have == resource && actions.split(',').all(|action| granted.split(',').any(|g| g == action))
    })
}
