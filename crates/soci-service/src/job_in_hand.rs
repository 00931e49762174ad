//! A job in hand: what is known of it from the receive of its message to its end. There is one record of
//! it, which counters, page and metrics read.
//!
//! It holds neither the body nor the receipt of the message, and its memory is bounded: [`MAX_LAYERS`]
//! layers, and [`MAX_TEXT`](crate::shown_text::MAX_TEXT) characters of any text.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use soci_indexer::ImageEvent;
use soci_jobs::WaitsFor;
use soci_oci::Digest;
use soci_push::Job;
use soci_queue::{JobHistory, Message};
use tokio::time::Instant;

use crate::queue_kind::QueueKind;
use crate::recent_rate::RecentRate;
use crate::shown_text::shown;

/// How many layers of a job are shown; of more, those that were finished first are left out.
pub const MAX_LAYERS: usize = 100;

/// Identifies one handling of one message in this process. They count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// A job in hand.
#[derive(Debug)]
pub struct JobInHand {
    /// Which one.
    pub id: JobId,
    /// The queue that its message comes from.
    pub queue: QueueKind,
    /// Identifier of the message.
    pub message_id: String,
    /// How often the message was received, this time included.
    pub receive_count: u32,
    /// Tries before this one that failed.
    pub attempts: u32,
    /// When the first message of the job was sent.
    pub sent_at: SystemTime,
    pub(crate) received_at: SystemTime,
    pub(crate) received: Instant,
    image: OnceLock<JobImage>,
    waiting: Mutex<Option<Waiting>>,
    pub(crate) plan: OnceLock<LayerPlan>,
    /// Bytes read, of all layers, repeated ones included.
    pub(crate) read: AtomicU64,
    pub(crate) layers_done: AtomicUsize,
    /// Layers that were begun and are not done.
    layers_open: AtomicU64,
    /// Bytes of layers that have to be read again.
    repeated: AtomicU64,
    /// Bytes of layers that need not be read after all.
    unread: AtomicU64,
    /// Layers that have their turn and wait for memory.
    layers_waiting: AtomicU64,
    documents_wait: AtomicBool,
    recent: Mutex<RecentRate>,
    layers: RwLock<Vec<LayerInHand>>,
}

/// The image of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobImage {
    /// Host and name of its repository.
    pub repository: String,
    /// Its digest.
    pub digest: Digest,
    /// The tag it was pushed under.
    pub tag: Option<String>,
}

/// What a job waits for that is not being worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// For another job.
    ForJob(WaitsFor),
    /// For all others to end, as the process died on its message before.
    ToBeAlone,
    /// For the turn of its layers: as many as may be are being built, of other images.
    ForLayerSlot,
    /// For memory for its manifests and configurations.
    ForDocumentMemory,
    /// For memory for its layers.
    ForLayerMemory,
}

impl Waiting {
    /// Short stable name: `same-tag`, `same-image`, `alone`, `layer-slot`, `document-memory`, `layer-memory`.
    pub fn label(self) -> &'static str {
        match self {
            Self::ForJob(waits_for) => waits_for.label(),
            Self::ToBeAlone => "alone",
            Self::ForLayerSlot => "layer-slot",
            Self::ForDocumentMemory => "document-memory",
            Self::ForLayerMemory => "layer-memory",
        }
    }
}

/// What will be read of an image.
#[derive(Debug)]
pub(crate) struct LayerPlan {
    pub(crate) layers: usize,
    pub(crate) bytes: u64,
}

/// A layer that is being read, or has been.
#[derive(Debug)]
pub(crate) struct LayerInHand {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) read: AtomicU64,
    pub(crate) done: AtomicBool,
    /// Whether it waits for memory to be read again.
    waits: AtomicBool,
}

impl LayerInHand {
    /// Whether it is being read or stored.
    fn is_read(&self) -> bool {
        !self.done.load(Ordering::Relaxed) && !self.waits.load(Ordering::Relaxed)
    }
}

impl JobInHand {
    /// The record of a message that has just been received.
    pub fn new(id: JobId, queue: QueueKind, message: &Message) -> Self {
        let history = JobHistory::of(message);
        Self {
            id,
            queue,
            message_id: shown(&message.id.0),
            receive_count: message.receive_count,
            attempts: history.attempts,
            sent_at: history.first_sent_at,
            received_at: SystemTime::now(),
            received: Instant::now(),
            image: OnceLock::new(),
            waiting: Mutex::default(),
            plan: OnceLock::new(),
            read: AtomicU64::new(0),
            layers_done: AtomicUsize::new(0),
            layers_open: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            layers_waiting: AtomicU64::new(0),
            documents_wait: AtomicBool::new(false),
            recent: Mutex::default(),
            layers: RwLock::default(),
        }
    }

    /// The message is understood: this is its image.
    pub fn name_image(&self, job: &Job) {
        self.image.get_or_init(|| JobImage {
            repository: job.repository.to_string(),
            digest: job.digest,
            tag: job.tag.as_ref().map(ToString::to_string),
        });
    }

