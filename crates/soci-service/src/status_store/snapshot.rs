//! The shape of `GET /status`. Fields are added, never renamed or removed, while [`SCHEMA`] stays.
//! Durations are in seconds, sizes in bytes, times in RFC 3339.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use soci_indexer::Reason;
use soci_jobs::{EndKind, JobEnd};
use soci_queue::Backlog;
use tokio::time::Instant;

use super::history::{MinuteStatus, PaceStatus};
use super::letters::{Counted, DeadLettersStatus};
use super::shown_time::{at, seconds, since, time};
use crate::event::QueueKind;
use crate::job_in_hand::{JobImage, JobInHand, Waiting};
use crate::service_state::ServiceState;
use crate::shown_text::shown;
use crate::words::ago;

/// The version of the shape.
pub const SCHEMA: u32 = 1;

/// Everything that the service tells of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Where the runbook is. Its sections are named by the codes of reasons, and by the states of the service.
    pub runbook: String,
    /// The time of this answer.
    pub now: String,
    /// The service as a whole.
    pub service: ServiceStatus,
    /// The queues, as far as they have been counted.
    pub queues: Vec<QueueStatus>,
    /// The dead-letter queue, once it has been counted.
    pub dead_letters: Option<DeadLettersStatus>,
    /// Counts since the start.
    pub totals: Totals,
    /// How fast jobs are finished; `null` while too little was.
    pub pace: Option<PaceStatus>,
    /// The last hour by minutes, the oldest first; it begins with the process.
    pub history: Vec<MinuteStatus>,
    /// Queues that do not answer.
    pub queues_away: Vec<QueueAwayStatus>,
    /// The outage of the registry, while there is one.
    pub outage: Option<OutageStatus>,
    /// Jobs in hand, the first received first.
    pub running: Vec<RunningStatus>,
    /// Finished jobs, the last one first, at most [`MAX_ENDED`](super::MAX_ENDED).
    pub ended: Vec<EndedStatus>,
}

impl Status {
    /// The state in a sentence: since when it is so, and what that means.
    pub fn sentence(&self) -> String {
        let jobs = match self.running.len() {
            1 => "1 job in hand".to_owned(),
            jobs => format!("{jobs} jobs in hand"),
        };
        match self.service.state {
            ServiceState::Starting => "no queue has answered yet".to_owned(),
            ServiceState::Idle => {
                let last = match self.service.last_message_seconds {
                    Some(seconds) => format!("the last one came {}", ago(seconds)),
                    None => "none has come since the start".to_owned(),
                };
                format!("waiting for messages; {last}{}", self.letters_that_wait())
            }
            ServiceState::Working => format!("{jobs}{}", self.letters_that_wait()),
            ServiceState::QueueUnreachable => {
                let live = |away: &&QueueAwayStatus| away.lane == QueueKind::Live.label();
                let away = self.queues_away.iter().find(live);
                let since = away.map_or("", |away| &away.since);
                format!(
                    "the live queue has not answered since {since}; no message is taken, and none is lost; it \
                     goes on by itself; {jobs}"
                )
            }
            ServiceState::RegistryUnreachable => {
                let outage = self.outage.as_ref();
                let (reason, since) = outage.map_or(("", ""), |away| (away.reason, &away.since));
                format!(
                    "different images fail for {reason} since {since}; one job at a time is tried, and none is \
                     lost; it goes on by itself"
                )
            }
            ServiceState::Draining => {
                let until = self.service.draining_until.as_deref().unwrap_or_default();
                format!("told to stop; {jobs}, given back at {until} if not finished")
            }
            ServiceState::Stuck => {
                "the receive loop has stopped turning; the task is to be replaced".to_owned()
            }
        }
    }
}

impl Status {
    /// How many dead letters need somebody, if any does.
    fn letters_that_wait(&self) -> String {
        match self.dead_letters.as_ref().map_or(0, DeadLettersStatus::all) {
            0 => String::new(),
            1 => "; 1 dead letter needs somebody".to_owned(),
            letters => format!("; {letters} dead letters need somebody"),
        }
    }
}

