//! The one line in the log about how a job ended, and those about what keeps jobs from running: queues and
//! registries that are away.

use soci_jobs::{JobEnd, MessageAction, Outcome};
use soci_queue::QueueError;
use soci_text::error_chain;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::event::{Event, EventSink};

/// Writes a line for every job that ends, in the span of the job: an error for what needs a person, a
/// warning for what comes again. An outage has a line when it begins, one for every job that has failed
/// in it, and one when it is over; so has a queue that does not answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobLog;

impl EventSink for JobLog {
    fn event(&self, event: &Event<'_>) {
        let seconds = |since: Instant| since.elapsed().as_secs();
        match *event {
            Event::JobEnded { end, trouble, elapsed, .. } => {
                job_ended(end, trouble, elapsed.as_secs_f64());
            }
            Event::QueueAway { queue, since, failures, next_try, error } => {
                let (lane, name, seconds) = (queue.label(), &error.queue, seconds(since));
                let again_in = (next_try - Instant::now()).as_secs_f64();
                let reason = error_chain(error);
                if error.is_transient() {
                    warn!(queue = name, lane, reason, seconds, failures, again_in, "{QUEUE_AWAY}");
                } else {
                    error!(
                        queue = name,
                        lane, reason, seconds, failures, again_in, "{QUEUE_REFUSES}"
                    );
                }
            }
            Event::QueueBack { queue, since } => {
                info!(lane = queue.label(), seconds = seconds(since), "the queue answers again");
            }
            Event::OutageBegan { reason, since } => {
                let (reason, seconds) = (reason.code(), seconds(since));
                warn!(outage = "began", reason, seconds, "{OUTAGE_BEGAN}");
            }
            Event::OutageLasts { reason, since, probes, next_probe } => {
                let (reason, seconds) = (reason.code(), seconds(since));
                let again_in = (next_probe - Instant::now()).as_secs();
                warn!(outage = "lasts", reason, seconds, probes, again_in, "the outage lasts");
            }
            Event::OutageEnded { reason, since } => {
                let (reason, seconds) = (reason.code(), seconds(since));
                info!(outage = "ended", reason, seconds, "the outage is over");
            }
            _ => {}
        }
    }
}

const QUEUE_AWAY: &str = "the queue does not answer: nothing is received until it does";

const QUEUE_REFUSES: &str = "the queue cannot be used: nothing is received until it can";

const OUTAGE_BEGAN: &str =
    "different images fail alike: jobs are tried one at a time until one works, and not counted";

fn job_ended(end: &JobEnd, trouble: Option<&QueueError>, seconds: f64) {
    let (outcome, reason, detail) = (end.label(), end.reason(), end.detail());
    let bytes = end.outcome.report().map_or(0, |report| report.bytes_read);
    let again_in = end.again_in().map(|again_in| again_in.as_secs_f64());
    let trouble = trouble.map(|trouble| error_chain(trouble));
    let trouble = trouble.as_deref();
    // A macro, because the level of a line is fixed where it is written.
    macro_rules! line {
        ($level:ident) => {
            $level!(outcome, reason, detail, seconds, bytes, again_in, trouble, "job ended")
        };
    }
    match (&end.outcome, end.action) {
        (_, MessageAction::SecondLook { .. }) if trouble.is_none() => line!(info),
        (_, MessageAction::DeadLetter) => line!(error),
        _ if end.is_stuck() => line!(error),
        (Outcome::Failed(_) | Outcome::Lost(_), _) => line!(warn),
        _ if trouble.is_some() => line!(warn),
        _ => line!(info),
    }
}
