//! Referrers: the manifests whose `subject` is a given manifest.
//!
//! A registry has the referrers API if it answers with an image index. Anything else that does not pass (a status, a page
//! for people, a redirect to a login) says that it has none, if it is said twice: then the list is
//! the one under a tag. A 401 of the registry itself is about credentials, as everywhere.

use bytes::Bytes;
use http::header::{ACCEPT, LINK};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Url;
use soci_oci::{Digest, Repository, TagOrDigest, referrers};

use super::{Client, MANIFEST_LIMIT};
use crate::error::Error;
use crate::transport::Call;
use crate::verdict::{Asked, lacks_referrers_api};

/// Media type of the referrers API's answer.
const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Pages followed before the list is taken for endless.
const MAX_PAGES: usize = 64;

/// Bytes of all pages together before the list is taken for endless.
const MAX_BYTES: usize = 16 << 20;

/// Where a list of referrers was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferrersSource {
    /// The registry's referrers API.
    Api,
    /// The image index under [`referrers::tag`], which writers keep up to date themselves.
    TagSchema,
}

/// The referrers of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referrers {
    /// Where they were found.
    pub source: ReferrersSource,
    /// Image indexes whose `manifests` are the referrers, to be read one after the other. With
    /// the tag schema none (no list yet) or one, the index to extend and to put back.
    pub pages: Vec<Bytes>,
}

impl Client {
    /// The referrers of a manifest, from the referrers API where the registry has it, else from
    /// the tag schema. A manifest that nobody refers to has an empty list.
    ///
    /// `artifact_type` asks the registry to leave out others; not every registry does, and the
    /// tag schema cannot, so the caller filters again.
    pub async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Referrers, Error> {
        if let Some(pages) = self.api_pages(repository, digest, artifact_type, MAX_PAGES).await? {
            return Ok(Referrers { source: ReferrersSource::Api, pages });
        }
        let source = ReferrersSource::TagSchema;
        let Some(tag) = referrers::tag(digest) else {
            return Ok(Referrers { source, pages: Vec::new() });
        };
        match self.manifest(repository, &TagOrDigest::Tag(tag)).await {
            Ok(index) => Ok(Referrers { source, pages: vec![index.bytes] }),
            Err(Error::NotFound(_)) => Ok(Referrers { source, pages: Vec::new() }),
            Err(error) => Err(error),
        }
    }

