//! What becomes of a message when its job has ended.

use soci_text::error_chain;
use std::time::{Duration, SystemTime};

use soci_push::event::Timestamp;
use soci_queue::{DeadLetter, MAX_VISIBILITY, Message, Operation, Queue, QueueError};
use tokio::time::Instant;

use super::Shared;
use super::call::persist;
use super::lease::Lease;
use crate::watch::Ending;

/// What to do with a message.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is done.
    Delete(Ending),
    /// It can never be done.
    Reject { reason: &'static str, detail: String },
    /// It may be done later.
    Retry { reason: &'static str, detail: String },
    /// Somebody else shall do it now.
    GiveBack,
    /// It is no longer ours.
    Abandon { reason: &'static str, detail: String },
}

/// What was done with a message.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) ending: Ending,
    /// What could not be done, however often it was tried. The message comes again.
    pub(super) trouble: Option<QueueError>,
    /// It can never be done, and is on no dead-letter queue.
    pub(super) is_stuck: bool,
}

/// Does with a message what its verdict says.
pub(super) async fn settle<Q: Queue, H>(
    shared: &Shared<Q, H>,
    message: &Message,
    lease: &Lease<'_, Q>,
    verdict: Verdict,
) -> Settled {
    match verdict {
        Verdict::Delete(ending) => {
            // A message that is not deleted comes again and is found to be done.
            let trouble = delete(shared, lease).await.err();
            Settled { ending, trouble, is_stuck: false }
        }
        Verdict::Reject { reason, detail } => reject(shared, message, lease, reason, detail).await,
        Verdict::Retry { reason, detail } => retry(shared, message, lease, reason, detail).await,
        Verdict::GiveBack => {
            let trouble = hide(shared, lease, Duration::ZERO).await.err();
            Settled { ending: Ending::GivenBack, trouble, is_stuck: false }
        }
        Verdict::Abandon { reason, detail } => {
            Settled { ending: Ending::Abandoned { reason, detail }, trouble: None, is_stuck: false }
        }
    }
}

async fn reject<Q: Queue, H>(
    shared: &Shared<Q, H>,
    message: &Message,
    lease: &Lease<'_, Q>,
    reason: &'static str,
    detail: String,
) -> Settled {
    let Some(dead_letters) = &shared.queues.dead_letters else {
        let settled = retry(shared, message, lease, reason, detail).await;
        return Settled { is_stuck: true, ..settled };
    };
    let letter = DeadLetter {
        body: &message.body,
        group: message.group.as_ref(),
        attributes: &message.attributes,
        id: &message.id.0,
        queue: lease.queue.name(),
        reason,
        detail: &detail,
        at: &Timestamp::from(SystemTime::now()).to_string(),
    }
    .outgoing();
    let limit = shared.settings.call_timeout;
    let send = || dead_letters.send(&letter);
    match persist(&*shared.watch, dead_letters, Operation::Send, limit, send).await {
        Ok(_) => {
            // A message that is not deleted comes again and is rejected again: a second dead letter
            // does no harm.
            let trouble = delete(shared, lease).await.err();
            Settled { ending: Ending::Rejected { reason, detail }, trouble, is_stuck: false }
        }
        Err(error) => {
            let detail =
                format!("{detail}; the dead-letter queue did not take it: {}", error_chain(&error));
            let settled = retry(shared, message, lease, reason, detail).await;
            Settled { is_stuck: true, ..settled }
        }
    }
}

async fn retry<Q: Queue, H>(
    shared: &Shared<Q, H>,
    message: &Message,
    lease: &Lease<'_, Q>,
    reason: &'static str,
    detail: String,
) -> Settled {
    let delay = shared.settings.retry.delay(message.receive_count, fastrand::f64());
    let left = (message.received_at + MAX_VISIBILITY) - Instant::now();
    let delay = delay.min(left);
    let trouble = hide(shared, lease, delay).await.err();
    // What could not be changed ends when the lease does.
    let again_in = if trouble.is_none() { delay } else { lease.ends_at - Instant::now() };
    Settled { ending: Ending::Retried { reason, detail, again_in }, trouble, is_stuck: false }
}

async fn delete<Q: Queue, H>(
    shared: &Shared<Q, H>,
    lease: &Lease<'_, Q>,
) -> Result<(), QueueError> {
    let (queue, limit) = (lease.queue, shared.settings.call_timeout);
    let ask = || queue.delete(lease.receipt);
    persist(&*shared.watch, queue, Operation::Delete, limit, ask).await
}

async fn hide<Q: Queue, H>(
    shared: &Shared<Q, H>,
    lease: &Lease<'_, Q>,
    visibility: Duration,
) -> Result<(), QueueError> {
    let (queue, limit) = (lease.queue, shared.settings.call_timeout);
    let ask = || queue.set_visibility(lease.receipt, visibility);
    persist(&*shared.watch, queue, Operation::SetVisibility, limit, ask).await
}
