//! What tests have planned for a queue's calls, and the calls that came.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use soci_queue::{ErrorKind, Operation, Outgoing, Receipt, Receive};

/// A call that the queue has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`Queue::receive`](soci_queue::Queue::receive).
    Receive(Receive),
    /// [`Queue::set_visibility`](soci_queue::Queue::set_visibility).
    SetVisibility(Receipt, Duration),
    /// [`Queue::delete`](soci_queue::Queue::delete).
    Delete(Receipt),
    /// [`Queue::send_after`](soci_queue::Queue::send_after).
    Send(Outgoing, Duration),
    /// [`Queue::backlog`](soci_queue::Queue::backlog).
    Backlog,
    /// [`Queue::max_receives`](soci_queue::Queue::max_receives).
    MaxReceives,
    /// [`Queue::oldest`](soci_queue::Queue::oldest).
    Oldest,
}

impl Call {
    /// What was asked.
    pub fn operation(&self) -> Operation {
        match self {
            Self::Receive(_) => Operation::Receive,
            Self::SetVisibility(..) => Operation::SetVisibility,
            Self::Delete(_) => Operation::Delete,
            Self::Send(..) => Operation::Send,
            Self::Backlog => Operation::Backlog,
            Self::MaxReceives => Operation::MaxReceives,
            Self::Oldest => Operation::Oldest,
        }
    }
}

/// What tests have asked for, and what the queue has been asked.
#[derive(Debug, Default)]
pub(super) struct PlannedFaults {
    pub(super) planned: VecDeque<(Operation, PlannedFault)>,
    pub(super) calls: Vec<(Instant, Call)>,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum PlannedFault {
    /// It fails.
    Fail(ErrorKind),
    /// It gives no answer.
    Hang,
}

/// A failure that a test has asked for.
#[derive(Debug, thiserror::Error)]
#[error("a test has asked for a failure")]
pub(super) struct Injected;
