//! Sends an image that is wanted to where it is indexed.
//!
//! The queue takes everything. Images that are certain to be small go to a queue of their own, which the
//! index Lambda reads: it begins at once, where a worker may have to be started first. Whatever stands in
//! the way is a doubt and no failure: manifests that cannot be read, a size that is not told, a queue of
//! small images that refuses or takes too long. With a doubt the image goes to the queue.
//!
//! That costs an image that is indexed twice at worst, which changes nothing. An event must not get
//! lost, though, so only the queue's own failure fails the invocation, which Lambda then repeats.
//!
//! All of it has to end before Lambda ends the invocation. The shortcut gets at most half of the time
//! that is left, so that the queue has the other half.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use soci_lambda::Invocation;
use soci_oci::Digest;
use soci_push::JobMessage;
use soci_push::event::PushEvent;
use soci_queue::{Group, MessageId, Outgoing, Queue, QueueError};
use soci_text::size;
use tokio::time::{Instant, timeout_at};

use crate::size::{FetchedManifest, ImageSize, SizeError, SizeLimits};

/// What has to be left of an invocation after a message was sent, to answer and to log.
const ANSWER_TIME: Duration = Duration::from_millis(200);

/// Where manifests are read.
pub trait Manifests: Send + Sync + 'static {
    /// Why they cannot be read.
    type Error: Error + Send + Sync + 'static;

    /// The manifests with these digests, in the repository that was pushed to; those that do not
    /// exist are left out.
    fn fetch(
        &self,
        push: &PushEvent,
        digests: &[Digest],
    ) -> impl Future<Output = Result<Vec<FetchedManifest>, Self::Error>> + Send;
}

/// The way past the worker, for small images.
#[derive(Clone, Debug)]
pub struct Shortcut<Q, M> {
    /// Tells how large an image is.
    pub manifests: M,
    /// Takes it, for the index Lambda.
    pub queue: Q,
    /// Largest image, in bytes of its compressed layers.
    pub max_image_bytes: u64,
    /// What an image's manifests may ask for.
    pub limits: SizeLimits,
    /// Most time for all of it. It never takes more than half of the time that an invocation has
    /// left.
    pub time: Duration,
}

/// Sends images to where they are indexed.
#[derive(Clone, Debug)]
pub struct Dispatcher<Q, M> {
    /// Takes everything that does not take the way past the worker.
    pub queue: Q,
    /// The way past it, if there is one.
    pub shortcut: Option<Shortcut<Q, M>>,
}

/// Where an image went.
#[derive(Debug)]
pub enum Dispatched {
    /// To the queue of small images.
    Small {
        /// The message's identifier.
        message: MessageId,
        /// Bytes of the image's compressed layers.
        bytes: u64,
    },
    /// To the queue.
    Queued {
        /// The message's identifier.
        message: MessageId,
        /// Why it is not among the small images, where these have a queue.
        doubt: Option<Doubt>,
    },
}

/// Why an image does not go to the index Lambda.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Doubt {
    /// It is too large.
    #[error("the image has {} of layers, more than {}", size(*bytes), size(*limit))]
    TooLarge {
        /// Bytes of its compressed layers.
        bytes: u64,
        /// How many there may be.
        limit: u64,
    },
    /// Its manifests do not tell how large it is.
    #[error("the size of the image is not known")]
    Size(#[from] SizeError),
    /// Its manifests cannot be read.
    #[error("the manifests of the image cannot be read")]
    Manifests(#[source] Box<dyn Error + Send + Sync>),
    /// The queue of small images did not take it.
    #[error(transparent)]
    SmallImages(QueueError),
    /// It took too long. The queue of small images may have it all the same; the image is then
    /// indexed twice, which changes nothing.
    #[error("asking for manifests and sending the image to the index Lambda took more than {0:?}")]
    Slow(Duration),
}

impl Doubt {
    /// A short stable name for logs: lower case, words joined by hyphens.
    pub fn label(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::Size(_) => "size-unknown",
            Self::Manifests(_) => "manifests-unavailable",
            Self::SmallImages(_) => "small-images-queue-failed",
            Self::Slow(_) => "slow",
        }
    }
}

