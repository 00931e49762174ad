//! The one line in the log about how a job ended.

use soci_jobs::{JobEnd, Outcome};
use soci_queue::QueueError;
use soci_text::error_chain;
use tracing::{error, info, warn};

use crate::event::{Event, EventSink};

/// Writes a line for every job that ends, in the span of the job: an error for what needs a person, a
/// warning for what comes again.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobLog;

impl EventSink for JobLog {
    fn event(&self, event: &Event<'_>) {
        if let Event::JobEnded { end, trouble, elapsed, .. } = event {
            job_ended(end, *trouble, elapsed.as_secs_f64());
        }
    }
}

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
    match &end.outcome {
        Outcome::Rejected(_) => line!(error),
        Outcome::Failed(_) | Outcome::Lost(_) => line!(warn),
        _ if trouble.is_some() => line!(warn),
        _ => line!(info),
    }
}