    /// What has happened to the image.
    pub(crate) fn note(&self, event: &ImageEvent<'_>) {
        match *event {
            ImageEvent::DocumentsWait => self.documents_wait.store(true, Ordering::Relaxed),
            ImageEvent::DocumentsBegun => self.documents_wait.store(false, Ordering::Relaxed),
            ImageEvent::Planned { layers, bytes } => self.plan(layers, bytes),
            ImageEvent::LayerWaits { .. } => {
                self.layers_waiting.fetch_add(1, Ordering::Relaxed);
            }
            ImageEvent::LayerStarted { layer, size } => self.start_layer(layer, size),
            ImageEvent::LayerRead { layer, bytes } => self.read_layer(layer, bytes),
            ImageEvent::LayerRestarted { layer } => self.restart_layer(layer),
            ImageEvent::LayerDone { layer } => self.finish_layer(layer),
            ImageEvent::LayerLeftOut { layer, unread } => {
                self.unread.fetch_add(unread, Ordering::Relaxed);
                self.finish_layer(layer);
            }
            ImageEvent::LayerReused { size, .. } => {
                self.unread.fetch_add(size, Ordering::Relaxed);
                self.layers_done.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// Its image; `None` until the message is understood.
    pub fn image(&self) -> Option<&JobImage> {
        self.image.get()
    }

    /// What it waits for, if nothing of it is being worked on.
    pub fn waiting(&self) -> Option<Waiting> {
        self.waiting_without_slot().or_else(|| self.waiting_with_slot())
    }

    /// What it waits for while it has no slot.
    pub(crate) fn waiting_without_slot(&self) -> Option<Waiting> {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it waits for of what all images share.
    fn waiting_with_slot(&self) -> Option<Waiting> {
        if self.documents_wait.load(Ordering::Relaxed) {
            return Some(Waiting::ForDocumentMemory);
        }
        let planned = self.plan.get()?.layers;
        let stands_still = || self.map_layers(LayerInHand::is_read).into_iter().all(|read| !read);
        if self.layers_done.load(Ordering::Relaxed) >= planned || !stands_still() {
            return None;
        }
        let memory = self.layers_waiting.load(Ordering::Relaxed) > 0;
        Some(if memory { Waiting::ForLayerMemory } else { Waiting::ForLayerSlot })
    }

    /// Bytes of layers that were read in a second, of late; `None` while too little is known.
    pub fn recent_rate(&self) -> Option<f64> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).per_second()
    }

    pub(crate) fn waits(&self, waiting: Option<Waiting>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
    }

    /// Bytes of layers that were read, repeated ones included.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes of layers that were read and need not be read again.
    pub fn bytes_got(&self) -> u64 {
        self.bytes_read().saturating_sub(self.repeated.load(Ordering::Relaxed))
    }

    /// Bytes of layers that are to be read in all; `None` until that is known.
    pub fn bytes_planned(&self) -> Option<u64> {
        let unread = self.unread.load(Ordering::Relaxed);
        self.plan.get().map(|plan| plan.bytes.saturating_sub(unread))
    }

    /// Layers that were begun and are not done.
    pub fn layers_open(&self) -> u64 {
        self.layers_open.load(Ordering::Relaxed)
    }

    /// Time since the first message of the job was sent; clocks that differ make it zero, not negative.
    pub fn age(&self) -> Duration {
        SystemTime::now().duration_since(self.sent_at).unwrap_or_default()
    }

    fn plan(&self, layers: usize, bytes: u64) {
        self.plan.get_or_init(|| LayerPlan { layers, bytes });
    }

    fn start_layer(&self, digest: &Digest, size: u64) {
        self.layers_open.fetch_add(1, Ordering::Relaxed);
        self.one_waits_less();
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(again) = layers.iter_mut().find(|layer| layer.digest == *digest) {
            again.read = AtomicU64::new(0);
            again.waits = AtomicBool::new(false);
            return;
        }
        if layers.len() >= MAX_LAYERS {
            let first_done = layers.iter().position(|layer| layer.done.load(Ordering::Relaxed));
            let Some(first_done) = first_done else { return };
            layers.remove(first_done);
        }
        let (read, done) = (AtomicU64::new(0), AtomicBool::new(false));
        layers.push(LayerInHand {
            digest: *digest,
            size,
            read,
            done,
            waits: AtomicBool::new(false),
        });
    }

    fn one_waits_less(&self) {
        let one_less = |waiting: u64| waiting.checked_sub(1);
        let _ = self.layers_waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
    }

    /// Called for every piece of a layer: only shares its lock, which is taken alone when a layer
    /// begins.
    fn read_layer(&self, digest: &Digest, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).add(bytes);
        self.with_layer(digest, |layer| {
            layer.read.fetch_add(bytes, Ordering::Relaxed);
            if layer.waits.swap(false, Ordering::Relaxed) {
                self.one_waits_less();
            }
        });
    }

    /// The layer will be read again. What was read of it stays in the sum of all that was read.
    fn restart_layer(&self, digest: &Digest) {
        self.with_layer(digest, |layer| {
            let read = layer.read.swap(0, Ordering::Relaxed);
            self.repeated.fetch_add(read, Ordering::Relaxed);
            if !layer.waits.swap(true, Ordering::Relaxed) {
                self.layers_waiting.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    fn finish_layer(&self, digest: &Digest) {
        let one_less = |open: u64| open.checked_sub(1);
        let _ = self.layers_open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        self.layers_done.fetch_add(1, Ordering::Relaxed);
        self.with_layer(digest, |layer| layer.done.store(true, Ordering::Relaxed));
    }

    pub(crate) fn map_layers<T>(&self, map: impl FnMut(&LayerInHand) -> T) -> Vec<T> {
        let layers = self.layers.read().unwrap_or_else(PoisonError::into_inner);
        layers.iter().map(map).collect()
    }

    fn with_layer(&self, digest: &Digest, apply: impl FnOnce(&LayerInHand)) {
        let layers = self.layers.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(layer) = layers.iter().find(|layer| layer.digest == *digest) {
            apply(layer);
        }
    }
}
