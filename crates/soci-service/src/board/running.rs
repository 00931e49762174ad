//! A job in hand.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::SystemTime;

use soci_oci::Digest;
use soci_push::Job;
use soci_queue::Message;
use tokio::time::Instant;

use super::text::shown;
use crate::watch::Lane;

/// How many layers of a job are shown; of more, those that were finished first are left out.
pub const MAX_LAYERS: usize = 100;

#[derive(Debug)]
pub(super) struct Running {
    pub(super) lane: Lane,
    pub(super) message_id: String,
    pub(super) receive_count: u32,
    pub(super) sent_at: SystemTime,
    pub(super) received_at: SystemTime,
    pub(super) received: Instant,
    pub(super) image: OnceLock<Image>,
    pub(super) plan: OnceLock<Plan>,
    /// Bytes read, of all layers, repeated ones included.
    pub(super) read: AtomicU64,
    pub(super) layers_done: AtomicUsize,
    layers: RwLock<Vec<Layer>>,
}

/// The image of a job.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) repository: String,
    pub(super) digest: Digest,
    pub(super) tag: Option<String>,
}

/// What will be read of an image.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) layers: usize,
    pub(super) bytes: u64,
    pub(super) since: Instant,
}

/// A layer that is being read, or has been.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) read: AtomicU64,
    pub(super) done: AtomicBool,
}

impl Running {
    pub(super) fn new(lane: Lane, message: &Message) -> Self {
        Self {
            lane,
            message_id: shown(&message.id.0),
            receive_count: message.receive_count,
            sent_at: message.sent_at,
            received_at: SystemTime::now(),
            received: Instant::now(),
            image: OnceLock::new(),
            plan: OnceLock::new(),
            read: AtomicU64::new(0),
            layers_done: AtomicUsize::new(0),
            layers: RwLock::default(),
        }
    }

    pub(super) fn start(&self, job: &Job) {
        self.image.get_or_init(|| Image {
            repository: job.repository.to_string(),
            digest: job.digest,
            tag: job.tag.as_ref().map(ToString::to_string),
        });
    }

    pub(super) fn plan(&self, layers: usize, bytes: u64) {
        self.plan.get_or_init(|| Plan { layers, bytes, since: Instant::now() });
    }

    pub(super) fn start_layer(&self, digest: &Digest, size: u64) {
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(again) = layers.iter_mut().find(|layer| layer.digest == *digest) {
            again.read = AtomicU64::new(0);
            return;
        }
        if layers.len() >= MAX_LAYERS {
            let first_done = layers.iter().position(|layer| layer.done.load(Ordering::Relaxed));
            let Some(first_done) = first_done else { return };
            layers.remove(first_done);
        }
        let (read, done) = (AtomicU64::new(0), AtomicBool::new(false));
        layers.push(Layer { digest: *digest, size, read, done });
    }

    /// Called for every piece of a layer: only shares its lock, which is taken alone when a layer
    /// begins.
    pub(super) fn read_layer(&self, digest: &Digest, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
        self.with_layer(digest, |layer| {
            layer.read.fetch_add(bytes, Ordering::Relaxed);
        });
    }

    pub(super) fn finish_layer(&self, digest: &Digest) {
        self.layers_done.fetch_add(1, Ordering::Relaxed);
        self.with_layer(digest, |layer| layer.done.store(true, Ordering::Relaxed));
    }

    pub(super) fn map_layers<T>(&self, map: impl FnMut(&Layer) -> T) -> Vec<T> {
        let layers = self.layers.read().unwrap_or_else(PoisonError::into_inner);
        layers.iter().map(map).collect()
    }

    fn with_layer(&self, digest: &Digest, apply: impl FnOnce(&Layer)) {
        let layers = self.layers.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(layer) = layers.iter().find(|layer| layer.digest == *digest) {
            apply(layer);
        }
    }
}
