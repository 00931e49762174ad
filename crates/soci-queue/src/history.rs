//! What earlier tries of a job have left on its message.
//!
//! A job that is to be tried again goes back to its queue as a fresh copy of its message, not as the
//! message itself: a queue counts receives and gives up after a few, which is right for a message that
//! kills its receiver and wrong for one whose registry is away. The copy begins with a count of its own.
//! What must not begin anew stands in its attributes: since when the job has been under way, how often
//! it failed and for what.
//!
//! - Times are whole seconds since 1970, as the attributes are for programs. What people read is on the
//!   dead letter ([`DeadLetter`](crate::DeadLetter)).
//! - The names differ from those of a dead letter. A letter that SQS itself moves back to its queue
//!   keeps all of its attributes, and is to begin anew nevertheless.
//! - Whoever may send to the queue may write them. So nothing is believed that makes no sense, such as a
//!   time after the message was sent, and nothing here does harm beyond the one job.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::MAX_MESSAGE_BYTES;
use crate::message::{
    MAX_ATTRIBUTES, Message, Outgoing, attribute_size, history, sendable, with_room,
};

/// Most characters of [`LastFailure::detail`].
const MAX_DETAIL: usize = 500;

/// Most characters of a reason.
const MAX_REASON: usize = 64;

/// What earlier tries of a job have left on its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobHistory {
    /// When the first message of the job was sent: the age of the job counts from here.
    pub first_sent_at: SystemTime,
    /// Tries that failed and count.
    pub attempts: u32,
    /// When the first of them failed.
    pub first_failed_at: Option<SystemTime>,
    /// Why the last of them failed.
    pub last: Option<LastFailure>,
    /// What the registry said once that would end the job, and that nobody believes until it says so
    /// again.
    pub doubt: Option<String>,
    /// Receives of earlier copies after which nothing came: the process died, or the message was lost.
    pub crashes: u32,
}

/// How a try failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// Short stable name of why.
    pub reason: String,
    /// The same for people, shortened.
    pub detail: String,
}

impl JobHistory {
    /// That of a job whose first message was sent then.
    pub fn since(first_sent_at: SystemTime) -> Self {
        Self {
            first_sent_at,
            attempts: 0,
            first_failed_at: None,
            last: None,
            doubt: None,
            crashes: 0,
        }
    }

    /// What a message says of its job. A message without attributes is the first of its job; one that
    /// says it was first sent after it was sent is not believed.
    pub fn of(message: &Message) -> Self {
        Self::read(|name| message.attribute(name), message.sent_at)
    }

