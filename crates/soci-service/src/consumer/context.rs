//! What the receive loop and its jobs work with.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use soci_jobs::Outcome;
use soci_queue::Queue;
use soci_text::Runbook;
use tokio::time::Instant;

use super::outage::{OutageWatch, Sign};
use super::settings::ConsumerSettings;
use super::slots::Slots;
use super::wall_clock::WallClock;
use crate::event::{Events, QueueKind};
use crate::job_in_hand::JobInHand;

/// How often a message can be received where the queue does not tell, as the template has it.
const MAX_RECEIVES: u32 = 5;

/// The queues of a service.
#[derive(Clone, Debug)]
pub struct Queues<Q> {
    /// What has just been pushed.
    pub live: Q,
    /// What events missed, worked on when there is room.
    pub backfill: Option<Q>,
    /// Where messages are put that can never be worked off. Without it they stay where they are and are
    /// left to the queue's own redrive policy.
    pub dead_letters: Option<Q>,
    /// Where letters lead whoever reads them.
    pub runbook: Runbook,
}

/// How many receives of a queue came to an end, and how.
#[derive(Debug, Default)]
pub(super) struct ReceiveCounts {
    answered: AtomicU64,
    failed: AtomicU64,
}

impl ReceiveCounts {
    pub(super) fn count(&self, answered: bool) {
        let counter = if answered { &self.answered } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Those that were answered, and those that failed.
    pub(super) fn so_far(&self) -> (u64, u64) {
        (self.answered.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

/// What the receive loop and its jobs work with. There is one for all of them.
pub(super) struct ConsumerContext<Q, H> {
    pub(super) queues: Queues<Q>,
    pub(super) handler: H,
    pub(super) events: Events,
    pub(super) settings: ConsumerSettings,
    pub(super) slots: Arc<Slots>,
    pub(super) clock: WallClock,
    outage: Mutex<OutageWatch>,
    /// Receives of each queue that were answered, and those that failed.
    receives: [ReceiveCounts; 2],
    /// How often messages of the live and of the backfill queue can be received.
    max_receives: [AtomicU32; 2],
}

impl<Q: Queue, H> ConsumerContext<Q, H> {
    pub(super) fn new(
        queues: Queues<Q>,
        handler: H,
        events: Events,
        settings: ConsumerSettings,
    ) -> Self {
        Self {
            queues,
            handler,
            events,
            slots: Slots::new(settings.max_jobs),
            clock: WallClock::start(),
            settings,
            outage: Mutex::default(),
            receives: Default::default(),
            max_receives: [const { AtomicU32::new(MAX_RECEIVES) }; 2],
        }
    }

    /// How often a message of this queue can be received before it is moved.
    pub(super) fn max_receives(&self, kind: QueueKind) -> u32 {
        self.max_receives[kind as usize].load(Ordering::Relaxed)
    }

    /// The queue has told how often that is, or that it moves nothing.
    pub(super) fn set_max_receives(&self, kind: QueueKind, told: Option<u32>) {
        self.max_receives[kind as usize].store(told.unwrap_or(MAX_RECEIVES), Ordering::Relaxed);
    }

    /// Receives of a queue that came to an end.
    pub(super) fn receives(&self, kind: QueueKind) -> &ReceiveCounts {
        &self.receives[kind as usize]
    }

    /// Whether the registry is away.
    pub(super) fn outage(&self) -> MutexGuard<'_, OutageWatch> {
        // Nothing panics while it is held.
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets an outage of which nothing has been heard for long.
    pub(super) fn forget_outage(&self, now: Instant) {
        let told = self.outage().forget(now);
        if let Some(told) = told {
            self.events.tell(&told);
        }
    }

    /// Learns from a job how the registry is doing, and says whether it is away.
    pub(super) fn judge(&self, job: &JobInHand, outcome: &Outcome) -> bool {
        let sign = Sign::of(outcome, job.image());
        let mut outage = self.outage();
        let told = outage.ended(job.id, sign, Instant::now(), fastrand::f64());
        let is_on = outage.is_on();
        drop(outage);
        if let Some(told) = told {
            self.events.tell(&told);
        }
        is_on
    }

    /// The queue of this kind. Without a backfill queue nothing comes from there.
    pub(super) fn queue(&self, kind: QueueKind) -> &Q {
        match kind {
            QueueKind::Live => &self.queues.live,
            QueueKind::Backfill => self.queues.backfill.as_ref().unwrap_or(&self.queues.live),
        }
    }
}
