//! What a registry client tries again, said as it happens: somebody who mistyped a host or forgot to start a registry
//! should not wait for the last try to learn it.
//!
//! The first failure is said at once. Several requests fail together and again, so after that a line is said at most once
//! in [`PAUSE`].

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use soci_registry::{Observer, RetryScheduled};
use soci_text::error_chain;
use tokio::time::Instant;

/// Least time between lines.
const PAUSE: Duration = Duration::from_secs(1);

/// Says what is tried again.
pub(crate) struct RetryNotes {
    say: Box<dyn Fn(String) + Send + Sync>,
    last: Mutex<Option<Instant>>,
}

impl RetryNotes {
    /// Notes that are said by `say`.
    pub(crate) fn new(say: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self { say: Box::new(say), last: Mutex::default() }
    }

    fn note(&self, error: &dyn Error, wait: Duration) {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now < last + PAUSE) {
            return;
        }
        *last = Some(now);
        let wait = wait.as_secs_f64();
        (self.say)(format!("warning: {}; trying again in {wait:.1} s", error_chain(error)));
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
        assert_eq!(said.lock().unwrap()[1..], ["warning: refused; trying again in 2.0 s"]);
    }
}