/// The service as a whole.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceStatus {
    /// The version that runs.
    pub version: &'static str,
    /// The commit that it was built from; empty if unknown.
    pub commit: &'static str,
    /// What the service is doing.
    pub state: ServiceState,
    /// When the service started.
    pub started_at: String,
    /// Time since then.
    pub uptime_seconds: f64,
    /// Time since the receive loop last began a turn, or since the start if it has not.
    pub last_turn_seconds: f64,
    /// Time since a message was received; `null` if none was since the start.
    pub last_message_seconds: Option<f64>,
    /// When what is not finished is given back; `null` unless the service drains.
    pub draining_until: Option<String>,
}

/// An outage of the registry: different images fail alike, and one job at a time goes on.
#[derive(Clone, Debug, Serialize)]
pub struct OutageStatus {
    /// Short stable name of what they fail for.
    pub reason: &'static str,
    /// When the first of them failed.
    pub since: String,
    /// Time since then.
    pub since_seconds: f64,
    /// What the latest of them failed for, in words, if it is known.
    pub error: Option<String>,
    /// Jobs that have failed one at a time.
    pub probes: u32,
    /// Time until the next one is taken, if that is known.
    pub next_probe_seconds: Option<f64>,
}

/// A queue whose last receive failed.
#[derive(Clone, Debug, Serialize)]
pub struct QueueAwayStatus {
    /// `live` or `backfill`.
    pub lane: &'static str,
    /// When the first receive was made that failed; the queue has not answered since.
    pub since: String,
    /// Time since then.
    pub since_seconds: f64,
    /// Receives that have failed in a row.
    pub failures: u32,
    /// Time until the next one is made.
    pub next_try_seconds: f64,
    /// Why the last one failed.
    pub error: String,
}

/// The messages of a queue.
#[derive(Clone, Debug, Serialize)]
pub struct QueueStatus {
    /// `live` or `backfill`.
    pub lane: &'static str,
    /// Messages that wait.
    pub visible: u64,
    /// Messages that somebody works on.
    pub in_flight: u64,
    /// Messages that cannot be received yet.
    pub delayed: u64,
    /// Time since they were counted.
    pub counted_seconds_ago: f64,
    /// Time since the oldest of them was sent, where the queue tells.
    pub oldest_seconds: Option<f64>,
}

/// Counts since the start of the service.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Totals {
    /// Messages received.
    pub received: u64,
    /// Images that were indexed.
    pub indexed: u64,
    /// Images that had been indexed before.
    pub already_indexed: u64,
    /// Messages and images with nothing to do.
    pub skipped: u64,
    /// Jobs that cannot be done, or were given up for their age, and are on the dead-letter queue.
    pub rejected: u64,
    /// Jobs that failed in passing and are tried again.
    pub retried: u64,
    /// Jobs that get a second look, as only a registry says that they have ended.
    pub doubted: u64,
    /// Jobs that were put off, as they would have had to wait for another one for too long.
    pub postponed: u64,
    /// Jobs that were given back because the service stops.
    pub given_back: u64,
    /// Jobs whose message was lost.
    pub abandoned: u64,
    /// Layers whose ztoc was built.
    pub layers_built: u64,
    /// Layers that were not read, as their ztoc was there.
    pub layers_reused: u64,
    /// Bytes of layers that were read.
    pub bytes_read: u64,
}

/// A job in hand.
#[derive(Clone, Debug, Serialize)]
pub struct RunningStatus {
    /// Number of the job in this process.
    pub ticket: u64,
    /// Identifier of the message.
    pub message_id: String,
    /// The queue it comes from: `live` or `backfill`.
    pub lane: &'static str,
    /// How often the message was received, this time included.
    pub receive_count: u32,
    /// Tries before this one that failed.
    pub attempts: u32,
    /// What it waits for instead of being worked on: `same-tag`, `same-image`, `alone`, `layer-slot`,
    /// `document-memory`, `layer-memory`, or `null`.
    pub waits_for: Option<&'static str>,
    /// Host and name of the repository; `null` until the message is understood.
    pub repository: Option<String>,
    /// Digest of the image.
    pub digest: Option<String>,
    /// The tag it was pushed under.
    pub tag: Option<String>,
    /// When the message was received.
    pub received_at: String,
    /// Time from the sending of the job's first message to this receive.
    pub queued_seconds: f64,
    /// Time since it was received.
    pub elapsed_seconds: f64,
    /// How many layers will be built; `null` until it is known.
    pub planned_layers: Option<u64>,
    /// Their bytes together.
    pub planned_bytes: Option<u64>,
    /// How many of them are built.
    pub layers_done: u64,
    /// How many bytes of them were read; what has to be read again is left out.
    pub bytes_read: u64,
    /// Bytes read in a second, over the last half minute.
    pub bytes_per_second: Option<f64>,
    /// Time that reading the rest takes at that rate; `null` while the job waits.
    pub remaining_seconds: Option<f64>,
    /// The layers that were begun, at most [`MAX_LAYERS`](super::MAX_LAYERS).
    pub layers: Vec<LayerStatus>,
}

