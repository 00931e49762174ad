//! What the receive loop and its jobs work with.

use soci_queue::Queue;

use super::settings::ConsumerSettings;
use crate::event::{Events, QueueKind};

/// The queues of a service.
#[derive(Clone, Debug)]
pub struct Queues<Q> {
    /// What has just been pushed.
    pub live: Q,
    /// What events missed, worked on when there is room.
    pub backfill: Option<Q>,
    /// Where messages are put that can never be worked off. Without it they are given back like
    /// failures that may pass, and left to the queue's own redrive policy.
    pub dead_letters: Option<Q>,
}

/// What the receive loop and its jobs work with. There is one for all of them.
pub(super) struct ConsumerContext<Q, H> {
    pub(super) queues: Queues<Q>,
    pub(super) handler: H,
    pub(super) events: Events,
    pub(super) settings: ConsumerSettings,
}

impl<Q: Queue, H> ConsumerContext<Q, H> {
    /// The queue of this kind. Without a backfill queue nothing comes from there.
    pub(super) fn queue(&self, kind: QueueKind) -> &Q {
        match kind {
            QueueKind::Live => &self.queues.live,
            QueueKind::Backfill => self.queues.backfill.as_ref().unwrap_or(&self.queues.live),
        }
    }
}
