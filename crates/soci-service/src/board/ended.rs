//! A finished job.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use soci_oci::Digest;
use tokio::time::Instant;

use super::running::{Image, Running};
use super::text::shown;
use crate::watch::{Ending, Lane, Ticket};

#[derive(Debug)]
pub(super) struct Ended {
    pub(super) ticket: Ticket,
    pub(super) image: Option<Image>,
    pub(super) lane: Lane,
    pub(super) message_id: String,
    pub(super) receive_count: u32,
    pub(super) outcome: &'static str,
    pub(super) reason: &'static str,
    pub(super) detail: String,
    pub(super) made: Option<Made>,
    pub(super) bytes_read: u64,
    pub(super) again_in: Option<Duration>,
    pub(super) at: SystemTime,
    pub(super) since: Instant,
    pub(super) elapsed: Duration,
}

/// The index of an image.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) index: Digest,
    pub(super) tag: Option<String>,
    pub(super) layers_built: usize,
    pub(super) layers_skipped: usize,
}

impl Ended {
    pub(super) fn new(
        ticket: Ticket,
        running: &Running,
        ending: &Ending,
        elapsed: Duration,
    ) -> Self {
        let made = match ending {
            Ending::Indexed(report) | Ending::AlreadyIndexed(report) => Some(Made {
                index: report.index,
                tag: report.tag.as_ref().map(ToString::to_string),
                layers_built: report.layers.len(),
                layers_skipped: report.skipped.len(),
            }),
            _ => None,
        };
        let again_in = match ending {
            Ending::Retried { again_in, .. } => Some(*again_in),
            _ => None,
        };
        Self {
            ticket,
            image: running.image.get().cloned(),
            lane: running.lane,
            message_id: running.message_id.clone(),
            receive_count: running.receive_count,
            outcome: ending.label(),
            reason: ending.reason(),
            detail: shown(ending.detail()),
            made,
            bytes_read: running.read.load(Ordering::Relaxed),
            again_in,
            at: SystemTime::now(),
            since: Instant::now(),
            elapsed,
        }
    }
}
