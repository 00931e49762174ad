//! What runs now and what was done lately, for the status page.
//!
//! The memory of a [`Board`] is bounded: by the jobs in hand, [`MAX_ENDED`] finished ones,
//! [`MAX_LAYERS`] layers of each job, and [`MAX_TEXT`] characters of any text. It holds neither
//! bodies nor receipts of messages.

mod ended;
mod running;
mod snapshot;
mod text;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use soci_oci::Digest;
use soci_push::Job;
use soci_queue::{Backlog, Message};
use tokio::time::Instant;

pub use running::MAX_LAYERS;
pub use snapshot::{
    EndedStatus, LayerStatus, QueueStatus, RunningStatus, SCHEMA, ServiceStatus, State, Status,
    Totals,
};
pub use text::MAX_TEXT;

use crate::about::About;
use crate::tickets::Tickets;
use crate::watch::{Ending, Lane, Ticket, Watch};
use ended::Ended;
use running::Running;

/// How many finished jobs are remembered.
pub const MAX_ENDED: usize = 100;

/// Keeps what the status page shows, and what the health checks answer.
#[derive(Debug)]
pub struct Board {
    about: About,
    started: Instant,
    started_at: SystemTime,
    running: Tickets<Running>,
    past: Mutex<Past>,
    bytes_read: AtomicU64,
    layers_built: AtomicU64,
    health: Health,
}

impl Board {
    /// The board of a service that starts now.
    pub fn new(about: About) -> Self {
        Self {
            about,
            started: Instant::now(),
            started_at: SystemTime::now(),
            running: Tickets::default(),
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

    /// Everything as it is now; `stuck_after` is that of [`Board::is_live`].
    pub fn snapshot(&self, stuck_after: Duration) -> Status {
        snapshot::take(self, stuck_after)
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
}

/// A queue's messages, and when they were counted.
#[derive(Clone, Copy, Debug)]
struct Counted {
    backlog: Backlog,
    at: Instant,
}

#[derive(Debug, Default)]
struct Health {
    /// When the receive loop last began a turn, in milliseconds since the start.
    turned: AtomicU64,
    /// Whether a queue has answered a receive.
    answered: AtomicBool,
    draining: AtomicBool,
}

impl Watch for Board {
    fn turn(&self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.health.turned.store(millis, Ordering::Relaxed);
    }

    fn answered(&self, _: Lane, _: usize) {
        self.health.answered.store(true, Ordering::Relaxed);
    }

    fn job_received(&self, ticket: Ticket, lane: Lane, message: &Message) {
        self.running.open(ticket, Running::new(lane, message));
        self.past().totals.received += 1;
    }

    fn job_started(&self, ticket: Ticket, job: &Job) {
        if let Some(running) = self.running.get(ticket) {
            running.start(job);
        }
    }

    fn planned(&self, ticket: Ticket, layers: usize, bytes: u64) {
        if let Some(running) = self.running.get(ticket) {
            running.plan(layers, bytes);
        }
    }

    fn layer_started(&self, ticket: Ticket, layer: &Digest, size: u64) {
        if let Some(running) = self.running.get(ticket) {
            running.start_layer(layer, size);
        }
    }

    fn layer_read(&self, ticket: Ticket, layer: &Digest, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        if let Some(running) = self.running.get(ticket) {
            running.read_layer(layer, bytes);
        }
    }

    fn layer_done(&self, ticket: Ticket, layer: &Digest) {
        self.layers_built.fetch_add(1, Ordering::Relaxed);
        if let Some(running) = self.running.get(ticket) {
            running.finish_layer(layer);
        }
    }

    fn job_ended(&self, ticket: Ticket, ending: &Ending, elapsed: Duration) {
        let running = self.running.close(ticket);
        let ended = running.map(|running| Ended::new(ticket, &running, ending, elapsed));
        let mut past = self.past();
        past.totals.count(ending);
        let Some(ended) = ended else { return };
        past.ended.truncate(MAX_ENDED - 1);
        past.ended.push_front(ended);
    }

    fn backlog(&self, lane: Lane, backlog: Backlog) {
        self.past().queues[lane as usize] = Some(Counted { backlog, at: Instant::now() });
    }

    fn draining(&self) {
        self.health.draining.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
