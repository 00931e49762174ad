//! The token endpoint: requests and answers (distribution, "Token Authentication
//! Specification" and "OAuth 2.0").

use std::time::Duration;

use reqwest::Url;
use serde_json::{Map, Value};

use super::scope::Scope;
use crate::redact::Secret;

/// Lifetime of a token whose answer states none, token specification.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(1);

/// Longest lifetime believed: whatever a server claims, a day later the token is asked for anew.
const MAX_LIFETIME: Duration = Duration::from_hours(24);

/// An access token and the time from now that it may be used for, and after which it ends.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) secret: Secret,
    pub(super) valid_for: Duration,
    pub(super) lifetime: Duration,
}

/// The URL that a token is fetched from with GET.
pub(super) fn get_url(realm: &Url, service: Option<&str>, scopes: &[String]) -> Url {
    let mut url = realm.clone();
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        for scope in scopes {
            query.append_pair("scope", scope);
        }
    }
    url
}

/// The form that trades a refresh token for an access token with POST.
pub(super) fn refresh_form(
    client: &str,
    service: Option<&str>,
    scopes: &[String],
    refresh_token: &Secret,
) -> String {
    // A URL is the form encoder at hand.
    let Ok(mut url) = Url::parse("form:") else { return String::new() };
    url.query_pairs_mut()
        .append_pair("grant_type", "refresh_token")
        .append_pair("client_id", client)
        .append_pair("service", service.unwrap_or_default())
        .append_pair("scope", &scopes.join(" "))
        .append_pair("refresh_token", refresh_token.expose());
    url.query().unwrap_or_default().to_owned()
}

/// Reads the endpoint's answer. `None` if it holds no token.
///
/// It is read as Go's `encoding/json` reads it, which registries are tested with: keys match whatever their case,
/// and `null` is what is absent. A lifetime in any other form is as good as none, and never the end of a login; when
/// a token was issued is known better here.
pub(super) fn parse(body: &[u8]) -> Option<Token> {
    let answer: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let member = |name: &str| {
        let folded = || answer.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        answer.get(name).or_else(|| folded().map(|(_, value)| value))
    };
    let text = |name: &str| member(name)?.as_str().filter(|text| !text.is_empty());
    let secret = text("token").or_else(|| text("access_token"))?;
    let lifetime = member("expires_in").and_then(lifetime).unwrap_or(DEFAULT_LIFETIME);
    Some(Token { secret: Secret::new(secret), valid_for: usable(lifetime), lifetime })
}

/// A lifetime in seconds, as a number or as text; `None` if it is not a length of time.
fn lifetime(stated: &Value) -> Option<Duration> {
    let seconds = match stated {
        Value::String(text) => text.trim().parse().ok()?,
        number => number.as_f64()?,
    };
    // Neither a number below 1 nor one that is none.
    (seconds >= 1.0).then(|| {
        let longest = MAX_LIFETIME.as_secs_f64();
        Duration::try_from_secs_f64(seconds.min(longest)).unwrap_or(MAX_LIFETIME)
    })
}

/// The part of a lifetime in which something that expires is still sent: a tenth of it, at most
/// 30 s, is left for the way to the server and for clocks that differ.
pub(super) fn usable(lifetime: Duration) -> Duration {
    lifetime.saturating_sub((lifetime / 10).min(Duration::from_secs(30)))
}

/// The scopes to ask for: the client's own, and those of the challenge that name something else,
/// as registries behind a rewriting proxy do.
pub(super) fn scopes(own: &Scope, challenged: Option<&str>) -> Vec<String> {
    let mut scopes = own.list().to_vec();
    let resource = |scope: &str| scope.rsplit_once(':').map(|(resource, _)| resource.to_owned());
    for scope in challenged.unwrap_or_default().split_ascii_whitespace() {
        if !scopes.iter().any(|have| resource(have) == resource(scope)) {
            scopes.push(scope.to_owned());
        }
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_name_of_the_token_is_read_with_its_lifetime() {
        let token = parse(br#"{"token":"a","access_token":"b","expires_in":100}"#).unwrap();
        assert_eq!((token.secret.expose(), token.valid_for), ("a", Duration::from_secs(90)));
        let token = parse(br#"{"access_token":"b"}"#).unwrap();
        assert_eq!((token.secret.expose(), token.valid_for), ("b", Duration::from_secs(54)));
        assert!(parse(br#"{"token":""}"#).is_none());
        assert!(parse(b"<html>").is_none());
    }

    #[test]
    fn an_answer_is_read_as_go_reads_it() {
        for (answer, token) in [
            (r#"{"token":null,"access_token":"b"}"#, Some("b")),
            (r#"{"token":"","access_token":"b"}"#, Some("b")),
            (r#"{"token":"a","access_token":null,"refresh_token":null}"#, Some("a")),
            (r#"{"Token":"a"}"#, Some("a")),
            (r#"{"ACCESS_TOKEN":"b","scope":["x"],"issued_at":"yesterday"}"#, Some("b")),
            (r#"{"token":"a","issued_at":17,"expires_in":{}}"#, Some("a")),
            ("{\"token\":\"a\"}\n", Some("a")),
            (r#"{"token":1}"#, None),
            (r#"{"token":null,"access_token":null}"#, None),
            ("null", None),
            ("[]", None),
            ("\"a\"", None),
            ("", None),
        ] {
            let read = parse(answer.as_bytes());
            assert_eq!(read.as_ref().map(|read| read.secret.expose()), token, "{answer}");
        }
    }

    #[test]
    fn a_lifetime_is_what_can_be_one() {
        let default = DEFAULT_LIFETIME.as_secs();
        let longest = MAX_LIFETIME.as_secs();
        for (stated, seconds) in [
            ("300", 300),
            ("300.0", 300),
            ("\"300\"", 300),
            ("1", 1),
            ("0", default),
            ("0.5", default),
            ("-5", default),
            ("null", default),
            ("true", default),
            ("\"\"", default),
            ("\"soon\"", default),
            ("\"NaN\"", default),
            ("[300]", default),
            ("1000000000000000000", longest),
            ("1e300", longest),
            ("\"inf\"", longest),
        ] {
            let token = parse(format!(r#"{{"token":"a","expires_in":{stated}}}"#).as_bytes());
            assert_eq!(token.unwrap().lifetime, Duration::from_secs(seconds), "{stated}");
        }
    }

    #[test]
    fn requests_carry_service_and_scopes_encoded() {
        let realm = Url::parse("https://t.example/token?account=x").unwrap();
        let scopes = scopes(&Scope::push("a/b"), Some("repository:a/b:pull repository:c:pull"));
        assert_eq!(
            get_url(&realm, Some("r e"), &scopes).query(),
            Some(
                "account=x&service=r+e&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%3Apull"
            )
        );
        let form = refresh_form("c", None, &scopes, &Secret::new("s&t"));
        assert!(form.ends_with(
            "&scope=repository%3Aa%2Fb%3Apull%2Cpush+repository%3Ac%3Apull&refresh_token=s%26t"
        ));
    }
}
