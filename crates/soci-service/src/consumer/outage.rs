//! Recognises that the registry is away, and says how many jobs may be taken meanwhile. Asks nobody,
//! knows no clock.
//!
//! When a registry does not answer, or a permission is missing, every job fails for it. To take one job
//! after the other off the queue then does no good: it loads a registry that is trying to come back,
//! and each job counts a try that said nothing about its image. So:
//!
//! - An outage begins when [`IMAGES`] different images have failed for the same reason within
//!   [`WINDOW`], a reason that is of the registry ([`Reason::is_of_the_registry`]), and none has worked
//!   in between. The same image failing again and again says nothing about the others. Access that is
//!   denied is a matter of single repositories as often as of all, so there it takes two of them.
//! - While it lasts one job at a time is taken, as a probe, with pauses between them that grow from
//!   [`PAUSES`]`.first` to [`PAUSES`]`.max`. A probe that takes longer than the longest pause is no sign
//!   of an outage, so another one may be taken beside it.
//! - It ends with the first job, probe or not, that comes to an end for which the registry had to work:
//!   an index is there, or what was read of the image says that there can be none. What a registry only
//!   claims ([`Outcome::doubt`]) is no such end, as one that is half away claims much.
//! - A probe that says nothing about the registry, as a message that is malformed, is followed by the
//!   next one at once.
//! - A job that fails comes again within a quarter of an hour, here or at another worker. So when none has come
//!   for [`FORGOTTEN`], all of them have gone elsewhere, and nothing is known of the registry any longer: the outage
//!   is forgotten, and the next jobs tell.
//!
//! Each worker finds out for itself. Failures during an outage are tried again and not counted; the age
//! at which a job is given up goes on.

use std::time::Duration;

use soci_indexer::Reason;
use soci_jobs::Outcome;
use soci_retry::Backoff;
use tokio::time::Instant;

use crate::event::Event;
use crate::job_in_hand::{JobId, JobImage};

/// How many different images have to fail.
const IMAGES: usize = 3;

/// Within which time.
const WINDOW: Duration = Duration::from_mins(15);

/// Times between the end of a probe that failed and the next one.
const PAUSES: Backoff = Backoff { first: Duration::from_secs(15), max: Duration::from_mins(5) };

/// How long after a probe might have begun an outage is forgotten, if none has.
const FORGOTTEN: Duration = Duration::from_mins(20);

/// What a job that ended says about the registry.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sign<'a> {
    /// It does not work, and this image failed for that.
    Fails(Reason, &'a JobImage),
    /// It works.
    Works,
    /// Nothing.
    Silent,
}

impl<'a> Sign<'a> {
    pub(super) fn of(outcome: &Outcome, image: Option<&'a JobImage>) -> Self {
        match (outcome, image) {
            (Outcome::Indexed(_) | Outcome::AlreadyIndexed(_), _) => Self::Works,
            (Outcome::Skipped(why) | Outcome::Rejected(why), _)
                if why.found.is_some() && outcome.doubt().is_none() =>
            {
                Self::Works
            }
            (Outcome::Failed(why), Some(image)) => match why.found {
                Some(reason) if reason.is_of_the_registry() => Self::Fails(reason, image),
                _ => Self::Silent,
            },
            _ => Self::Silent,
        }
    }
}

/// How many jobs may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// As many as there are slots.
    All,
    /// One.
    Probe,
    /// None before then.
    NoneUntil(Instant),
}

/// Knows whether there is an outage.
#[derive(Debug, Default)]
pub(super) struct OutageWatch {
    /// The latest failure of each image, since something worked.
    failures: Vec<Failure>,
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Failure {
    reason: Reason,
    image: JobImage,
    at: Instant,
}

#[derive(Debug)]
struct Outage {
    reason: Reason,
    since: Instant,
    /// Probes that have failed.
    probes: u32,
    /// The latest job that was taken as a probe, until it ends.
    probe: Option<JobId>,
    next_probe: Instant,
}

impl OutageWatch {
    /// Whether there is one, so that failures do not count.
    pub(super) fn is_on(&self) -> bool {
        self.outage.is_some()
    }

    /// How many jobs may be taken now.
    pub(super) fn allowance(&self, now: Instant) -> Allowance {
        match &self.outage {
            None => Allowance::All,
            Some(outage) if outage.next_probe <= now => Allowance::Probe,
            Some(outage) => Allowance::NoneUntil(outage.next_probe),
        }
    }

    /// A job was taken.
    pub(super) fn begun(&mut self, job: JobId, now: Instant) {
        if let Some(outage) = &mut self.outage {
            outage.probe = Some(job);
            outage.next_probe = now + PAUSES.max;
        }
    }

    /// Forgets an outage of which nothing has been heard for long. Tells what is to be told.
    pub(super) fn forget(&mut self, now: Instant) -> Option<Event<'static>> {
        let is_old =
            |outage: &mut Outage| outage.probe.is_none() && now >= outage.next_probe + FORGOTTEN;
        let Outage { reason, since, .. } = self.outage.take_if(is_old)?;
        Some(Event::OutageForgotten { reason, since })
    }

    /// A job has ended. `random` is a number from 0 to 1. Tells what is to be told.
    pub(super) fn ended(
        &mut self,
        job: JobId,
        sign: Sign<'_>,
        now: Instant,
        random: f64,
    ) -> Option<Event<'static>> {
        match (sign, &mut self.outage) {
            (Sign::Works, _) => {
                self.failures.clear();
                let outage = self.outage.take()?;
                Some(Event::OutageEnded { reason: outage.reason, since: outage.since })
            }
            (Sign::Silent, Some(outage)) => {
                if outage.probe.take_if(|probe| *probe == job).is_some() {
                    outage.next_probe = now;
                }
                None
            }
            (Sign::Silent, None) => None,
            (Sign::Fails(reason, _), Some(outage)) => {
                outage.probe.take_if(|probe| *probe == job)?;
                outage.probes = outage.probes.saturating_add(1);
                outage.reason = reason;
                outage.next_probe = now + PAUSES.delay(outage.probes.saturating_add(1), random);
                let Outage { since, probes, next_probe, .. } = *outage;
                Some(Event::OutageLasts { reason, since, probes, next_probe })
            }
            (Sign::Fails(reason, image), None) => {
                self.failures.retain(|old| old.at + WINDOW > now && old.image != *image);
                self.failures.push(Failure { reason, image: image.clone(), at: now });
                let alike = || self.failures.iter().filter(|failure| failure.reason == reason);
                let repositories = alike().filter(|f| f.image.repository != image.repository);
                let elsewhere = repositories.count() > 0;
                if alike().count() < IMAGES || (reason == Reason::Unauthorized && !elsewhere) {
                    // Nothing more than this is ever needed.
                    let excess = self.failures.len().saturating_sub(MAX_FAILURES);
                    self.failures.drain(..excess);
                    return None;
                }
                let since = alike().map(|failure| failure.at).min().unwrap_or(now);
                self.failures.clear();
                let next_probe = now + PAUSES.delay(1, random);
                self.outage = Some(Outage { reason, since, probes: 0, probe: None, next_probe });
                Some(Event::OutageBegan { reason, since })
            }
        }
    }
}

/// Failures that are remembered: enough for several reasons and repositories at once.
const MAX_FAILURES: usize = 64;

#[cfg(test)]
mod tests;
