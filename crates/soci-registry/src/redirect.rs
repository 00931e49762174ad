//! What becomes of a request that an answer leads elsewhere. Where it may lead is `reach`'s to say, who
//! may see its credentials that of whoever sends it.
//!
//! The rule is that of Go's `net/http` (`redirectBehavior`, `refererForURL`), which registries and
//! storages are tested with:
//!
//! | status | GET, HEAD | POST, PUT, PATCH |
//! | --- | --- | --- |
//! | 301, 302, 303 | the same again | a GET without the body |
//! | 307, 308 | the same again | the same again, with its body |
//!
//! Each request after the first says by `Referer` where it comes from, as storages do that let in only those
//! whom a registry sends. It is never told to plain http of https. Other than Go, this client leaves the
//! query out, which may be signed, and user information.

use http::header::{LOCATION, REFERER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Url;

use crate::error::Error;
use crate::exchange::{Reply, strip_userinfo};
use crate::redact::RedactedUrl;

/// Redirects followed for one request, as many as Go follows. Registries need one, to their storage.
pub(crate) const MAX_REDIRECTS: usize = 9;

/// What a redirect makes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The same request elsewhere, with its body.
    Same,
    /// A GET without a body.
    Get,
}

/// What an answer with this status makes of a request; `None` if it leads nowhere.
pub(crate) fn turn(method: &Method, status: StatusCode) -> Option<Turn> {
    match status.as_u16() {
        307 | 308 => Some(Turn::Same),
        301..=303 if *method == Method::GET || *method == Method::HEAD => Some(Turn::Same),
        301..=303 => Some(Turn::Get),
        _ => None,
    }
}

/// The URL of a `Location` header, absolute or relative.
pub(crate) fn location(reply: &Reply) -> Result<Url, Error> {
    let fail = |reason| Error::Redirect { request: reply.request().clone(), reason };
    let value = reply.headers().get(LOCATION).ok_or_else(|| fail("it has no Location"))?;
    let text = value.to_str().map_err(|_| fail("its Location is not text"))?;
    resolve(reply.url(), text).map_err(fail)
}

/// The URL that `location` stands for at `base`. Whether it may be asked is `reach`'s to say.
fn resolve(base: &Url, location: &str) -> Result<Url, &'static str> {
    let mut url = base.join(location).map_err(|_| "its Location is not a URL")?;
    strip_userinfo(&mut url);
    Ok(url)
}

/// Says in `headers` that a request for `to` comes from `from`, and of no other place.
pub(crate) fn refer(headers: &mut HeaderMap, from: &Url, to: &Url) {
    headers.remove(REFERER);
    if from.scheme() == "https" && to.scheme() == "http" {
        return;
    }
    // A URL is ASCII, and so a header's value.
    if let Ok(value) = HeaderValue::from_str(&RedactedUrl::from(from).to_string()) {
        headers.insert(REFERER, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved_and_stripped_of_user_information() {
        let base = Url::parse("https://r.example:5000/v2/a/blobs/x?q=1").unwrap();
        let follow = |location| resolve(&base, location).map(String::from);
        assert_eq!(follow("/u/1?s=2").unwrap(), "https://r.example:5000/u/1?s=2");
        assert_eq!(follow("//s.example/b").unwrap(), "https://s.example/b");
        assert_eq!(follow("https://u:p@s.example/b").unwrap(), "https://s.example/b");
        assert!(follow("http://").is_err());
    }

    #[test]
    fn a_redirect_keeps_a_request_or_makes_a_get_of_it() {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH"] {
            let reads = matches!(method, "GET" | "HEAD");
            let method: Method = method.parse().unwrap();
            for status in 200..600 {
                let expected = match status {
                    307 | 308 => Some(Turn::Same),
                    301..=303 => Some(if reads { Turn::Same } else { Turn::Get }),
                    _ => None,
                };
                let status = StatusCode::from_u16(status).unwrap();
                assert_eq!(turn(&method, status), expected, "{method} {status}");
            }
        }
    }

    #[test]
    fn a_referer_has_neither_query_nor_user_and_is_not_told_to_plain_http() {
        for (from, to, referer) in [
            ("https://r/v2/a?x=SECRET#y", "https://s/b", Some("https://r/v2/a")),
            ("https://u:SECRET@r:5000/a", "https://s/b", Some("https://r:5000/a")),
            ("http://r/a", "https://s/b", Some("http://r/a")),
            ("http://r/a", "http://s/b", Some("http://r/a")),
            ("https://r/a", "http://s/b", None),
        ] {
            let mut headers = HeaderMap::from_iter([(REFERER, HeaderValue::from_static("old"))]);
            refer(&mut headers, &Url::parse(from).unwrap(), &Url::parse(to).unwrap());
            assert_eq!(
                headers.get(REFERER).map(|value| value.to_str().unwrap()),
                referer,
                "{from}"
            );
        }
    }
}