    /// Whether the registry has the referrers API, asked for the referrers of `digest`. Without
    /// it, a writer of a manifest with a subject also writes the index under [`referrers::tag`].
    pub async fn has_referrers_api(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, Error> {
        Ok(self.api_pages(repository, digest, None, 1).await?.is_some())
    }

    /// The pages that the API gives, at most `pages` of them asked for; `None` without the API.
    async fn api_pages(
        &self,
        repository: &Repository,
        digest: &Digest,
        artifact_type: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<Bytes>>, Error> {
        let registry = self.transport.registry(repository)?;
        let mut call =
            Self::read(&registry, repository, Method::GET, &format!("referrers/{digest}"))?;
        call.headers.insert(ACCEPT, HeaderValue::from_static(IMAGE_INDEX));
        if let Some(kind) = artifact_type {
            call.url.query_pairs_mut().append_pair("artifactType", kind);
        }
        let mut pages: Vec<Bytes> = Vec::new();
        let mut total = 0;
        let mut retries = self.transport.retries();
        // One answer is not believed: a list beside the API of a registry that has one helps nobody.
        let lacks = &self.transport.lacking.referrers;
        let mut lacking = lacks.contains(&registry.name);
        loop {
            match self.try_page(&call).await {
                Ok(None) if pages.is_empty() => {
                    lacks.insert(&registry.name);
                    if lacking {
                        return Ok(None);
                    }
                    lacking = true;
                }
                Ok(None) => return Err(endless(&call, "a page of the list does not exist")),
                Ok(Some((page, next))) => {
                    lacks.remove(&registry.name);
                    self.transport.progress(&mut retries);
                    total += page.len();
                    pages.push(page);
                    let Some(next) = next.filter(|_| limit > 1) else { return Ok(Some(pages)) };
                    if pages.len() >= limit || total > MAX_BYTES {
                        return Err(endless(&call, "the list of referrers does not end"));
                    }
                    call.url = next;
                }
                Err(error) => self.transport.pause(&mut retries, error).await?,
            }
        }
    }

    async fn try_page(&self, call: &Call<'_>) -> Result<Option<(Bytes, Option<Url>)>, Error> {
        let mut reply = match self.transport.send(call).await {
            Ok(reply) => reply,
            Err(error) if leads_nowhere(call, &error) => return Ok(None),
            Err(error) => return Err(error),
        };
        if reply.status() != StatusCode::OK {
            if lacks_referrers_api(&reply.status_error().await) {
                return Ok(None);
            }
            return Err(reply.into_error(Asked::Plain).await);
        }
        // A web server that answers every path with its front page.
        if reply.media_type() != IMAGE_INDEX {
            return Ok(None);
        }
        let next = next_link(reply.headers(), reply.url());
        // Pages come from the registry itself; a list that leads elsewhere ends here.
        let own = if reply.is_redirected() { &call.registry.base } else { reply.url() }.origin();
        let next = next.filter(|next| next.origin() == own);
        Ok(Some((reply.bytes(MANIFEST_LIMIT).await?, next)))
    }
}

/// Whether the registry has sent to a place that cannot be asked, as to a login within a company's network.
fn leads_nowhere(call: &Call<'_>, error: &Error) -> bool {
    match error {
        Error::Redirect { .. } | Error::TargetRefused { .. } => true,
        Error::UnknownHost { request, .. }
        | Error::PlainHttp { request, .. }
        | Error::Certificate { request, .. } => {
            !request.url.to_string().starts_with(call.registry.base.as_str())
        }
        _ => false,
    }
}

fn endless(call: &Call<'_>, what: &str) -> Error {
    let request = crate::redact::RequestLine::new(&call.method, &call.url);
    Error::Protocol { request, what: what.to_owned() }
}

/// The target of a `Link` header with `rel="next"` (RFC 8288), resolved against `base`.
pub(super) fn next_link(headers: &HeaderMap, base: &Url) -> Option<Url> {
    let values = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let (target, _) = values.flat_map(links).find(|(_, parameters)| is_next(parameters))?;
    base.join(target).ok()
}

/// The links of a header value: target and parameters.
fn links(value: &str) -> impl Iterator<Item = (&str, &str)> {
    // A target may hold commas and semicolons, so links are told apart by their brackets.
    value.split('<').skip(1).filter_map(|link| link.split_once('>'))
}

fn is_next(parameters: &str) -> bool {
    parameters.split(';').any(|parameter| {
        let parameter = parameter.trim().trim_end_matches(',').trim_end();
        parameter.split_once('=').is_some_and(|(key, value)| {
            key.trim().eq_ignore_ascii_case("rel") && {
                value
                    .trim()
                    .trim_matches('"')
                    .split(' ')
                    .any(|rel| rel.eq_ignore_ascii_case("next"))
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_link_is_found_among_others() {
        let base = Url::parse("https://r.example/v2/a/referrers/x?n=1").unwrap();
        let next = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, value.parse().unwrap());
            next_link(&headers, &base).map(String::from)
        };
        let expected = Some("https://r.example/v2/a/referrers/x?last=1,2".to_owned());
        assert_eq!(next("</v2/a/referrers/x?last=1,2>; rel=\"next\""), expected);
        assert_eq!(next("</b>; rel=prev, <?last=1,2>; rel=next"), expected);
        assert_eq!(next("</b>; rel=prev"), None);
        assert_eq!(next("garbage"), None);
    }
}
