//! What is done with a message when its job has ended.
//!
//! The one rule that nothing may break: a message is deleted only after its work is done, there is none,
//! its reason is on the dead-letter queue, or a copy of it is on its queue. Every other end leaves it to
//! come again. So at every point at which the process may die there is a message, or two; doing a job
//! twice does no harm.
//!
//! The message is kept hidden as long as this takes, which may be two minutes where a queue does not
//! answer. Only before its own visibility is changed for the last time the extensions have ended, as one
//! that lands after that would undo it. Where a copy is not taken, the message itself is hidden for as
//! long; its next receive counts against the queue's limit then, and carries nothing.

use std::time::{Duration, SystemTime};

use soci_jobs::{JobEnd, JobFacts, MessageAction, NextStep, Outcome, RetryRule, Why};
use soci_push::event::Timestamp;
use soci_queue::{DeadLetter, JobHistory, MAX_VISIBILITY, Message, Operation, Queue, QueueError};
use soci_text::error_chain;
use tokio::time::Instant;

use super::call::{call, persist};
use super::context::ConsumerContext;
use super::lease::Lease;

/// How long a queue may take for the copy of a message that is given back because the service stops. The
/// whole has [`GIVE_BACK_TIME`](super::GIVE_BACK_TIME).
const STOPPING: Duration = Duration::from_secs(3);

/// What was done with a message.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) end: JobEnd,
    /// What could not be done, however often it was tried. The message comes again.
    pub(super) trouble: Option<QueueError>,
}

/// How the job of a message ended.
pub(super) struct EndedJob<'a> {
    pub(super) message: &'a Message,
    /// What the message says of its job; receives after which nothing came are all counted.
    pub(super) history: &'a JobHistory,
    pub(super) outcome: Outcome,
    /// Whether the handler had it.
    pub(super) was_handled: bool,
    /// Whether the registry is away.
    pub(super) outage: bool,
}

/// Does with a message what the outcome of its job asks for.
pub(super) async fn settle<Q: Queue, H>(
    context: &ConsumerContext<Q, H>,
    lease: &mut Lease<'_, Q>,
    ended: EndedJob<'_>,
) -> Settled {
    let EndedJob { message, history, mut outcome, was_handled, outage } = ended;
    let facts = JobFacts {
        history,
        receive_count: message.receive_count,
        was_handled,
        outage,
        has_dead_letters: context.queues.dead_letters.is_some(),
        now: context.clock.now(),
        random: fastrand::f64(),
    };
    let stopping = matches!(outcome, Outcome::Stopped);
    let rule = context.settings.retry_rule();
    let settling = Settling { context, message, facts, rule, stopping };
    let step = NextStep::of(&outcome, &settling.facts, &settling.rule);
    let (action, result) = match step {
        NextStep::DeadLetter(mut why) => {
            let done = settling.reject(lease, &mut why).await;
            // The words of the letter, or why there is none, are those of the log, too.
            outcome = match outcome {
                Outcome::Failed(_) => Outcome::Failed(why),
                _ => Outcome::Rejected(why),
            };
            done
        }
        step => settling.take(lease, step).await,
    };
    Settled { end: JobEnd { outcome, action }, trouble: result.err() }
}

/// What was done, and what could not be done about it.
type Action = (MessageAction, Result<(), QueueError>);

/// A message that is being settled.
struct Settling<'a, Q, H> {
    context: &'a ConsumerContext<Q, H>,
    message: &'a Message,
    facts: JobFacts<'a>,
    rule: RetryRule,
    stopping: bool,
}