/// A layer of a job in hand.
#[derive(Clone, Debug, Serialize)]
pub struct LayerStatus {
    /// Its digest.
    pub digest: String,
    /// Its size.
    pub size: u64,
    /// How many bytes of it were read.
    pub read: u64,
    /// Whether its ztoc is built and stored.
    pub done: bool,
}

/// A finished job.
#[derive(Clone, Debug, Serialize)]
pub struct EndedStatus {
    /// Number of the job in this process.
    pub ticket: u64,
    /// Identifier of the message.
    pub message_id: String,
    /// The queue it came from: `live` or `backfill`.
    pub lane: &'static str,
    /// How often the message was received, that time included.
    pub receive_count: u32,
    /// Tries before that one that failed.
    pub attempts: u32,
    /// Host and name of the repository; `null` if the message was not understood.
    pub repository: Option<String>,
    /// Digest of the image.
    pub digest: Option<String>,
    /// The tag it was pushed under.
    pub tag: Option<String>,
    /// How it ended, as [`JobEnd::label`] has it.
    pub outcome: &'static str,
    /// Short stable name of why, as [`JobEnd::reason`] has it.
    pub reason: &'static str,
    /// Why, and what can be done about it, for people.
    pub detail: String,
    /// Digest of what the image is known by now: the converted image, or its SOCI index (V1).
    pub index: Option<String>,
    /// The tag of the converted image.
    pub index_tag: Option<String>,
    /// Layers that were built, if there is an index.
    pub layers_built: Option<u64>,
    /// Layers that were not read, as their ztoc was there, if there is an index.
    pub layers_reused: Option<u64>,
    /// Layers that have no ztoc, if there is an index.
    pub layers_skipped: Option<u64>,
    /// Bytes of layers that were read.
    pub bytes_read: u64,
    /// Time from the end after which a job that was given back is visible again.
    pub again_in_seconds: Option<f64>,
    /// When it ended.
    pub ended_at: String,
    /// Time since then.
    pub ended_seconds_ago: f64,
    /// Time from the message's receive to the end.
    pub elapsed_seconds: f64,
}

impl Totals {
    pub(super) fn count(&mut self, end: &JobEnd) {
        *match end.kind() {
            EndKind::Indexed => &mut self.indexed,
            EndKind::AlreadyIndexed => &mut self.already_indexed,
            EndKind::Skipped => &mut self.skipped,
            EndKind::Rejected => &mut self.rejected,
            EndKind::Retried => &mut self.retried,
            EndKind::Doubted => &mut self.doubted,
            EndKind::Postponed => &mut self.postponed,
            EndKind::GivenBack => &mut self.given_back,
            EndKind::Abandoned => &mut self.abandoned,
        } += 1;
    }
}

/// An outage, and when it is looked at again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    pub(super) reason: Reason,
    pub(super) since: Instant,
    pub(super) probes: u32,
    pub(super) next_probe: Option<Instant>,
}

/// A queue that does not answer.
#[derive(Clone, Debug)]
pub(super) struct QueueAway {
    pub(super) since: Instant,
    pub(super) failures: u32,
    pub(super) next_try: Instant,
    pub(super) error: String,
}

impl QueueAwayStatus {
    pub(super) fn of(queue: QueueKind, away: &QueueAway) -> Self {
        Self {
            lane: queue.label(),
            since: at(away.since),
            since_seconds: seconds(away.since.elapsed()),
            failures: away.failures,
            next_try_seconds: seconds(away.next_try - Instant::now()),
            error: away.error.clone(),
        }
    }
}

impl OutageStatus {
    pub(super) fn of(outage: &Outage) -> Self {
        let Outage { reason, since, probes, next_probe } = *outage;
        Self {
            reason: reason.code(),
            since: at(since),
            since_seconds: seconds(since.elapsed()),
            error: None,
            probes,
            next_probe_seconds: next_probe.map(|next| seconds(next - Instant::now())),
        }
    }
}