/// An event went nowhere. The invocation has to fail, so that it is repeated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DispatchError {
    /// The queue did not take it.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The queue did not answer in time.
    #[error("queue {queue} has not taken the message in {waited:?}, and the invocation ends")]
    Slow {
        /// The queue's name.
        queue: String,
        /// How long it had.
        waited: Duration,
    },
}

impl<Q: Queue, M: Manifests> Dispatcher<Q, M> {
    /// Sends the image that was pushed to the index Lambda if it is certain that it is small, to
    /// the queue otherwise.
    pub async fn dispatch(
        &self,
        push: &PushEvent,
        invocation: &Invocation,
    ) -> Result<Dispatched, DispatchError> {
        let job = Outgoing {
            body: JobMessage::from_push(push, invocation.now).encode(),
            group: Some(Group::of_repository(push.repository.name())),
            attributes: Vec::new(),
        };
        let doubt = match &self.shortcut {
            None => None,
            Some(shortcut) => match shortcut.take(push, &job, invocation.deadline).await {
                Ok(sent) => return Ok(sent),
                Err(doubt) => Some(doubt),
            },
        };
        let message = self.send(&job, invocation.deadline).await?;
        Ok(Dispatched::Queued { message, doubt })
    }

    /// Puts an event that cannot be read on the queue, as it is.
    pub async fn keep(
        &self,
        event: &str,
        invocation: &Invocation,
    ) -> Result<MessageId, DispatchError> {
        self.hand_on(event, None, invocation).await
    }

    /// Puts an event on the queue, as it is.
    pub async fn hand_on(
        &self,
        event: &str,
        group: Option<Group>,
        invocation: &Invocation,
    ) -> Result<MessageId, DispatchError> {
        let event = Outgoing { body: event.to_owned(), group, attributes: Vec::new() };
        self.send(&event, invocation.deadline).await
    }

    async fn send(
        &self,
        outgoing: &Outgoing,
        deadline: Instant,
    ) -> Result<MessageId, DispatchError> {
        // Lambda's own end would leave neither an answer nor a line in the log.
        let begun = Instant::now();
        let until = deadline.checked_sub(ANSWER_TIME).unwrap_or(begun);
        if let Ok(sent) = timeout_at(until, self.queue.send(outgoing)).await {
            return Ok(sent?);
        }
        Err(DispatchError::Slow { queue: self.queue.name().to_owned(), waited: begun.elapsed() })
    }
}

impl<Q: Queue, M: Manifests> Shortcut<Q, M> {
    async fn take(
        &self,
        push: &PushEvent,
        job: &Outgoing,
        deadline: Instant,
    ) -> Result<Dispatched, Doubt> {
        let begun = Instant::now();
        let time = self.time.min(deadline.saturating_duration_since(begun) / 2);
        let taken = timeout_at(begun + time, async {
            let bytes = self.size_of(push).await?;
            if bytes > self.max_image_bytes {
                return Err(Doubt::TooLarge { bytes, limit: self.max_image_bytes });
            }
            let message = self.queue.send(job).await.map_err(Doubt::SmallImages)?;
            Ok(Dispatched::Small { message, bytes })
        });
        taken.await.unwrap_or(Err(Doubt::Slow(time)))
    }

    async fn size_of(&self, push: &PushEvent) -> Result<u64, Doubt> {
        let root = self.fetch(push, &[push.digest]).await?;
        let root = root.into_iter().find(|manifest| manifest.digest == push.digest);
        let root = root.ok_or(SizeError::Missing { digest: push.digest })?;
        let mut size = ImageSize::of_root(&root, self.limits)?;
        if !size.missing().is_empty() {
            let children = self.fetch(push, size.missing()).await?;
            size = size.count(&children)?;
        }
        Ok(size.bytes())
    }

    async fn fetch(
        &self,
        push: &PushEvent,
        digests: &[Digest],
    ) -> Result<Vec<FetchedManifest>, Doubt> {
        let fetched = self.manifests.fetch(push, digests).await;
        fetched.map_err(|error| Doubt::Manifests(error.into()))
    }
}
