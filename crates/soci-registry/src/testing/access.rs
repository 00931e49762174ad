//! Who may do what: passwords, tokens and their endpoint.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::header::AUTHORIZATION;
use tokio::time::Instant;

use super::respond::{self, Reply};
use super::server::{Asked, form_parameter};
use super::state::State;
use super::{FakeAuth, TokenUser};

/// The service that the fake's challenges name.
const SERVICE: &str = "fake registry";

/// The answer to a request that may not be carried out.
pub(super) fn refuse(state: &State, asked: &Asked) -> Option<Reply> {
    let sent = asked.header(AUTHORIZATION).unwrap_or_default();
    match &state.options.auth {
        FakeAuth::None => None,
        FakeAuth::Basic { username, password } => {
            let refusal = || unauthorized().header("www-authenticate", "Basic realm=\"fake\"");
            (sent != basic(username, password)).then(refusal)
        }
        FakeAuth::Bearer { .. } => {
            let scope = needed(asked);
            let token = sent.strip_prefix("Bearer ").unwrap_or_default();
            let good = state.tokens.get(token).is_some_and(|(scopes, until)| {
                Instant::now() < *until && scope.as_ref().is_none_or(|scope| allows(scopes, scope))
            });
            let challenge = format!(
                "Bearer realm=\"http://{}/token\",service=\"{SERVICE}\",scope=\"{}\"",
                state.address,
                scope.unwrap_or_default()
            );
            (!good).then(|| unauthorized().header("www-authenticate", &challenge))
        }
    }
}

/// The token endpoint.
pub(super) fn token(state: &mut State, asked: &Asked) -> Reply {
    let FakeAuth::Bearer { user, lifetime } = state.options.auth.clone() else {
        return respond::plain(404);
    };
    let form = String::from_utf8_lossy(&asked.body).into_owned();
    let parameters = if asked.method == Method::POST { &form } else { &asked.query };
    let good = match user {
        TokenUser::Anyone => true,
        TokenUser::Basic { username, password } => {
            asked.header(AUTHORIZATION) == Some(basic(&username, &password).as_str())
        }
        TokenUser::IdentityToken(token) => {
            asked.method == Method::POST
                && form_parameter(parameters, "grant_type").as_deref() == Some("refresh_token")
                && form_parameter(parameters, "refresh_token") == Some(token)
        }
    };
    if !good || form_parameter(parameters, "service").as_deref() != Some(SERVICE) {
        return unauthorized();
    }
    let scopes: Vec<String> =
        parameters.split('&').filter_map(|pair| form_parameter(pair, "scope")).collect();
    let token = state.fresh("token");
    state.tokens.insert(token.clone(), (scopes.join(" "), Instant::now() + lifetime));
    let answer = serde_json::json!({ "token": token, "expires_in": lifetime.as_secs() });
    respond::plain(200).with_body("application/json", answer.to_string())
}

fn unauthorized() -> Reply {
    respond::error(401, "UNAUTHORIZED", "authentication required")
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

/// The scope that a request needs.
fn needed(asked: &Asked) -> Option<String> {
    let (name, ..) = asked.parts()?;
    let read = asked.method == Method::GET || asked.method == Method::HEAD;
    Some(format!("repository:{name}:{}", if read { "pull" } else { "pull,push" }))
}

fn allows(scopes: &str, needed: &str) -> bool {
    let Some((resource, actions)) = needed.rsplit_once(':') else { return false };
    scopes.split(' ').filter_map(|scope| scope.rsplit_once(':')).any(|(have, granted)| {
        have == resource && actions.split(',').all(|action| granted.split(',').any(|g| g == action))
    })
}
