//! Manifests and image indexes: read and verified, looked for, written.
//!
//! - What is read by digest has that digest, or is an error. What is read by tag has the digest that the
//!   registry states, if it states one. Where it does not, only the manifest itself tells what a tag names.
//! - A registry that refuses HEAD is asked by GET, and so is one that does not state by HEAD what a tag names where
//!   that has to be known.
//! - Before every try of a write a HEAD asks whether these bytes are there. The answer to a PUT that
//!   succeeded may have been lost, and registries limit PUTs more than anything else.
//! - A write can have a condition on what a tag names ([`TagNames`]). The protocol has no such thing, so the
//!   tag is looked at directly before the PUT, after the wait for its turn. What comes in between is for
//!   the caller to find out.
//! - A registry that has stored other bytes than it was sent, by the digest it states, has failed.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use soci_oci::{Digest, Hasher, Repository, Tag, TagOrDigest};

use super::{Client, MANIFEST_LIMIT};
use crate::error::Error;
use crate::exchange::{Payload, Reply};
use crate::immutable_tag::{Immutability, immutable_tag};
use crate::redact::RequestLine;
use crate::transport::Call;
use crate::verdict::{Asked, may_refuse_the_way};

/// What the client can use; docker's schema 1, long obsolete, is not among them.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// The digest of a manifest as the registry states it.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Set by a registry that entered a manifest with a `subject` into its referrers (OCI
/// distribution specification 1.1).
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// A manifest or image index with its bytes, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedManifest {
    /// The media type of the response, without parameters; empty if the registry sent none.
    pub media_type: String,
    /// The digest of `bytes`.
    pub digest: Digest,
    /// The manifest as stored.
    pub bytes: Bytes,
}

/// What a HEAD request tells about a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHead {
    /// The digest, if the registry sends it; for a request by digest, always that one.
    pub digest: Option<Digest>,
    /// The media type, without parameters.
    pub media_type: String,
    /// Size in bytes, if the registry sends it.
    pub size: Option<u64>,
}

/// How a manifest came to be in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutManifest {
    /// The registry says that it entered the manifest into the referrers of its subject. A
    /// registry that does so without saying is known: see [`Client::has_referrers_api`].
    pub subject_processed: bool,
    /// The same bytes were there, under the same tag if one was given; nothing was written.
    pub already_there: bool,
}

/// A condition for a write: the tag names one of these manifests, or nothing where that is among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagNames {
    /// The tag.
    pub tag: Tag,
    /// What it may name; `None` stands for a tag that does not exist.
    pub one_of: Vec<Option<Digest>>,
}

impl Client {
    /// Reads a manifest or image index of at most [`MANIFEST_LIMIT`] bytes. By digest, the bytes
    /// are verified against it; by tag, against the digest that the registry states, if any.
    pub async fn manifest(
        &self,
        repository: &Repository,
        target: &TagOrDigest,
    ) -> Result<VerifiedManifest, Error> {
        self.manifest_within(repository, target, MANIFEST_LIMIT).await
    }

    /// The same with a limit of one's own, in bytes; at most [`MANIFEST_LIMIT`].
    pub async fn manifest_within(
        &self,
        repository: &Repository,
        target: &TagOrDigest,
        limit: usize,
    ) -> Result<VerifiedManifest, Error> {
        let registry = self.transport.registry(repository)?;
        let mut call =
            Self::read(&registry, repository, Method::GET, &format!("manifests/{target}"))?;
        call.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        let mut retries = self.transport.retries();
        loop {
            match self.try_manifest(&call, target, limit.min(MANIFEST_LIMIT)).await {
                Ok(manifest) => return Ok(manifest),
                Err(error) => self.transport.pause(&mut retries, error).await?,
            }
        }
    }

    /// Asks for a manifest without reading it; `None` if it does not exist. Where the registry refuses HEAD, it is
    /// read all the same.
    pub async fn head_manifest(
        &self,
        repository: &Repository,
        target: &TagOrDigest,
    ) -> Result<Option<ManifestHead>, Error> {
        let registry = self.transport.registry(repository)?;
        let mut call =
            Self::read(&registry, repository, Method::HEAD, &format!("manifests/{target}"))?;
        call.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        let mut retries = self.transport.retries();
        loop {
            match self.try_head(&call, target).await {
                Ok(head) => return Ok(head),
                Err(error) => self.transport.pause(&mut retries, error).await?,
            }
        }
    }

