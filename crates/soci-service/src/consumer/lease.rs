//! Keeps a message hidden while something is done about it.
//!
//! A message that was received is hidden until its visibility timeout ends; then the queue gives it to
//! somebody else. So the timeout is set anew when a third of it has passed. That leaves two thirds in
//! which an extension that fails is tried again. An extension counts from when it was asked for, the
//! earliest time from which the queue may count it. If the time is up, or the queue says that the receipt
//! has expired, the message is not ours any more, and the work is dropped.
//!
//! No extension may land late. When the work is done, the message may be given a time of its own until it
//! is visible again (`settle.rs`), and an extension that reached the queue after that would replace that
//! time by a whole timeout. So the answer of one that is under way is awaited first, for
//! [`LAST_EXTENSION`] at most.

use std::future::Future;
use std::time::Duration;

use soci_jobs::Why;
use soci_queue::{ErrorKind, Operation, Queue, QueueError, Receipt};
use soci_text::error_chain;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::call::call;
use crate::event::{Event, Events};

/// How long an extension that is under way is waited for when it is not needed any more. One that landed
/// after the message was made visible would hide it again.
const LAST_EXTENSION: Duration = Duration::from_secs(3);

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
    /// When it is extended next.
    pub(super) due: Instant,
}

impl<'a, Q: Queue> Lease<'a, Q> {
    /// The lease of a message that was received now.
    pub(super) fn begin(
        queue: &'a Q,
        events: &'a Events,
        receipt: &'a Receipt,
        call_timeout: Duration,
        visibility: Duration,
    ) -> Self {
        // A long poll may have waited since the message was asked for, so this counts from the answer. It
        // is late by the way of that, a part of what is left when an extension is due.
        let now = Instant::now();
        let (ends_at, due) = (now + visibility, now + visibility / 3);
        Self { queue, events, receipt, call_timeout, visibility, ends_at, due }
    }

    /// Does `work`, and meanwhile extends the lease at every third of it, sooner after a failure. The
    /// error says how it was lost; then the work is dropped. No extension is under way when this
    /// returns, as far as one that is answered within [`LAST_EXTENSION`].
    pub(super) async fn keep_while<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Why> {
        tokio::pin!(work);
        let mut failure = None;
        loop {
            // Work that is done comes first, so that no extension begins that nobody needs.
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = sleep_until(self.due.min(self.ends_at)) => {}
            }
            let asked = Instant::now();
            // Also of a process that stood still for so long: somebody else may have the message.
            if asked >= self.ends_at {
                return Err(not_extended(self.visibility, failure));
            }
            // An answer that comes after the end is of no use.
            let limit = self.call_timeout.min(self.ends_at - asked);
            let extending = self.queue.set_visibility(self.receipt, self.visibility);
            let operation = Operation::SetVisibility;
            let extending = call(self.events, self.queue, operation, limit, extending);
            tokio::pin!(extending);
            let (done, extended) = tokio::select! {
                biased;
                extended = &mut extending => (None, Some(extended)),
                done = &mut work => (Some(done), timeout(LAST_EXTENSION, extending).await.ok()),
            };
            let known = extended.map(|extended| {
                self.events.tell(&Event::Heartbeat { ok: extended.is_ok() });
                self.extended(asked, extended)
            });
            // What is done is done, also if it is somebody else's by now.
            if let Some(done) = done {
                return Ok(done);
            }
            failure = known.transpose()?.flatten();
        }
    }

    /// Takes note of an extension; the error says how the lease was lost.
    fn extended(
        &mut self,
        asked: Instant,
        extended: Result<(), QueueError>,
    ) -> Result<Option<QueueError>, Why> {
        match extended {
            Ok(()) => {
                (self.ends_at, self.due) = (asked + self.visibility, asked + self.visibility / 3);
                Ok(None)
            }
            // Another try would be refused as well: a receipt that has ended stays so.
            Err(error) if error.kind == ErrorKind::ReceiptExpired => {
                Err(Why::new("receipt-expired", error_chain(&error)))
            }
            Err(error) => {
                debug!(reason = error_chain(&error), "visibility timeout not extended");
                // Two thirds of the timeout are left, so this makes some ten tries.
                self.due = Instant::now() + self.visibility / 15;
                Ok(Some(error))
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
