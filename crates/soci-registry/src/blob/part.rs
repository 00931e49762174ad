//! One range of a blob, read to its end through whatever faults pass.
//!
//! After a fault the next request asks for what is still missing, so no byte is paid for twice. The
//! answer must begin at that byte and go no further than the range: a server that sends other bytes
//! breaks the protocol, and trying again would not help. One that ignores ranges and sends the whole
//! blob is read from its start, and what was handed out already is skipped.
//!
//! The registry is asked once where the bytes are. Its redirect is shared by all parts of the blob
//! until the storage refuses it, which presigned URLs do after minutes.

use std::ops::Range;
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
use crate::redact::sanitize;
use crate::redirect;
use crate::retry::Retries;
use crate::transport::{Call, Transport};
use crate::verdict::Asked;

/// A blob in a registry, and where its bytes were last found.
pub(crate) struct BlobTarget {
    pub(super) transport: Arc<Transport>,
    pub(super) repository: Repository,
    pub(super) digest: Digest,
    /// The URL that the registry redirected to. Shared by all parts, so that only the first asks
    /// the registry; dropped when it fails.
    redirect: Mutex<Option<Url>>,
}

impl BlobTarget {
    pub(crate) fn new(
        transport: Arc<Transport>,
        repository: Repository,
        digest: Digest,
    ) -> Arc<Self> {
        Arc::new(Self { transport, repository, digest, redirect: Mutex::new(None) })
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
    /// A part, and nothing in front of it: a server that sends the whole blob instead fails.
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
    /// Whether the server gave the whole blob, ignoring a range that was asked for.
    unranged: bool,
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
                Ok(None) => Error::ShortBody {
                    request: body.reply.request().clone(),
                    offset: self.position,
                    expected: self.end,
                },
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
        let wanted = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
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
        if let Some(url) = target.redirect() {
            match self.request_from(url.clone(), true).await {
                Err(error) if !keeps_redirect(&error) => {
                    target.forget(&url);
                    // An expired URL is no failure of the registry: it is asked at once.
                    if !matches!(error, Error::StorageRefused { .. }) {
                        return Err(error);
                    }
                }
                result => return result,
            }
        }
        let registry = target.transport.registry(&target.repository)?;
        self.request_from(target.url(&registry)?, false).await
    }

    /// `known` tells whether `url` is a redirect of an earlier answer.
    async fn request_from(&mut self, url: Url, known: bool) -> Result<Body, Error> {
        let transport = Arc::clone(&self.target.transport);
        let registry = transport.registry(&self.target.repository)?;
        // A small blob is asked for plainly: not every storage and proxy knows ranges.
        let ranged = self.extent != Extent::Whole || self.position > 0;
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
        let reply = transport.send(&call).await?;
        let redirected = known || *reply.url() != call.url;
        match reply.status() {
            StatusCode::PARTIAL_CONTENT if ranged => self.check_content_range(&reply)?,
            StatusCode::OK if self.extent == Extent::PartOnly => {
                return Err(self.other_range(&reply, ""));
            }
            StatusCode::OK => self.check_length(&reply)?,
            _ => {
                let asked = match (known, redirected) {
                    (true, _) => Asked::RememberedBlob,
                    (false, true) => Asked::RedirectedBlob,
                    (false, false) => Asked::Blob,
                };
                return Err(reply.into_error(asked).await);
            }
        }
        if redirected {
            self.target.remember(reply.url());
        }
        let whole = reply.status() == StatusCode::OK;
        let skip = if whole { self.position } else { 0 };
        Ok(Body { reply, skip, unranged: whole && ranged })
    }

    fn range_header(&self) -> Result<HeaderMap, Error> {
        let text = format!("bytes={}-{}", self.position, self.end - 1);
        let value = HeaderValue::from_str(&text).map_err(|_| Error::Url { url: text })?;
        Ok(HeaderMap::from_iter([(RANGE, value)]))
    }

    /// The bytes must begin where they were asked for and not go further. Fewer are fine: the
    /// rest is asked for again.
    fn check_content_range(&self, reply: &Reply) -> Result<(), Error> {
        let value = reply.header(CONTENT_RANGE).unwrap_or_default();
        let size = match self.extent {
            Extent::Whole => Some(self.end),
            Extent::Part(size) => size,
            Extent::PartOnly => None,
        };
        let good = content_range::parse(value).is_some_and(|range| {
            range.start == self.position
                && range.end <= self.end
                && (size.is_none() || range.total.is_none() || range.total == size)
        });
        if good { Ok(()) } else { Err(self.other_range(reply, value)) }
    }

    /// The error of an answer that is not the range that was asked for.
    fn other_range(&self, reply: &Reply, value: &str) -> Error {
        let (request, value) = (reply.request().clone(), sanitize(value));
        Error::ContentRange { request, start: self.position, end: self.end - 1, value }
    }

    /// A whole response must not be longer than the blob. A shorter one may have been cut.
    fn check_length(&self, reply: &Reply) -> Result<(), Error> {
        let size = match self.extent {
            Extent::Whole => self.end,
            Extent::Part(Some(size)) => size,
            Extent::Part(None) | Extent::PartOnly => return Ok(()),
        };
        match reply.content_length() {
            Some(length) if length > size => {
                Err(Error::LongBody { request: reply.request().clone(), expected: size })
            }
            _ => Ok(()),
        }
    }
}

/// Whether a failure says nothing about the URL: the storage is busy.
fn keeps_redirect(error: &Error) -> bool {
    matches!(error, Error::Status(_)) && error.is_transient()
}
