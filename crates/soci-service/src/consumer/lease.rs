//! Keeps a message hidden while its job runs.

use std::time::Duration;

use soci_jobs::Why;
use soci_queue::{ErrorKind, Operation, Queue, QueueError, Receipt};
use soci_text::error_chain;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::call::call;
use crate::event::{Event, Events};

/// The time for which a message is ours.
pub(super) struct Lease<'a, Q> {
    pub(super) queue: &'a Q,
    pub(super) events: &'a Events,
    pub(super) receipt: &'a Receipt,
    /// Longest time for an answer.
    pub(super) call_timeout: Duration,
    pub(super) visibility: Duration,
    /// When the message becomes visible, at the earliest.
    pub(super) ends_at: Instant,
}

impl<Q: Queue> Lease<'_, Q> {
    /// Extends the lease at every third of it, and sooner after a failure. Returns when it is lost.
    /// Can be dropped at any time.
    pub(super) async fn keep(&mut self) -> Why {
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
            let extended = call(self.events, self.queue, operation, limit, extending).await;
            self.events.tell(&Event::Heartbeat { ok: extended.is_ok() });
            match extended {
                Ok(()) => {
                    self.ends_at = asked + self.visibility;
                    due = asked + third;
                    failure = None;
                }
                Err(error) if error.kind == ErrorKind::ReceiptExpired => {
                    return Why::new("receipt-expired", error_chain(&error));
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

fn not_extended(visibility: Duration, failure: Option<QueueError>) -> Why {
    let why = failure.map_or_else(
        || "the process stood still".to_owned(),
        |failure| format!("the last try: {}", error_chain(&failure)),
    );
    let detail =
        format!("the visibility timeout of {visibility:?} was not extended in time; {why}");
    Why::new("not-extended", detail)
}
