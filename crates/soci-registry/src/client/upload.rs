//! How the bytes of a blob get into an upload that was begun: by one PUT, or in parts.
//!
//! The rule (`push` follows it, `verdict::refuses_whole` says what a refusal is):
//!
//! - One PUT comes first. ECR takes it best, and whatever is not refused needs no more.
//! - A blob that is too large for one request (413: a proxy limits bodies) goes in parts, each by a PATCH, and
//!   ends with a PUT without a body. The first size is the largest of [`SIZES`] below the blob's; each refusal
//!   takes the next one, down to the smallest. What a smaller one is refused for, no size helps.
//! - A registry that takes no blob by PUT gets it by one PATCH, as docker sends it: without `Content-Range`, which
//!   only several parts have.
//! - What has worked is kept for the registry (`upload_habits`), unless only a connection broke or a gateway got no answer
//!   before, or it was not certain.
//!
//! Where the registry says that it has another number of bytes than were sent, or a part broke off, it is asked
//! where to go on. An answer that makes no sense is not believed: the digest at the end decides.

use http::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderName, HeaderValue, Method};
use reqwest::Url;
use soci_oci::{Digest, Repository};

use super::Client;
use crate::error::Error;
use crate::exchange::{Payload, Registry, Reply};
use crate::redact::RequestLine;
use crate::redirect;
use crate::retry::Retries;
use crate::source::BlobSource;
use crate::status::StatusError;
use crate::transport::Call;
use crate::verdict::Asked;

/// Sizes of parts in bytes, from the largest. Common limits are 1 MiB (nginx), 10 MB (API Gateway), 32 MiB (Cloud
/// Run) and 100 MB (Cloudflare).
const SIZES: [u64; 6] = [64 << 20, 16 << 20, 4 << 20, 1 << 20, 256 << 10, 64 << 10];

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// How often in a row an upload may come no further than it was.
const MAX_STUCK: u32 = 3;

/// The least size of a part but the last, as a registry states it.
const MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// A blob on its way into a repository.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sending<'a> {
    pub(super) registry: &'a Registry,
    pub(super) repository: &'a Repository,
    pub(super) digest: &'a Digest,
    pub(super) body: &'a BlobSource,
}

impl<'a> Sending<'a> {
    /// A request for the upload at `url`.
    fn call(self, method: Method, url: Url) -> Result<Call<'a>, Error> {
        let call = Client::write(self.registry, self.repository, method, "blobs/uploads/")?;
        Ok(Call { url, ..call })
    }
}

/// An upload that was begun.
#[derive(Clone, Debug)]
pub(super) struct OpenUpload {
    /// Where it goes on.
    url: Url,
    /// Least size of a part but the last.
    min_part: u64,
}

impl OpenUpload {
    /// The upload that this answer has begun.
    pub(super) fn begun(reply: &Reply) -> Result<Self, Error> {
        let min_part = reply.header(MIN_LENGTH).and_then(|size| size.trim().parse().ok());
        Ok(Self { url: redirect::location(reply)?, min_part: min_part.unwrap_or(0) })
    }
}

/// The largest size of a part below `size`.
pub(super) fn smaller(size: u64) -> Option<u64> {
    SIZES.into_iter().find(|part| *part < size)
}

/// Where an upload stands.
#[derive(Debug)]
struct Progress {
    url: Url,
    /// Bytes that the registry has.
    offset: u64,
}

impl Client {
    /// Sends all of the blob by the PUT that ends the upload.
    pub(super) async fn send_whole(
        &self,
        sending: Sending<'_>,
        upload: OpenUpload,
    ) -> Result<(), Error> {
        self.end(sending, upload.url, Payload::Source(sending.body.clone())).await
    }

    /// Sends the blob in parts of at most `largest` bytes, and ends the upload. Gives the largest size that was
    /// taken.
    pub(super) async fn send_parts(
        &self,
        sending: Sending<'_>,
        upload: OpenUpload,
        largest: u64,
    ) -> Result<u64, Error> {
        // Parts that arrive are progress of this upload. Another one begins from nothing.
        let mut retries = self.transport.retries();
        let size = sending.body.size();
        let mut part = largest.max(upload.min_part).max(1);
        let mut at = Progress { url: upload.url, offset: 0 };
        // Only bytes that the registry has never had before are progress: one that forgets what it had would go on for ever.
        let (mut furthest, mut stuck) = (0, 0);
        while at.offset < size {
            let end = size.min(at.offset.saturating_add(part));
            let next = match self.send_part(sending, &at, end).await {
                Ok(next) => next,
                Err(error @ Error::BodyRefused { .. }) => {
                    // The size that was refused is that of this part, which may be the last one.
                    let less = smaller(end - at.offset).filter(|less| *less >= upload.min_part);
                    part = less.ok_or(error)?;
                    continue;
                }
                Err(error) => match self.go_on(sending, &at, error, &mut retries).await? {
                    Some(next) => next,
                    None => continue,
                },
            };
            if next.offset > furthest {
                (furthest, stuck) = (next.offset, 0);
                self.transport.progress(&mut retries);
            } else {
                stuck += 1;
                if stuck > MAX_STUCK {
                    return Err(Error::Protocol {
                        request: RequestLine::new(&Method::PATCH, &next.url),
                        what: "the registry takes nothing of what it is sent".to_owned(),
                    });
                }
            }
            at = next;
        }
        self.end(sending, at.url, Payload::None).await?;
        Ok(part)
    }

