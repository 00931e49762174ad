//! The slots of a service: how many jobs run at once, and how many wait without running.
//!
//! A job has a slot while it works. While it waits for another job of the same image or tag it has
//! none, so that others can go on; it is one of those that are parked, of which there are
//! [`MAX_PARKED`] at most. When its turn has come it waits for the next slot that is free.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use soci_jobs::{JobSlot, SlotFuture, WaitsFor};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::event::{Event, Events};
use crate::job_in_hand::{JobInHand, Waiting};

/// Most jobs that are parked. Each has a message that is kept hidden, and nothing else.
pub(super) const MAX_PARKED: usize = 32;

/// All slots of a service.
#[derive(Debug)]
pub(super) struct Slots {
    permits: Arc<Semaphore>,
    parked: AtomicUsize,
    changed: Notify,
}

impl Slots {
    pub(super) fn new(slots: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(slots.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { permits, parked: AtomicUsize::new(0), changed: Notify::new() })
    }

    /// Jobs in hand that wait without a slot.
    pub(super) fn parked(&self) -> usize {
        self.parked.load(Ordering::Relaxed)
    }

    /// A slot has become free without a job having ended.
    pub(super) async fn freed(&self) {
        self.changed.notified().await;
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed; were it, nothing would be counted any more.
        self.permits.clone().acquire_owned().await.ok()
    }
}

/// The slot of one job. Dropping it frees what it holds.
pub(super) struct Slot {
    slots: Arc<Slots>,
    job: Arc<JobInHand>,
    events: Events,
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    is_parked: AtomicBool,
}

impl Slot {
    /// Waits for a slot.
    pub(super) async fn take(slots: &Arc<Slots>, job: &Arc<JobInHand>, events: &Events) -> Self {
        let permit = Mutex::new(slots.permit().await);
        let (slots, job, events) = (slots.clone(), job.clone(), events.clone());
        Self { slots, job, events, permit, is_parked: AtomicBool::new(false) }
    }

    fn hold(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }

    fn unpark(&self) {
        if self.is_parked.swap(false, Ordering::Relaxed) {
            self.slots.parked.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl JobSlot for Slot {
    fn leave(&self, waits_for: WaitsFor) -> bool {
        let one_more = |parked: usize| (parked < MAX_PARKED).then_some(parked + 1);
        let parked = self.slots.parked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if parked.is_err() {
            return false;
        }
        self.is_parked.store(true, Ordering::Relaxed);
        self.hold(None);
        self.job.waits(Some(Waiting::ForJob(waits_for)));
        self.events.tell(&Event::JobWaits { job: &self.job });
        self.slots.changed.notify_one();
        true
    }

    fn take_again(&self) -> SlotFuture<'_> {
        Box::pin(async {
            self.hold(self.slots.permit().await);
            self.unpark();
            self.job.waits(None);
            self.events.tell(&Event::JobGoesOn { job: &self.job });
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.unpark();
    }
}
