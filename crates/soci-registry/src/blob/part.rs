//! One range of a blob, read to its end through whatever faults pass.
//!
//! After a fault the next request asks for what is still missing, so no byte is paid for twice. What
//! an answer to a range is good for:
//!
//! | answer | what is done |
//! | --- | --- |
//! | 206 from the byte asked for, not beyond the range | it is read; the rest of the range, if it gives less, is asked for at once |
//! | the same, and so little that requests would not end ([`LEAST_PIECE`]) | the blob is asked for plainly |
//! | 206 with another range, with none, or with one that cannot be read (`multipart/byteranges`) | the same |
//! | 200 | the whole blob: what was handed out already is skipped |
//! | 416 that states a size which the byte asked for is not within | the blob is not as its descriptor says: an error |
//! | any other refusal that may be of the range (`verdict`) | the blob is asked for plainly |
//!
//! A plain answer that works is read from its start, like one that ignores ranges, and no range of this blob is asked for
//! again. If the plain request fails as well, its own failure counts. A registry whose blobs want no ranges twice is
//! remembered (`lacking`).
//!
//! The registry is asked once where the bytes are. Its redirect is shared by all parts of the blob
//! until the storage refuses it, which presigned URLs do after minutes: then the registry is asked for a new one, any
//! number of times as long as new ones work. A new one that is refused is a failure like others.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Url;
use soci_oci::{Digest, Repository};

use super::content_range;
use crate::auth::Scope;
use crate::error::Error;
use crate::exchange::{Payload, Registry, Reply};
use crate::redact::{RequestLine, sanitize};
use crate::redirect;
use crate::retry::Retries;
use crate::transport::{Call, Transport};
use crate::verdict::{Asked, may_refuse_the_way};

/// Least of a range that is worth its request, if a server gives less than was asked for.
const LEAST_PIECE: u64 = 64 << 10;

/// A blob in a registry, and where its bytes were last found.
pub(crate) struct BlobTarget {
    pub(super) transport: Arc<Transport>,
    pub(super) repository: Repository,
    pub(super) digest: Digest,
    /// The URL that the registry redirected to. Shared by all parts, so that only the first asks
    /// the registry; dropped when it fails.
    redirect: Mutex<Option<Url>>,
    /// Some range of the blob was answered with the whole.
    whole_sent: AtomicBool,
    /// Some range of the blob was refused, and a plain request was not.
    ranges_refused: AtomicBool,
}

impl BlobTarget {
    pub(crate) fn new(
        transport: Arc<Transport>,
        repository: Repository,
        digest: Digest,
    ) -> Arc<Self> {
        let (whole_sent, ranges_refused) = (AtomicBool::new(false), AtomicBool::new(false));
        let redirect = Mutex::new(None);
        Arc::new(Self { transport, repository, digest, redirect, whole_sent, ranges_refused })
    }

    /// Whether it is known that ranges of the blob are refused.
    pub(super) fn refuses_ranges(&self) -> bool {
        self.ranges_refused.load(Ordering::Relaxed)
            || self.transport.lacking.ranges.contains(self.repository.registry())
    }

    /// Whether every further part may cost all bytes in front of it.
    pub(super) fn sends_whole(&self) -> bool {
        self.whole_sent.load(Ordering::Relaxed) || self.refuses_ranges()
    }

    /// The blob's URL at the registry.
    pub(super) fn url(&self, registry: &Registry) -> Result<Url, Error> {
        let path = format!("/v2/{}/blobs/{}", self.repository.name(), self.digest);
        registry.base.join(&path).map_err(|_| Error::Url { url: path })
    }

    fn redirect(&self) -> Option<Url> {
        self.redirect.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, url: &Url) {
        *self.redirect.lock().unwrap_or_else(PoisonError::into_inner) = Some(url.clone());
    }

    /// Drops `url`, unless another part has found a newer one.
    fn forget(&self, url: &Url) {
        let mut redirect = self.redirect.lock().unwrap_or_else(PoisonError::into_inner);
        redirect.take_if(|known| known == url);
    }
}

impl std::fmt::Debug for BlobTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.repository, self.digest)
    }
}

/// What a range is of its blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it, to be asked for without `Range` as long as nothing was read.
    Whole,
    /// A part of a blob with this size, or of unknown size.
    Part(Option<u64>),
    /// A part, and nothing in front of it: a server that can only send the whole blob fails.
    PartOnly,
}