/// A finished job as it is shown, and since when it is finished.
#[derive(Debug)]
pub(super) struct Ended {
    status: EndedStatus,
    since: Instant,
}

impl Ended {
    pub(super) fn new(job: &JobInHand, end: &JobEnd, elapsed: Duration) -> Self {
        let report = end.outcome.report();
        let (repository, digest, tag) = name(job.image());
        let status = EndedStatus {
            ticket: job.id.0,
            message_id: job.message_id.clone(),
            lane: job.queue.label(),
            receive_count: job.receive_count,
            attempts: job.attempts,
            repository,
            digest,
            tag,
            outcome: end.label(),
            reason: end.reason(),
            detail: shown(end.detail()),
            index: report.map(|report| report.index.to_string()),
            index_tag: report.and_then(|report| report.tag.as_ref()).map(ToString::to_string),
            layers_built: report.map(|report| report.layers.len() as u64),
            layers_reused: report.map(|report| report.reused.len() as u64),
            layers_skipped: report.map(|report| report.skipped.len() as u64),
            bytes_read: job.bytes_read(),
            again_in_seconds: end.again_in().map(seconds),
            ended_at: time(SystemTime::now()),
            ended_seconds_ago: 0.0,
            elapsed_seconds: seconds(elapsed),
        };
        Self { status, since: Instant::now() }
    }

    /// What it failed for, if that is this.
    pub(super) fn failed_for(&self, reason: Reason) -> Option<String> {
        let failed = self.is_failure() && self.status.reason == reason.code();
        (failed && !self.status.detail.is_empty()).then(|| self.status.detail.clone())
    }

    /// Whether it did not do what it should.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self.status.outcome, "rejected" | "retried" | "abandoned")
    }

    pub(super) fn status(&self) -> EndedStatus {
        EndedStatus { ended_seconds_ago: seconds(self.since.elapsed()), ..self.status.clone() }
    }
}

impl QueueStatus {
    pub(super) fn of(queue: QueueKind, counted: &Counted, oldest: Option<SystemTime>) -> Self {
        Self {
            lane: queue.label(),
            visible: counted.backlog.visible,
            in_flight: counted.backlog.in_flight,
            delayed: counted.backlog.delayed,
            counted_seconds_ago: seconds(counted.at.elapsed()),
            oldest_seconds: oldest.filter(|_| counted.backlog != Backlog::default()).map(since),
        }
    }
}

impl RunningStatus {
    pub(super) fn of(job: &JobInHand) -> Self {
        let plan = job.plan.get();
        let read = job.bytes_got();
        let waits_for = job.waiting();
        let rate = job.recent_rate().filter(|rate| *rate > 0.0 && waits_for.is_none());
        let planned_bytes = job.bytes_planned();
        let left = planned_bytes.map(|bytes| bytes.saturating_sub(read));
        let (repository, digest, tag) = name(job.image());
        Self {
            ticket: job.id.0,
            message_id: job.message_id.clone(),
            lane: job.queue.label(),
            receive_count: job.receive_count,
            attempts: job.attempts,
            waits_for: waits_for.map(Waiting::label),
            repository,
            digest,
            tag,
            received_at: time(job.received_at),
            queued_seconds: seconds(
                job.received_at.duration_since(job.sent_at).unwrap_or_default(),
            ),
            elapsed_seconds: seconds(job.received.elapsed()),
            planned_layers: plan.map(|plan| plan.layers as u64),
            planned_bytes,
            layers_done: job.layers_done.load(Ordering::Relaxed) as u64,
            bytes_read: read,
            bytes_per_second: rate.map(f64::round),
            remaining_seconds: rate
                .zip(left)
                .map(|(rate, left)| (approximate(left) / rate).round()),
            layers: job.map_layers(|layer| LayerStatus {
                digest: layer.digest.to_string(),
                size: layer.size,
                read: layer.read.load(Ordering::Relaxed).min(layer.size),
                done: layer.done.load(Ordering::Relaxed),
            }),
        }
    }
}

/// Repository, digest and tag.
fn name(image: Option<&JobImage>) -> (Option<String>, Option<String>, Option<String>) {
    image.map_or((None, None, None), |image| {
        (Some(image.repository.clone()), Some(image.digest.to_string()), image.tag.clone())
    })
}

#[expect(clippy::cast_precision_loss, reason = "rates are shown with a few digits")]
fn approximate(bytes: u64) -> f64 {
    bytes as f64
}
