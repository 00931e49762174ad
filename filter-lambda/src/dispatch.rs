//! Sends an image that is wanted to where it is indexed.
//!
//! The queue takes everything. The index Lambda is a shortcut for images that are certain to be
//! small: it begins at once, where a worker may have to be started first. Whatever stands in its way
//! is a doubt and no failure: manifests that cannot be read, a size that is not told, an invocation
//! that is refused or takes too long. With a doubt the image goes to the queue.
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

/// The index Lambda.
pub trait IndexFunction: Send + Sync + 'static {
    /// Why it cannot be invoked.
    type Error: Error + Send + Sync + 'static;

    /// Has it invoked with `event`, which Lambda repeats until it succeeds or is given up. Gives
    /// the identifier of the request, or an empty string.
    fn invoke(&self, event: &str) -> impl Future<Output = Result<String, Self::Error>> + Send;
}

/// The way past the queue, for small images.
#[derive(Clone, Debug)]
pub struct Shortcut<M, F> {
    /// Tells how large an image is.
    pub manifests: M,
    /// Takes it.
    pub function: F,
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
pub struct Dispatcher<Q, M, F> {
    /// Takes everything that does not go past it.
    pub queue: Q,
    /// The way past it, if there is one.
    pub shortcut: Option<Shortcut<M, F>>,
}

/// Where an image went.
#[derive(Debug)]
pub enum Dispatched {
    /// To the index Lambda.
    Invoked {
        /// Identifier of the request, or an empty string.
        request_id: String,
        /// Bytes of the image's compressed layers.
        bytes: u64,
    },
    /// To the queue.
    Queued {
        /// The message's identifier.
        message: MessageId,
        /// Why it did not go to the index Lambda, where there is one.
        doubt: Option<Doubt>,
    },
}

/// Why an image does not go to the index Lambda.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Doubt {
    /// It is too large.
    #[error("the image has {bytes} bytes of layers, more than {limit}")]
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
    /// The index Lambda cannot be invoked.
    #[error("the index Lambda cannot be invoked")]
    Invoke(#[source] Box<dyn Error + Send + Sync>),
    /// It took too long. The index Lambda may have been invoked all the same; the image is then
    /// indexed twice, which changes nothing.
    #[error("asking for manifests and invoking the index Lambda took more than {0:?}")]
    Slow(Duration),
}

impl Doubt {
    /// A short stable name for logs: lower case, words joined by hyphens.
    pub fn label(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::Size(_) => "size-unknown",
            Self::Manifests(_) => "manifests-unavailable",
            Self::Invoke(_) => "invoke-failed",
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

impl<Q: Queue, M: Manifests, F: IndexFunction> Dispatcher<Q, M, F> {
    /// Sends the image that was pushed to the index Lambda if it is certain that it is small, to
    /// the queue otherwise. `event` is the event itself.
    pub async fn dispatch(
        &self,
        push: &PushEvent,
        event: &str,
        invocation: &Invocation,
    ) -> Result<Dispatched, DispatchError> {
        let doubt = match &self.shortcut {
            None => None,
            Some(shortcut) => match shortcut.take(push, event, invocation.deadline).await {
                Ok(invoked) => return Ok(invoked),
                Err(doubt) => Some(doubt),
            },
        };
        let body = JobMessage::from_push(push, invocation.now).encode();
        let group = Some(Group::of_repository(push.repository.name()));
        let message = self.send(body, group, invocation.deadline).await?;
        Ok(Dispatched::Queued { message, doubt })
    }

    /// Puts an event that cannot be read on the queue, as it is.
    pub async fn keep(
        &self,
        event: &str,
        invocation: &Invocation,
    ) -> Result<MessageId, DispatchError> {
        self.send(event.to_owned(), None, invocation.deadline).await
    }

    async fn send(
        &self,
        body: String,
        group: Option<Group>,
        deadline: Instant,
    ) -> Result<MessageId, DispatchError> {
        // Lambda's own end would leave neither an answer nor a line in the log.
        let begun = Instant::now();
        let until = deadline.checked_sub(ANSWER_TIME).unwrap_or(begun);
        let outgoing = Outgoing { body, group, attributes: Vec::new() };
        if let Ok(sent) = timeout_at(until, self.queue.send(&outgoing)).await {
            return Ok(sent?);
        }
        Err(DispatchError::Slow { queue: self.queue.name().to_owned(), waited: begun.elapsed() })
    }
}

impl<M: Manifests, F: IndexFunction> Shortcut<M, F> {
    async fn take(
        &self,
        push: &PushEvent,
        event: &str,
        deadline: Instant,
    ) -> Result<Dispatched, Doubt> {
        let begun = Instant::now();
        let time = self.time.min(deadline.saturating_duration_since(begun) / 2);
        let taken = timeout_at(begun + time, async {
            let bytes = self.size_of(push).await?;
            if bytes > self.max_image_bytes {
                return Err(Doubt::TooLarge { bytes, limit: self.max_image_bytes });
            }
            let invoked = self.function.invoke(event).await;
            let request_id = invoked.map_err(|error| Doubt::Invoke(error.into()))?;
            Ok(Dispatched::Invoked { request_id, bytes })
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
