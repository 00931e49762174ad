//! What happens in the service, as one stream of events. Everything that is shown gets known by it:
//! counters, the status page, the log of outcomes, CloudWatch's metrics and ECS's protection are
//! [`EventSink`]s of the same stream, so that they cannot tell different stories.
//!
//! An event about a job carries the job's record ([`JobInHand`]), which is up to date when a sink sees
//! it. So a sink keeps nothing about jobs of its own.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use soci_indexer::{ImageEvent, OnImageEvent, Reason};
use soci_jobs::JobEnd;
use soci_queue::{Backlog, Operation, QueueError};
use tokio::time::Instant;

use crate::dead_letters::Letter;
use crate::job_in_hand::JobInHand;
pub use crate::queue_kind::{CountedQueue, QueueKind};

/// Something that has happened.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The receive loop is alive: it has begun another turn.
    Turned,
    /// A queue has answered a receive.
    Answered {
        /// Which queue.
        queue: QueueKind,
        /// How many messages it gave, none included.
        messages: usize,
    },
    /// A message has been received, and its job is in hand from now on.
    JobReceived {
        /// The job.
        job: &'a Arc<JobInHand>,
    },
    /// The message is understood and its image is being worked on.
    JobStarted {
        /// The job, which knows its image now.
        job: &'a Arc<JobInHand>,
    },
    /// The job waits for another one, and has no slot meanwhile.
    JobWaits {
        /// The job, which knows what for.
        job: &'a Arc<JobInHand>,
    },
    /// The job has waited and has a slot again.
    JobGoesOn {
        /// The job.
        job: &'a Arc<JobInHand>,
    },
    /// Something has happened to the job's image.
    Image {
        /// The job.
        job: &'a Arc<JobInHand>,
        /// What it is.
        event: ImageEvent<'a>,
    },
    /// A job has ended, and its message was dealt with.
    JobEnded {
        /// The job, which is in hand no longer.
        job: &'a Arc<JobInHand>,
        /// How it ended.
        end: &'a JobEnd,
        /// What could not be done about its message, however often it was tried; it comes again.
        trouble: Option<&'a QueueError>,
        /// Time since its message was received.
        elapsed: Duration,
    },
    /// A visibility timeout was extended, or that failed.
    Heartbeat {
        /// Whether it was extended.
        ok: bool,
    },
    /// A receive from a queue failed, the first one or another in a row: none is made before the next try. Or no
    /// receive is made just now, and other calls of the queue fail.
    QueueAway {
        /// Which queue.
        queue: QueueKind,
        /// When the first call was made that failed; the queue has not answered since.
        since: Instant,
        /// How many have failed in a row.
        failures: u32,
        /// When the next one is made.
        next_try: Instant,
        /// Why the last one failed.
        error: &'a QueueError,
    },
    /// A queue answers again.
    QueueBack {
        /// Which queue.
        queue: QueueKind,
        /// When the first receive was made that failed.
        since: Instant,
    },
    /// A call of a queue failed.
    QueueFailed {
        /// The queue's name.
        queue: &'a str,
        /// What was asked of it.
        operation: Operation,
    },
    /// A queue's messages were counted.
    Counted {
        /// Which queue.
        queue: QueueKind,
        /// How many there are.
        backlog: Backlog,
    },
    /// The messages of the dead-letter queue were counted.
    DeadLettersCounted {
        /// How many there are.
        backlog: Backlog,
    },
    /// A queue has told when its oldest message was sent, if there is one and it knows.
    Oldest {
        /// Which queue.
        queue: CountedQueue,
        /// When that was.
        sent_at: Option<SystemTime>,
    },
    /// Dead letters were looked at.
    LettersSeen {
        /// The first of them that were found.
        letters: &'a [Letter],
        /// Whether there may be others.
        more: bool,
    },
    /// Different images have failed alike for what is of the registry: one job at a time goes on.
    OutageBegan {
        /// For what.
        reason: Reason,
        /// When the first of them failed.
        since: Instant,
    },
    /// Another job has failed for it.
    OutageLasts {
        /// For what.
        reason: Reason,
        /// When it began.
        since: Instant,
        /// Jobs that have failed one at a time.
        probes: u32,
        /// When the next one is taken.
        next_probe: Instant,
    },
    /// A job has come to an end for which the registry had to work.
    OutageEnded {
        /// What it was, when last seen.
        reason: Reason,
        /// When it began.
        since: Instant,
    },
    /// No job has come for long that would have told whether the registry is back: it is not known any longer.
    OutageForgotten {
        /// What it was, when last seen.
        reason: Reason,
        /// When it began.
        since: Instant,
    },
    /// The service has been told to stop; it receives nothing any more.
    Draining {
        /// When what is not finished is given back.
        until: Instant,
    },
}

/// Whoever is told what happens, on the task on which it happens: it returns at once.
pub trait EventSink: Send + Sync + 'static {
    /// Takes note of an event.
    fn event(&self, event: &Event<'_>);
}

/// All who are told, in their order. Clones are the same.
#[derive(Clone)]
pub struct Events(Arc<[Arc<dyn EventSink>]>);

impl Events {
    /// Tells these sinks.
    pub fn to(sinks: impl IntoIterator<Item = Arc<dyn EventSink>>) -> Self {
        Self(sinks.into_iter().collect())
    }

    /// Brings the record of the job up to date, then tells every sink.
    pub fn tell(&self, event: &Event<'_>) {
        if let Event::Image { job, event } = event {
            job.note(event);
        }
        for sink in self.0.iter() {
            sink.event(event);
        }
    }

    /// Tells what happens to a job's image.
    pub fn of_image(&self, job: &Arc<JobInHand>) -> OnImageEvent {
        let (events, job) = (self.clone(), job.clone());
        Arc::new(move |event| events.tell(&Event::Image { job: &job, event: *event }))
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("sinks", &self.0.len()).finish()
    }
}
