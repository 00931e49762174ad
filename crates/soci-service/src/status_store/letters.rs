//! What is known of the dead letters: how many there are, how old they are, and, if they are looked at, which.

use std::time::SystemTime;

use serde::Serialize;
use soci_queue::Backlog;
use tokio::time::Instant;

use super::shown_time::{seconds, since, time};
use crate::dead_letters::Letter;

/// A queue's messages, and when they were counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub(super) backlog: Backlog,
    pub(super) at: Instant,
}

/// The messages of the dead-letter queue.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLettersStatus {
    /// Letters that wait for a person.
    pub visible: u64,
    /// Letters that somebody has in hand.
    pub in_flight: u64,
    /// Time since they were counted.
    pub counted_seconds_ago: f64,
    /// Time since the oldest of them was sent or failed, where that is known.
    pub oldest_seconds: Option<f64>,
    /// The letters, the newest first, if they are looked at; `null` if not.
    pub letters: Option<Vec<LetterStatus>>,
    /// Whether there may be others.
    pub more_letters: bool,
    /// Time since they were looked at.
    pub seen_seconds_ago: Option<f64>,
}

/// A dead letter.
#[derive(Clone, Debug, Serialize)]
pub struct LetterStatus {
    /// Its identifier on the dead-letter queue.
    pub id: String,
    /// Host and name of the repository; `null` if its body is not understood.
    pub repository: Option<String>,
    /// Digest of the image.
    pub digest: Option<String>,
    /// The tag it was pushed under.
    pub tag: Option<String>,
    /// Why it is there.
    pub reason: String,
    /// The same for people.
    pub detail: String,
    /// Tries that failed before.
    pub attempts: u32,
    /// When it failed.
    pub failed_at: String,
    /// Time since then.
    pub age_seconds: f64,
}

/// What was seen of the dead letters.
#[derive(Debug)]
pub(super) struct Letters {
    seen: Vec<LetterSeen>,
    more: bool,
    at: Instant,
}

#[derive(Debug)]
struct LetterSeen {
    status: LetterStatus,
    failed_at: SystemTime,
}

impl Letters {
    pub(super) fn new(letters: &[Letter], more: bool) -> Self {
        let letters = letters.iter().map(|letter| {
            let job = letter.job.as_ref();
            let status = LetterStatus {
                id: letter.id.clone(),
                repository: job.map(|job| job.repository.to_string()),
                digest: job.map(|job| job.digest.to_string()),
                tag: job.and_then(|job| job.tag.as_ref()).map(ToString::to_string),
                reason: letter.reason.clone(),
                detail: letter.detail.clone(),
                attempts: letter.attempts,
                failed_at: time(letter.failed_at),
                age_seconds: 0.0,
            };
            LetterSeen { status, failed_at: letter.failed_at }
        });
        Self { seen: letters.collect(), more, at: Instant::now() }
    }

    pub(super) fn count(&self) -> usize {
        self.seen.len()
    }

    fn oldest(&self) -> Option<SystemTime> {
        self.seen.iter().map(|letter| letter.failed_at).min()
    }

    fn status(&self) -> Vec<LetterStatus> {
        let letters = self.seen.iter();
        letters
            .map(|letter| LetterStatus {
                age_seconds: since(letter.failed_at),
                ..letter.status.clone()
            })
            .collect()
    }
}

impl DeadLettersStatus {
    /// All of them, also those that somebody looks at just now.
    pub fn all(&self) -> u64 {
        self.visible.saturating_add(self.in_flight)
    }

    pub(super) fn of(
        counted: &Counted,
        oldest: Option<SystemTime>,
        letters: Option<&Letters>,
    ) -> Self {
        let Backlog { visible, in_flight, .. } = counted.backlog;
        // All of them have been seen unless there are more.
        let of_seen = || letters.filter(|letters| !letters.more).and_then(Letters::oldest);
        Self {
            visible,
            in_flight,
            counted_seconds_ago: seconds(counted.at.elapsed()),
            oldest_seconds: oldest.or_else(of_seen).map(since),
            letters: letters.map(Letters::status),
            more_letters: letters.is_some_and(|letters| letters.more),
            seen_seconds_ago: letters.map(|letters| seconds(letters.at.elapsed())),
        }
    }
}