/// Reads a range in order.
#[derive(Debug)]
pub(crate) struct PartReader {
    target: Arc<BlobTarget>,
    /// Next byte to hand out.
    position: u64,
    end: u64,
    extent: Extent,
    body: Option<Body>,
    retries: Retries,
}

/// A response that is being read.
#[derive(Debug)]
struct Body {
    reply: Reply,
    /// Bytes in front of the reader's position that the server sends all the same.
    skip: u64,
    /// Where the bytes end that the server has stated; none for the whole blob.
    end: Option<u64>,
    /// Whether the server gave the whole blob, where a range was wanted.
    unranged: bool,
    /// The refusal of a range in whose place the body was asked for.
    refusal: Option<Error>,
}

/// Why a request failed.
struct Failure {
    error: Error,
    /// Whether the range may be why.
    of_range: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, of_range: false }
    }
}

impl PartReader {
    /// A reader of the bytes `range`; nothing is requested yet.
    pub(crate) fn new(target: Arc<BlobTarget>, range: Range<u64>, extent: Extent) -> Self {
        let retries = target.transport.retries();
        Self { target, position: range.start, end: range.end, extent, body: None, retries }
    }

    /// Whether the range is the whole blob.
    pub(super) fn is_whole(&self) -> bool {
        self.extent == Extent::Whole
    }

    /// Bytes that [`PartReader::next`] has not given yet.
    pub(super) fn left(&self) -> u64 {
        self.end - self.position
    }

