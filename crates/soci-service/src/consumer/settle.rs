//! What is done with a message when its job has ended.
//!
//! The one rule that nothing may break: a message is deleted only after its work is done, there is none,
//! or its reason is on the dead-letter queue. Every other end leaves it to come again. Extending a
//! message's visibility timeout is tried hard, as losing it means doing the work twice; deleting it is
//! tried a few times only, as a message that stays is found to be done when it comes again.

use std::time::{Duration, SystemTime};

use soci_jobs::{JobEnd, MessageAction, Outcome, Why};
use soci_push::event::Timestamp;
use soci_queue::{DeadLetter, MAX_VISIBILITY, Message, Operation, Queue, QueueError};
use soci_text::error_chain;
use tokio::time::Instant;

use super::call::persist;
use super::context::ConsumerContext;
use super::lease::Lease;

/// What was done with a message.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) end: JobEnd,
    /// What could not be done, however often it was tried. The message comes again.
    pub(super) trouble: Option<QueueError>,
}

/// Does with a message what the outcome of its job asks for.
pub(super) async fn settle<Q: Queue, H>(
    context: &ConsumerContext<Q, H>,
    message: &Message,
    lease: &Lease<'_, Q>,
    mut outcome: Outcome,
) -> Settled {
    let done = match &mut outcome {
        Outcome::Indexed(_) | Outcome::AlreadyIndexed(_) | Outcome::Skipped(_) => {
            // A message that is not deleted comes again and is found to be done.
            (MessageAction::Delete, delete(context, lease).await)
        }
        Outcome::Rejected(why) => reject(context, message, lease, why).await,
        Outcome::Failed(_) => retry(context, message, lease).await,
        Outcome::Stopped => (MessageAction::GiveBack, hide(context, lease, Duration::ZERO).await),
        Outcome::Lost(_) => (MessageAction::Leave, Ok(())),
    };
    let (action, result) = done;
    Settled { end: JobEnd { outcome, action }, trouble: result.err() }
}

/// What was done, and what could not be done about it.
type Action = (MessageAction, Result<(), QueueError>);

/// Puts a message on the dead-letter queue. Where that does not work the message stays, and `why` says
/// so.
async fn reject<Q: Queue, H>(
    context: &ConsumerContext<Q, H>,
    message: &Message,
    lease: &Lease<'_, Q>,
    why: &mut Why,
) -> Action {
    let Some(dead_letters) = &context.queues.dead_letters else {
        return retry(context, message, lease).await;
    };
    let letter = DeadLetter {
        body: &message.body,
        group: message.group.as_ref(),
        attributes: &message.attributes,
        id: &message.id.0,
        queue: lease.queue.name(),
        reason: why.reason,
        detail: &why.detail,
        at: &Timestamp::from(SystemTime::now()).to_string(),
    }
    .outgoing();
    let limit = context.settings.call_timeout;
    let send = || dead_letters.send(&letter);
    match persist(&context.events, dead_letters, Operation::Send, limit, send).await {
        // A message that is not deleted comes again and is rejected again: a second dead letter does
        // no harm.
        Ok(_) => (MessageAction::DeadLetter, delete(context, lease).await),
        Err(error) => {
            let error = error_chain(&error);
            why.detail = format!("{}; the dead-letter queue did not take it: {error}", why.detail);
            retry(context, message, lease).await
        }
    }
}

/// Hides a message until its next try.
async fn retry<Q: Queue, H>(
    context: &ConsumerContext<Q, H>,
    message: &Message,
    lease: &Lease<'_, Q>,
) -> Action {
    let delay = context.settings.retry.delay(message.receive_count, fastrand::f64());
    let left = (message.received_at + MAX_VISIBILITY) - Instant::now();
    let delay = delay.min(left);
    let hidden = hide(context, lease, delay).await;
    // What could not be changed ends when the lease does.
    let again_in = if hidden.is_ok() { delay } else { lease.ends_at - Instant::now() };
    (MessageAction::Retry { again_in }, hidden)
}

async fn delete<Q: Queue, H>(
    context: &ConsumerContext<Q, H>,
    lease: &Lease<'_, Q>,
) -> Result<(), QueueError> {
    let (queue, limit) = (lease.queue, context.settings.call_timeout);
    let ask = || queue.delete(lease.receipt);
    persist(&context.events, queue, Operation::Delete, limit, ask).await
}

async fn hide<Q: Queue, H>(
    context: &ConsumerContext<Q, H>,
    lease: &Lease<'_, Q>,
    visibility: Duration,
) -> Result<(), QueueError> {
    let (queue, limit) = (lease.queue, context.settings.call_timeout);
    let ask = || queue.set_visibility(lease.receipt, visibility);
    persist(&context.events, queue, Operation::SetVisibility, limit, ask).await
}
