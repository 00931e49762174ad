//! Decides when a task is protected and released. Asks nobody.
//!
//! - With a job, a protection is due at once, and again at half of the life of the last one: a renewal
//!   that fails is tried again in the other half.
//! - After the longest time in one go the task is released although jobs run, and protected again after
//!   a pause, in which a deployment that waits can stop it.
//! - Without a job, the task is released after it has lingered for a while.
//! - A call without an answer may have worked. So a task may be protected from the moment at which that
//!   was asked for, and is released even if no call is known to have succeeded.
//! - After a failure nothing is asked for a while.

use std::time::Duration;

use tokio::time::Instant;

use super::settings::{Protection, ProtectionSettings};

/// What is known of a task's protection.
#[derive(Debug)]
pub(super) struct Guard {
    settings: ProtectionSettings,
    /// Since when no job has run; `None` while one does.
    idle_since: Option<Instant>,
    /// Whether the task may be protected: it was asked for, even if without an answer.
    maybe_protected: bool,
    /// Since when the task has been protected without a gap.
    protected_since: Option<Instant>,
    /// When the protection is wanted or has to be renewed; `None` if it is not known to be there.
    renew_at: Option<Instant>,
    /// Before this nothing is tried again.
    resume_at: Option<Instant>,
}

impl Guard {
    pub(super) fn new(settings: ProtectionSettings) -> Self {
        Self {
            settings,
            idle_since: None,
            maybe_protected: false,
            protected_since: None,
            renew_at: None,
            resume_at: None,
        }
    }

    /// Takes note of whether jobs run.
    pub(super) fn observe(&mut self, busy: bool, now: Instant) {
        self.idle_since = if busy { None } else { self.idle_since.or(Some(now)) };
        // A renewal that is planned stays: a job that comes while the task lingers costs no call.
        if busy && self.renew_at.is_none() {
            self.renew_at = Some(now);
        }
    }

    /// What is to be done next, and when; nothing, if the task is idle and not protected.
    pub(super) fn due(&self) -> Option<(Instant, Protection)> {
        let (at, wanted) = match self.idle_since {
            None => {
                let renew_at = self.renew_at?;
                // A renewal at or after the end of the longest time would only put that end off.
                match self.protected_since.map(|since| since + self.settings.longest) {
                    Some(end) if end <= renew_at => (end, Protection::Released),
                    _ => (renew_at, Protection::Minutes(self.settings.lifetime)),
                }
            }
            Some(since) if self.maybe_protected => {
                (since + self.settings.linger, Protection::Released)
            }
            Some(_) => return None,
        };
        Some((self.resume_at.map_or(at, |resume_at| at.max(resume_at)), wanted))
    }

    pub(super) fn is_maybe_protected(&self) -> bool {
        self.maybe_protected
    }

    /// A call is made.
    pub(super) fn asked(&mut self, wanted: Protection) {
        self.maybe_protected |= wanted != Protection::Released;
    }

    /// A call that was made at `asked` succeeded.
    pub(super) fn succeeded(&mut self, wanted: Protection, asked: Instant) {
        self.resume_at = None;
        match wanted {
            Protection::Minutes(minutes) => {
                // Counted from the question, as ECS may have counted from then.
                let lifetime = Duration::from_mins(u64::from(minutes.get()));
                self.renew_at = Some(asked + lifetime / 2);
                self.protected_since.get_or_insert(asked);
            }
            Protection::Released => {
                self.maybe_protected = false;
                self.protected_since = None;
                // Between two protections of a task with jobs; an idle one wants none.
                self.renew_at = self.idle_since.is_none().then_some(asked + self.settings.pause);
            }
        }
    }

    /// A call failed.
    pub(super) fn failed(&mut self, now: Instant) {
        self.resume_at = Some(now + self.settings.retry);
    }
}