    /// Writes a manifest under a tag or under its digest, unless it is there already. All that it
    /// names must have been pushed before.
    ///
    /// A tag that may not move is [`Error::TagImmutable`], unless it names these bytes already. A
    /// registry that lacks what the manifest names is [`Error::is_missing_content`].
    pub async fn put_manifest(
        &self,
        repository: &Repository,
        target: &TagOrDigest,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<PutManifest, Error> {
        self.put_manifest_if(repository, target, media_type, bytes, None).await
    }

    /// The same, as long as `condition` holds: looked at directly before every try, when its turn has come. If it does
    /// not hold, nothing is written, and the error is [`Error::TagMoved`].
    pub async fn put_manifest_if(
        &self,
        repository: &Repository,
        target: &TagOrDigest,
        media_type: &str,
        bytes: Bytes,
        condition: Option<&TagNames>,
    ) -> Result<PutManifest, Error> {
        self.put(repository, target, media_type, bytes, condition, true).await
    }

    /// Writes a manifest under its digest without asking whether it is there: a registry that says so may hold other bytes.
    pub async fn put_manifest_again(
        &self,
        repository: &Repository,
        digest: &Digest,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<(), Error> {
        let target = TagOrDigest::Digest(*digest);
        self.put(repository, &target, media_type, bytes, None, false).await.map(|_| ())
    }

    async fn put(
        &self,
        repository: &Repository,
        target: &TagOrDigest,
        media_type: &str,
        bytes: Bytes,
        condition: Option<&TagNames>,
        ask: bool,
    ) -> Result<PutManifest, Error> {
        let registry = self.transport.registry(repository)?;
        let mut call =
            Self::write(&registry, repository, Method::PUT, &format!("manifests/{target}"))?;
        let request = RequestLine::new(&call.method, &call.url);
        // Found here, bytes that are not those of their digest cost no request.
        let digest = match target {
            TagOrDigest::Digest(expected) => digest_as(*expected, &bytes, &request)?,
            TagOrDigest::Tag(_) => Digest::sha256_of(&bytes),
        };
        let kind = HeaderValue::from_str(media_type).map_err(|_| Error::Protocol {
            request,
            what: "the media type is no header value".to_owned(),
        })?;
        call.headers.insert(CONTENT_TYPE, kind);
        call.payload = Payload::Bytes(bytes);
        let mut retries = self.transport.retries();
        loop {
            // Asked before every try: the answer to a PUT that succeeded may have been lost.
            if ask && self.names(repository, target, digest).await? {
                // That says nothing of the subject, and `false` claims nothing.
                return Ok(PutManifest { subject_processed: false, already_there: true });
            }
            match self.try_put(&call, repository, target, digest, condition).await {
                Ok(put) => return Ok(put),
                Err(error @ Error::TagImmutable { .. }) => {
                    // Of a registry whose HEAD states no digest, only the manifest itself can tell
                    // whether the tag names these bytes already.
                    return match self.manifest(repository, target).await {
                        Ok(there) if there.digest == digest => {
                            Ok(PutManifest { subject_processed: false, already_there: true })
                        }
                        Err(passing) if passing.is_transient() => Err(passing),
                        // It was said of more than this tag, which is not even there.
                        Err(Error::NotFound(_)) => Err(unless_said(error)),
                        // Also of a tag that is not found: that it may not move was said.
                        Ok(_) | Err(_) => Err(error),
                    };
                }
                Err(error) => self.transport.pause(&mut retries, error).await?,
            }
        }
    }

    async fn try_manifest(
        &self,
        call: &Call<'_>,
        target: &TagOrDigest,
        limit: usize,
    ) -> Result<VerifiedManifest, Error> {
        let reply = self.transport.send(call).await?;
        if reply.status() != StatusCode::OK {
            return Err(reply.into_error(Asked::Plain).await);
        }
        let request = reply.request().clone();
        let media_type = reply.media_type().to_owned();
        let stated = stated_digest(&reply);
        let bytes = reply.bytes(limit).await?;
        let expected = match target {
            TagOrDigest::Digest(digest) => Some(*digest),
            TagOrDigest::Tag(_) => stated,
        };
        let digest = match expected {
            Some(expected) => digest_as(expected, &bytes, &request)?,
            None => Digest::sha256_of(&bytes),
        };
        Ok(VerifiedManifest { media_type, digest, bytes })
    }

    async fn try_head(
        &self,
        call: &Call<'_>,
        target: &TagOrDigest,
    ) -> Result<Option<ManifestHead>, Error> {
        let (name, lacks_head) = (&call.registry.name, &self.transport.lacking.manifest_head);
        if !lacks_head.contains(name) {
            let mut reply = self.transport.send(call).await?;
            match reply.status() {
                StatusCode::OK if !is_page(&reply) => {
                    lacks_head.remove(name);
                    let digest = match target {
                        TagOrDigest::Digest(digest) => Some(*digest),
                        TagOrDigest::Tag(_) => stated_digest(&reply),
                    };
                    let (media_type, size) =
                        (reply.media_type().to_owned(), reply.content_length());
                    return Ok(Some(ManifestHead { digest, media_type, size }));
                }
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => return Ok(None),
                _ if may_refuse_the_way(&reply.status_error().await) => {}
                _ => return Err(reply.into_error(Asked::Plain).await),
            }
        }
        let get = Call { method: Method::GET, ..call.clone() };
        let found = match self.try_manifest(&get, target, MANIFEST_LIMIT).await {
            Ok(VerifiedManifest { media_type, digest, bytes }) => {
                let size = Some(bytes.len() as u64);
                Some(ManifestHead { digest: Some(digest), media_type, size })
            }
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        lacks_head.insert(name);
        Ok(found)
    }

    /// Whether these bytes are there under this name. Where HEAD does not state what a tag names, the manifest is
    /// read: a write is counted and limited more than a read.
    async fn names(
        &self,
        repository: &Repository,
        target: &TagOrDigest,
        digest: Digest,
    ) -> Result<bool, Error> {
        match target {
            TagOrDigest::Digest(_) => {
                let there = self.head_manifest(repository, target).await?;
                Ok(there.is_some_and(|head| head.digest == Some(digest)))
            }
            TagOrDigest::Tag(tag) => match self.tagged(repository, tag).await {
                Ok(named) => Ok(named == Some(digest)),
                // Whatever it is, these bytes it is not.
                Err(Error::TooLarge { .. } | Error::DigestMismatch { .. }) => Ok(false),
                Err(error) => Err(error),
            },
        }
    }

    /// Fails if the condition does not hold.
    async fn check(&self, repository: &Repository, condition: &TagNames) -> Result<(), Error> {
        let TagNames { tag, one_of } = condition;
        let now = self.tagged(repository, tag).await?;
        if one_of.contains(&now) {
            return Ok(());
        }
        Err(Error::TagMoved { tag: tag.clone(), now })
    }

    /// The digest of what a tag names; none if there is no such tag. Asks for the manifest itself only
    /// where the registry does not state its digest.
    pub async fn tagged(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Option<Digest>, Error> {
        let target = TagOrDigest::Tag(tag.clone());
        match self.head_manifest(repository, &target).await? {
            None => Ok(None),
            Some(ManifestHead { digest: Some(digest), .. }) => Ok(Some(digest)),
            Some(_) => match self.manifest(repository, &target).await {
                Ok(manifest) => Ok(Some(manifest.digest)),
                // Deleted since the HEAD.
                Err(Error::NotFound(_)) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    async fn try_put(
        &self,
        call: &Call<'_>,
        repository: &Repository,
        target: &TagOrDigest,
        digest: Digest,
        condition: Option<&TagNames>,
    ) -> Result<PutManifest, Error> {
        // The wait for the turn may be long, so the look at the tag comes after it.
        if let Some(limit) = &self.transport.put_limit {
            limit.wait().await;
        }
        if let Some(condition) = condition {
            self.check(repository, condition).await?;
        }
        let reply = self.transport.send(call).await?;
        if !reply.status().is_success() {
            let tag = match target {
                TagOrDigest::Tag(tag) => Some(tag),
                TagOrDigest::Digest(_) => None,
            };
            return Err(reply.into_error(Asked::ManifestPut(tag)).await);
        }
        if let Some(actual) = stated_digest(&reply).filter(|actual| *actual != digest) {
            let request = reply.request().clone();
            return Err(Error::mismatch(request, digest, actual));
        }
        let subject_processed = reply.headers().contains_key(OCI_SUBJECT);
        Ok(PutManifest { subject_processed, already_there: false })
    }
}

/// The error, as the answer that it stems from if that speaks of an immutable tag only where there is one.
fn unless_said(error: Error) -> Error {
    match error {
        Error::TagImmutable { status, .. }
            if immutable_tag(&status) == Some(Immutability::IfTaken) =>
        {
            Error::Status(status)
        }
        error => error,
    }
}

/// Whether the answer to a HEAD is that of a page for people, as of a login that the registry has sent to.
fn is_page(reply: &Reply) -> bool {
    reply.media_type() == "text/html" && stated_digest(reply).is_none()
}

fn stated_digest(reply: &Reply) -> Option<Digest> {
    reply.header(CONTENT_DIGEST)?.parse().ok()
}

/// `expected`, if it is the digest of `bytes`.
pub(super) fn digest_as(
    expected: Digest,
    bytes: &[u8],
    request: &RequestLine,
) -> Result<Digest, Error> {
    let mut hasher = Hasher::new(expected.algorithm());
    hasher.update(bytes);
    let actual = hasher.finish();
    if actual == expected {
        Ok(actual)
    } else {
        Err(Error::mismatch(request.clone(), expected, actual))
    }
}
