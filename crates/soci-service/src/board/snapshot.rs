//! The shape of `GET /status`. Fields are added, never renamed or removed, while [`SCHEMA`] stays.
//! Durations are in seconds, sizes in bytes, times in RFC 3339.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use soci_push::event::Timestamp;

use super::ended::Ended;
use super::running::{Image, Running};
use super::{Board, Counted};
use crate::tickets::Tickets;
use crate::watch::{Ending, Lane, Ticket};

/// The version of the shape.
pub const SCHEMA: u32 = 1;

/// Everything that the service tells of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The time of this answer.
    pub now: String,
    /// The service as a whole.
    pub service: ServiceStatus,
    /// The queues, as far as they have been counted.
    pub queues: Vec<QueueStatus>,
    /// Counts since the start.
    pub totals: Totals,
    /// Jobs in hand, the first received first.
    pub running: Vec<RunningStatus>,
    /// Finished jobs, the last one first, at most [`MAX_ENDED`](super::MAX_ENDED).
    pub ended: Vec<EndedStatus>,
}

/// The service as a whole.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceStatus {
    /// The version that runs.
    pub version: &'static str,
    /// The commit that it was built from; empty if unknown.
    pub commit: &'static str,
    /// What the service is doing.
    pub state: State,
    /// When the service started.
    pub started_at: String,
    /// Time since then.
    pub uptime_seconds: f64,
    /// Time since the receive loop last began a turn, or since the start if it has not.
    pub last_turn_seconds: f64,
}

/// What a service is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No queue has answered yet.
    Starting,
    /// It waits for messages.
    Idle,
    /// It works on at least one message.
    Working,
    /// It has been told to stop and finishes what it can.
    Draining,
    /// The receive loop has stopped turning.
    Stuck,
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
    /// Jobs that cannot be done and are on the dead-letter queue.
    pub rejected: u64,
    /// Jobs that failed in passing and were given back.
    pub retried: u64,
    /// Jobs that were given back because the service stops.
    pub given_back: u64,
    /// Jobs whose message was lost.
    pub abandoned: u64,
    /// Layers whose ztoc was built.
    pub layers_built: u64,
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
    /// Host and name of the repository; `null` until the message is understood.
    pub repository: Option<String>,
    /// Digest of the image.
    pub digest: Option<String>,
    /// The tag it was pushed under.
    pub tag: Option<String>,
    /// When the message was received.
    pub received_at: String,
    /// Time from the message's sending to its receive.
    pub queued_seconds: f64,
    /// Time since it was received.
    pub elapsed_seconds: f64,
    /// How many layers will be built; `null` until it is known.
    pub planned_layers: Option<u64>,
    /// Their bytes together.
    pub planned_bytes: Option<u64>,
    /// How many of them are built.
    pub layers_done: u64,
    /// How many bytes of them were read.
    pub bytes_read: u64,
    /// Bytes read in a second, on average since the layers were planned.
    pub bytes_per_second: Option<f64>,
    /// Time that reading the rest takes at that rate.
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
    /// Host and name of the repository; `null` if the message was not understood.
    pub repository: Option<String>,
    /// Digest of the image.
    pub digest: Option<String>,
    /// The tag it was pushed under.
    pub tag: Option<String>,
    /// How it ended, as [`Ending::label`] has it.
    pub outcome: &'static str,
    /// Short stable name of why, as [`Ending::reason`] has it.
    pub reason: &'static str,
    /// Why, and what can be done about it, for people.
    pub detail: String,
    /// Digest of what the image is known by now: the converted image, or its SOCI index (V1).
    pub index: Option<String>,
    /// The tag of the converted image.
    pub index_tag: Option<String>,
    /// Layers that were built, if there is an index.
    pub layers_built: Option<u64>,
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
    pub(super) fn count(&mut self, ending: &Ending) {
        *match ending {
            Ending::Indexed(_) => &mut self.indexed,
            Ending::AlreadyIndexed(_) => &mut self.already_indexed,
            Ending::Skipped { .. } => &mut self.skipped,
            Ending::Rejected { .. } => &mut self.rejected,
            Ending::Retried { .. } => &mut self.retried,
            Ending::GivenBack => &mut self.given_back,
            Ending::Abandoned { .. } => &mut self.abandoned,
        } += 1;
    }
}

