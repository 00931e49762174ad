//! What the commands find and change, and how that is told to programs.

use std::time::SystemTime;

use serde_json::{Value, json};
use soci_service::dead_letters::Letter;
use soci_text::Runbook;

use super::super::enqueue::Counts;
use super::super::looked::Looked;

/// The result of a command that can be told as JSON.
pub(super) trait Told {
    fn json(&self, runbook: &Runbook) -> Value;
    fn failures(&self) -> &[String];
}

/// Letters that were looked for.
#[derive(Debug, Default)]
pub(in super::super) struct Found {
    /// How far the queue was looked through.
    pub(in super::super) looked: Looked,
    /// The first of those that are meant.
    pub(in super::super) letters: Vec<Letter>,
    /// All that are meant.
    pub(in super::super) matched: u64,
    /// Letters that somebody else had in hand at the beginning, which nobody sees meanwhile, if that could be told.
    pub(in super::super) in_hand: Option<u64>,
    /// Letters that are not meant.
    pub(in super::super) others: u64,
    /// Why those that are meant failed.
    pub(in super::super) reasons: Counts,
    pub(in super::super) failures: Vec<String>,
}

impl Told for Found {
    fn json(&self, runbook: &Runbook) -> Value {
        let now = SystemTime::now();
        let letter = |letter| letter_json(letter, runbook, now);
        json!({
            "complete": self.looked.is_complete(),
            "letters": self.letters.iter().map(letter).collect::<Vec<_>>(),
            "matched": self.looked.json(self.matched),
            "others": self.looked.json(self.others),
            "in_hand": self.in_hand,
            "reasons": self.reasons.json(),
        })
    }

    fn failures(&self) -> &[String] {
        &self.failures
    }
}

pub(super) fn letter_json(letter: &Letter, runbook: &Runbook, now: SystemTime) -> Value {
    let job = letter.job.as_ref();
    let time = |at: SystemTime| soci_push::event::Timestamp::from(at).to_string();
    json!({
        "id": letter.id,
        "failed_id": letter.failed_id,
        "queue": letter.queue,
        "reason": letter.reason,
        "detail": letter.detail,
        "runbook": runbook.section(&letter.reason),
        "repository": job.map(|job| job.repository.to_string()),
        "tag": job.and_then(|job| job.tag.as_ref()).map(ToString::to_string),
        "digest": job.map(|job| job.digest.to_string()),
        "failed_at": time(letter.failed_at),
        "age_seconds": letter.age(now).as_secs(),
        "attempts": letter.attempts,
        "first_failed_at": letter.first_failed_at,
        "first_sent_at": letter.first_sent_at,
        "receive_count": letter.receive_count,
    })
}

/// Letters that were changed.
#[derive(Debug, Default)]
pub(in super::super) struct Changed {
    /// Letters that are no longer on the dead-letter queue.
    pub(in super::super) done: u64,
    /// Letters that somebody else had in hand at the beginning, if that could be told.
    pub(in super::super) in_hand: Option<u64>,
    /// How far the queue was looked through.
    pub(in super::super) looked: Looked,
    /// Letters that were looked at and are still there.
    pub(in super::super) left: u64,
    pub(in super::super) failures: Vec<String>,
}

impl Told for Changed {
    fn json(&self, _: &Runbook) -> Value {
        json!({
            "complete": self.looked.is_complete(),
            "changed": self.done,
            "left": self.looked.json(self.left),
            "in_hand": self.in_hand,
        })
    }

    fn failures(&self) -> &[String] {
        &self.failures
    }
}