    /// Sends the bytes up to `end`.
    async fn send_part(
        &self,
        sending: Sending<'_>,
        at: &Progress,
        end: u64,
    ) -> Result<Progress, Error> {
        let mut call = sending.call(Method::PATCH, at.url.clone())?;
        call.headers.insert(CONTENT_TYPE, OCTETS);
        if end - at.offset < sending.body.size() {
            let text = format!("{}-{}", at.offset, end - 1);
            let value = HeaderValue::from_str(&text).map_err(|_| Error::Url { url: text })?;
            call.headers.insert(CONTENT_RANGE, value);
        }
        call.payload = Payload::Source(sending.body.part(at.offset, end));
        let reply = self.transport.send(&call).await?;
        if !reply.status().is_success() {
            return Err(reply.into_error(Asked::UploadEnd).await);
        }
        let url = location_or(&reply, &at.url)?;
        match received(&reply) {
            Some(offset) if offset != end => {
                // A number that only this answer has may be that of the part before, as ECR's is.
                let asked = self.standing(sending, &Progress { url: url.clone(), offset }).await;
                Ok(asked.unwrap_or(Progress { url, offset: end }))
            }
            _ => Ok(Progress { url, offset: end }),
        }
    }

    /// Where an upload goes on after a part has failed in passing; `None` to send the part again.
    async fn go_on(
        &self,
        sending: Sending<'_>,
        at: &Progress,
        error: Error,
        retries: &mut Retries,
    ) -> Result<Option<Progress>, Error> {
        let lost = sending.body.is_lost() || matches!(error, Error::UploadLost { .. });
        if lost || !error.is_transient() {
            return Err(error);
        }
        // What was not even looked at has left nothing.
        let throttled = error.status().is_some_and(StatusError::is_throttling);
        let next = if throttled { None } else { self.standing(sending, at).await };
        if next.is_none() && !throttled {
            return Err(error);
        }
        self.transport.pause(retries, error).await?;
        Ok(next)
    }

    /// What the registry says of an upload, if it says anything that can be.
    async fn standing(&self, sending: Sending<'_>, at: &Progress) -> Option<Progress> {
        let call = sending.call(Method::GET, at.url.clone()).ok()?;
        let reply = self.transport.send(&call).await.ok()?;
        if !reply.status().is_success() {
            return None;
        }
        let offset = received(&reply).filter(|offset| *offset <= sending.body.size())?;
        Some(Progress { url: location_or(&reply, &at.url).ok()?, offset })
    }

    /// Ends an upload with the last of its bytes, or with none.
    async fn end(&self, sending: Sending<'_>, upload: Url, payload: Payload) -> Result<(), Error> {
        let mut call = sending.call(Method::PUT, with_digest(upload, sending.digest))?;
        call.headers.insert(CONTENT_TYPE, OCTETS);
        call.payload = payload;
        let reply = self.transport.send(&call).await?;
        if reply.status().is_success() {
            return Ok(());
        }
        Err(reply.into_error(Asked::UploadEnd).await)
    }
}

/// Where an answer says that the upload goes on, or where it went on before.
fn location_or(reply: &Reply, before: &Url) -> Result<Url, Error> {
    if reply.headers().contains_key(LOCATION) {
        redirect::location(reply)
    } else {
        Ok(before.clone())
    }
}

/// How many bytes the registry has, by the `Range` of its answer. `0-0` stands for none, and so for one as well.
fn received(reply: &Reply) -> Option<u64> {
    received_by(reply.header(RANGE)?)
}

fn received_by(range: &str) -> Option<u64> {
    let range = range.trim();
    let (first, last) = range.strip_prefix("bytes=").unwrap_or(range).split_once('-')?;
    match (first.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?) {
        (0, 0) => Some(0),
        (0, last) => last.checked_add(1),
        _ => None,
    }
}

/// The upload's URL with the digest that ends it. What the registry put into the query is kept
/// as it is.
fn with_digest(mut upload: Url, digest: &Digest) -> Url {
    let state = upload.query().filter(|state| !state.is_empty());
    let query = match state {
        Some(state) => format!("{state}&digest={digest}"),
        None => format!("digest={digest}"),
    };
    upload.set_query(Some(&query));
    upload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_joins_the_query_of_the_upload() {
        let digest = Digest::sha256_of(b"");
        for (url, expected) in [
            ("https://r/u/1", format!("digest={digest}")),
            ("https://r/u/1?", format!("digest={digest}")),
            ("https://r/u/1?_state=a%2Bb%3D", format!("_state=a%2Bb%3D&digest={digest}")),
        ] {
            let url = with_digest(Url::parse(url).unwrap(), &digest);
            assert_eq!(url.query(), Some(expected.as_str()));
        }
    }

    #[test]
    fn parts_get_smaller_down_to_the_smallest() {
        let mut sizes = vec![u64::MAX];
        while let Some(less) = smaller(sizes[sizes.len() - 1]) {
            sizes.push(less);
        }
        assert_eq!(sizes[1..], SIZES);
        assert_eq!(
            (smaller(64 << 10), smaller(1000), smaller((1 << 20) + 1)),
            (None, None, Some(1 << 20))
        );
    }

    #[test]
    fn the_range_of_an_upload_is_what_the_registry_has() {
        for (range, bytes) in [
            ("0-9", Some(10)),
            ("bytes=0-9", Some(10)),
            (" 0-9 ", Some(10)),
            ("0-0", Some(0)),
            ("5-9", None),
            ("0-", None),
            ("-1", None),
            ("0--1", None),
            ("", None),
            ("0-18446744073709551615", None),
        ] {
            assert_eq!(received_by(range), bytes, "{range:?}");
        }
    }
}
