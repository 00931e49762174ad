//! One message from its receive to its end.

use soci_text::error_chain;
use std::any::Any;
use std::sync::Arc;

use soci_queue::{Message, Queue};
use tokio::sync::watch as channel;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::field::Empty;
use tracing::{Instrument, Span, error, info, info_span, warn};

use super::Shared;
use super::lease::{Lease, Lost};
use super::settle::{Settled, Verdict, settle};
use crate::handler::{Handled, Handler};
use crate::watch::{Ending, Lane, Ticket};

/// How a job left its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It came to an end, whatever that was.
    Finished,
    /// It was given back unfinished.
    GivenBack,
}

/// Sees a message to its end: has it handled, keeps it hidden meanwhile, and then does with it what
/// the outcome asks for. Unless `stop` says otherwise from the beginning.
pub(super) async fn attend<Q: Queue, H: Handler>(
    shared: Arc<Shared<Q, H>>,
    lane: Lane,
    ticket: Ticket,
    message: Message,
    stop: channel::Receiver<bool>,
) -> End {
    let span = info_span!(
        "job",
        repository = Empty,
        digest = Empty,
        tag = Empty,
        message_id = %message.id,
        lane = lane.label(),
        receive_count = message.receive_count,
    );
    let task = async {
        let started = Instant::now();
        shared.watch.job_received(ticket, lane, &message);
        let message = Arc::new(message);
        let mut lease = Lease {
            queue: shared.queue(lane),
            watch: &*shared.watch,
            receipt: &message.receipt,
            call_timeout: shared.settings.call_timeout,
            visibility: shared.settings.visibility,
            // A long poll may have waited since the message was asked for, so this counts from the
            // answer. It is late by the way of that, a part of what is left when a heartbeat is due.
            ends_at: started + shared.settings.visibility,
        };
        let verdict = work(&shared, ticket, &message, &mut lease, stop).await;
        let settled = settle(&shared, &message, &lease, verdict).await;
        let elapsed = started.elapsed();
        shared.watch.job_ended(ticket, &settled.ending, elapsed);
        tell(&settled, elapsed.as_secs_f64());
        if matches!(settled.ending, Ending::GivenBack) { End::GivenBack } else { End::Finished }
    };
    task.instrument(span).await
}

/// Has a message handled for as long as that is allowed.
async fn work<Q: Queue, H: Handler>(
    shared: &Arc<Shared<Q, H>>,
    ticket: Ticket,
    message: &Arc<Message>,
    lease: &mut Lease<'_, Q>,
    mut stop: channel::Receiver<bool>,
) -> Verdict {
    if *stop.borrow() {
        return Verdict::GiveBack;
    }
    // A task of its own: the heartbeat goes on whatever the handler does, and a panic ends there.
    let mut handling = JoinSet::new();
    let task = {
        let (shared, message) = (shared.clone(), message.clone());
        async move { shared.handler.handle(ticket, &message, &shared.watch).await }
    };
    handling.spawn(task.instrument(Span::current()));
    let limit = shared.settings.max_job_time;
    let verdict = tokio::select! {
        biased;
        Some(handled) = handling.join_next() => return verdict_of(handled),
        Lost { reason, detail } = lease.keep() => Verdict::Abandon { reason, detail },
        () = sleep_until(message.received_at + limit) => Verdict::Reject {
            reason: "too-long",
            detail: format!("the job was stopped after {limit:?}"),
        },
        // An error would say that nobody can stop it any more, so nobody waits for it either.
        _ = stop.wait_for(|stop| *stop) => Verdict::GiveBack,
    };
    // Whoever gets the message next has the image alone.
    handling.shutdown().await;
    verdict
}

fn verdict_of(handled: Result<Handled, JoinError>) -> Verdict {
    match handled {
        Ok(Handled::Indexed(report)) => Verdict::Delete(Ending::Indexed(report)),
        Ok(Handled::AlreadyIndexed(report)) => Verdict::Delete(Ending::AlreadyIndexed(report)),
        Ok(Handled::Skipped { reason, detail }) => {
            Verdict::Delete(Ending::Skipped { reason, detail })
        }
        Ok(Handled::Rejected { reason, detail }) => Verdict::Reject { reason, detail },
        Ok(Handled::Failed { reason, detail }) => Verdict::Retry { reason, detail },
        Err(error) => {
            let detail = match error.try_into_panic() {
                Ok(panic) => format!("the handler panicked: {}", words_of(&*panic)),
                Err(error) => error_chain(&error),
            };
            Verdict::Retry { reason: "panic", detail }
        }
    }
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// The one line in the log about an outcome.
fn tell(settled: &Settled, seconds: f64) {
    let ending = &settled.ending;
    let (outcome, reason, detail) = (ending.label(), ending.reason(), ending.detail());
    let bytes = match ending {
        Ending::Indexed(report) | Ending::AlreadyIndexed(report) => report.bytes_read,
        _ => 0,
    };
    let again_in = match ending {
        Ending::Retried { again_in, .. } => Some(again_in.as_secs_f64()),
        _ => None,
    };
    let trouble = settled.trouble.as_ref().map(|trouble| error_chain(trouble));
    let trouble = trouble.as_deref();
    macro_rules! line {
        ($level:ident) => {
            $level!(outcome, reason, detail, seconds, bytes, again_in, trouble, "job ended")
        };
    }
    if matches!(ending, Ending::Rejected { .. }) || settled.is_stuck {
        line!(error);
    } else if matches!(ending, Ending::Retried { .. } | Ending::Abandoned { .. })
        || trouble.is_some()
    {
        line!(warn);
    } else {
        line!(info);
    }
}
