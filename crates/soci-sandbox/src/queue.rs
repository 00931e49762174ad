//! A queue in this process, with the semantics of SQS.
//!
//! The service's behaviour rests on what SQS does at the edges: a message that is received again
//! while somebody works on it, a receipt that has gone out of date, a redrive in the middle of a
//! receive. This queue does the same, so that tests and the demonstration meet those edges without
//! AWS and in paused time.
//!
//! - Every call is one step under one lock. What a receive gives is hidden before anybody else looks.
//! - A receive that finds nothing waits for a change or for the next message to become visible, up
//!   to its deadline. A call that is dropped while it waits has taken nothing.
//! - A message that was sent with a delay is there and cannot be received before that is over.
//! - A message that was received too often is moved to the dead-letter queue in the same step, so it
//!   is always in exactly one of the two.
//! - It is stricter than SQS where SQS is vague: a receipt that is out of date is always refused,
//!   and messages are given out oldest first within their group.

#[cfg(any(test, feature = "testing"))]
mod faults;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod inspect;
mod message_store;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod presence;
mod rules;

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
pub use faults::Call;

use soci_queue::{
    Backlog, MAX_MESSAGE_BYTES, Message, MessageId, Operation, Outgoing, Queue, QueueError,
    Receipt, Receive,
};

use message_store::MessageStore;
use rules::{Refused, check_outgoing, check_receive};

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
    core: Arc<QueueCore>,
}

/// What the clones of a queue share.
struct QueueCore {
    options: MemoryQueueOptions,
    messages: Mutex<MessageStore>,
    /// Wakes receives that wait: something may be visible now, or earlier than it was to be.
    changed: Notify,
    /// What [`Message::sent_at`] counts from: the clock of the system as it stood at an instant, so
    /// that both pass alike when a test holds the time.
    started: (SystemTime, Instant),
    #[cfg(any(test, feature = "testing"))]
    faults: Mutex<faults::PlannedFaults>,
}

impl MemoryQueue {
    /// An empty queue.
    pub fn new(options: MemoryQueueOptions) -> Self {
        Self {
            core: Arc::new(QueueCore {
                options,
                messages: Mutex::default(),
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

    fn store(&self) -> MutexGuard<'_, MessageStore> {
        // No method of the store can stop half-way, so a panic elsewhere leaves it whole.
        self.core.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, operation: Operation, refused: Refused) -> QueueError {
        QueueError {
            queue: self.core.options.name.clone(),
            operation,
            kind: refused.kind(),
            request_id: None,
            source: Box::new(refused),
        }
    }

    /// Takes what can be received now, and moves what was received too often.
    fn take(&self, receive: Receive) -> Vec<Message> {
        let now = Instant::now();
        let limit = self.core.options.redrive.as_ref().map(|redrive| redrive.max_receives.max(1));
        // The dead-letter queue is locked while this one is, so that a message is always in one of
        // them. Queues cannot form a circle, as a dead-letter queue is there before its source.
        let mut store = self.store();
        let taken = store.take(now, receive.max, receive.visibility, limit);
        if let Some(redrive) = &self.core.options.redrive
            && !taken.exhausted.is_empty()
        {
            let mut dead = redrive.dead_letters.store();
            for message in taken.exhausted {
                dead.adopt(message);
            }
            drop(dead);
            redrive.dead_letters.core.changed.notify_waiters();
        }
        drop(store);
        taken.messages
    }
}

impl Queue for MemoryQueue {
    /// Messages are taken in the very step that answers.
    const RECEIVE_OUTLIVES_ITS_CALLER: bool = false;

    fn name(&self) -> &str {
        &self.core.options.name
    }

    async fn receive(&self, receive: Receive) -> Result<Vec<Message>, QueueError> {
        let asked = Instant::now();
        #[cfg(any(test, feature = "testing"))]
        self.fault(Call::Receive(receive)).await?;
        check_receive(receive).map_err(|refused| self.refuse(Operation::Receive, refused))?;
        let deadline = asked + receive.wait;
        loop {
            let changed = self.core.changed.notified();
            tokio::pin!(changed);
            // From here on a change is not missed.
            changed.as_mut().enable();
            let messages = self.take(receive);
            if !messages.is_empty() || Instant::now() >= deadline {
                return Ok(messages);
            }
            let next = self.store().next_visible().map_or(deadline, |next| next.min(deadline));
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
        let changed = self.store().set_visibility(Instant::now(), receipt, visibility);
        changed.map_err(|refused| self.refuse(Operation::SetVisibility, refused))?;
        self.core.changed.notify_waiters();
        Ok(())
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), QueueError> {
        #[cfg(any(test, feature = "testing"))]
        self.fault(Call::Delete(receipt.clone())).await?;
        let deleted = self.store().delete(receipt);
        deleted.map_err(|refused| self.refuse(Operation::Delete, refused))
    }

    async fn send_after(
        &self,
        message: &Outgoing,
        delay: Duration,
    ) -> Result<MessageId, QueueError> {
        #[cfg(any(test, feature = "testing"))]
        self.fault(Call::Send(message.clone(), delay)).await?;
        check_outgoing(message, delay, self.core.options.max_message_bytes)
            .map_err(|refused| self.refuse(Operation::Send, refused))?;
        let ((clock, started), now) = (self.core.started, Instant::now());
        // SQS counts delays in seconds, and a part of one is a whole one.
        let delay = Duration::from_secs(delay.as_secs() + u64::from(delay.subsec_nanos() > 0));
        let id = self.store().send(message.clone(), clock + (now - started), now + delay, now);
        self.core.changed.notify_waiters();
        Ok(id)
    }

    async fn max_receives(&self) -> Result<Option<u32>, QueueError> {
        #[cfg(any(test, feature = "testing"))]
        self.fault(Call::MaxReceives).await?;
        Ok(self.core.options.redrive.as_ref().map(|redrive| redrive.max_receives.max(1)))
    }

    async fn backlog(&self) -> Result<Backlog, QueueError> {
        #[cfg(any(test, feature = "testing"))]
        self.fault(Call::Backlog).await?;
        Ok(self.store().backlog(Instant::now()))
    }

    async fn oldest(&self) -> Result<Option<SystemTime>, QueueError> {
        #[cfg(any(test, feature = "testing"))]
        self.fault(Call::Oldest).await?;
        Ok(self.store().oldest())
    }
}

impl fmt::Debug for MemoryQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryQueue").field("name", &self.name()).finish_non_exhaustive()
    }
}
