//! Writing blobs.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use reqwest::Url;
use soci_oci::{Digest, Hasher, Repository};

use super::Client;
use crate::error::Error;
use crate::exchange::{Payload, Registry};
use crate::redact::RequestLine;
use crate::source::BlobSource;
use crate::transport::{Call, Transport};
use crate::verdict::Asked;

/// How a blob came to be in the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushedBlob {
    /// It was there.
    AlreadyThere,
    /// The registry took it over from another repository.
    Mounted,
    /// Its bytes were sent.
    Uploaded,
}

/// Where the answer to the first request of an upload leads.
enum UploadStart {
    Mounted,
    Open(Url),
}

impl Client {
    /// Makes the blob `digest` exist in `repository`: nothing if it does already, by mounting it
    /// from `mount_from` where the registry agrees, else by one request with all of `body`. After
    /// a failure in passing, a new upload is begun.
    pub async fn push_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        body: &BlobSource,
        mount_from: Option<&Repository>,
    ) -> Result<PushedBlob, Error> {
        // Mounting works inside one registry only, and from the repository itself is pointless.
        let mount = mount_from
            .filter(|from| from.registry() == repository.registry() && *from != repository);
        self.push(repository, digest, body, mount, true).await
    }

    /// Sends the blob `digest` to `repository` without asking whether it is there: a registry that
    /// claims to have it may have lost it ([`Error::is_missing_content`]).
    pub async fn upload_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        body: &BlobSource,
    ) -> Result<(), Error> {
        self.push(repository, digest, body, None, false).await.map(|_| ())
    }

    async fn push(
        &self,
        repository: &Repository,
        digest: &Digest,
        body: &BlobSource,
        mount: Option<&Repository>,
        ask: bool,
    ) -> Result<PushedBlob, Error> {
        let registry = self.transport.registry(repository)?;
        let mut retries = self.transport.retries();
        loop {
            // Asked before every try: the answer to an upload that succeeded may have been lost.
            if ask && self.has_blob(repository, digest).await?.is_some() {
                return Ok(PushedBlob::AlreadyThere);
            }
            match self.try_push(&registry, repository, digest, body, mount).await {
                Ok(pushed) => return Ok(pushed),
                Err(error) => self.transport.pause(&mut retries, error).await?,
            }
        }
    }

    async fn try_push(
        &self,
        registry: &Registry,
        repository: &Repository,
        digest: &Digest,
        body: &BlobSource,
        mount: Option<&Repository>,
    ) -> Result<PushedBlob, Error> {
        let start = match self.begin(registry, repository, digest, mount).await {
            // Whether a mount is allowed depends on the other repository; sending the bytes
            // needs only this one.
            Err(error)
                if mount.is_some()
                    && (!error.is_transient() || matches!(error, Error::WriteNotFound { .. })) =>
            {
                self.begin(registry, repository, digest, None).await?
            }
            start => start?,
        };
        let upload = match start {
            UploadStart::Mounted => return Ok(PushedBlob::Mounted),
            UploadStart::Open(upload) => upload,
        };
        let mut call = Self::write(registry, repository, Method::PUT, "blobs/uploads/")?;
        call.url = with_digest(upload, digest);
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        call.payload = Payload::Source(body.clone());
        let reply = self.transport.send(&call).await?;
        if reply.status().is_success() {
            return Ok(PushedBlob::Uploaded);
        }
        let request = reply.request().clone();
        match reply.into_error(Asked::UploadEnd).await {
            // Not on the way, if they were others from the start.
            error @ Error::UploadDamaged { .. } => {
                let actual = digest_of(body, *digest);
                let sent_as_stated = actual == *digest;
                Err(if sent_as_stated { error } else { Error::mismatch(request, *digest, actual) })
            }
            error => Err(error),
        }
    }

    /// Begins an upload, or mounts.
    async fn begin(
        &self,
        registry: &Registry,
        repository: &Repository,
        digest: &Digest,
        mount: Option<&Repository>,
    ) -> Result<UploadStart, Error> {
        let mut call: Call<'_> = Self::write(registry, repository, Method::POST, "blobs/uploads/")?;
        if let Some(from) = mount {
            call.scope = call.scope.and_pull(from.name());
            let mut query = call.url.query_pairs_mut();
            query.append_pair("mount", &digest.to_string()).append_pair("from", from.name());
        }
        let reply = self.transport.send(&call).await?;
        match reply.status() {
            StatusCode::CREATED if mount.is_some() => Ok(UploadStart::Mounted),
            StatusCode::ACCEPTED => Ok(UploadStart::Open(Transport::location(&reply)?)),
            status if status.is_success() => Err(Error::Protocol {
                request: RequestLine::new(&call.method, &call.url),
                what: format!("the upload was answered {status} instead of 202 Accepted"),
            }),
            _ => Err(reply.into_error(Asked::UploadStart).await),
        }
    }
}

/// The digest of a blob by the algorithm of another digest.
fn digest_of(body: &BlobSource, like: Digest) -> Digest {
    let mut hasher = Hasher::new(like.algorithm());
    for segment in body.segments() {
        hasher.update(segment);
    }
    hasher.finish()
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
}
