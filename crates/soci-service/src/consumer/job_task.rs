//! One message from its receive to its end: its job runs beside its heartbeat, and then the message is
//! dealt with.

use std::any::Any;
use std::sync::Arc;

use soci_jobs::{Outcome, Why};
use soci_queue::{Message, Queue};
use soci_text::error_chain;
use tokio::sync::watch as channel;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};

use super::context::ConsumerContext;
use super::lease::Lease;
use super::settle::settle;
use crate::event::{Event, QueueKind};
use crate::handler::Handler;
use crate::job_in_hand::{JobId, JobInHand};

/// How a job left its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotLeft {
    /// It came to an end, whatever that was.
    Finished,
    /// It was given back unfinished.
    GivenBack,
}

/// Sees a message to its end: has it handled, keeps it hidden meanwhile, and then does with it what
/// the outcome asks for. Unless `stop` says otherwise from the beginning.
pub(super) async fn attend<Q: Queue, H: Handler>(
    context: Arc<ConsumerContext<Q, H>>,
    id: JobId,
    queue: QueueKind,
    message: Message,
    stop: channel::Receiver<bool>,
) -> SlotLeft {
    let span = info_span!(
        "job",
        repository = Empty,
        digest = Empty,
        tag = Empty,
        message_id = %message.id,
        lane = queue.label(),
        receive_count = message.receive_count,
    );
    let task = async {
        let started = Instant::now();
        let job = Arc::new(JobInHand::new(id, queue, &message));
        context.events.tell(&Event::JobReceived { job: &job });
        let message = Arc::new(message);
        let mut lease = Lease {
            queue: context.queue(queue),
            events: &context.events,
            receipt: &message.receipt,
            call_timeout: context.settings.call_timeout,
            visibility: context.settings.visibility,
            // A long poll may have waited since the message was asked for, so this counts from the
            // answer. It is late by the way of that, a part of what is left when a heartbeat is due.
            ends_at: started + context.settings.visibility,
        };
        let outcome = work(&context, &job, &message, &mut lease, stop).await;
        let settled = settle(&context, &message, &lease, outcome).await;
        context.events.tell(&Event::JobEnded {
            job: &job,
            end: &settled.end,
            trouble: settled.trouble.as_ref(),
            elapsed: started.elapsed(),
        });
        match settled.end.outcome {
            Outcome::Stopped => SlotLeft::GivenBack,
            _ => SlotLeft::Finished,
        }
    };
    task.instrument(span).await
}

/// Has a message handled for as long as that is allowed.
async fn work<Q: Queue, H: Handler>(
    context: &Arc<ConsumerContext<Q, H>>,
    job: &Arc<JobInHand>,
    message: &Arc<Message>,
    lease: &mut Lease<'_, Q>,
    mut stop: channel::Receiver<bool>,
) -> Outcome {
    if *stop.borrow() {
        return Outcome::Stopped;
    }
    // A task of its own: the heartbeat goes on whatever the handler does, and a panic ends there.
    let mut handling = JoinSet::new();
    let task = {
        let (context, job, message) = (context.clone(), job.clone(), message.clone());
        async move { context.handler.handle(&job, &message, &context.events).await }
    };
    handling.spawn(task.instrument(Span::current()));
    let limit = context.settings.max_job_time;
    let outcome = tokio::select! {
        biased;
        Some(handled) = handling.join_next() => return handled.unwrap_or_else(ended_by_itself),
        lost = lease.keep() => Outcome::Lost(lost),
        () = sleep_until(message.received_at + limit) => {
            Outcome::Rejected(Why::new("too-long", format!("the job was stopped after {limit:?}")))
        }
        // An error would say that nobody can stop it any more, so nobody waits for it either.
        _ = stop.wait_for(|stop| *stop) => Outcome::Stopped,
    };
    // Whoever gets the message next has the image alone.
    handling.shutdown().await;
    outcome
}

/// What a handler's task that gave no outcome says.
fn ended_by_itself(error: JoinError) -> Outcome {
    let detail = match error.try_into_panic() {
        Ok(panic) => format!("the handler panicked: {}", words_of(&*panic)),
        Err(error) => error_chain(&error),
    };
    Outcome::Failed(Why::new("panic", detail))
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
