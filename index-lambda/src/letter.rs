//! Messages for the dead-letter queue.

use queue::{Group, MAX_MESSAGE_BYTES, Outgoing, failure};
use soci::event::Timestamp;

use crate::work::Incoming;

/// Most characters of a reason for people.
const MAX_DETAIL: usize = 2_048;

/// What an attribute takes beside its name and value: the name of its type, `String`.
const PER_ATTRIBUTE: usize = 6;

/// `message` with what became of it.
pub(crate) fn dead_letter(
    message: &Incoming<'_>,
    group: Option<Group>,
    reason: &str,
    detail: &str,
    now: Timestamp,
) -> Outgoing {
    let mut attributes: Vec<(String, String)> = [
        (failure::REASON, reason.to_owned()),
        (failure::MESSAGE_ID, message.id.to_owned()),
        (failure::QUEUE, message.from.to_owned()),
        (failure::AT, now.to_string()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    let size = |(name, value): &(String, String)| name.len() + value.len() + PER_ATTRIBUTE;
    let taken = message.body.len()
        + attributes.iter().map(size).sum::<usize>()
        + failure::MESSAGE.len()
        + PER_ATTRIBUTE;
    let detail = sendable(detail, MAX_MESSAGE_BYTES.saturating_sub(taken));
    if !detail.is_empty() {
        attributes.push((failure::MESSAGE.to_owned(), detail));
    }
    Outgoing { body: message.body.to_owned(), group, attributes }
}

/// As much of a text as an attribute can hold and as fits into `max_bytes`, without the characters
/// that SQS refuses (Amazon SQS API reference, `SendMessage`).
fn sendable(text: &str, max_bytes: usize) -> String {
    let mut sendable = String::new();
    for letter in text.chars().take(MAX_DETAIL) {
        let refused = letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}');
        let letter = if refused { ' ' } else { letter };
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

    fn letter(body: &str, detail: &str) -> Outgoing {
        let message = Incoming { body, id: "id-1", from: "small", stays: false };
        dead_letter(&message, None, "layer-rejected", detail, Timestamp::default())
    }

    #[test]
    fn a_letter_is_the_message_with_what_became_of_it() {
        let letter = letter("the body", "layer\n1");
        assert_eq!(letter.body, "the body");
        let expected = [
            (failure::REASON, "layer-rejected"),
            (failure::MESSAGE_ID, "id-1"),
            (failure::QUEUE, "small"),
            (failure::AT, "1970-01-01T00:00:00Z"),
            (failure::MESSAGE, "layer 1"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(letter.attributes, expected);
    }

    #[test]
    fn a_letter_is_never_larger_than_the_message_it_tells_of_allows() {
        let size = |letter: &Outgoing| {
            letter.body.len()
                + letter.attributes.iter().map(|(n, v)| n.len() + v.len() + 6).sum::<usize>()
        };
        let long = "ä".repeat(10_000);
        assert_eq!(letter("x", &long).attributes[4].1.chars().count(), MAX_DETAIL);
        let room = letter(&"x".repeat(MAX_MESSAGE_BYTES - 300), &long);
        assert_eq!(room.attributes.len(), 5);
        assert!(size(&room) <= MAX_MESSAGE_BYTES);
        let none = letter(&"x".repeat(MAX_MESSAGE_BYTES - 141), &long);
        assert_eq!(none.attributes.len(), 4);
        assert!(size(&none) <= MAX_MESSAGE_BYTES);
    }
}
