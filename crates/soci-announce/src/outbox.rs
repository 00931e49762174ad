//! What stands between jobs and destinations.
//!
//! Telling others is less than the work itself, so nothing here can fail or hold up a job:
//!
//! - [`Outboxes::send`] returns at once. Each destination has a box of its own, with room for
//!   [`OutboxLimits::capacity`] announcements; where it is full, what comes is dropped and counted.
//! - A task for each box delivers in order, one at a time. A try has [`OutboxLimits::attempt`]; what fails in passing is
//!   tried again with growing pauses until the announcement is [`OutboxLimits::max_age`] old, as a bus that throttles one
//!   throttles the next. What a destination refuses for good is given up at once.
//! - Announcements live in memory. A process that dies loses them; one that ends in order drains its boxes for a bounded
//!   time ([`Outboxes::close`]), in which what fails is not tried again. A function that is frozen between invocations
//!   waits for its boxes before each end ([`Outboxes::flush`]), but not for one that fails, and begins with another try
//!   ([`Outboxes::wake`]).
//!
//! Delivery is at least once, as an answer can be lost; [`Announcement::id`] tells what is the same. Each end is told to every
//! [`OutboxObserver`]; the log has a line when a destination begins to fail or a box is full, and one when that is over.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use soci_retry::Backoff;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use crate::announcement::Announcement;
use crate::destination::{DeliveryError, Destination};

/// How long announcements are kept, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Announcements that wait for one destination.
    pub capacity: usize,
    /// Longest time of one try.
    pub attempt: Duration,
    /// Pauses between tries.
    pub pauses: Backoff,
    /// Age at which an announcement that is not taken is given up. A pipeline that waits has given up by then, too.
    pub max_age: Duration,
}

impl Default for OutboxLimits {
    /// A thousand announcements, some megabytes; tries of 20 seconds, pauses from one second to one minute, a quarter of
    /// an hour in all.
    fn default() -> Self {
        Self {
            capacity: 1_000,
            attempt: Duration::from_secs(20),
            pauses: Backoff { first: Duration::from_secs(1), max: Duration::from_mins(1) },
            max_age: Duration::from_mins(15),
        }
    }
}

/// What became of an announcement at a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryEnd {
    /// It was taken.
    Delivered,
    /// It was not tried, as too many wait or the process ends.
    Dropped,
    /// It was tried and not taken.
    GivenUp,
}

impl DeliveryEnd {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Delivered, Self::Dropped, Self::GivenUp];

    /// Short stable name: `delivered`, `dropped`, `given-up`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Dropped => "dropped",
            Self::GivenUp => "given-up",
        }
    }
}

/// Who counts what became of announcements.
pub trait OutboxObserver: Send + Sync + 'static {
    /// There is a box for a destination from now on.
    fn begins(&self, _destination: &'static str) {}

    /// So many announcements ended so at a destination.
    fn ended(&self, destination: &'static str, end: DeliveryEnd, announcements: u64);
}

/// A box for each destination. Clones are the same boxes.
#[derive(Clone, Debug, Default)]
pub struct Outboxes(Arc<[Outbox]>);

impl Outboxes {
    /// Boxes for these destinations, which deliver from now on. To be called on a runtime.
    pub fn to(
        destinations: impl IntoIterator<Item = Arc<dyn Destination>>,
        limits: OutboxLimits,
        observers: &[Arc<dyn OutboxObserver>],
    ) -> Self {
        let outbox = |destination| Outbox::start(destination, limits, observers.to_vec());
        Self(destinations.into_iter().map(outbox).collect())
    }

    /// Whether there is no destination, so that nothing needs to be announced.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Announces something to all destinations, some time soon. Returns at once.
    pub fn send(&self, announcement: &Announcement) {
        for outbox in self.0.iter() {
            outbox.send(announcement);
        }
    }

    /// Tries at once what waits for another try, unless its destination asked to be left alone: the process was frozen, and
    /// what failed then may work again.
    pub fn wake(&self) {
        for outbox in self.0.iter() {
            outbox.load.send_modify(|load| load.wakes += 1);
        }
    }

    /// Waits until everything is delivered, at most so long, and not for destinations that have just failed.
    pub async fn flush(&self, limit: Duration) {
        let all = async {
            for outbox in self.0.iter() {
                outbox.until(|load| load.waiting == 0 || load.failing).await;
            }
        };
        let _ = timeout(limit, all).await;
    }

    /// Tries once more to deliver what waits, at most so long, and drops the rest. Nothing is announced after that.
    pub async fn close(&self, limit: Duration) {
        for outbox in self.0.iter() {
            outbox.load.send_modify(|load| load.closing = true);
        }
        let all = async {
            for outbox in self.0.iter() {
                outbox.until(|load| load.waiting == 0).await;
            }
        };
        let _ = timeout(limit, all).await;
        for outbox in self.0.iter() {
            outbox.abandon();
        }
    }
}

/// What a box has to do.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    /// Announcements that have not ended, that under delivery included.
    waiting: u64,
    /// The last try failed.
    failing: bool,
    /// Counts who wants a pause to end at once.
    wakes: u64,
    /// The process ends.
    closing: bool,
}

/// What the log was told and not told of a destination's failures.
#[derive(Debug, Default)]
struct Trouble {
    /// There is a line that the destination fails.
    told_failing: bool,
    /// There is a line that the box is full.
    told_full: bool,
    /// Announcements that were lost since then.
    lost: u64,
}

/// What a box shares with its task.
struct Shared {
    destination: Arc<dyn Destination>,
    limits: OutboxLimits,
    observers: Vec<Arc<dyn OutboxObserver>>,
    trouble: Mutex<Trouble>,
}