    /// The same of the attributes of a message that somebody else received, and of when it was sent.
    pub fn read<'a>(attribute: impl Fn(&str) -> Option<&'a str>, sent_at: SystemTime) -> Self {
        let text = |name| attribute(name);
        let number = |name| text(name).and_then(|value| value.parse::<u32>().ok());
        let time = |name| {
            let seconds = text(name).and_then(|value| value.parse().ok())?;
            UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
        };
        let short = |value: &str| value.chars().take(MAX_REASON).collect::<String>();
        Self {
            first_sent_at: time(history::FIRST_SENT_AT).map_or(sent_at, |first| first.min(sent_at)),
            attempts: number(history::ATTEMPTS).unwrap_or(0),
            first_failed_at: time(history::FIRST_FAILED_AT).map(|first| first.min(sent_at)),
            last: text(history::LAST_REASON).map(|reason| LastFailure {
                reason: short(reason),
                detail: text(history::LAST_MESSAGE).unwrap_or_default().to_owned(),
            }),
            doubt: text(history::DOUBT).map(short),
            crashes: number(history::CRASHES).unwrap_or(0),
        }
    }

    /// The same after a try that failed and counts.
    #[must_use]
    pub fn failed(mut self, reason: &str, detail: &str, now: SystemTime) -> Self {
        self.attempts = self.attempts.saturating_add(1);
        self.first_failed_at.get_or_insert(now);
        self.last = Some(LastFailure { reason: reason.to_owned(), detail: detail.to_owned() });
        self
    }

    /// A message with this history and what else the message had, as far as a message can have
    /// attributes and bytes. The last failure is shortened first, then others' attributes are left out.
    pub fn copy_of(&self, message: &Message) -> Outgoing {
        self.carried_by(&message.body, message.group.as_ref(), &message.attributes)
    }

    /// The same of a message that is not there yet.
    pub fn carried_by(
        &self,
        body: &str,
        group: Option<&crate::Group>,
        others: &[(String, String)],
    ) -> Outgoing {
        let time = |time: SystemTime| {
            time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string()
        };
        let count = |count: u32| (count > 0).then(|| count.to_string());
        let reason = |reason: &str| {
            let reason = sendable(reason, MAX_REASON, MAX_MESSAGE_BYTES);
            (!reason.is_empty()).then_some(reason)
        };
        let last = self.last.as_ref();
        let own = [
            (history::FIRST_SENT_AT, Some(time(self.first_sent_at))),
            (history::ATTEMPTS, count(self.attempts)),
            (history::FIRST_FAILED_AT, self.first_failed_at.map(time)),
            (history::LAST_REASON, last.and_then(|last| reason(&last.reason))),
            (history::DOUBT, self.doubt.as_deref().and_then(reason)),
            (history::CRASHES, count(self.crashes)),
        ];
        let own: Vec<_> =
            own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        let room = MAX_ATTRIBUTES - own.len() - usize::from(last.is_some());
        let others = others.iter().filter(|(name, _)| !history::ALL.contains(&name.as_str()));
        let size = |(name, value): &(String, String)| attribute_size(name, value);
        let of_ours: usize = own.iter().map(size).sum();
        let mut attributes =
            with_room(others.take(room), body.len().saturating_add(of_ours), MAX_MESSAGE_BYTES);
        attributes.extend(own);
        let taken = body.len()
            + attributes.iter().map(size).sum::<usize>()
            + attribute_size(history::LAST_MESSAGE, "");
        if let Some(last) = last {
            let left = MAX_MESSAGE_BYTES.saturating_sub(taken);
            let detail = sendable(&last.detail, MAX_DETAIL, left);
            if !detail.is_empty() {
                attributes.push((history::LAST_MESSAGE.to_owned(), detail));
            }
        }
        Outgoing { body: body.to_owned(), group: group.cloned(), attributes }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{Group, MessageId, Receipt};

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn received(outgoing: Outgoing, sent_at: SystemTime) -> Message {
        Message {
            id: MessageId("id".to_owned()),
            receipt: Receipt("receipt".to_owned()),
            body: outgoing.body,
            receive_count: 1,
            sent_at,
            received_at: Instant::now(),
            group: outgoing.group,
            attributes: outgoing.attributes,
        }
    }

    fn message(attributes: &[(&str, &str)]) -> Message {
        let attribute = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let attributes = attributes.iter().map(attribute).collect();
        let group = Some(Group::of_repository("team/app"));
        received(Outgoing { body: "body".to_owned(), group, attributes }, at(1_000))
    }

    #[test]
    fn a_message_without_attributes_is_the_first_of_its_job() {
        assert_eq!(JobHistory::of(&message(&[("trace", "1")])), JobHistory::since(at(1_000)));
    }

    #[test]
    fn what_a_copy_carries_is_read_from_it_however_often_it_is_copied() {
        let mut history = JobHistory::of(&message(&[("trace", "1")]));
        let mut copied = message(&[("trace", "1")]);
        for attempt in 1..=40_u64 {
            history = history.failed("throttled", "too much", at(2_000 + attempt));
            history.doubt = (attempt % 2 == 0).then(|| "image-gone".to_owned());
            history.crashes = 1;
            copied = received(history.copy_of(&copied), at(3_000 + attempt));
            assert_eq!(JobHistory::of(&copied), history);
            assert_eq!((copied.body.as_str(), copied.attribute("trace")), ("body", Some("1")));
            assert_eq!(copied.group, Some(Group::of_repository("team/app")));
        }
        assert_eq!((history.attempts, history.first_failed_at), (40, Some(at(2_001))));
        assert_eq!(history.first_sent_at, at(1_000));
    }

    #[test]
    fn what_makes_no_sense_is_not_believed() {
        let odd = message(&[
            (history::FIRST_SENT_AT, "1001"),
            (history::ATTEMPTS, "-1"),
            (history::FIRST_FAILED_AT, "99999999999999999999"),
            (history::CRASHES, "many"),
        ]);
        assert_eq!(JobHistory::of(&odd), JobHistory::since(at(1_000)));
        let far = message(&[(history::FIRST_FAILED_AT, &u64::MAX.to_string())]);
        assert_eq!(JobHistory::of(&far).first_failed_at, None);
        let later = message(&[(history::FIRST_FAILED_AT, "1001")]);
        assert_eq!(JobHistory::of(&later).first_failed_at, Some(at(1_000)));
        let long = message(&[(history::DOUBT, &"x".repeat(10_000))]);
        assert_eq!(JobHistory::of(&long).doubt.map(|doubt| doubt.len()), Some(MAX_REASON));
    }

    #[test]
    fn a_copy_has_what_a_message_can_have() {
        let many: Vec<_> = (0..10).map(|n| format!("n{n}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), "v")).collect();
        let full = message(&many);
        let mut history = JobHistory::of(&full).failed("a", &"é\u{0}\n".repeat(1_000), at(2_000));
        (history.doubt, history.crashes) = (Some("b".to_owned()), 2);
        let copy = history.copy_of(&full);
        assert_eq!(copy.attributes.len(), MAX_ATTRIBUTES);
        let detail = JobHistory::of(&received(copy, at(0))).last.unwrap().detail;
        assert_eq!(detail.chars().count(), MAX_DETAIL);
        assert!(detail.starts_with("é  é"), "{detail}");
    }

    #[test]
    fn the_last_failure_gives_way_to_the_body() {
        let history = JobHistory::since(at(1)).failed("a", "detail", at(2));
        let size = |copy: &Outgoing| {
            let sizes = copy.attributes.iter().map(|(name, value)| name.len() + 6 + value.len());
            copy.body.len() + sizes.sum::<usize>()
        };
        let alone = size(&history.carried_by("", None, &[]));
        for missing in 0..=28 {
            let body = "b".repeat(MAX_MESSAGE_BYTES - alone + missing);
            let copy = history.carried_by(&body, None, &[]);
            assert!(size(&copy) <= MAX_MESSAGE_BYTES, "{missing}");
        }
    }
}
