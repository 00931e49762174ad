//! Keeps a message hidden while its job runs.

use soci_text::error_chain;
use std::time::Duration;

use soci_queue::{ErrorKind, Operation, Queue, QueueError, Receipt};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::call::call;
use crate::watch::Watch;

/// The time for which a message is ours.
pub(super) struct Lease<'a, Q> {
    pub(super) queue: &'a Q,
    pub(super) watch: &'a dyn Watch,
    pub(super) receipt: &'a Receipt,
    /// Longest time for an answer.
    pub(super) call_timeout: Duration,
    pub(super) visibility: Duration,
    /// When the message becomes visible, at the earliest.
    pub(super) ends_at: Instant,
}

/// Why a message is no longer ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// Short stable name.
    pub(super) reason: &'static str,
    /// The same for people.
    pub(super) detail: String,
}

impl<Q: Queue> Lease<'_, Q> {
    /// Extends the lease at every third of it, and sooner after a failure. Returns when it is lost.
    /// Can be dropped at any time.
    pub(super) async fn keep(&mut self) -> Lost {
        let third = self.visibility / 3;
        let mut due = (self.ends_at - self.visibility) + third;
        let mut failure = None;
        loop {
            sleep_until(due.min(self.ends_at)).await;
            let asked = Instant::now();
            if asked >= self.ends_at {
                return not_extended(self.visibility, failure);
            }
            // An answer that comes after the end is of no use.
            let limit = self.call_timeout.min(self.ends_at - asked);
            let extending = self.queue.set_visibility(self.receipt, self.visibility);
            let operation = Operation::SetVisibility;
            let extended = call(self.watch, self.queue, operation, limit, extending).await;
            self.watch.heartbeat(extended.is_ok());
            match extended {
                Ok(()) => {
                    self.ends_at = asked + self.visibility;
                    due = asked + third;
                    failure = None;
                }
                Err(error) if error.kind == ErrorKind::ReceiptExpired => {
                    return Lost { reason: "receipt-expired", detail: error_chain(&error) };
                }
                Err(error) => {
                    debug!(reason = error_chain(&error), "visibility timeout not extended");
                    // Two thirds of the timeout are left, so this makes some ten tries.
                    due = Instant::now() + self.visibility / 15;
                    failure = Some(error);
                }
            }
        }
    }
}

fn not_extended(visibility: Duration, failure: Option<QueueError>) -> Lost {
    let why = failure.map_or_else(
        || "the process stood still".to_owned(),
        |failure| format!("the last try: {}", error_chain(&failure)),
    );
    let detail =
        format!("the visibility timeout of {visibility:?} was not extended in time; {why}");
    Lost { reason: "not-extended", detail }
}
