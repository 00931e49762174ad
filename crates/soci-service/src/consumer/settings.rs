//! How the consumer behaves.

use std::time::Duration;

use soci_jobs::RetryRule;
use soci_queue::{MAX_VISIBILITY, MAX_WAIT};
use soci_retry::Backoff;

/// Shortest visibility timeout: it has to outlast a heartbeat that is answered late and tried again.
const MIN_VISIBILITY: Duration = Duration::from_secs(15);

/// How the consumer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// Most jobs at once, at least 1. More share the budget of the indexer, not add to it.
    pub max_jobs: usize,
    /// How long a message stays hidden without a heartbeat, 15 s to 12 h: what a job of a worker that
    /// died waits for. A heartbeat comes at a third of it.
    pub visibility: Duration,
    /// How long to wait for messages of the live queue when there is no other, at most
    /// [`MAX_WAIT`].
    pub long_poll: Duration,
    /// How long to wait for messages of the live queue before the backfill queue is looked at again,
    /// if both were empty; at most [`MAX_WAIT`].
    pub idle_poll: Duration,
    /// Longest time for a job since its message was received, after which it counts as one that will
    /// never end. With a visibility timeout, or the longest time to the next try, it is below 12 h,
    /// for which SQS leaves a message with one receiver.
    pub max_job_time: Duration,
    /// How long jobs, and a receive that waits for messages, may go on when the service is told to
    /// stop. Below the wait of a long poll a message may be left hidden. With
    /// [`GIVE_BACK_TIME`](super::GIVE_BACK_TIME) it is to stay below the time after which the
    /// service is killed, 120 s at most on Fargate.
    pub drain_deadline: Duration,
    /// When a job is tried again after a failure that may pass, by how often it has failed; at most
    /// [`soci_queue::MAX_DELAY`].
    pub retry: Backoff,
    /// How old a job becomes at most while it fails for what may pass. One that is older is given up,
    /// with its last reason, but not before it has failed for a 24th of this.
    pub max_job_age: Duration,
    /// When a queue is asked again after it failed.
    pub queue_retry: Backoff,
    /// How long an answer of a queue may take, beyond the wait of a long poll.
    pub call_timeout: Duration,
    /// Time between two counts of the queues' messages.
    pub backlog_interval: Duration,
    /// Whether dead letters are looked at again and again, so that they can be shown. To look at one is to receive
    /// it.
    pub look_at_letters: bool,
    /// How long the live queue may be missing or forbidden before the service gives up.
    pub patience: Duration,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            max_jobs: 4,
            visibility: Duration::from_mins(2),
            long_poll: MAX_WAIT,
            idle_poll: Duration::from_secs(5),
            max_job_time: Duration::from_hours(11),
            drain_deadline: Duration::from_secs(100),
            retry: Backoff { first: Duration::from_secs(30), max: Duration::from_mins(15) },
            max_job_age: Duration::from_hours(24),
            queue_retry: Backoff { first: Duration::from_secs(1), max: Duration::from_secs(30) },
            call_timeout: Duration::from_secs(10),
            backlog_interval: Duration::from_secs(30),
            look_at_letters: false,
            patience: Duration::from_mins(5),
        }
    }
}

/// Settings that do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// No job could ever run.
    #[error("there must be at least one job at once")]
    NoJobs,
    /// The visibility timeout is too short or too long.
    #[error(
        "a visibility timeout of {0:?} is not between {MIN_VISIBILITY:?} and {MAX_VISIBILITY:?}"
    )]
    Visibility(Duration),
    /// A wait for messages is too long.
    #[error("a wait of {0:?} for messages is longer than {MAX_WAIT:?}")]
    Wait(Duration),
    /// A wait for messages, or the time between counts, is zero: the queue would be asked without a
    /// pause.
    #[error("waits for messages and the time between counts must not be zero")]
    NoPause,
    /// A job could run for longer than its message can be kept.
    #[error(
        "a job of {job:?} and {after:?} after it are longer than the {MAX_VISIBILITY:?} for which a message can be kept"
    )]
    JobTime {
        /// The longest job.
        job: Duration,
        /// How long its message may have to be hidden after that.
        after: Duration,
    },
}

impl ConsumerSettings {
    /// How long jobs are tried: until they are too old, however often that is.
    pub(super) fn retry_rule(&self) -> RetryRule {
        RetryRule { pauses: self.retry, max_age: self.max_job_age, max_tries: None }
    }

    /// Whether the settings fit together.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.max_jobs == 0 {
            return Err(SettingsError::NoJobs);
        }
        if !(MIN_VISIBILITY..=MAX_VISIBILITY).contains(&self.visibility) {
            return Err(SettingsError::Visibility(self.visibility));
        }
        if let Some(wait) = [self.long_poll, self.idle_poll].into_iter().find(|w| *w > MAX_WAIT) {
            return Err(SettingsError::Wait(wait));
        }
        if [self.long_poll, self.idle_poll, self.backlog_interval].iter().any(Duration::is_zero) {
            return Err(SettingsError::NoPause);
        }
        let (job, after) = (self.max_job_time, self.visibility.max(self.retry.max));
        if job.saturating_add(after) > MAX_VISIBILITY {
            return Err(SettingsError::JobTime { job, after });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_together() {
        assert_eq!(ConsumerSettings::default().check(), Ok(()));
    }

    #[test]
    fn settings_that_do_not_fit_together_are_refused() {
        let base = ConsumerSettings::default();
        let long = Duration::from_secs(21);
        let half = Duration::from_hours(6);
        for (settings, error) in [
            (ConsumerSettings { max_jobs: 0, ..base }, SettingsError::NoJobs),
            (
                ConsumerSettings { visibility: Duration::from_secs(14), ..base },
                SettingsError::Visibility(Duration::from_secs(14)),
            ),
            (ConsumerSettings { long_poll: long, ..base }, SettingsError::Wait(long)),
            (ConsumerSettings { idle_poll: long, ..base }, SettingsError::Wait(long)),
            (ConsumerSettings { idle_poll: Duration::ZERO, ..base }, SettingsError::NoPause),
            (ConsumerSettings { backlog_interval: Duration::ZERO, ..base }, SettingsError::NoPause),
            (
                ConsumerSettings { visibility: half, max_job_time: half + long, ..base },
                SettingsError::JobTime { job: half + long, after: half },
            ),
        ] {
            assert_eq!(settings.check(), Err(error));
        }
    }
}
