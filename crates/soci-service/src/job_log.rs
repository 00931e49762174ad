//! What the log says of jobs: a line when one starts and one when it ends, and those about what keeps jobs from
//! running, queues and registries that are away.

use soci_jobs::{EndKind, JobEnd, MessageAction, Outcome};
use soci_queue::QueueError;
use soci_text::error_chain;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::event::{Event, EventSink};

/// Writes a line for every job that starts and one when it ends, in the span of the job, which names image and
/// message: an error for what needs a person, a warning for what comes again. An outage has a line when it begins, one for every job that has failed
/// in it, and one when it is over; so has a queue that does not answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobLog;

impl EventSink for JobLog {
    fn event(&self, event: &Event<'_>) {
        let seconds = |since: Instant| since.elapsed().as_secs();
        match *event {
            Event::JobStarted { job } => {
                info!(age = job.age().as_secs(), "the job starts");
            }
            Event::JobEnded { job, end, trouble, elapsed } => {
                job_ended(end, trouble, elapsed.as_secs_f64(), job.bytes_read());
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
            Event::OutageForgotten { reason, since } => {
                let (reason, seconds) = (reason.code(), seconds(since));
                info!(outage = "forgotten", reason, seconds, "{OUTAGE_FORGOTTEN}");
            }
            _ => {}
        }
    }
}

const QUEUE_AWAY: &str = "the queue does not answer: nothing is received until it does";

const QUEUE_REFUSES: &str = "the queue cannot be used: nothing is received until it can";

const LAYER_LEFT_OUT: &str = "the layer is left out of the index, and pulled whole";

const PLATFORM_LEFT_OUT: &str = "the platform is left out: it has no index, the others have";

const OUTAGE_BEGAN: &str =
    "different images fail alike: jobs are tried one at a time until one works, and not counted";

const OUTAGE_FORGOTTEN: &str =
    "no job has come to tell whether the outage lasts: the next ones are taken as usual";

fn job_ended(end: &JobEnd, trouble: Option<&QueueError>, seconds: f64, bytes: u64) {
    let (outcome, reason, detail) = (end.label(), end.reason(), end.detail());
    let report = end.outcome.report();
    let index = report.map(|report| report.index.to_string());
    let output_tag = report.and_then(|report| report.tag.as_ref()).map(ToString::to_string);
    let (index, output_tag) = (index.as_deref(), output_tag.as_deref());
    for warning in report.into_iter().flat_map(|report| &report.warnings) {
        warn!("{warning}");
    }
    for layer in report.into_iter().flat_map(|report| &report.skipped) {
        // Small layers are no news.
        if layer.decision.reference().is_some() {
            let (digest, size) = (layer.digest.to_string(), layer.size);
            let (reason, detail) = (layer.decision.code(), layer.decision.to_string());
            warn!(layer = digest, size, reason, detail, "{LAYER_LEFT_OUT}");
        }
    }
    for left_out in report.into_iter().flat_map(|report| &report.left_out_platforms) {
        let platform = left_out.platform.as_ref().map(ToString::to_string);
        let manifest = left_out.image.map(|image| image.to_string());
        let (platform, manifest) = (platform.as_deref(), manifest.as_deref());
        warn!(
            platform,
            manifest,
            reason = left_out.code,
            detail = left_out.reason,
            "{PLATFORM_LEFT_OUT}"
        );
    }
    let layers_built = report.map(|report| report.layers.len());
    let layers_reused = report.map(|report| report.reused.len());
    let layers_left_out = report.map(|report| report.skipped.len());
    let platforms_left_out = report.map(|report| report.left_out_platforms.len());
    let again_in = end.again_in().map(|again_in| again_in.as_secs_f64());
    let trouble = trouble.map(|trouble| error_chain(trouble));
    let trouble = trouble.as_deref();
    // A macro, because the level of a line is fixed where it is written.
    macro_rules! line {
        ($level:ident) => {
            $level!(
                outcome,
                reason,
                detail,
                seconds,
                index,
                output_tag,
                layers_built,
                layers_reused,
                layers_left_out,
                platforms_left_out,
                bytes,
                again_in,
                trouble,
                "{}",
                sentence(end)
            )
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

fn sentence(end: &JobEnd) -> &'static str {
    match end.kind() {
        EndKind::Indexed => "the image is indexed",
        EndKind::AlreadyIndexed => "the image had been indexed before",
        EndKind::Skipped => "there is nothing to do for the job",
        EndKind::Rejected => "the job failed and is on the dead-letter queue",
        EndKind::Retried if end.is_stuck() => {
            "the job can never be done and is on no dead-letter queue"
        }
        EndKind::Retried => "the job failed and is tried again",
        EndKind::Doubted => "the job gets a second look",
        EndKind::Postponed => "the job would wait for another one and is put off",
        EndKind::GivenBack => "the service stops and the job is given back",
        EndKind::Abandoned => "the job's message was lost and comes again",
    }
}
