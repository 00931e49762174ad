//! What is put on the dead-letter queue.

use crate::MAX_MESSAGE_BYTES;
use crate::message::{
    Group, MAX_ATTRIBUTES, Outgoing, attribute_size, failure, history, sendable, with_room,
};

/// Most characters of [`failure::MESSAGE`].
const MAX_DETAIL: usize = 2000;

/// A message that can never be worked off, and why.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetter<'a> {
    /// The message's text.
    pub body: &'a str,
    /// What the message belongs to.
    pub group: Option<&'a Group>,
    /// Attributes that the message has. Those of [`failure`], which one has that was replayed from a
    /// dead-letter queue, are replaced, those of [`history`] left out, as a letter that is replayed
    /// begins anew. Of the others the first are kept, as many as there is room for beside the body.
    pub attributes: &'a [(String, String)],
    /// The message's identifier; left out if it is empty.
    pub id: &'a str,
    /// Name of the queue that the message comes from; left out if it is empty.
    pub queue: &'a str,
    /// Why: a short stable name, lower case, words joined by hyphens.
    pub reason: &'a str,
    /// Where the runbook says what to do about it; left out if it is empty.
    pub runbook: &'a str,
    /// The same for people. As much of it is kept as there is room for.
    pub detail: &'a str,
    /// When that was, RFC 3339 in UTC.
    pub at: &'a str,
    /// Tries that failed before; left out if there were none.
    pub attempts: u32,
    /// When the first of them failed, RFC 3339 in UTC; left out if it is empty.
    pub first_failed_at: &'a str,
    /// When the first message of the job was sent, RFC 3339 in UTC; left out if it is empty.
    pub first_sent_at: &'a str,
}

impl DeadLetter<'_> {
    /// The letter as a message. Any queue takes it that took the original. One that has not left the few
    /// hundred bytes that the reason needs, as no job is, loses as many at its end: a letter that does
    /// not say why would be worth less.
    pub fn outgoing(&self) -> Outgoing {
        let attempts = if self.attempts > 0 { self.attempts.to_string() } else { String::new() };
        let told = [
            (failure::REASON, self.reason),
            (failure::RUNBOOK, self.runbook),
            (failure::MESSAGE_ID, self.id),
            (failure::QUEUE, self.queue),
            (failure::AT, self.at),
            (failure::ATTEMPTS, &attempts),
            (failure::FIRST_AT, self.first_failed_at),
            (failure::FIRST_SENT_AT, self.first_sent_at),
        ];
        let told: Vec<_> = told.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let ours = |name: &str| failure::ALL.contains(&name) || history::ALL.contains(&name);
        let kept = self.attributes.iter().filter(|(name, _)| !ours(name));
        // One is for the message that comes last.
        let kept = kept.take(MAX_ATTRIBUTES - 1 - told.len());
        let reason = told.iter().map(|(name, value)| attribute_size(name, value)).sum();
        let mut attributes =
            with_room(kept, self.body.len().saturating_add(reason), MAX_MESSAGE_BYTES);
        attributes
            .extend(told.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let told = Outgoing { body: String::new(), group: self.group.cloned(), attributes };
        let room = MAX_MESSAGE_BYTES.saturating_sub(told.size());
        let body = self.body[..self.body.floor_char_boundary(room)].to_owned();
        let mut letter = Outgoing { body, ..told };
        let taken = letter.size() + attribute_size(failure::MESSAGE, "");
        let detail = sendable(self.detail, MAX_DETAIL, MAX_MESSAGE_BYTES.saturating_sub(taken));
        if !detail.is_empty() {
            letter.attributes.push((failure::MESSAGE.to_owned(), detail));
        }
        letter
    }
}
