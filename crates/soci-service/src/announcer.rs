//! Tells others how images end.

use std::time::SystemTime;

use soci_announce::Outboxes;
use soci_jobs::{EndedImage, announcement};

use crate::event::{Event, EventSink};

/// Announces every image whose job has ended, unless it comes again.
#[derive(Clone, Debug)]
pub struct Announcer(Outboxes);

impl Announcer {
    /// Announces through these.
    pub fn new(outboxes: Outboxes) -> Self {
        Self(outboxes)
    }
}

impl EventSink for Announcer {
    fn event(&self, event: &Event<'_>) {
        let Event::JobEnded { job, end, elapsed, .. } = *event else { return };
        let Some(image) = job.image() else { return };
        // A repository's name has its registry before it.
        let Some((registry, repository)) = image.repository.split_once('/') else { return };
        let image = EndedImage {
            registry,
            repository,
            digest: &image.digest,
            tag: image.tag.as_deref(),
            bytes_read: job.bytes_read(),
            elapsed,
            at: SystemTime::now(),
        };
        if let Some(announcement) = announcement(&image, end) {
            self.0.send(&announcement);
        }
    }
}
