//! One message from its receive to its end: its job runs beside its heartbeat, and then the message is
//! dealt with.

use std::any::Any;
use std::sync::Arc;

use soci_jobs::{NOT_ALONE, Outcome, Why, reasons};
use soci_queue::{JobHistory, Message, Queue};
use soci_text::error_chain;
use tokio::sync::{oneshot, watch as channel};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};

use super::context::ConsumerContext;
use super::lease::Lease;
use super::settle::{EndedJob, settle};
use super::slots::Slot;
use crate::event::{Event, QueueKind};
use crate::handler::Handler;
use crate::job_in_hand::{JobId, JobInHand, Waiting};

/// How a job left the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotLeft {
    /// It came to an end, whatever that was.
    Finished,
    /// It was given back unfinished.
    GivenBack,
}

/// On what condition a message is handled.
pub(super) enum Entry {
    /// As soon as there is a slot.
    Slot,
    /// Once this says that no other job runs; dropped without a word, it does not come to that.
    Alone(oneshot::Receiver<()>),
    /// Not at all: this is how it ends.
    Refused(Outcome),
}

/// A message, and what is said of it when it is received.
pub(super) struct Arrival {
    pub(super) id: JobId,
    pub(super) queue: QueueKind,
    pub(super) message: Message,
    /// What it says of its job; receives after which nothing came are all counted.
    pub(super) history: JobHistory,
    pub(super) entry: Entry,
}

/// Sees a message to its end: has it handled, keeps it hidden meanwhile, and then does with it what
/// the outcome asks for. Unless `stop` says otherwise from the beginning.
pub(super) async fn attend<Q: Queue, H: Handler>(
    context: Arc<ConsumerContext<Q, H>>,
    arrival: Arrival,
    stop: channel::Receiver<bool>,
) -> (JobId, SlotLeft) {
    let Arrival { id, queue, message, history, entry } = arrival;
    let span = info_span!(
        "job",
        repository = Empty,
        digest = Empty,
        tag = Empty,
        message_id = %message.id,
        lane = queue.label(),
        receive_count = message.receive_count,
        attempts = history.attempts,
    );
    let task = async {
        let started = Instant::now();
        let job = Arc::new(JobInHand::new(id, queue, &message));
        context.events.tell(&Event::JobReceived { job: &job });
        let message = Arc::new(message);
        let (source, settings) = (context.queue(queue), &context.settings);
        let (limit, visibility) = (settings.call_timeout, settings.visibility);
        let mut lease = Lease::begin(source, &context.events, &message.receipt, limit, visibility);
        let was_handled = !matches!(entry, Entry::Refused(_));
        let outcome = work(&context, &job, &message, entry, &mut lease, stop).await;
        let outage = context.judge(&job, &outcome);
        let ended = EndedJob { message: &message, history: &history, outcome, was_handled, outage };
        let settled = settle(&context, &mut lease, ended).await;
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
    (id, task.instrument(span).await)
}

/// Has a message handled for as long as that is allowed.
async fn work<Q: Queue, H: Handler>(
    context: &Arc<ConsumerContext<Q, H>>,
    job: &Arc<JobInHand>,
    message: &Arc<Message>,
    entry: Entry,
    lease: &mut Lease<'_, Q>,
    mut stop: channel::Receiver<bool>,
) -> Outcome {
    let alone = match entry {
        // What needs no work is not put off by the end of the service.
        Entry::Refused(outcome) => {
            context.handler.name_image(job, message);
            return outcome;
        }
        _ if *stop.borrow() => return Outcome::Stopped,
        Entry::Slot => None,
        Entry::Alone(alone) => Some(alone),
    };
    // A task of its own: the heartbeat goes on whatever the handler does, and a panic ends there.
    let mut handling = JoinSet::new();
    let task = {
        let (context, job, message) = (context.clone(), job.clone(), message.clone());
        async move {
            if let Some(alone) = alone {
                job.waits(Some(Waiting::ToBeAlone));
                if alone.await.is_err() {
                    let detail = "other jobs have been running all the time";
                    return Outcome::Postponed(Why::new(NOT_ALONE, detail));
                }
                job.waits(None);
            }
            let slot = Slot::take(&context.slots, &job, &context.events).await;
            context.handler.handle(&job, &message, &context.events, &slot).await
        }
    };
    handling.spawn(task.instrument(Span::current()));
    let limit = context.settings.max_job_time;
    let running = async {
        tokio::select! {
            biased;
            Some(handled) = handling.join_next() => handled.unwrap_or_else(ended_by_itself),
            () = sleep_until(message.received_at + limit) => {
                let detail = format!("the job was stopped after {limit:?}");
                Outcome::Rejected(Why::new(reasons::TOO_LONG, detail))
            }
            // An error would say that nobody can stop it any more, so nobody waits for it either.
            _ = stop.wait_for(|stop| *stop) => Outcome::Stopped,
        }
    };
    let outcome = lease.keep_while(running).await.unwrap_or_else(Outcome::Lost);
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
    Outcome::Failed(Why::new(reasons::PANIC, detail))
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