pub(super) fn take(board: &Board, stuck_after: Duration) -> Status {
    let running = running(&board.running);
    let state = if board.is_draining() {
        State::Draining
    } else if !board.is_live(stuck_after) {
        State::Stuck
    } else if !running.is_empty() {
        State::Working
    } else if board.is_ready() {
        State::Idle
    } else {
        State::Starting
    };
    let past = board.past();
    let totals = Totals {
        layers_built: board.layers_built.load(Ordering::Relaxed),
        bytes_read: board.bytes_read.load(Ordering::Relaxed),
        ..past.totals.clone()
    };
    Status {
        schema: SCHEMA,
        now: time(SystemTime::now()),
        service: ServiceStatus {
            version: board.about.version,
            commit: board.about.commit,
            state,
            started_at: time(board.started_at),
            uptime_seconds: seconds(board.started.elapsed()),
            last_turn_seconds: seconds(board.since_turn()),
        },
        queues: [Lane::Live, Lane::Backfill]
            .into_iter()
            .filter_map(|lane| Some(queue(lane, &past.queues[lane as usize]?)))
            .collect(),
        totals,
        running,
        ended: past.ended.iter().map(ended).collect(),
    }
}

fn queue(lane: Lane, counted: &Counted) -> QueueStatus {
    QueueStatus {
        lane: lane.label(),
        visible: counted.backlog.visible,
        in_flight: counted.backlog.in_flight,
        delayed: counted.backlog.delayed,
        counted_seconds_ago: seconds(counted.at.elapsed()),
    }
}

fn running(tickets: &Tickets<Running>) -> Vec<RunningStatus> {
    tickets.all().into_iter().map(|(ticket, job)| run(ticket, &job)).collect()
}

fn run(ticket: Ticket, job: &Running) -> RunningStatus {
    let plan = job.plan.get();
    let read = job.read.load(Ordering::Relaxed);
    let rate = plan.and_then(|plan| rate(read, plan.since.elapsed()));
    let left = plan.map(|plan| plan.bytes.saturating_sub(read));
    let (repository, digest, tag) = name(job.image.get());
    RunningStatus {
        ticket: ticket.0,
        message_id: job.message_id.clone(),
        lane: job.lane.label(),
        receive_count: job.receive_count,
        repository,
        digest,
        tag,
        received_at: time(job.received_at),
        queued_seconds: seconds(job.received_at.duration_since(job.sent_at).unwrap_or_default()),
        elapsed_seconds: seconds(job.received.elapsed()),
        planned_layers: plan.map(|plan| plan.layers as u64),
        planned_bytes: plan.map(|plan| plan.bytes),
        layers_done: job.layers_done.load(Ordering::Relaxed) as u64,
        bytes_read: read,
        bytes_per_second: rate.map(f64::round),
        remaining_seconds: rate.zip(left).map(|(rate, left)| (approximate(left) / rate).round()),
        layers: job.map_layers(|layer| LayerStatus {
            digest: layer.digest.to_string(),
            size: layer.size,
            read: layer.read.load(Ordering::Relaxed).min(layer.size),
            done: layer.done.load(Ordering::Relaxed),
        }),
    }
}

fn ended(ended: &Ended) -> EndedStatus {
    let made = ended.made.as_ref();
    let (repository, digest, tag) = name(ended.image.as_ref());
    EndedStatus {
        ticket: ended.ticket.0,
        message_id: ended.message_id.clone(),
        lane: ended.lane.label(),
        receive_count: ended.receive_count,
        repository,
        digest,
        tag,
        outcome: ended.outcome,
        reason: ended.reason,
        detail: ended.detail.clone(),
        index: made.map(|made| made.index.to_string()),
        index_tag: made.and_then(|made| made.tag.clone()),
        layers_built: made.map(|made| made.layers_built as u64),
        layers_skipped: made.map(|made| made.layers_skipped as u64),
        bytes_read: ended.bytes_read,
        again_in_seconds: ended.again_in.map(seconds),
        ended_at: time(ended.at),
        ended_seconds_ago: seconds(ended.since.elapsed()),
        elapsed_seconds: seconds(ended.elapsed),
    }
}

/// Repository, digest and tag.
fn name(image: Option<&Image>) -> (Option<String>, Option<String>, Option<String>) {
    image.map_or((None, None, None), |image| {
        (Some(image.repository.clone()), Some(image.digest.to_string()), image.tag.clone())
    })
}

/// Bytes in a second; `None` while there is too little to tell.
fn rate(bytes: u64, elapsed: Duration) -> Option<f64> {
    let rate = approximate(bytes) / elapsed.as_secs_f64();
    (bytes > 0 && rate.is_finite()).then_some(rate)
}

#[expect(clippy::cast_precision_loss, reason = "rates are shown with a few digits")]
fn approximate(bytes: u64) -> f64 {
    bytes as f64
}

/// To milliseconds, which is all that anybody reads.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

fn time(time: SystemTime) -> String {
    Timestamp::from(time).to_string()
}