struct Outbox {
    shared: Arc<Shared>,
    sender: mpsc::Sender<(Announcement, Instant)>,
    load: watch::Sender<Load>,
    task: AbortHandle,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outbox").field(&self.shared.destination.name()).finish()
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Outbox {
    fn start(
        destination: Arc<dyn Destination>,
        limits: OutboxLimits,
        observers: Vec<Arc<dyn OutboxObserver>>,
    ) -> Self {
        for observer in &observers {
            observer.begins(destination.name());
        }
        let shared = Arc::new(Shared { destination, limits, observers, trouble: Mutex::default() });
        let (sender, mut receiver) = mpsc::channel(limits.capacity);
        let load = watch::Sender::new(Load::default());
        let task = {
            let (shared, load) = (shared.clone(), load.clone());
            tokio::spawn(async move {
                while let Some((announcement, since)) = receiver.recv().await {
                    let end = shared.deliver(&announcement, since, &load).await;
                    shared.count(end, 1);
                    load.send_modify(|load| load.waiting = load.waiting.saturating_sub(1));
                }
            })
        };
        Self { shared, sender, load, task: task.abort_handle() }
    }

    fn send(&self, announcement: &Announcement) {
        // Before it is sent, as its delivery may end before this does.
        self.load.send_modify(|load| load.waiting += 1);
        let sent = self.sender.try_send((announcement.clone(), Instant::now()));
        let Err(error) = sent else { return };
        self.load.send_modify(|load| load.waiting = load.waiting.saturating_sub(1));
        match error {
            TrySendError::Full(_) => self.shared.full(),
            TrySendError::Closed(_) => self.shared.closed(),
        }
    }

    async fn until(&self, is_so: impl Fn(&Load) -> bool) {
        // The sender is this box's own, so there is always a value to come.
        let _ = self.load.subscribe().wait_for(|load| is_so(load)).await;
    }

    fn abandon(&self) {
        self.task.abort();
        let left = self.load.borrow().waiting;
        self.load.send_modify(|load| load.waiting = 0);
        if left > 0 {
            self.shared.count(DeliveryEnd::Dropped, left);
            let destination = self.shared.destination.name();
            error!(destination, lost = left, "the process ends before its announcements are taken");
        }
    }
}

impl Shared {
    /// Tries until it is taken or given up.
    async fn deliver(
        &self,
        announcement: &Announcement,
        since: Instant,
        load: &watch::Sender<Load>,
    ) -> DeliveryEnd {
        let mut tries = 0;
        loop {
            tries += 1;
            let limit = self.limits.attempt;
            let outcome = timeout(limit, self.destination.deliver(announcement)).await;
            let failure = match outcome {
                Ok(Ok(())) => {
                    load.send_modify(|load| load.failing = false);
                    self.works();
                    return DeliveryEnd::Delivered;
                }
                Ok(Err(failure)) => failure,
                Err(_) => DeliveryError::passing(format!("no answer within {limit:?}")),
            };
            let pause = self.limits.pauses.delay(tries, fastrand::f64());
            let pause = pause.max(failure.retry_after.unwrap_or_default());
            let too_old = since.elapsed() + pause >= self.limits.max_age;
            let ends = !failure.transient || too_old || load.borrow().closing;
            self.fails(&failure, announcement, ends);
            load.send_modify(|load| load.failing = true);
            if ends {
                return DeliveryEnd::GivenUp;
            }
            let mut changes = load.subscribe();
            let wakes = changes.borrow().wakes;
            let asked = failure.retry_after.is_some();
            let is_woken = |load: &Load| load.closing || !asked && load.wakes != wakes;
            let woken = async {
                // What it returns keeps everybody from changing the load.
                drop(changes.wait_for(is_woken).await);
                // Who waits for it waits for one try.
                load.send_modify(|load| load.failing = false);
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = woken => {}
            }
        }
    }

    fn count(&self, end: DeliveryEnd, announcements: u64) {
        for observer in &self.observers {
            observer.ended(self.destination.name(), end, announcements);
        }
    }

    /// The lock holds for a few lines, and nothing panics while it does.
    fn trouble(&self) -> std::sync::MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn full(&self) {
        self.count(DeliveryEnd::Dropped, 1);
        let mut trouble = self.trouble();
        trouble.lost += 1;
        if !std::mem::replace(&mut trouble.told_full, true) {
            let destination = self.destination.name();
            error!(destination, capacity = self.limits.capacity, "{FULL}");
        }
    }

    fn closed(&self) {
        self.count(DeliveryEnd::Dropped, 1);
        let destination = self.destination.name();
        error!(destination, lost = 1, "the process ends before its announcements are taken");
    }

    fn fails(&self, failure: &DeliveryError, announcement: &Announcement, ends: bool) {
        let mut trouble = self.trouble();
        trouble.lost += u64::from(ends);
        if std::mem::replace(&mut trouble.told_failing, true) {
            return;
        }
        let (destination, reason, id) =
            (self.destination.name(), &*failure.reason, &*announcement.id);
        if ends {
            error!(destination, reason, id, "an announcement is refused, and given up");
        } else {
            warn!(destination, reason, id, "an announcement is not taken, and tried again");
        }
    }

    fn works(&self) {
        let trouble = std::mem::take(&mut *self.trouble());
        if trouble.told_failing || trouble.told_full {
            let (destination, lost) = (self.destination.name(), trouble.lost);
            info!(destination, lost, "announcements are taken again");
        }
    }
}

const FULL: &str = "more announcements wait than may: others are dropped until some are taken";

#[cfg(test)]
mod tests;
