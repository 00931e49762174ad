//! A queue in this process, with the semantics of SQS.

mod state;
#[cfg(any(test, feature = "testing"))]
mod testing;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

#[cfg(any(test, feature = "testing"))]
pub use testing::{Call, Presence, Snapshot};

use soci_queue::{
    ATTRIBUTE_TYPE, Backlog, ErrorKind, MAX_MESSAGE_BYTES, MAX_RECEIVE, MAX_VISIBILITY, MAX_WAIT,
    Message, MessageId, Operation, Outgoing, Queue, QueueError, Receipt, Receive, is_allowed,
};
use state::State;

/// How a [`MemoryQueue`] behaves.
#[derive(Clone, Debug)]
pub struct MemoryQueueOptions {
    /// The queue's name, for logs and metrics.
    pub name: String,
    /// Largest message in bytes, attributes included; [`MAX_MESSAGE_BYTES`] by default.
    pub max_message_bytes: usize,
    /// What becomes of messages that are received again and again; by default they stay.
    pub redrive: Option<Redrive>,
}

impl Default for MemoryQueueOptions {
    fn default() -> Self {
        Self { name: "memory".to_owned(), max_message_bytes: MAX_MESSAGE_BYTES, redrive: None }
    }
}

/// When a message is moved to a dead-letter queue (the redrive policy of SQS).
#[derive(Clone, Debug)]
pub struct Redrive {
    /// Where it is moved to.
    pub dead_letters: MemoryQueue,
    /// How often a message can be received, at least 1. The receive after that moves it
    /// (`maxReceiveCount` of SQS).
    pub max_receives: u32,
}

/// A queue in this process, with the semantics of SQS. Clones are the same queue; dropping the last
/// one drops the messages.
///
/// - A message that nobody has is given to the group that has waited longest, so that a group with
///   many messages does not hold up the others.
/// - Once a message has been received again, older receipts are refused.
/// - Deleting what is deleted already succeeds.
/// - Retention is not limited.
#[derive(Clone)]
pub struct MemoryQueue {
    shared: Arc<Shared>,
}

/// What the clones of a queue share.
struct Shared {
    options: MemoryQueueOptions,
    state: Mutex<State>,
    /// Wakes receives that wait: something may be visible now, or earlier than it was to be.
    changed: Notify,
    /// What [`Message::sent_at`] counts from: the clock of the system as it stood at an instant, so
    /// that both pass alike when a test holds the time.
    started: (SystemTime, Instant),
    #[cfg(any(test, feature = "testing"))]
    faults: Mutex<testing::Faults>,
}

/// Why this queue refuses a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("{max} messages were asked for, and a receive can have 1 to {MAX_RECEIVE}")]
    Max { max: usize },
    #[error("a receive cannot wait {wait:?}, at most {MAX_WAIT:?}")]
    Wait { wait: Duration },
    #[error("a visibility timeout cannot be {visibility:?}, at most {MAX_VISIBILITY:?}")]
    Visibility { visibility: Duration },
    #[error("the message would be hidden for more than {MAX_VISIBILITY:?} after it was received")]
    TotalVisibility,
    #[error("the receipt is none of this queue")]
    Receipt,
    #[error("the message has been received again since")]
    ReceivedAgain,
    #[error("the message is not in flight")]
    NotInFlight,
    #[error("the message has {size} bytes, more than {limit}")]
    Size { size: usize, limit: usize },
    #[error("the message has no body")]
    NoBody,
    #[error("the message has {count} attributes, more than {MAX_ATTRIBUTES}")]
    Attributes { count: usize },
    #[error("attribute {position} has an empty value or a name that is not allowed")]
    Attribute { position: usize },
    #[error("the message has characters that are not allowed")]
    Characters,
}

impl Refused {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::ReceivedAgain | Self::NotInFlight => ErrorKind::ReceiptExpired,
            _ => ErrorKind::Permanent,
        }
    }
}

/// Most attributes of a message (Amazon SQS developer guide, "Message quotas").
const MAX_ATTRIBUTES: usize = 10;

/// Longest name of an attribute (Amazon SQS developer guide, "Message metadata").
const MAX_ATTRIBUTE_NAME: usize = 256;

