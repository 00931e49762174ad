//! What is put on the dead-letter queue.

use crate::MAX_MESSAGE_BYTES;
use crate::message::{Group, Outgoing, attribute_size, failure, is_allowed};

/// Most characters of [`failure::MESSAGE`].
const MAX_DETAIL: usize = 2000;

/// Attributes of a message that may be kept beside those of [`failure`]: SQS has ten at most.
const MAX_KEPT: usize = 5;

/// A message that can never be worked off, and why.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetter<'a> {
    /// The message's text.
    pub body: &'a str,
    /// What the message belongs to.
    pub group: Option<&'a Group>,
    /// Attributes that the message has. Those of [`failure`], which one has that was replayed from a
    /// dead-letter queue, are replaced; of the others the first five are kept.
    pub attributes: &'a [(String, String)],
    /// The message's identifier; left out if it is empty.
    pub id: &'a str,
    /// Name of the queue that the message comes from; left out if it is empty.
    pub queue: &'a str,
    /// Why: a short stable name, lower case, words joined by hyphens.
    pub reason: &'a str,
    /// The same for people. As much of it is kept as there is room for.
    pub detail: &'a str,
    /// When that was, RFC 3339 in UTC.
    pub at: &'a str,
}

impl DeadLetter<'_> {
    /// The letter as a message. Any queue takes it that took the original, unless that has not left
    /// the few hundred bytes that the reason needs.
    pub fn outgoing(&self) -> Outgoing {
        let own =
            [failure::REASON, failure::MESSAGE, failure::MESSAGE_ID, failure::QUEUE, failure::AT];
        let kept = self.attributes.iter().filter(|(name, _)| !own.contains(&name.as_str()));
        let mut attributes: Vec<_> = kept.take(MAX_KEPT).cloned().collect();
        for (name, value) in [
            (failure::REASON, self.reason),
            (failure::MESSAGE_ID, self.id),
            (failure::QUEUE, self.queue),
            (failure::AT, self.at),
        ] {
            if !value.is_empty() {
                attributes.push((name.to_owned(), value.to_owned()));
            }
        }
        let mut letter =
            Outgoing { body: self.body.to_owned(), group: self.group.cloned(), attributes };
        let taken = letter.size() + attribute_size(failure::MESSAGE, "");
        let detail = sendable(self.detail, MAX_MESSAGE_BYTES.saturating_sub(taken));
        if !detail.is_empty() {
            letter.attributes.push((failure::MESSAGE.to_owned(), detail));
        }
        letter
    }
}

/// As much of a text as an attribute is to hold and as fits into `max_bytes`. Control characters and
/// what a queue refuses become spaces.
fn sendable(text: &str, max_bytes: usize) -> String {
    let mut sendable = String::new();
    for letter in text.chars().take(MAX_DETAIL) {
        let letter = if letter.is_control() || !is_allowed(letter) { ' ' } else { letter };
        if sendable.len() + letter.len_utf8() > max_bytes {
            break;
        }
        sendable.push(letter);
    }
    sendable
}

#[cfg(test)]
mod tests {
    use super::*;

    const LETTER: DeadLetter<'_> = DeadLetter {
        body: "body",
        group: None,
        attributes: &[],
        id: "id-1",
        queue: "live",
        reason: "layer-rejected",
        detail: "detail",
        at: "1970-01-01T00:00:00Z",
    };

    fn attributes(letter: &Outgoing) -> Vec<(&str, &str)> {
        letter.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    fn detail(letter: &Outgoing) -> Option<&str> {
        let found = letter.attributes.iter().find(|(name, _)| name == failure::MESSAGE);
        found.map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_letter_is_the_message_with_what_became_of_it() {
        let group = Group::of_repository("team/app");
        let letter = DeadLetter { group: Some(&group), ..LETTER }.outgoing();
        assert_eq!((letter.body.as_str(), &letter.group), ("body", &Some(group)));
        assert_eq!(
            attributes(&letter),
            [
                (failure::REASON, "layer-rejected"),
                (failure::MESSAGE_ID, "id-1"),
                (failure::QUEUE, "live"),
                (failure::AT, "1970-01-01T00:00:00Z"),
                (failure::MESSAGE, "detail"),
            ]
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let letter = DeadLetter { queue: "", id: "", detail: "", ..LETTER }.outgoing();
        assert_eq!(
            attributes(&letter),
            [(failure::REASON, "layer-rejected"), (failure::AT, "1970-01-01T00:00:00Z")]
        );
    }

    #[test]
    fn a_message_that_fails_again_keeps_its_own_attributes_and_has_one_reason() {
        let mut had = vec![("trace".to_owned(), "1".to_owned())];
        had.extend(DeadLetter { reason: "image-gone", ..LETTER }.outgoing().attributes);
        let letter = DeadLetter { attributes: &had, ..LETTER }.outgoing();
        let first = DeadLetter { attributes: &had[..1], ..LETTER }.outgoing();
        assert_eq!(attributes(&letter)[..2], [("trace", "1"), (failure::REASON, "layer-rejected")]);
        assert_eq!(letter, first);
    }

    #[test]
    fn details_lose_what_cannot_be_sent_and_nothing_else() {
        let letter = DeadLetter { detail: "a\u{1b}b\u{ffff}c\nd é", ..LETTER }.outgoing();
        assert_eq!(detail(&letter), Some("a b c d é"));
        assert_eq!(sendable("aéb", 2), "a");
        assert_eq!(sendable("aéb", 3), "aé");
    }
}
