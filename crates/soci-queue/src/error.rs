//! Why a queue failed.

use std::error::Error;
use std::fmt;

/// What was asked of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Receive messages.
    Receive,
    /// Change a message's visibility timeout.
    SetVisibility,
    /// Delete a message.
    Delete,
    /// Send a message.
    Send,
    /// Read the queue's attributes.
    Backlog,
    /// Read how often a message can be received.
    MaxReceives,
    /// Read when the oldest message was sent.
    Oldest,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Receive => "receive messages",
            Self::SetVisibility => "change a visibility timeout",
            Self::Delete => "delete a message",
            Self::Send => "send a message",
            Self::Backlog => "count the messages",
            Self::MaxReceives => "tell how often a message can be received",
            Self::Oldest => "tell when its oldest message was sent",
        })
    }
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// It may pass: the network, throttling, a fault of the service.
    Transient,
    /// The receipt does not stand for the message any more: its visibility timeout has ended and
    /// somebody else may have it, or it is deleted.
    ReceiptExpired,
    /// The queue does not exist, or may not be used, or the request is malformed.
    Permanent,
}

/// A queue failed.
#[derive(Debug, thiserror::Error)]
#[error("queue {queue} did not {operation}{}", request_id.as_ref().map(|id| format!(" (request {id})")).unwrap_or_default())]
pub struct QueueError {
    /// The queue's name.
    pub queue: String,
    /// What it was asked.
    pub operation: Operation,
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// The service's identifier of the request, for its support.
    pub request_id: Option<String>,
    /// What happened.
    pub source: Box<dyn Error + Send + Sync>,
}

impl QueueError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        self.kind == ErrorKind::Transient
    }
}
