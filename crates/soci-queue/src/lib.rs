//! Job queues: messages with visibility timeouts, receive counts and a dead-letter queue, as SQS
//! has them.
//!
//! [`Queue`] is what the service needs of one. The queue on SQS is in the crate `soci-aws`, one in this
//! process in `soci-sandbox`.
//!
//! What holds for every implementation:
//! - A message that was received stays in the queue. It is hidden until its visibility timeout
//!   ends, then it can be received again with a receive count that is one higher.
//! - Delivery is at least once and in no promised order.
//! - A message that was sent with a delay cannot be received before that is over.
//! - A receipt belongs to one receive. Once the message has been received again it may be refused
//!   with [`ErrorKind::ReceiptExpired`].

mod dead_letter;
mod error;
mod history;
mod message;

use std::fmt;
use std::future::Future;
use std::time::{Duration, SystemTime};

pub use dead_letter::DeadLetter;
pub use error::{ErrorKind, Operation, QueueError};
pub use history::{JobHistory, LastFailure};
pub use message::{
    ATTRIBUTE_TYPE, Group, MAX_ATTRIBUTES, Message, MessageId, Outgoing, Receipt, failure,
    history as history_attribute, is_allowed,
};

/// Longest visibility timeout, and longest time that a message can stay hidden after a receive
/// however often it is extended: 12 hours (Amazon SQS developer guide, "Message quotas").
pub const MAX_VISIBILITY: Duration = Duration::from_hours(12);

/// Longest that a receive can wait for a message: 20 seconds (same source, "Long polling").
pub const MAX_WAIT: Duration = Duration::from_secs(20);

/// Longest that a message can be delayed when it is sent: 15 minutes (same source, "Delay queues").
pub const MAX_DELAY: Duration = Duration::from_mins(15);

/// Most messages of one receive (same source, "Message quotas").
pub const MAX_RECEIVE: usize = 10;

/// Largest message, attributes included: 1 MiB (same source).
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// How messages are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receive {
    /// Most messages, 1 to [`MAX_RECEIVE`].
    pub max: usize,
    /// How long to wait for the first message, at most [`MAX_WAIT`]; zero answers at once.
    pub wait: Duration,
    /// How long the messages stay hidden, at most [`MAX_VISIBILITY`].
    pub visibility: Duration,
}

/// How many messages a queue has. A distributed queue gives estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Messages that can be received.
    pub visible: u64,
    /// Messages that were received and are neither deleted nor visible again.
    pub in_flight: u64,
    /// Messages that cannot be received yet.
    pub delayed: u64,
}

/// A queue of messages. Clones are the same queue.
pub trait Queue: Clone + fmt::Debug + Send + Sync + 'static {
    /// Whether a receive that is dropped before its answer may still take messages, which nobody
    /// has then until their visibility timeouts end. So it is with a server that goes on waiting for
    /// a client that has hung up.
    const RECEIVE_OUTLIVES_ITS_CALLER: bool = true;

    /// The queue's name, for logs and metrics.
    fn name(&self) -> &str;

    /// Receives messages: as many as there are and `receive.max` allows, none if none came in time.
    fn receive(
        &self,
        receive: Receive,
    ) -> impl Future<Output = Result<Vec<Message>, QueueError>> + Send;

    /// Hides a message for `visibility` from now on; zero makes it visible at once.
    fn set_visibility(
        &self,
        receipt: &Receipt,
        visibility: Duration,
    ) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Takes a message off the queue for good.
    fn delete(&self, receipt: &Receipt) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Puts a message on the queue that can be received after `delay`, at most [`MAX_DELAY`]. It is
    /// there once this has returned its identifier.
    fn send_after(
        &self,
        message: &Outgoing,
        delay: Duration,
    ) -> impl Future<Output = Result<MessageId, QueueError>> + Send;

    /// Puts a message on the queue that can be received at once.
    fn send(
        &self,
        message: &Outgoing,
    ) -> impl Future<Output = Result<MessageId, QueueError>> + Send {
        self.send_after(message, Duration::ZERO)
    }

    /// How often a message can be received before the queue moves it to its dead-letter queue, which
    /// the receive after that does; `None` if the queue keeps it.
    fn max_receives(&self) -> impl Future<Output = Result<Option<u32>, QueueError>> + Send;

    /// How many messages there are.
    fn backlog(&self) -> impl Future<Output = Result<Backlog, QueueError>> + Send;

    /// When the oldest message was sent that is not deleted; `None` without one, and where the queue does
    /// not know.
    fn oldest(&self) -> impl Future<Output = Result<Option<SystemTime>, QueueError>> + Send {
        std::future::ready(Ok(None))
    }
}
