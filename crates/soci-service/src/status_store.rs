//! What runs now and what was done lately: the one model of the service's state, which status page,
//! health checks and gauges show.
//!
//! The memory of a [`StatusStore`] is bounded: by the jobs in hand, [`MAX_ENDED`] finished ones,
//! [`MAX_LAYERS`] layers of each job, [`MAX_TEXT`] characters of any text, and an hour of minutes. It holds
//! neither bodies nor receipts of messages.

mod history;
mod letters;
mod shown_time;
mod snapshot;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use soci_indexer::ImageEvent;
use soci_jobs::EndKind;
use soci_text::{Runbook, error_chain};
use tokio::time::Instant;

pub use crate::service_state::ServiceState;
pub use history::{MINUTES as HISTORY_MINUTES, MinuteStatus, PaceStatus};
pub use letters::{DeadLettersStatus, LetterStatus};
pub use snapshot::{
    EndedStatus, LayerStatus, OutageStatus, QueueAwayStatus, QueueStatus, RunningStatus, SCHEMA,
    ServiceStatus, Status, Totals,
};

use crate::about::About;
use crate::event::{CountedQueue, Event, EventSink, QueueKind};
pub use crate::job_in_hand::MAX_LAYERS;
use crate::job_in_hand::{JobId, JobInHand};
pub use crate::shown_text::MAX_TEXT;
use crate::shown_text::shown;
use history::History;
use letters::{Counted, Letters};
use shown_time::{at, seconds, time};
use snapshot::{Ended, Outage, QueueAway};

/// How long the receive loop may take for a turn before it counts as stuck. It turns every
/// [`MAX_TURN`](crate::consumer::MAX_TURN) also while it waits, so this leaves time to spare.
pub const STUCK_AFTER: Duration = Duration::from_mins(1);

/// How many finished jobs are remembered.
pub const MAX_ENDED: usize = 200;

/// How many of them may be failures that are remembered for longer than what has ended well since.
const MAX_FAILURES: usize = MAX_ENDED / 2;

/// Keeps what the status page shows, and what the health checks answer.
#[derive(Debug)]
pub struct StatusStore {
    about: About,
    runbook: Runbook,
    started: Instant,
    started_at: SystemTime,
    /// The jobs in hand. Reading one takes a lock that is shared; only receiving and ending a job takes
    /// it alone, and never for longer than that.
    in_hand: RwLock<BTreeMap<JobId, Arc<JobInHand>>>,
    past: Mutex<Past>,
    bytes_read: AtomicU64,
    layers_built: AtomicU64,
    layers_reused: AtomicU64,
    /// When the receive loop last began a turn, in milliseconds since the start.
    turned: AtomicU64,
}

impl StatusStore {
    /// The state of a service that starts now.
    pub fn new(about: About) -> Self {
        Self {
            about,
            runbook: Runbook::default(),
            started: Instant::now(),
            started_at: SystemTime::now(),
            in_hand: RwLock::default(),
            past: Mutex::new(Past::new()),
            bytes_read: AtomicU64::new(0),
            layers_built: AtomicU64::new(0),
            layers_reused: AtomicU64::new(0),
            turned: AtomicU64::new(0),
        }
    }

    /// The same, leading whoever reads it to this runbook.
    #[must_use]
    pub fn with_runbook(self, runbook: Runbook) -> Self {
        Self { runbook, ..self }
    }

    /// What the service is doing.
    pub fn state(&self) -> ServiceState {
        let busy = !self.jobs().is_empty();
        self.state_of(&self.past(), busy)
    }

    fn state_of(&self, past: &Past, busy: bool) -> ServiceState {
        ServiceState::first(|state| match state {
            ServiceState::Draining => past.draining_until.is_some(),
            ServiceState::Stuck => self.since_turn() > STUCK_AFTER,
            ServiceState::QueueUnreachable => past.away[QueueKind::Live as usize].is_some(),
            ServiceState::Starting => !past.answered && !busy,
            ServiceState::RegistryUnreachable => past.outage.is_some(),
            ServiceState::Working => busy,
            ServiceState::Idle => true,
        })
    }

