//! `WWW-Authenticate` headers, RFC 9110, 11.6.1, as registries use them.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// A way to authenticate that a server offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password.
    Basic,
    /// A token of the endpoint `realm`.
    Bearer {
        realm: String,
        service: Option<String>,
        /// Space-separated scopes.
        scope: Option<String>,
    },
}

/// The best challenge of a response: Bearer before Basic, others unknown.
pub(crate) fn best(headers: &HeaderMap) -> Option<Challenge> {
    let mut basic = None;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        for challenge in parse(&String::from_utf8_lossy(value.as_bytes())) {
            match challenge {
                bearer @ Challenge::Bearer { .. } => return Some(bearer),
                Challenge::Basic => basic = Some(Challenge::Basic),
            }
        }
    }
    basic
}

/// All known challenges of one header value, in order. What cannot be parsed is skipped.
fn parse(value: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut current: Option<Pending<'_>> = None;
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            break;
        }
        let Some((word, after)) = take_token(rest) else {
            // Not a token: skip one character to find the next one.
            let mut characters = rest.chars();
            characters.next();
            rest = characters.as_str();
            continue;
        };
        let spaced = after.trim_start_matches([' ', '\t']);
        if let Some(value) = spaced.strip_prefix('=').filter(|_| current.is_some()) {
            let (text, after) = take_value(value.trim_start_matches([' ', '\t']));
            if let Some(pending) = &mut current {
                pending.parameters.push((word, text));
            }
            rest = after;
        } else {
            challenges.extend(current.take().and_then(Pending::finish));
            current = Some(Pending { scheme: word, parameters: Vec::new() });
            rest = after;
        }
    }
    challenges.extend(current.and_then(Pending::finish));
    challenges
}

struct Pending<'a> {
    scheme: &'a str,
    parameters: Vec<(&'a str, String)>,
}

impl Pending<'_> {
    fn finish(self) -> Option<Challenge> {
        let parameter = |name: &str| {
            let found = self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        if self.scheme.eq_ignore_ascii_case("basic") {
            Some(Challenge::Basic)
        } else if self.scheme.eq_ignore_ascii_case("bearer") {
            let realm = parameter("realm")?;
            Some(Challenge::Bearer {
                realm,
                service: parameter("service"),
                scope: parameter("scope"),
            })
        } else {
            None
        }
    }
}

fn take_token(text: &str) -> Option<(&str, &str)> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !token(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A quoted string with its escapes undone, or the text up to the next separator.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => value.extend(characters.next()),
            character => value.push(character),
        }
    }
    (value, characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn a_bearer_challenge_keeps_commas_and_escapes_inside_quotes() {
        let value = r#"Bearer realm="https://a.example/t?x=\"1\"",service="r, x",scope="repository:a:pull,push""#;
        assert_eq!(
            parse(value),
            [bearer(r#"https://a.example/t?x="1""#, Some("r, x"), Some("repository:a:pull,push"))]
        );
    }

    #[test]
    fn several_challenges_in_one_header_are_told_apart() {
        let value = r#"Negotiate, basic realm="x", bearer realm=https://t.example/token"#;
        assert_eq!(parse(value), [Challenge::Basic, bearer("https://t.example/token", None, None)]);
    }

    #[test]
    fn bearer_is_preferred_over_basic_across_headers() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, "Basic realm=\"r\"".parse().unwrap());
        assert_eq!(best(&headers), Some(Challenge::Basic));
        headers.append(WWW_AUTHENTICATE, "Bearer realm=\"https://t\"".parse().unwrap());
        assert_eq!(best(&headers), Some(bearer("https://t", None, None)));
    }

    #[test]
    fn malformed_headers_end_without_a_challenge() {
        for value in
            ["", ",,,", "=", "\"", "Bearer", "Bearer realm", "ä=ö", "Bearer scope=\"x", "=\"="]
        {
            assert_eq!(parse(value), [], "{value}");
        }
    }
}
