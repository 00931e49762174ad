//! What may reach a log: types that print without secrets, query strings and user information, and
//! texts of others without what a terminal would obey.

use std::fmt;

use http::Method;
use reqwest::Url;
use soci_text::{disarmed, without_url_secrets};

/// Most characters kept of a text that a server or another program sends.
pub(crate) const MAX_TEXT: usize = 300;

/// Text of a server as a log line may hold it: without control characters and without what URLs in it carry,
/// shortened.
pub(crate) fn sanitize(text: &str) -> String {
    let mut clean = disarmed(&without_url_secrets(text), MAX_TEXT, ' ', &[]);
    clean.truncate(clean.trim_end().len());
    clean
}

/// What the body of an error says to people, if it is no list of errors.
///
/// Such a body comes from whatever stands in between, most often from the storage, whose XML repeats parts of
/// the request: S3 puts the session token into `<Token-0>`, and what it signed into others. So of XML, HTML
/// and JSON only those members are taken that are made for people; text without any markup is taken as it is.
pub(crate) fn words_of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    let words: Vec<String> = if text.starts_with('<') {
        ["Code", "Message", "title"].iter().filter_map(|name| element(text, name)).collect()
    } else if text.starts_with(['{', '[', '"']) {
        let document: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let member = |name: &&str| document.get(name)?.as_str().map(str::to_owned);
        ["code", "message", "Message"].iter().filter_map(member).collect()
    } else {
        vec![text.to_owned()]
    };
    words.join(": ")
}

/// The text of the first element of this name that has no attributes, without what is inside of it.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once('<').map(|(words, _)| words.trim().to_owned())
}

/// A password or token. Its `Debug` form is `[redacted]`, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, to put into a request.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Scheme, host, port and path of a URL. Presigned URLs and upload sessions carry their
/// signature in the query, which is left out, as are user information and fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct RedactedUrl(Box<str>);

impl From<&Url> for RedactedUrl {
    fn from(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Self(format!("{}://{host}{port}{}", url.scheme(), url.path()).into())
    }
}

impl RedactedUrl {
    /// Host and port, as they are written in it.
    pub(crate) fn host(&self) -> &str {
        let rest = self.0.split_once("://").map_or(&*self.0, |(_, rest)| rest);
        rest.split('/').next().unwrap_or(rest)
    }
}

impl fmt::Display for RedactedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RedactedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Method and URL of a request, as errors name it: `GET https://host/v2/...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLine {
    /// The HTTP method.
    pub method: Method,
    /// The URL that was asked; after a redirect, the last one.
    pub url: RedactedUrl,
}

impl RequestLine {
    pub(crate) fn new(method: &Method, url: &Url) -> Self {
        Self { method: method.clone(), url: url.into() }
    }
}

impl fmt::Display for RequestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_prints_without_query_user_and_fragment() {
        let url = Url::parse("https://user:pw@s3.example:8443/a/b?X-Amz-Signature=s#f").unwrap();
        let line = RequestLine::new(&Method::GET, &url);
        assert_eq!(line.to_string(), "GET https://s3.example:8443/a/b");
        assert!(!format!("{line:?}").contains("Signature"));
    }

    #[test]
    fn of_a_body_only_the_words_for_people_are_taken() {
        let s3 = "<?xml version=\"1.0\"?>\n<Error><Code>ExpiredToken</Code><Message>The provided token has \
                  expired.</Message><Token-0>SECRET</Token-0><HostId>h</HostId></Error>";
        assert_eq!(words_of(s3.as_bytes()), "ExpiredToken: The provided token has expired.");
        let page = "<html><head><title>403 Forbidden</title></head><body>SECRET</body></html>";
        assert_eq!(words_of(page.as_bytes()), "403 Forbidden");
        assert_eq!(words_of(br#"{"message":"denied","token":"SECRET"}"#), "denied");
        for nothing in ["<Error><Token-0>SECRET", "{\"token\":\"SECRET\"", "[\"SECRET\"]", ""] {
            assert_eq!(words_of(nothing.as_bytes()), "", "{nothing}");
        }
        assert_eq!(words_of(b"404 page not found"), "404 page not found");
    }

    #[test]
    fn urls_in_the_words_of_a_server_lose_what_they_carry() {
        for (text, clean) in [
            ("no URL? none", "no URL? none"),
            (
                "GET https://s3.example/a?X-Amz-Signature=SECRET: refused",
                "GET https://s3.example/a?[...] refused",
            ),
            ("\"http://u:SECRET@h/x#SECRET\" and https://h", "\"http://h/x?[...]\" and https://h"),
            (
                "s3://b/k?SECRET\nhttps://a@b@c/d@e ://?SECRET",
                "s3://b/k?[...] https://c/d@e ://?[...]",
            ),
        ] {
            assert_eq!(sanitize(text), clean);
        }
    }

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert_eq!(secret.expose(), "hunter2");
    }
}
