//! What is announced of a job: how its image ended, once that is sure.
//!
//! [`EndKind`] decides: an index that is there, nothing to do, or a dead letter. What comes again, for another try, for a
//! second look or because the process stops, has not ended and is not announced. Nor is a failure without a dead-letter
//! queue, whose message comes again until its queue moves it. A message that names no image has nothing to tell, and a
//! push that is no work, as the filters or its kind say, is no image of the service's.

use std::time::{Duration, SystemTime};

use soci_announce::{Announcement, ImageStatus, SCHEMA};
use soci_manifest::Version;
use soci_oci::Digest;
use soci_push::event::Timestamp;
use soci_text::{disarmed, truncate, without_url_secrets};

use crate::outcome::{EndKind, JobEnd};

/// Longest message of an announcement in bytes.
const MAX_MESSAGE: usize = 2 << 10;

/// An image whose job has ended, and what that took.
#[derive(Clone, Copy, Debug)]
pub struct EndedImage<'a> {
    /// Host of its registry, and its port if it names one.
    pub registry: &'a str,
    /// Name of its repository there.
    pub repository: &'a str,
    /// Its digest.
    pub digest: &'a Digest,
    /// The tag it was pushed under.
    pub tag: Option<&'a str>,
    /// Bytes of layers that were read.
    pub bytes_read: u64,
    /// Time since its message was received.
    pub elapsed: Duration,
    /// When it ended.
    pub at: SystemTime,
}

/// What is announced of an image whose job ended so; nothing if it comes again.
pub fn announcement(image: &EndedImage<'_>, end: &JobEnd) -> Option<Announcement> {
    let status = match end.kind() {
        EndKind::Indexed => ImageStatus::Indexed,
        EndKind::AlreadyIndexed => ImageStatus::AlreadyIndexed,
        // What could not be deleted comes again, and is found to be skipped again.
        EndKind::Skipped => ImageStatus::Skipped,
        EndKind::Rejected => ImageStatus::Failed,
        EndKind::Retried
        | EndKind::Doubted
        | EndKind::Postponed
        | EndKind::GivenBack
        | EndKind::Abandoned => return None,
    };
    let report = end.outcome.report();
    let deploy = report.map(|report| match report.version {
        Version::V1 => report.image,
        Version::V2 => report.index,
    });
    let deploy = deploy.map(|digest| format!("{}/{}@{digest}", image.registry, image.repository));
    let version = report.map(|report| match report.version {
        Version::V1 => "V1",
        Version::V2 => "V2",
    });
    Some(Announcement {
        schema: SCHEMA,
        id: Announcement::new_id(),
        time: Timestamp::from(image.at).to_string(),
        status,
        registry: image.registry.to_owned(),
        repository: image.repository.to_owned(),
        tag: image.tag.map(str::to_owned),
        image_digest: image.digest.to_string(),
        output_tag: report.and_then(|report| report.tag.as_ref()).map(ToString::to_string),
        index_digest: report.map(|report| report.index.to_string()),
        deploy,
        soci_index_version: version.map(str::to_owned),
        reason: end.outcome.why().map(|why| why.reason.to_owned()),
        message: end.outcome.why().map(|why| told(&why.detail)),
        bytes_read: image.bytes_read,
        seconds: image.elapsed.as_secs_f64(),
    })
}

/// A detail as others may read it. It goes further than the log does, so what the errors of the registry have left out
/// already is left out of all others as well: what URLs carry beside their place.
fn told(detail: &str) -> String {
    let clean = without_url_secrets(detail);
    let mut clean = disarmed(&clean, MAX_MESSAGE, ' ', &[]);
    truncate(&mut clean, MAX_MESSAGE);
    clean
}

#[cfg(test)]
mod tests;
