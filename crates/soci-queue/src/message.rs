//! What is in a queue.

use std::fmt;
use std::time::SystemTime;

use tokio::time::Instant;

/// Names of the attributes that a message on the dead-letter queue carries beside its body.
pub mod failure {
    /// Why it is there: a short stable name, lower case, words joined by hyphens. A message without
    /// it was moved by the queue itself because it was received too often, and nobody knows why.
    pub const REASON: &str = "failure_reason";
    /// The same for people: the chain of errors, shortened.
    pub const MESSAGE: &str = "failure_message";
    /// Where the runbook says what to do about it: a URL, or its path in the repository, with the section.
    pub const RUNBOOK: &str = "failure_runbook";
    /// Identifier that the message had on the queue that it comes from.
    pub const MESSAGE_ID: &str = "failed_message_id";
    /// Name of that queue.
    pub const QUEUE: &str = "failed_queue";
    /// When it failed, RFC 3339 in UTC.
    pub const AT: &str = "failed_at";
    /// Tries that failed before.
    pub const ATTEMPTS: &str = "failed_attempts";
    /// When the first of them failed, RFC 3339 in UTC.
    pub const FIRST_AT: &str = "first_failed_at";
    /// When the first message of the job was sent, RFC 3339 in UTC.
    pub const FIRST_SENT_AT: &str = "first_sent_at";

    /// All of them.
    pub const ALL: [&str; 9] =
        [REASON, MESSAGE, RUNBOOK, MESSAGE_ID, QUEUE, AT, ATTEMPTS, FIRST_AT, FIRST_SENT_AT];
}

/// Names of the attributes by which a copy of a message knows of the tries before it; see
/// [`JobHistory`](crate::JobHistory).
pub mod history {
    /// When the first message of the job was sent, in seconds since 1970.
    pub const FIRST_SENT_AT: &str = "job_first_sent_at";
    /// Tries that failed and count.
    pub const ATTEMPTS: &str = "job_attempts";
    /// When the first of them failed, in seconds since 1970.
    pub const FIRST_FAILED_AT: &str = "job_first_failed_at";
    /// Why the last of them failed: a short stable name.
    pub const LAST_REASON: &str = "job_last_reason";
    /// The same for people, shortened.
    pub const LAST_MESSAGE: &str = "job_last_message";
    /// The reason that was given once for ending the job.
    pub const DOUBT: &str = "job_doubt";
    /// Receives of earlier copies after which nothing came.
    pub const CRASHES: &str = "job_crashes";

    /// All of them.
    pub const ALL: [&str; 7] =
        [FIRST_SENT_AT, ATTEMPTS, FIRST_FAILED_AT, LAST_REASON, LAST_MESSAGE, DOUBT, CRASHES];
}

/// Most attributes of a message (Amazon SQS developer guide, "Message quotas").
pub const MAX_ATTRIBUTES: usize = 10;

/// Data type of the attributes, which counts as part of them (Amazon SQS developer guide, "Message
/// metadata").
pub const ATTRIBUTE_TYPE: &str = "String";

/// Whether messages may have a character: those of XML 1.0 (Amazon SQS API reference, `SendMessage`).
pub fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..)
}

/// As much of a text as an attribute is to hold and as fits into `max_bytes`. Control characters and
/// what a queue refuses become spaces.
pub(crate) fn sendable(text: &str, max_chars: usize, max_bytes: usize) -> String {
    let mut sendable = String::new();
    for letter in text.chars().take(max_chars) {
        let letter = if letter.is_control() || !is_allowed(letter) { ' ' } else { letter };
        if sendable.len() + letter.len_utf8() > max_bytes {
            break;
        }
        sendable.push(letter);
    }
    sendable
}

/// The identifier that a queue gives a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MessageId(pub String);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What stands for one receive of a message.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Receipt(pub String);

impl fmt::Debug for Receipt {
    /// Whoever has a receipt can delete the message, so it is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt(..)")
    }
}

/// What messages belong together: a group with many messages does not hold up the others where the
/// queue is fair (`MessageGroupId` of SQS).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group(String);

impl Group {
    /// Most characters of a group (Amazon SQS API reference, `SendMessage`).
    pub const MAX_LEN: usize = 128;