    /// Everything as it is now.
    pub fn snapshot(&self) -> Status {
        let running: Vec<_> = self.jobs().iter().map(|job| RunningStatus::of(job)).collect();
        let mut past = self.past();
        let bytes_read = self.bytes_read.load(Ordering::Relaxed);
        past.history.turn(bytes_read);
        let state = self.state_of(&past, !running.is_empty());
        let draining_until = past.draining_until.map(at);
        let queues = [QueueKind::Live, QueueKind::Backfill].into_iter();
        Status {
            schema: SCHEMA,
            runbook: self.runbook.to_string(),
            now: time(SystemTime::now()),
            service: ServiceStatus {
                version: self.about.version,
                commit: self.about.commit,
                state,
                started_at: time(self.started_at),
                uptime_seconds: seconds(self.started.elapsed()),
                last_turn_seconds: seconds(self.since_turn()),
                last_message_seconds: past.received.map(|at| seconds(at.elapsed())),
                draining_until,
            },
            queues_away: queues
                .clone()
                .filter_map(|queue| {
                    Some(QueueAwayStatus::of(queue, past.away[queue as usize].as_ref()?))
                })
                .collect(),
            queues: queues
                .filter_map(|queue| {
                    let oldest = past.oldest[queue as usize];
                    Some(QueueStatus::of(queue, &past.queues[queue as usize]?, oldest))
                })
                .collect(),
            dead_letters: past.dead_letters.as_ref().map(|counted| {
                DeadLettersStatus::of(counted, past.oldest_letter, past.letters.as_ref())
            }),
            totals: Totals {
                layers_built: self.layers_built.load(Ordering::Relaxed),
                layers_reused: self.layers_reused.load(Ordering::Relaxed),
                bytes_read,
                ..past.totals.clone()
            },
            pace: past.history.pace().map(|pace| PaceStatus {
                // From counts that are old, or while nothing is taken, nothing follows.
                backlog_seconds: pace
                    .backlog_seconds
                    .filter(|_| state == ServiceState::Working && past.is_counted_lately()),
                ..pace
            }),
            history: past.history.status(),
            outage: past.outage.as_ref().map(|outage| OutageStatus {
                error: past.ended.iter().find_map(|ended| ended.failed_for(outage.reason)),
                ..OutageStatus::of(outage)
            }),
            running,
            ended: past.ended.iter().map(Ended::status).collect(),
        }
    }

    /// The jobs in hand, the first received first.
    pub fn jobs(&self) -> Vec<Arc<JobInHand>> {
        let in_hand = self.in_hand.read().unwrap_or_else(PoisonError::into_inner);
        in_hand.values().cloned().collect()
    }

    /// Since when the live queue has not answered, if it does not.
    pub fn queue_away_since(&self) -> Option<Instant> {
        self.past().away[QueueKind::Live as usize].as_ref().map(|away| away.since)
    }

    /// Since when the registry has been away, if it is.
    pub fn outage_since(&self) -> Option<Instant> {
        self.past().outage.as_ref().map(|outage| outage.since)
    }