impl<Q: Queue, H> Settling<'_, Q, H> {
    async fn take(&self, lease: &mut Lease<'_, Q>, step: NextStep) -> Action {
        match step {
            NextStep::Delete => {
                // A message that is not deleted comes again and is found to be done.
                (MessageAction::Delete, self.delete(lease).await)
            }
            NextStep::Copy { history, delay, action } => {
                self.copy(lease, &history, delay, action).await
            }
            NextStep::Hide { delay } => {
                let again_in = self.hide(lease, delay).await;
                let (again_in, hidden) = again_in;
                (MessageAction::Retry { again_in }, hidden)
            }
            NextStep::DeadLetter(_) | NextStep::Leave => (MessageAction::Leave, Ok(())),
        }
    }

    /// Puts a message on the dead-letter queue. Where that does not work it is tried again, and `why`
    /// says so.
    async fn reject(&self, lease: &mut Lease<'_, Q>, why: &mut Why) -> Action {
        let Some(dead_letters) = &self.context.queues.dead_letters else {
            return self.take(lease, NextStep::again(why, &self.facts, &self.rule)).await;
        };
        let written = |time: SystemTime| Timestamp::from(time).to_string();
        let history = self.facts.history;
        let letter = DeadLetter {
            body: &self.message.body,
            group: self.message.group.as_ref(),
            attributes: &self.message.attributes,
            id: &self.message.id.0,
            queue: lease.queue.name(),
            reason: why.reason,
            runbook: &self.context.queues.runbook.section(why.reason),
            detail: &why.detail,
            at: &written(self.facts.now),
            attempts: history.attempts,
            first_failed_at: &history.first_failed_at.map(written).unwrap_or_default(),
            first_sent_at: &written(history.first_sent_at),
        }
        .outgoing();
        let (events, limit) = (&self.context.events, self.context.settings.call_timeout);
        let send = || dead_letters.send(&letter);
        let sending = persist(events, dead_letters, Operation::Send, limit, send);
        match lease.keep_while(sending).await {
            // A message that is not deleted comes again and is rejected again: a second dead letter does
            // no harm.
            Ok(Ok(_)) => (MessageAction::DeadLetter, self.delete(lease).await),
            Ok(Err(error)) => {
                let error = error_chain(&error);
                why.detail =
                    format!("{}; the dead-letter queue did not take it: {error}", why.detail);
                let again = NextStep::again(why, &self.facts, &self.rule);
                self.take(lease, again).await
            }
            Err(lost) => {
                why.detail = format!("{}; it was lost meanwhile: {}", why.detail, lost.detail);
                (MessageAction::Leave, Ok(()))
            }
        }
    }

    /// Puts a copy of the message on its queue. Where that does not work the message itself is hidden
    /// for as long.
    async fn copy(
        &self,
        lease: &mut Lease<'_, Q>,
        history: &JobHistory,
        delay: Duration,
        action: MessageAction,
    ) -> Action {
        let (queue, events) = (lease.queue, &self.context.events);
        let copy = history.copy_of(self.message);
        let limit = self.context.settings.call_timeout;
        let sending = async {
            if self.stopping {
                let limit = limit.min(STOPPING);
                call(events, queue, Operation::Send, limit, queue.send_after(&copy, delay)).await
            } else {
                let send = || queue.send_after(&copy, delay);
                persist(events, queue, Operation::Send, limit, send).await
            }
        };
        match lease.keep_while(sending).await {
            Ok(Ok(_)) => (action, self.delete(lease).await),
            Ok(Err(error)) => {
                let (again_in, hidden) = self.hide(lease, delay).await;
                let action = match action {
                    MessageAction::Retry { .. } => MessageAction::Retry { again_in },
                    MessageAction::SecondLook { .. } => MessageAction::SecondLook { again_in },
                    other => other,
                };
                // That it is hidden is as good for now; that it cannot be copied is to be known.
                (action, hidden.and(Err(error)))
            }
            // Somebody else has it, or it is visible by now.
            Err(_) => (action, Ok(())),
        }
    }

    /// Hides the message itself, and tells for how long.
    async fn hide(
        &self,
        lease: &Lease<'_, Q>,
        delay: Duration,
    ) -> (Duration, Result<(), QueueError>) {
        let (queue, limit) = (lease.queue, self.context.settings.call_timeout);
        let left = (self.message.received_at + MAX_VISIBILITY) - Instant::now();
        let delay = delay.min(left);
        let ask = || queue.set_visibility(lease.receipt, delay);
        let hidden =
            persist(&self.context.events, queue, Operation::SetVisibility, limit, ask).await;
        // What could not be changed ends when the lease does.
        let again_in = if hidden.is_ok() { delay } else { lease.ends_at - Instant::now() };
        (again_in, hidden)
    }

    async fn delete(&self, lease: &mut Lease<'_, Q>) -> Result<(), QueueError> {
        let (queue, limit) = (lease.queue, self.context.settings.call_timeout);
        let receipt = lease.receipt;
        let ask = || queue.delete(receipt);
        let deleting = persist(&self.context.events, queue, Operation::Delete, limit, ask);
        // A message that was lost meanwhile comes again, as one that could not be deleted.
        lease.keep_while(deleting).await.unwrap_or(Ok(()))
    }
}