    /// The group of everything that concerns a repository. A name that is too long, which ECR allows
    /// up to 256 characters, is cut and told apart by a hash of all of it. Characters that a group
    /// cannot have do not occur in names of repositories.
    pub fn of_repository(name: &str) -> Self {
        if name.len() <= Self::MAX_LEN && name.bytes().all(|c| c.is_ascii_graphic()) {
            return Self(name.to_owned());
        }
        let mut end = Self::MAX_LEN - 17;
        while !name.is_char_boundary(end.min(name.len())) {
            end -= 1;
        }
        let head = name[..end.min(name.len())].chars().filter(char::is_ascii_graphic);
        Self(format!("{}.{:016x}", head.collect::<String>(), fnv1a(name.as_bytes())))
    }

    /// The group as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// FNV-1a of 64 bits: the same in every release, as two workers have to agree on it.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its text.
    pub body: String,
    /// What it belongs to.
    pub group: Option<Group>,
    /// Names and values beside the body, at most [`MAX_ATTRIBUTES`]. Names have letters, digits, `_`, `-` and `.`;
    /// values are not empty.
    pub attributes: Vec<(String, String)>,
}

impl Outgoing {
    /// What counts towards [`MAX_MESSAGE_BYTES`](crate::MAX_MESSAGE_BYTES): the body, and the attributes'
    /// names, types and values (Amazon SQS developer guide, "Message metadata").
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter();
        self.body.len() + attributes.map(|(name, value)| attribute_size(name, value)).sum::<usize>()
    }
}

/// What an attribute adds to a message's size.
pub(crate) fn attribute_size(name: &str, value: &str) -> usize {
    name.len() + ATTRIBUTE_TYPE.len() + value.len()
}

/// The first of these attributes, as many as fit into a message of at most `most` bytes of which `taken` are
/// taken.
pub(crate) fn with_room<'a>(
    attributes: impl Iterator<Item = &'a (String, String)>,
    mut taken: usize,
    most: usize,
) -> Vec<(String, String)> {
    let mut fitting = Vec::new();
    for (name, value) in attributes {
        let with = taken.saturating_add(attribute_size(name, value));
        if with <= most {
            taken = with;
            fitting.push((name.clone(), value.clone()));
        }
    }
    fitting
}

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its identifier, the same at every receive.
    pub id: MessageId,
    /// Stands for this receive.
    pub receipt: Receipt,
    /// Its text.
    pub body: String,
    /// How often it was received, this time included.
    pub receive_count: u32,
    /// When it was sent, this copy of it.
    pub sent_at: SystemTime,
    /// When it was received, or, where the queue does not tell, when this receive was asked for,
    /// which is up to [`MAX_WAIT`](crate::MAX_WAIT) earlier. The 12 hours of
    /// [`MAX_VISIBILITY`](crate::MAX_VISIBILITY) count from here.
    pub received_at: Instant,
    /// What it belongs to.
    pub group: Option<Group>,
    /// Names and values beside the body.
    pub attributes: Vec<(String, String)>,
}

impl Message {
    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_a_repository_is_its_name() {
        assert_eq!(Group::of_repository("team/app").as_str(), "team/app");
        assert_eq!(Group::of_repository(&"a".repeat(128)).as_str(), "a".repeat(128));
    }

    #[test]
    fn long_names_become_groups_that_differ() {
        let (one, two) = ("a".repeat(200), format!("{}b", "a".repeat(199)));
        let (one, two) = (Group::of_repository(&one), Group::of_repository(&two));
        assert_ne!(one, two);
        assert_eq!((one.as_str().len(), two.as_str().len()), (128, 128));
        assert!(Group::of_repository(&"é".repeat(100)).as_str().is_ascii());
    }

    #[test]
    fn texts_lose_what_cannot_be_sent_and_nothing_else() {
        assert_eq!(sendable("a\u{1b}b\u{ffff}c\nd é", 100, 100), "a b c d é");
        assert_eq!(sendable("aéb", 100, 2), "a");
        assert_eq!(sendable("aéb", 100, 3), "aé");
        assert_eq!(sendable("aéb", 2, 100), "aé");
    }

    #[test]
    fn attributes_count_towards_the_size() {
        let attributes = vec![("name".to_owned(), "value".to_owned())];
        let message = Outgoing { body: "0123456789".to_owned(), group: None, attributes };
        assert_eq!(message.size(), 10 + 4 + 6 + 5);
    }

    #[test]
    fn receipts_are_not_shown() {
        assert_eq!(format!("{:?}", Receipt("secret".to_owned())), "Receipt(..)");
    }
}