    /// Whether the open response is one without a range although one was asked for.
    pub(super) fn ignores_ranges(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.unranged)
    }

    /// Extends a part that begins at 0 to the blob's end, to use a response that goes that far.
    pub(super) fn become_whole(&mut self) {
        if let Extent::Part(Some(size)) = self.extent {
            self.end = size;
            self.extent = Extent::Whole;
        }
    }

    /// Makes sure that a response is open.
    pub(super) async fn open(&mut self) -> Result<(), Error> {
        while self.body.is_none() {
            match self.request().await {
                Ok(body) => self.body = Some(body),
                Err(error) => self.target.transport.pause(&mut self.retries, error).await?,
            }
        }
        Ok(())
    }

    /// The next bytes, never an empty piece; `None` at the end of the range.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.retries.in_a_row() == 0 {
            // Time in which the caller had no room for bytes is no time without progress.
            self.target.transport.progress(&mut self.retries);
        }
        while self.position < self.end {
            self.open().await?;
            let Some(body) = &mut self.body else { continue };
            let error = match body.reply.chunk().await {
                Ok(Some(chunk)) => match self.accept(chunk)? {
                    Some(chunk) => return Ok(Some(chunk)),
                    None => continue,
                },
                // All that the server meant to give: the rest is asked for.
                Ok(None) if body.end == Some(self.position) => {
                    self.body = None;
                    continue;
                }
                Ok(None) => {
                    let (request, refusal) = (body.reply.request().clone(), body.refusal.take());
                    // The blob is as short as the server had said.
                    match refusal.filter(|refusal| self.ends_as_stated(refusal)) {
                        Some(refusal) => return Err(refusal),
                        None => {
                            Error::ShortBody { request, offset: self.position, expected: self.end }
                        }
                    }
                }
                Err(error) => error,
            };
            self.body = None;
            self.target.transport.pause(&mut self.retries, error).await?;
        }
        self.finish().await
    }

    /// Cuts a chunk to what is wanted next.
    fn accept(&mut self, mut chunk: Bytes) -> Result<Option<Bytes>, Error> {
        let whole = self.is_whole();
        let Some(body) = &mut self.body else { return Ok(None) };
        let skipped = chunk.len().min(usize::try_from(body.skip).unwrap_or(usize::MAX));
        body.skip -= skipped as u64;
        let _ = chunk.split_to(skipped);
        if chunk.is_empty() {
            return Ok(None);
        }
        // That no byte is there which the range asked for is refuted.
        if matches!(body.refusal, Some(Error::Status(_))) {
            body.refusal = None;
        }
        let end = body.end.map_or(self.end, |end| end.min(self.end));
        let wanted = usize::try_from(end - self.position).unwrap_or(usize::MAX);
        if chunk.len() > wanted {
            // A whole blob in answer to a part is cut at the part's end; anything else that goes
            // on is not what was asked for.
            if whole || !body.unranged {
                return Err(self.long_body());
            }
            chunk.truncate(wanted);
        }
        self.position += chunk.len() as u64;
        let proved = body.reply.kept_pace();
        self.target.transport.progress(&mut self.retries);
        if proved {
            self.retries.proved();
        }
        Ok(Some(chunk))
    }

    /// Looks behind the last byte. Reading to the end also gives the connection back.
    async fn finish(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(mut body) = self.body.take() else { return Ok(None) };
        if body.unranged && !self.is_whole() {
            return Ok(None);
        }
        // All bytes are there: a connection that breaks now has done its work. One that goes on is
        // not the blob that the descriptor states.
        while let Ok(Some(chunk)) = body.reply.chunk().await {
            if !chunk.is_empty() {
                self.body = Some(body);
                return Err(self.long_body());
            }
        }
        Ok(None)
    }

    fn long_body(&self) -> Error {
        match &self.body {
            Some(body) => {
                Error::LongBody { request: body.reply.request().clone(), expected: self.end }
            }
            None => Error::Interrupted { digest: self.target.digest, offset: self.position },
        }
    }

    /// One try to get a response that begins at the position or before it.
    async fn request(&mut self) -> Result<Body, Error> {
        let target = Arc::clone(&self.target);
        let lacks_ranges = &target.transport.lacking.ranges;
        // A small blob is asked for plainly: not every storage and proxy knows ranges.
        let wanted = self.extent != Extent::Whole || self.position > 0;
        if !wanted || self.extent != Extent::PartOnly && target.refuses_ranges() {
            return self.request_as(false).await.map_err(|failure| failure.error);
        }
        let registry = target.transport.registry(&target.repository)?;
        if target.refuses_ranges() {
            let request = RequestLine::new(&Method::GET, &target.url(&registry)?);
            return Err(self.other_range(request, ""));
        }
        let refusal = match self.request_as(true).await {
            Ok(body) => {
                if !body.unranged {
                    lacks_ranges.remove(&registry.name);
                }
                return Ok(body);
            }
            Err(Failure { error, of_range: false }) => return Err(error),
            Err(Failure { error, .. }) => error,
        };
        let mut body = self.request_as(false).await.map_err(|failure| failure.error)?;
        if !target.ranges_refused.swap(true, Ordering::Relaxed) {
            lacks_ranges.insert(&registry.name);
        }
        if self.extent == Extent::PartOnly {
            return Err(match refusal {
                // A storage's refusal passes. What it was about does not.
                Error::StorageRefused { status } => self.other_range(status.request, ""),
                refusal => refusal,
            });
        }
        body.refusal = Some(refusal);
        Ok(body)
    }

    /// One try with or without a range, at the storage if it is known.
    async fn request_as(&mut self, ranged: bool) -> Result<Body, Failure> {
        let target = Arc::clone(&self.target);
        if let Some(url) = target.redirect() {
            match self.request_from(url.clone(), true, ranged).await {
                Err(failure) if !keeps_redirect(&failure.error) => {
                    target.forget(&url);
                    // An expired URL is no failure of the registry: it is asked at once.
                    if !matches!(failure.error, Error::StorageRefused { .. }) {
                        return Err(failure);
                    }
                }
                result => return result,
            }
        }
        let registry = target.transport.registry(&target.repository)?;
        self.request_from(target.url(&registry)?, false, ranged).await
    }

    /// `known` tells whether `url` is a redirect of an earlier answer.
    async fn request_from(&mut self, url: Url, known: bool, ranged: bool) -> Result<Body, Failure> {
        let transport = Arc::clone(&self.target.transport);
        let registry = transport.registry(&self.target.repository)?;
        let mut headers = if ranged { self.range_header()? } else { HeaderMap::new() };
        if known {
            redirect::refer(&mut headers, &self.target.url(&registry)?, &url);
        }
        let call = Call {
            registry: &registry,
            scope: Scope::pull(self.target.repository.name()),
            method: Method::GET,
            headers,
            payload: Payload::None,
            url,
        };
        let mut reply = transport.send(&call).await?;
        let redirected = known || reply.is_redirected();
        let end = match reply.status() {
            StatusCode::PARTIAL_CONTENT if ranged => Some(self.stated_end(&reply)?),
            StatusCode::OK if self.extent == Extent::PartOnly && ranged => {
                return Err(self.other_range(reply.request().clone(), "").into());
            }
            StatusCode::OK => {
                self.check_length(&reply)?;
                None
            }
            _ => {
                let of_range = ranged
                    && may_refuse_the_way(&reply.status_error().await)
                    && !self.is_behind_the_end(&reply);
                let asked = match (known, redirected) {
                    (true, _) => Asked::RememberedBlob,
                    (false, true) => Asked::RedirectedBlob,
                    (false, false) => Asked::Blob,
                };
                return Err(Failure { error: reply.into_error(asked).await, of_range });
            }
        };
        if redirected {
            self.target.remember(reply.url());
        }
        let whole = end.is_none();
        let unranged = whole && (self.extent != Extent::Whole || self.position > 0);
        if unranged {
            self.target.whole_sent.store(true, Ordering::Relaxed);
        }
        let skip = if whole { self.position } else { 0 };
        Ok(Body { reply, skip, end, unranged, refusal: None })
    }

    fn range_header(&self) -> Result<HeaderMap, Error> {
        let text = format!("bytes={}-{}", self.position, self.end - 1);
        let value = HeaderValue::from_str(&text).map_err(|_| Error::Url { url: text })?;
        Ok(HeaderMap::from_iter([(RANGE, value)]))
    }

    /// Where the bytes of a partial response end. They must begin where they were asked for and not go further. Fewer
    /// are fine unless they are very few: the rest is asked for again.
    fn stated_end(&self, reply: &Reply) -> Result<u64, Failure> {
        let value = reply.header(CONTENT_RANGE).unwrap_or_default();
        let size = self.blob_size();
        let good = content_range::parse(value).filter(|range| {
            range.start == self.position
                && range.end <= self.end
                && (size.is_none() || range.total.is_none() || range.total == size)
                && (range.end == self.end
                    || range.total == Some(range.end)
                    || range.end - range.start >= LEAST_PIECE)
        });
        good.map(|range| range.end).ok_or_else(|| {
            let error = self.other_range(reply.request().clone(), value);
            Failure { error, of_range: true }
        })
    }

    /// The blob's size, if it is known.
    fn blob_size(&self) -> Option<u64> {
        match self.extent {
            Extent::Whole => Some(self.end),
            Extent::Part(size) => size,
            Extent::PartOnly => None,
        }
    }

    /// Whether a blob that ends at the position does so as the refusal of a range has said: that there is nothing
    /// behind it, or by its size.
    fn ends_as_stated(&self, refusal: &Error) -> bool {
        match refusal {
            Error::Status(status) => status.status == StatusCode::RANGE_NOT_SATISFIABLE,
            Error::ContentRange { value, .. } => {
                let stated = content_range::parse(value).and_then(|range| range.total);
                stated == Some(self.position)
            }
            _ => false,
        }
    }

    /// Whether a refusal states a size of the blob that the position is not within.
    fn is_behind_the_end(&self, reply: &Reply) -> bool {
        reply.status() == StatusCode::RANGE_NOT_SATISFIABLE
            && reply
                .header(CONTENT_RANGE)
                .and_then(content_range::unsatisfied)
                .is_some_and(|size| size <= self.position)
    }

    /// The error of an answer that is not the range that was asked for.
    fn other_range(&self, request: RequestLine, value: &str) -> Error {
        let value = sanitize(value);
        Error::ContentRange { request, start: self.position, end: self.end - 1, value }
    }

    /// A whole response must not be longer than the blob. A shorter one may have been cut.
    fn check_length(&self, reply: &Reply) -> Result<(), Error> {
        let Some(size) = self.blob_size() else { return Ok(()) };
        match reply.content_length() {
            Some(length) if length > size => {
                Err(Error::LongBody { request: reply.request().clone(), expected: size })
            }
            _ => Ok(()),
        }
    }
}

/// The size of the blob that a partial response states.
pub(crate) fn total_size(reply: &Reply) -> Option<u64> {
    content_range::parse(reply.header(CONTENT_RANGE)?)?.total
}

/// Whether a failure says nothing about the URL: the storage is busy.
fn keeps_redirect(error: &Error) -> bool {
    matches!(error, Error::Status(_)) && error.is_transient()
}