    /// Time since the receive loop's last turn, or since the start if there was none.
    fn since_turn(&self) -> Duration {
        let turned = Duration::from_millis(self.turned.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(turned)
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        // Nothing panics while it holds the lock, so what is in there is whole.
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has happened so far.
#[derive(Debug)]
struct Past {
    history: History,
    /// When the oldest message of each queue was sent, as far as that is known.
    oldest: [Option<SystemTime>; 2],
    oldest_letter: Option<SystemTime>,
    /// What was seen of the dead letters, if they are looked at.
    letters: Option<Letters>,
    ended: VecDeque<Ended>,
    totals: Totals,
    queues: [Option<Counted>; 2],
    dead_letters: Option<Counted>,
    outage: Option<Outage>,
    /// Queues whose last receive failed.
    away: [Option<QueueAway>; 2],
    /// Whether a queue has ever answered a receive.
    answered: bool,
    /// When the latest message was received.
    received: Option<Instant>,
    draining_until: Option<Instant>,
}

impl Past {
    fn new() -> Self {
        Self {
            history: History::new(),
            oldest: [None; 2],
            oldest_letter: None,
            letters: None,
            ended: VecDeque::new(),
            totals: Totals::default(),
            queues: [None; 2],
            dead_letters: None,
            outage: None,
            away: [None, None],
            answered: false,
            received: None,
            draining_until: None,
        }
    }

    /// Whether every queue that was ever counted was so within the last two minutes.
    fn is_counted_lately(&self) -> bool {
        let counted = self.queues.iter().flatten();
        counted.map(|counted| counted.at.elapsed()).all(|ago| ago < Duration::from_mins(2))
    }

    /// Remembers a job that has ended. Where there are too many, the oldest is forgotten that ended well, so that
    /// many of these do not hide the failures before them.
    fn remember(&mut self, ended: Ended) {
        if self.ended.len() >= MAX_ENDED {
            let failures = self.ended.iter().filter(|ended| ended.is_failure()).count();
            let well = self.ended.iter().rposition(|ended| !ended.is_failure());
            let last = self.ended.len() - 1;
            let forgotten = if failures > MAX_FAILURES { last } else { well.unwrap_or(last) };
            self.ended.remove(forgotten);
        }
        self.ended.push_front(ended);
    }
}

impl EventSink for StatusStore {
    fn event(&self, event: &Event<'_>) {
        match *event {
            Event::Turned => {
                let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.turned.store(millis, Ordering::Relaxed);
            }
            Event::Answered { queue, .. } => {
                let mut past = self.past();
                past.answered = true;
                past.away[queue as usize] = None;
            }
            Event::QueueAway { queue, since, failures, next_try, error } => {
                let error = shown(&error_chain(error));
                let away = QueueAway { since, failures, next_try, error };
                self.past().away[queue as usize] = Some(away);
            }
            Event::QueueBack { queue, .. } => self.past().away[queue as usize] = None,
            Event::JobReceived { job } => {
                let mut in_hand = self.in_hand.write().unwrap_or_else(PoisonError::into_inner);
                in_hand.insert(job.id, job.clone());
                drop(in_hand);
                let mut past = self.past();
                past.totals.received += 1;
                past.received = Some(Instant::now());
            }
            Event::Image { event: ImageEvent::LayerRead { bytes, .. }, .. } => {
                self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
            }
            Event::Image { event: ImageEvent::LayerDone { .. }, .. } => {
                self.layers_built.fetch_add(1, Ordering::Relaxed);
            }
            Event::Image { event: ImageEvent::LayerReused { .. }, .. } => {
                self.layers_reused.fetch_add(1, Ordering::Relaxed);
            }
            Event::JobEnded { job, end, elapsed, .. } => {
                let mut in_hand = self.in_hand.write().unwrap_or_else(PoisonError::into_inner);
                in_hand.remove(&job.id);
                drop(in_hand);
                let ended = Ended::new(job, end, elapsed);
                let mut past = self.past();
                past.totals.count(end);
                past.history.turn(self.bytes_read.load(Ordering::Relaxed));
                past.history.ended(end);
                past.remember(ended);
                if end.kind() == EndKind::Rejected
                    && let Some(letters) = &mut past.dead_letters
                {
                    // It is there already, however long it is until they are counted again.
                    letters.backlog.visible += 1;
                }
            }
            Event::Counted { queue, backlog } => {
                let counted = Counted { backlog, at: Instant::now() };
                let mut past = self.past();
                past.queues[queue as usize] = Some(counted);
                past.history.turn(self.bytes_read.load(Ordering::Relaxed));
                let waiting = backlog.visible.saturating_add(backlog.delayed);
                past.history.counted(queue as usize, waiting);
            }
            Event::DeadLettersCounted { backlog } => {
                self.past().dead_letters = Some(Counted { backlog, at: Instant::now() });
            }
            Event::Oldest { queue: CountedQueue::Of(queue), sent_at } => {
                self.past().oldest[queue as usize] = sent_at;
            }
            Event::Oldest { queue: CountedQueue::DeadLetters, sent_at } => {
                self.past().oldest_letter = sent_at;
            }
            Event::LettersSeen { letters, more } => {
                let seen = Letters::new(letters, more);
                let mut past = self.past();
                // Whoever looks at letters hides them from all others for a moment.
                if !more
                    || past.letters.as_ref().is_none_or(|before| before.count() <= seen.count())
                {
                    past.letters = Some(seen);
                }
            }
            Event::OutageBegan { reason, since } => {
                self.past().outage = Some(Outage { reason, since, probes: 0, next_probe: None });
            }
            Event::OutageLasts { reason, since, probes, next_probe } => {
                let next_probe = Some(next_probe);
                self.past().outage = Some(Outage { reason, since, probes, next_probe });
            }
            Event::OutageEnded { .. } | Event::OutageForgotten { .. } => self.past().outage = None,
            Event::Draining { until } => self.past().draining_until = Some(until),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
