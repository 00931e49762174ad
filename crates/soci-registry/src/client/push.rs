//! Writing blobs. How the bytes of one are sent is in `upload`.

use http::{Method, StatusCode};
use soci_oci::{Digest, Hasher, Repository};

use super::Client;
use super::upload::{OpenUpload, Sending, smaller};
use crate::error::Error;
use crate::redact::RequestLine;
use crate::source::BlobSource;
use crate::transport::Call;
use crate::upload_habits::UploadHabit;
use crate::verdict::{Asked, WholeRefusal, WhyNotWhole, is_said, refuses_parts, refuses_whole};

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
    Open(OpenUpload),
}

impl Client {
    /// Makes the blob `digest` exist in `repository`: nothing if it does already, by mounting it
    /// from `mount_from` where the registry agrees, else by one request with all of `body`, or by several
    /// where the registry takes no such. After a failure in passing, a new upload is begun.
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
        let sending = Sending { registry: &registry, repository, digest, body };
        let mut retries = self.transport.retries();
        let mut doubted = None;
        loop {
            // Asked before every try: the answer to an upload that succeeded may have been lost.
            if ask && self.has_blob(repository, digest).await?.is_some() {
                return Ok(PushedBlob::AlreadyThere);
            }
            match self.try_push(sending, mount, &mut doubted).await {
                Ok(pushed) => return Ok(pushed),
                // What is streamed cannot be read: the request only broke off.
                Err(error) if body.is_lost() => return Err(error),
                Err(error) => self.transport.pause(&mut retries, error).await?,
            }
        }
    }

    async fn try_push(
        &self,
        sending: Sending<'_>,
        mount: Option<&Repository>,
        doubted: &mut Option<WhyNotWhole>,
    ) -> Result<PushedBlob, Error> {
        let start = match self.begin(sending, mount).await {
            // Whether a mount is allowed depends on the other repository; sending the bytes
            // needs only this one.
            Err(error)
                if mount.is_some()
                    && (!error.is_transient() || matches!(error, Error::WriteNotFound { .. })) =>
            {
                self.begin(sending, None).await?
            }
            start => start?,
        };
        let upload = match start {
            UploadStart::Mounted => return Ok(PushedBlob::Mounted),
            UploadStart::Open(upload) => upload,
        };
        match self.send(sending, upload, doubted).await {
            Ok(()) => Ok(PushedBlob::Uploaded),
            // Not on the way, if they were others from the start.
            // What is streamed ends in an error before it is complete if it was.
            Err(Error::UploadDamaged { status }) if !sending.body.is_streamed() => {
                let actual = digest_of(sending.body, *sending.digest);
                Err(if actual == *sending.digest {
                    Error::UploadDamaged { status }
                } else {
                    Error::mismatch(status.request, *sending.digest, actual)
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Sends the bytes in the way that the registry takes, by the rule in `upload`. `doubted` tells why the try
    /// before may have failed for being by one PUT.
    async fn send(
        &self,
        sending: Sending<'_>,
        upload: OpenUpload,
        doubted: &mut Option<WhyNotWhole>,
    ) -> Result<(), Error> {
        let size = sending.body.size();
        let habits = &self.transport.upload_habits;
        let registry = &sending.registry.name;
        let habit = habits.of(registry).unwrap_or_default();
        if !habit.takes_whole(size) {
            let error = match self.in_parts(sending, upload, habit, None).await {
                Ok(learnt) => {
                    habits.learn(registry, learnt);
                    return Ok(());
                }
                Err(error) => error,
            };
            if matches!(error, Error::UploadLost { .. } | Error::WriteNotFound { .. }) {
                // It may be otherwise by now.
                habits.forget(registry);
            }
            if !refuses_parts(&error) {
                return Err(error);
            }
            habits.forget(registry);
            let upload = self.begin_anew(sending).await?;
            return self.send_whole(sending, upload).await;
        }
        let Err(refusal) = self.send_whole(sending, upload).await else { return Ok(()) };
        let why = match refuses_whole(&refusal, size) {
            WholeRefusal::Sure(why) => why,
            WholeRefusal::Perhaps(why) if *doubted == Some(why) => why,
            WholeRefusal::Perhaps(why) => {
                *doubted = Some(why);
                return Err(refusal);
            }
            WholeRefusal::No => return Err(refusal),
        };
        *doubted = None;
        let upload = self.begin_anew(sending).await?;
        match self.in_parts(sending, upload, habit, Some(why)).await {
            // What was said of the PUT says more.
            Err(error) if refuses_parts(&error) => Err(refusal),
            Err(error) => Err(error),
            Ok(learnt) => {
                if is_said(&refusal) {
                    habits.learn(registry, learnt);
                }
                Ok(())
            }
        }
    }

    /// Sends the bytes in parts, and tells what was taken. `why` says why they do not go by one PUT, if that was
    /// found out just now.
    async fn in_parts(
        &self,
        sending: Sending<'_>,
        upload: OpenUpload,
        habit: UploadHabit,
        why: Option<WhyNotWhole>,
    ) -> Result<UploadHabit, Error> {
        let size = sending.body.size();
        let by_size = why == Some(WhyNotWhole::Size);
        let largest = habit.largest.unwrap_or(size).min(size);
        let largest = if by_size { smaller(largest).unwrap_or(largest) } else { largest };
        let taken = self.send_parts(sending, upload, largest).await?;
        // What a PATCH takes as a whole and a PUT does not is no question of size.
        let in_several = taken < size;
        Ok(UploadHabit {
            whole: habit.whole && (why.is_none() || by_size && in_several),
            largest: if in_several { Some(taken) } else { habit.largest },
        })
    }

    /// Begins another upload of the same bytes.
    async fn begin_anew(&self, sending: Sending<'_>) -> Result<OpenUpload, Error> {
        match self.begin(sending, None).await? {
            UploadStart::Open(upload) => Ok(upload),
            // Nothing was asked to be mounted.
            UploadStart::Mounted => Err(Error::Protocol {
                request: RequestLine::new(&Method::POST, &sending.registry.base),
                what: "the upload was answered as a mount".to_owned(),
            }),
        }
    }

    /// Begins an upload, or mounts.
    async fn begin(
        &self,
        sending: Sending<'_>,
        mount: Option<&Repository>,
    ) -> Result<UploadStart, Error> {
        let Sending { registry, repository, digest, .. } = sending;
        let mut call: Call<'_> = Self::write(registry, repository, Method::POST, "blobs/uploads/")?;
        if let Some(from) = mount {
            call.scope = call.scope.and_pull(from.name());
            let mut query = call.url.query_pairs_mut();
            query.append_pair("mount", &digest.to_string()).append_pair("from", from.name());
        }
        let reply = self.transport.send(&call).await?;
        match reply.status() {
            StatusCode::CREATED if mount.is_some() => Ok(UploadStart::Mounted),
            StatusCode::ACCEPTED => Ok(UploadStart::Open(OpenUpload::begun(&reply)?)),
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