impl MemoryQueue {
    /// An empty queue.
    pub fn new(options: MemoryQueueOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                options,
                state: Mutex::default(),
                changed: Notify::new(),
                started: (SystemTime::now(), Instant::now()),
                #[cfg(any(test, feature = "testing"))]
                faults: Mutex::default(),
            }),
        }
    }

    /// An empty queue of this name without a dead-letter queue.
    pub fn named(name: &str) -> Self {
        Self::new(MemoryQueueOptions { name: name.to_owned(), ..MemoryQueueOptions::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No method of the state can stop half-way, so a panic elsewhere leaves it whole.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, operation: Operation, refused: Refused) -> QueueError {
        QueueError {
            queue: self.shared.options.name.clone(),
            operation,
            kind: refused.kind(),
            request_id: None,
            source: Box::new(refused),
        }
    }

    /// Takes what can be received now, and moves what was received too often.
    fn take(&self, receive: Receive) -> Vec<Message> {
        let now = Instant::now();
        let limit = self.shared.options.redrive.as_ref().map(|redrive| redrive.max_receives.max(1));
        // The dead-letter queue is locked while this one is, so that a message is always in one of
        // them. Queues cannot form a circle, as a dead-letter queue is there before its source.
        let mut state = self.state();
        let taken = state.take(now, receive.max, receive.visibility, limit);
        if let Some(redrive) = &self.shared.options.redrive
            && !taken.exhausted.is_empty()
        {
            let mut dead = redrive.dead_letters.state();
            for message in taken.exhausted {
                dead.adopt(message);
            }
            drop(dead);
            redrive.dead_letters.shared.changed.notify_waiters();
        }
        drop(state);
        taken.messages
    }
}

impl Queue for MemoryQueue {
    /// Messages are taken in the very step that answers.
    const RECEIVE_OUTLIVES_ITS_CALLER: bool = false;

    fn name(&self) -> &str {
        &self.shared.options.name
    }

    async fn receive(&self, receive: Receive) -> Result<Vec<Message>, QueueError> {
        let asked = Instant::now();
        #[cfg(any(test, feature = "testing"))]
        self.fault(Call::Receive(receive)).await?;
        check_receive(receive).map_err(|refused| self.refuse(Operation::Receive, refused))?;
        let deadline = asked + receive.wait;
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // From here on a change is not missed.
            changed.as_mut().enable();
            let messages = self.take(receive);
            if !messages.is_empty() || Instant::now() >= deadline {
                return Ok(messages);
            }
            let next = self.state().next_visible().map_or(deadline, |next| next.min(deadline));
            tokio::select! {
                () = changed => {}
                () = sleep_until(next) => {}
            }
        }
    }

    async fn set_visibility(
        &self,
        receipt: &Receipt,
        visibility: Duration,
    ) -> Result<(), QueueError> {
        #[cfg(any(test, feature = "testing"))]
        self.fault(Call::SetVisibility(receipt.clone(), visibility)).await?;
        let changed = self.state().set_visibility(Instant::now(), receipt, visibility);
        changed.map_err(|refused| self.refuse(Operation::SetVisibility, refused))?;
        self.shared.changed.notify_waiters();
        Ok(())
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), QueueError> {
        #[cfg(any(test, feature = "testing"))]
        self.fault(Call::Delete(receipt.clone())).await?;
        let deleted = self.state().delete(receipt);
        deleted.map_err(|refused| self.refuse(Operation::Delete, refused))
    }

    async fn send(&self, message: &Outgoing) -> Result<MessageId, QueueError> {
        #[cfg(any(test, feature = "testing"))]
        self.fault(Call::Send(message.clone())).await?;
        check_outgoing(message, self.shared.options.max_message_bytes)
            .map_err(|refused| self.refuse(Operation::Send, refused))?;
        let (clock, started) = self.shared.started;
        let id = self.state().send(message.clone(), clock + started.elapsed());
        self.shared.changed.notify_waiters();
        Ok(id)
    }

    async fn backlog(&self) -> Result<Backlog, QueueError> {
        #[cfg(any(test, feature = "testing"))]
        self.fault(Call::Backlog).await?;
        Ok(self.state().backlog(Instant::now()))
    }
}

impl fmt::Debug for MemoryQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryQueue").field("name", &self.name()).finish_non_exhaustive()
    }
}

fn check_receive(Receive { max, wait, visibility }: Receive) -> Result<(), Refused> {
    if !(1..=MAX_RECEIVE).contains(&max) {
        return Err(Refused::Max { max });
    }
    if wait > MAX_WAIT {
        return Err(Refused::Wait { wait });
    }
    if visibility > MAX_VISIBILITY {
        return Err(Refused::Visibility { visibility });
    }
    Ok(())
}

/// Holds a message against the rules of SQS (API reference, `SendMessage`), so that what passes
/// here passes there.
fn check_outgoing(message: &Outgoing, limit: usize) -> Result<(), Refused> {
    let Outgoing { body, attributes, .. } = message;
    if body.is_empty() {
        return Err(Refused::NoBody);
    }
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(Refused::Attributes { count: attributes.len() });
    }
    for (position, (name, value)) in (1..).zip(attributes) {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.');
        let named = (1..=MAX_ATTRIBUTE_NAME).contains(&name.len()) && name.bytes().all(allowed);
        if !named || value.is_empty() {
            return Err(Refused::Attribute { position });
        }
    }
    let texts = attributes.iter().map(|(_, value)| value).chain([body]);
    if !texts.flat_map(|text| text.chars()).all(is_allowed) {
        return Err(Refused::Characters);
    }
    let attribute =
        |(name, value): &(String, String)| name.len() + ATTRIBUTE_TYPE.len() + value.len();
    let size = body.len() + attributes.iter().map(attribute).sum::<usize>();
    if size > limit {
        return Err(Refused::Size { size, limit });
    }
    Ok(())
}
