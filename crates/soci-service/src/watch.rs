//! What the service tells those who watch it: counters, the status page, the logs of CloudWatch.

use std::sync::Arc;
use std::time::Duration;

use soci_indexer::Report;
use soci_oci::Digest;
use soci_push::Job;
use soci_queue::{Backlog, Message, Operation};

/// Which of the queues a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// What has just been pushed.
    Live,
    /// What events missed, worked on when there is room.
    Backfill,
}

impl Lane {
    /// `live` or `backfill`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Backfill => "backfill",
        }
    }
}

/// How a job ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// The index was built and pushed.
    Indexed(Box<Report>),
    /// The same index was there.
    AlreadyIndexed(Box<Report>),
    /// There is nothing to do.
    Skipped {
        /// Short stable name, as [`soci_push::SkippedPush::label`] has it.
        reason: &'static str,
        /// The same for people.
        detail: String,
    },
    /// It cannot be done. The message is on the dead-letter queue.
    Rejected {
        /// Short stable name, as [`soci_jobs::Failure::label`] has it.
        reason: &'static str,
        /// The chain of errors, and what can be done.
        detail: String,
    },
    /// It failed in passing and was given back to the queue.
    Retried {
        /// Short stable name.
        reason: &'static str,
        /// The chain of errors.
        detail: String,
        /// When it is visible again.
        again_in: Duration,
    },
    /// It was given back unfinished because the service stops.
    GivenBack,
    /// Its visibility timeout was lost or has reached its limit, so it belongs to nobody or to
    /// somebody else now.
    Abandoned {
        /// Short stable name.
        reason: &'static str,
        /// The same for people.
        detail: String,
    },
}

impl Ending {
    /// Short stable name of the outcome: `indexed`, `already-indexed`, `skipped`, `rejected`,
    /// `retried`, `given-back`, `abandoned`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Indexed(_) => "indexed",
            Self::AlreadyIndexed(_) => "already-indexed",
            Self::Skipped { .. } => "skipped",
            Self::Rejected { .. } => "rejected",
            Self::Retried { .. } => "retried",
            Self::GivenBack => "given-back",
            Self::Abandoned { .. } => "abandoned",
        }
    }

    /// Short stable name of why; empty where the outcome says it all.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Indexed(_) | Self::AlreadyIndexed(_) | Self::GivenBack => "",
            Self::Skipped { reason, .. }
            | Self::Rejected { reason, .. }
            | Self::Retried { reason, .. }
            | Self::Abandoned { reason, .. } => reason,
        }
    }

    /// Why, for people; empty where the outcome says it all.
    pub fn detail(&self) -> &str {
        match self {
            Self::Indexed(_) | Self::AlreadyIndexed(_) | Self::GivenBack => "",
            Self::Skipped { detail, .. }
            | Self::Rejected { detail, .. }
            | Self::Retried { detail, .. }
            | Self::Abandoned { detail, .. } => detail,
        }
    }
}

/// Identifies one handling of one message in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Told what happens, on the task on which it happens: every method returns at once. A ticket is
/// opened by `job_received` and closed by `job_ended`; `job_started` and the layers come between.
pub trait Watch: Send + Sync + 'static {
    /// The receive loop is alive: it has begun another turn.
    fn turn(&self) {}

    /// A queue has answered a receive with so many messages, none included.
    fn answered(&self, lane: Lane, messages: usize) {
        let _ = (lane, messages);
    }

    /// A message has been received.
    fn job_received(&self, ticket: Ticket, lane: Lane, message: &Message) {
        let _ = (ticket, lane, message);
    }

    /// The message is understood and its image is being worked on.
    fn job_started(&self, ticket: Ticket, job: &Job) {
        let _ = (ticket, job);
    }

    /// This many layers of the image will be built, of this many bytes together.
    fn planned(&self, ticket: Ticket, layers: usize, bytes: u64) {
        let _ = (ticket, layers, bytes);
    }

    /// A layer is begun.
    fn layer_started(&self, ticket: Ticket, layer: &Digest, size: u64) {
        let _ = (ticket, layer, size);
    }

    /// More of a layer has been read.
    fn layer_read(&self, ticket: Ticket, layer: &Digest, bytes: u64) {
        let _ = (ticket, layer, bytes);
    }

    /// A layer's ztoc is built and stored.
    fn layer_done(&self, ticket: Ticket, layer: &Digest) {
        let _ = (ticket, layer);
    }

    /// A job has ended, after this time since its message was received.
    fn job_ended(&self, ticket: Ticket, ending: &Ending, elapsed: Duration) {
        let _ = (ticket, ending, elapsed);
    }

    /// A visibility timeout was extended, or that failed.
    fn heartbeat(&self, ok: bool) {
        let _ = ok;
    }

    /// A call of a queue failed.
    fn queue_failed(&self, queue: &str, operation: Operation) {
        let _ = (queue, operation);
    }

    /// A queue's messages were counted.
    fn backlog(&self, lane: Lane, backlog: Backlog) {
        let _ = (lane, backlog);
    }

    /// The service has been told to stop; it receives nothing any more.
    fn draining(&self) {}
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWatch;

impl Watch for NoWatch {}

/// All of them are told, in their order.
impl Watch for Vec<Arc<dyn Watch>> {
    fn turn(&self) {
        for watch in self {
            watch.turn();
        }
    }

    fn answered(&self, lane: Lane, messages: usize) {
        for watch in self {
            watch.answered(lane, messages);
        }
    }

    fn job_received(&self, ticket: Ticket, lane: Lane, message: &Message) {
        for watch in self {
            watch.job_received(ticket, lane, message);
        }
    }

    fn job_started(&self, ticket: Ticket, job: &Job) {
        for watch in self {
            watch.job_started(ticket, job);
        }
    }

    fn planned(&self, ticket: Ticket, layers: usize, bytes: u64) {
        for watch in self {
            watch.planned(ticket, layers, bytes);
        }
    }

    fn layer_started(&self, ticket: Ticket, layer: &Digest, size: u64) {
        for watch in self {
            watch.layer_started(ticket, layer, size);
        }
    }

    fn layer_read(&self, ticket: Ticket, layer: &Digest, bytes: u64) {
        for watch in self {
            watch.layer_read(ticket, layer, bytes);
        }
    }

    fn layer_done(&self, ticket: Ticket, layer: &Digest) {
        for watch in self {
            watch.layer_done(ticket, layer);
        }
    }

    fn job_ended(&self, ticket: Ticket, ending: &Ending, elapsed: Duration) {
        for watch in self {
            watch.job_ended(ticket, ending, elapsed);
        }
    }

    fn heartbeat(&self, ok: bool) {
        for watch in self {
            watch.heartbeat(ok);
        }
    }

    fn queue_failed(&self, queue: &str, operation: Operation) {
        for watch in self {
            watch.queue_failed(queue, operation);
        }
    }

    fn backlog(&self, lane: Lane, backlog: Backlog) {
        for watch in self {
            watch.backlog(lane, backlog);
        }
    }

    fn draining(&self) {
        for watch in self {
            watch.draining();
        }
    }
}
