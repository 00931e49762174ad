//! Calls of a queue: in a limited time, told to the events' sinks, tried again.

use std::future::Future;
use std::time::Duration;

use soci_queue::{ErrorKind, Operation, Queue, QueueError};
use soci_retry::Backoff;
use soci_text::error_chain;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::event::{Event, Events};

/// How often a call that ends a job is tried.
const TRIES: u32 = 5;

/// Times between these tries: together some seconds, well within a visibility timeout.
const BETWEEN: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(4) };

/// No answer came in time.
#[derive(Debug, thiserror::Error)]
#[error("there was no answer within {0:?}")]
struct NoAnswer(Duration);

/// Awaits a call of a queue for `limit` at most; no answer is a failure that may pass.
pub(super) async fn call<Q: Queue, T>(
    events: &Events,
    queue: &Q,
    operation: Operation,
    limit: Duration,
    answer: impl Future<Output = Result<T, QueueError>>,
) -> Result<T, QueueError> {
    let result = timeout(limit, answer).await.unwrap_or_else(|_| {
        Err(QueueError {
            queue: queue.name().to_owned(),
            operation,
            kind: ErrorKind::Transient,
            request_id: None,
            source: Box::new(NoAnswer(limit)),
        })
    });
    if result.is_err() {
        events.tell(&Event::QueueFailed { queue: queue.name(), operation });
    }
    result
}

/// The same, tried again a few times while the failure may pass.
pub(super) async fn persist<Q, T, F>(
    events: &Events,
    queue: &Q,
    operation: Operation,
    limit: Duration,
    mut ask: impl FnMut() -> F,
) -> Result<T, QueueError>
where
    Q: Queue,
    F: Future<Output = Result<T, QueueError>>,
{
    let mut tries = 1;
    loop {
        match call(events, queue, operation, limit, ask()).await {
            Err(error) if error.is_transient() && tries < TRIES => {
                debug!(reason = error_chain(&error), tries, "trying again");
                sleep(BETWEEN.delay(tries, fastrand::f64())).await;
                tries += 1;
            }
            result => return result,
        }
    }
}
