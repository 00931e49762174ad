//! What a registry client tries again, said as it happens: somebody who mistyped a host or forgot to start a registry
//! should not wait for the last try to learn it.
//!
//! The first failure is said at once. Several requests fail together and again, so after that a line is said at most once
//! in [`PAUSE`], and one that says the same as the line before says only that.
//!
//! The latest failure is kept, said or not: it is why a command came no further that is stopped, or whose time is over. But
//! nobody is told that the next try succeeded, so a failure that is long over must not be given as the cause: it is for as
//! long as it is waited after it, and for [`TRY`] more, in which the next try answers or fails in turn.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use soci_registry::{Observer, RetryScheduled};
use soci_text::error_chain;
use tokio::time::Instant;

/// Least time between lines.
const PAUSE: Duration = Duration::from_secs(1);

/// Time in which a try has answered or failed in turn, unless the registry is slow: more than the 10 s after which
/// connecting to a host that does not answer fails ([`soci_registry::Timeouts`]).
const TRY: Duration = Duration::from_secs(15);

/// Says what is tried again.
pub(crate) struct RetryNotes {
    say: Box<dyn Fn(String) + Send + Sync>,
    last: Mutex<Option<Said>>,
    latest: Mutex<Option<LatestFailure>>,
}

/// The latest failure.
struct LatestFailure {
    error: String,
    /// When it is known no more whether it still matters.
    until: Instant,
}

/// The last line.
struct Said {
    at: Instant,
    error: String,
}

impl RetryNotes {
    /// Notes that are said by `say`.
    pub(crate) fn new(say: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self { say: Box::new(say), last: Mutex::default(), latest: Mutex::default() }
    }

    /// Takes the latest failure out, of which nothing is known any more then. None if it is long over.
    pub(crate) fn take_latest(&self) -> Option<String> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        (Instant::now() <= latest.until).then_some(latest.error)
    }

    fn note(&self, error: &dyn Error, wait: Duration) {
        let now = Instant::now();
        let told = error_chain(error);
        let latest = LatestFailure { error: told.clone(), until: now + wait + TRY };
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(latest);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_some_and(|last| now < last.at + PAUSE) {
            return;
        }
        let (error, wait) = (told, wait.as_secs_f64());
        (self.say)(match &*last {
            Some(last) if last.error == error => {
                format!("warning: still the same; trying again in {wait:.1} s")
            }
            _ => format!("warning: {error}; trying again in {wait:.1} s"),
        });
        *last = Some(Said { at: now, error });
    }
}

impl Observer for RetryNotes {
    fn retry(&self, retry: &RetryScheduled<'_>) {
        self.note(retry.error, retry.wait);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_failure_is_said_at_once_and_others_once_a_second() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&said);
        let notes = RetryNotes::new(move |line| lines.lock().unwrap().push(line));
        let error = std::io::Error::other("refused");
        notes.note(&error, Duration::from_millis(480));
        notes.note(&error, Duration::from_millis(480));
        assert_eq!(*said.lock().unwrap(), ["warning: refused; trying again in 0.5 s"]);
        advance(Duration::from_millis(999)).await;
        notes.note(&error, Duration::from_secs(1));
        assert_eq!(said.lock().unwrap().len(), 1);
        advance(Duration::from_millis(1)).await;
        notes.note(&error, Duration::from_secs(2));
        assert_eq!(said.lock().unwrap()[1..], ["warning: still the same; trying again in 2.0 s"]);
        advance(Duration::from_secs(1)).await;
        notes.note(&std::io::Error::other("reset"), Duration::from_secs(2));
        assert_eq!(said.lock().unwrap()[2..], ["warning: reset; trying again in 2.0 s"]);
        notes.note(&std::io::Error::other("closed"), Duration::from_secs(2));
        assert_eq!(said.lock().unwrap().len(), 3);
        assert_eq!((notes.take_latest().as_deref(), notes.take_latest()), (Some("closed"), None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_is_long_over_is_no_cause() {
        let notes = RetryNotes::new(drop);
        let wait = Duration::from_secs(30);
        notes.note(&std::io::Error::other("refused"), wait);
        advance(wait + TRY).await;
        assert_eq!(notes.take_latest().as_deref(), Some("refused"));
        notes.note(&std::io::Error::other("refused"), wait);
        advance(wait + TRY + Duration::from_millis(1)).await;
        assert_eq!(notes.take_latest(), None);
    }
}
