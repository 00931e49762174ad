//! What runs now and what was done lately: the one model of the service's state, which status page,
//! health checks and gauges show.
//!
//! The memory of a [`StatusStore`] is bounded: by the jobs in hand, [`MAX_ENDED`] finished ones,
//! [`MAX_LAYERS`] layers of each job, and [`MAX_TEXT`] characters of any text. It holds neither
//! bodies nor receipts of messages.

mod snapshot;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use soci_indexer::ImageEvent;
use tokio::time::Instant;

pub use snapshot::{
    EndedStatus, LayerStatus, OutageStatus, QueueStatus, RunningStatus, SCHEMA, ServiceState,
    ServiceStatus, Status, Totals,
};

use crate::about::About;
use crate::event::{Event, EventSink, QueueKind};
pub use crate::job_in_hand::MAX_LAYERS;
use crate::job_in_hand::{JobId, JobInHand};
pub use crate::shown_text::MAX_TEXT;
use snapshot::{Counted, Ended, Outage, seconds, time};

/// How many finished jobs are remembered.
pub const MAX_ENDED: usize = 100;

/// Keeps what the status page shows, and what the health checks answer.
#[derive(Debug)]
pub struct StatusStore {
    about: About,
    started: Instant,
    started_at: SystemTime,
    /// The jobs in hand. Reading one takes a lock that is shared; only receiving and ending a job takes
    /// it alone, and never for longer than that.
    in_hand: RwLock<BTreeMap<JobId, Arc<JobInHand>>>,
    past: Mutex<Past>,
    bytes_read: AtomicU64,
    layers_built: AtomicU64,
    health: Health,
}

impl StatusStore {
    /// The state of a service that starts now.
    pub fn new(about: About) -> Self {
        Self {
            about,
            started: Instant::now(),
            started_at: SystemTime::now(),
            in_hand: RwLock::default(),
            past: Mutex::default(),
            bytes_read: AtomicU64::new(0),
            layers_built: AtomicU64::new(0),
            health: Health::default(),
        }
    }

    /// Whether the receive loop has begun a turn within the last `stuck_after`. A service that
    /// drains has no receive loop any more and is alive until it ends.
    pub fn is_live(&self, stuck_after: Duration) -> bool {
        self.is_draining() || self.since_turn() <= stuck_after
    }

    /// Whether the service takes messages: a queue has answered a receive, and it has not been told
    /// to stop.
    pub fn is_ready(&self) -> bool {
        self.health.answered.load(Ordering::Relaxed) && !self.is_draining()
    }

    /// Whether the service has been told to stop.
    pub fn is_draining(&self) -> bool {
        self.health.draining.load(Ordering::Relaxed)
    }

    /// Everything as it is now; `stuck_after` is that of [`StatusStore::is_live`].
    pub fn snapshot(&self, stuck_after: Duration) -> Status {
        let running: Vec<_> = self.jobs().iter().map(|job| RunningStatus::of(job)).collect();
        let state = if self.is_draining() {
            ServiceState::Draining
        } else if !self.is_live(stuck_after) {
            ServiceState::Stuck
        } else if !running.is_empty() {
            ServiceState::Working
        } else if self.is_ready() {
            ServiceState::Idle
        } else {
            ServiceState::Starting
        };
        let past = self.past();
        let queues = [QueueKind::Live, QueueKind::Backfill].into_iter();
        Status {
            schema: SCHEMA,
            now: time(SystemTime::now()),
            service: ServiceStatus {
                version: self.about.version,
                commit: self.about.commit,
                state,
                started_at: time(self.started_at),
                uptime_seconds: seconds(self.started.elapsed()),
                last_turn_seconds: seconds(self.since_turn()),
            },
            queues: queues
                .filter_map(|queue| Some(QueueStatus::of(queue, &past.queues[queue as usize]?)))
                .collect(),
            totals: Totals {
                layers_built: self.layers_built.load(Ordering::Relaxed),
                bytes_read: self.bytes_read.load(Ordering::Relaxed),
                ..past.totals.clone()
            },
            outage: past.outage.as_ref().map(OutageStatus::of),
            running,
            ended: past.ended.iter().map(Ended::status).collect(),
        }
    }

    /// The jobs in hand, the first received first.
    pub fn jobs(&self) -> Vec<Arc<JobInHand>> {
        let in_hand = self.in_hand.read().unwrap_or_else(PoisonError::into_inner);
        in_hand.values().cloned().collect()
    }

    /// Since when the registry has been away, if it is.
    pub fn outage_since(&self) -> Option<Instant> {
        self.past().outage.as_ref().map(|outage| outage.since)
    }

    /// Time since the receive loop's last turn, or since the start if there was none.
    fn since_turn(&self) -> Duration {
        let turned = Duration::from_millis(self.health.turned.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(turned)
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        // Nothing panics while it holds the lock, so what is in there is whole.
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has happened so far.
#[derive(Debug, Default)]
struct Past {
    ended: VecDeque<Ended>,
    totals: Totals,
    queues: [Option<Counted>; 2],
    outage: Option<Outage>,
}

#[derive(Debug, Default)]
struct Health {
    /// When the receive loop last began a turn, in milliseconds since the start.
    turned: AtomicU64,
    /// Whether a queue has answered a receive.
    answered: AtomicBool,
    draining: AtomicBool,
}

impl EventSink for StatusStore {
    fn event(&self, event: &Event<'_>) {
        match *event {
            Event::Turned => {
                let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.health.turned.store(millis, Ordering::Relaxed);
            }
            Event::Answered { .. } => self.health.answered.store(true, Ordering::Relaxed),
            Event::JobReceived { job } => {
                let mut in_hand = self.in_hand.write().unwrap_or_else(PoisonError::into_inner);
                in_hand.insert(job.id, job.clone());
                drop(in_hand);
                self.past().totals.received += 1;
            }
            Event::Image { event: ImageEvent::LayerRead { bytes, .. }, .. } => {
                self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
            }
            Event::Image { event: ImageEvent::LayerDone { .. }, .. } => {
                self.layers_built.fetch_add(1, Ordering::Relaxed);
            }
            Event::JobEnded { job, end, elapsed, .. } => {
                let mut in_hand = self.in_hand.write().unwrap_or_else(PoisonError::into_inner);
                in_hand.remove(&job.id);
                drop(in_hand);
                let ended = Ended::new(job, end, elapsed);
                let mut past = self.past();
                past.totals.count(end);
                past.ended.truncate(MAX_ENDED - 1);
                past.ended.push_front(ended);
            }
            Event::Counted { queue, backlog } => {
                let counted = Counted { backlog, at: Instant::now() };
                self.past().queues[queue as usize] = Some(counted);
            }
            Event::OutageBegan { reason, since } => {
                self.past().outage = Some(Outage { reason, since, probes: 0, next_probe: None });
            }
            Event::OutageLasts { reason, since, probes, next_probe } => {
                let next_probe = Some(next_probe);
                self.past().outage = Some(Outage { reason, since, probes, next_probe });
            }
            Event::OutageEnded { .. } => self.past().outage = None,
            Event::Draining => self.health.draining.store(true, Ordering::Relaxed),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
