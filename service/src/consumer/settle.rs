//! What becomes of a message when its job has ended.

use std::time::{Duration, SystemTime};

use queue::{
    MAX_MESSAGE_BYTES, MAX_VISIBILITY, Message, Operation, Outgoing, Queue, QueueError, failure,
};
use soci::event::Timestamp;
use tokio::time::Instant;

use super::Shared;
use super::call::{chain, persist};
use super::lease::Lease;
use crate::watch::Ending;

/// Most characters of [`failure::MESSAGE`].
const MAX_DETAIL: usize = 2000;

/// Attributes of a message that may be kept beside those of `failure`: SQS has ten at most.
const MAX_KEPT: usize = 5;

/// Size that an attribute has beside its name and value: the name of its type and some to spare.
const PER_ATTRIBUTE: usize = 16;

/// What to do with a message.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is done.
    Delete(Ending),
    /// It can never be done.
    Reject { reason: &'static str, detail: String },
    /// It may be done later.
    Retry { reason: &'static str, detail: String },
    /// Somebody else shall do it now.
    GiveBack,
    /// It is no longer ours.
    Abandon { reason: &'static str, detail: String },
}

/// What was done with a message.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) ending: Ending,
    /// What could not be done, however often it was tried. The message comes again.
    pub(super) trouble: Option<QueueError>,
    /// It can never be done, and is on no dead-letter queue.
    pub(super) is_stuck: bool,
}

/// Does with a message what its verdict says.
pub(super) async fn settle<Q: Queue, H>(
    shared: &Shared<Q, H>,
    message: &Message,
    lease: &Lease<'_, Q>,
    verdict: Verdict,
) -> Settled {
    match verdict {
        Verdict::Delete(ending) => {
            // A message that is not deleted comes again and is found to be done.
            let trouble = delete(shared, lease).await.err();
            Settled { ending, trouble, is_stuck: false }
        }
        Verdict::Reject { reason, detail } => reject(shared, message, lease, reason, detail).await,
        Verdict::Retry { reason, detail } => retry(shared, message, lease, reason, detail).await,
        Verdict::GiveBack => {
            let trouble = hide(shared, lease, Duration::ZERO).await.err();
            Settled { ending: Ending::GivenBack, trouble, is_stuck: false }
        }
        Verdict::Abandon { reason, detail } => {
            Settled { ending: Ending::Abandoned { reason, detail }, trouble: None, is_stuck: false }
        }
    }
}

async fn reject<Q: Queue, H>(
    shared: &Shared<Q, H>,
    message: &Message,
    lease: &Lease<'_, Q>,
    reason: &'static str,
    detail: String,
) -> Settled {
    let Some(dead_letters) = &shared.queues.dead_letters else {
        let settled = retry(shared, message, lease, reason, detail).await;
        return Settled { is_stuck: true, ..settled };
    };
    let now = SystemTime::now();
    let letter = dead_letter(message, reason, &detail, lease.queue.name(), now);
    let limit = shared.settings.call_timeout;
    let send = || dead_letters.send(&letter);
    match persist(&*shared.watch, dead_letters, Operation::Send, limit, send).await {
        Ok(_) => {
            // A message that is not deleted comes again and is rejected again: a second dead letter
            // does no harm.
            let trouble = delete(shared, lease).await.err();
            Settled { ending: Ending::Rejected { reason, detail }, trouble, is_stuck: false }
        }
        Err(error) => {
            let detail =
                format!("{detail}; the dead-letter queue did not take it: {}", chain(&error));
            let settled = retry(shared, message, lease, reason, detail).await;
            Settled { is_stuck: true, ..settled }
        }
    }
}

async fn retry<Q: Queue, H>(
    shared: &Shared<Q, H>,
    message: &Message,
    lease: &Lease<'_, Q>,
    reason: &'static str,
    detail: String,
) -> Settled {
    let delay = shared.settings.retry.delay(message.receive_count, fastrand::f64());
    let left = (message.received_at + MAX_VISIBILITY) - Instant::now();
    let delay = delay.min(left);
    let trouble = hide(shared, lease, delay).await.err();
    // What could not be changed ends when the lease does.
    let again_in = if trouble.is_none() { delay } else { lease.ends_at - Instant::now() };
    Settled { ending: Ending::Retried { reason, detail, again_in }, trouble, is_stuck: false }
}

async fn delete<Q: Queue, H>(
    shared: &Shared<Q, H>,
    lease: &Lease<'_, Q>,
) -> Result<(), QueueError> {
    let (queue, limit) = (lease.queue, shared.settings.call_timeout);
    let ask = || queue.delete(lease.receipt);
    persist(&*shared.watch, queue, Operation::Delete, limit, ask).await
}

async fn hide<Q: Queue, H>(
    shared: &Shared<Q, H>,
    lease: &Lease<'_, Q>,
    visibility: Duration,
) -> Result<(), QueueError> {
    let (queue, limit) = (lease.queue, shared.settings.call_timeout);
    let ask = || queue.set_visibility(lease.receipt, visibility);
    persist(&*shared.watch, queue, Operation::SetVisibility, limit, ask).await
}

/// The message with what became of it, for the dead-letter queue.
fn dead_letter(
    message: &Message,
    reason: &str,
    detail: &str,
    queue: &str,
    now: SystemTime,
) -> Outgoing {
    let own = [failure::REASON, failure::MESSAGE, failure::MESSAGE_ID, failure::QUEUE, failure::AT];
    // One that was replayed from a dead-letter queue has them already.
    let kept = message.attributes.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    let mut attributes: Vec<_> = kept.take(MAX_KEPT).cloned().collect();
    for (name, value) in [
        (failure::REASON, reason.to_owned()),
        (failure::MESSAGE_ID, message.id.to_string()),
        (failure::QUEUE, queue.to_owned()),
        (failure::AT, Timestamp::from(now).to_string()),
    ] {
        attributes.push((name.to_owned(), value));
    }
    let size = |(name, value): &(String, String)| name.len() + value.len() + PER_ATTRIBUTE;
    let taken = message.body.len()
        + attributes.iter().map(size).sum::<usize>()
        + failure::MESSAGE.len()
        + PER_ATTRIBUTE;
    let detail = sendable(detail, MAX_MESSAGE_BYTES.saturating_sub(taken));
    if !detail.is_empty() {
        attributes.push((failure::MESSAGE.to_owned(), detail));
    }
    Outgoing { body: message.body.clone(), group: message.group.clone(), attributes }
}

/// As much of a text as an attribute can hold and as fits into `max_bytes`: no control characters,
/// which SQS refuses.
fn sendable(text: &str, max_bytes: usize) -> String {
    let mut end = 0;
    let fits = |c: &char| {
        end += c.len_utf8();
        end <= max_bytes
    };
    let plain = |c: char| {
        if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') { ' ' } else { c }
    };
    // What replaces a character is shorter at most.
    text.chars().take(MAX_DETAIL).take_while(fits).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use queue::{MemoryQueue, MessageId, Receipt};

    use super::*;

    fn message(body: &str, attributes: Vec<(String, String)>) -> Message {
        Message {
            id: MessageId("id".to_owned()),
            receipt: Receipt("receipt".to_owned()),
            body: body.to_owned(),
            receive_count: 1,
            sent_at: SystemTime::UNIX_EPOCH,
            received_at: Instant::now(),
            group: None,
            attributes,
        }
    }

    fn letter(message: &Message, detail: &str) -> Outgoing {
        dead_letter(message, "reason", detail, "live", SystemTime::UNIX_EPOCH)
    }

    fn detail(letter: &Outgoing) -> Option<&str> {
        let found = letter.attributes.iter().find(|(name, _)| name == failure::MESSAGE);
        found.map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_dead_letter_says_what_failed_where_and_when() {
        let letter = letter(&message("body", Vec::new()), "detail");
        let attributes: Vec<_> =
            letter.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            attributes,
            [
                (failure::REASON, "reason"),
                (failure::MESSAGE_ID, "id"),
                (failure::QUEUE, "live"),
                (failure::AT, "1970-01-01T00:00:00Z"),
                (failure::MESSAGE, "detail"),
            ]
        );
    }

    #[tokio::test]
    async fn every_dead_letter_can_be_sent() {
        let queue = MemoryQueue::named("q");
        let many: Vec<_> = (0..10).map(|n| (format!("n{n}"), "v".to_owned())).collect();
        let long = "é".repeat(100_000);
        for (message, text) in [
            (message("body", many.clone()), long.as_str()),
            (message("body", many), "\u{0}\u{1b}[31m\u{fffe}\u{ffff}\r\n"),
            (message("body", Vec::new()), ""),
            (message(&"b".repeat(MAX_MESSAGE_BYTES - 1000), Vec::new()), &long),
            (message(&"b".repeat(MAX_MESSAGE_BYTES - 180), Vec::new()), &long),
        ] {
            queue.send(&letter(&message, text)).await.unwrap();
        }
        let sent = queue.messages();
        assert!(sent.iter().all(|found| found.message.attribute(failure::REASON).is_some()));
        assert_eq!(
            sent[0].message.attribute(failure::MESSAGE).unwrap().chars().count(),
            MAX_DETAIL
        );
        assert_eq!(sent[3].message.attribute(failure::MESSAGE).unwrap().chars().next(), Some('é'));
        assert_eq!(sent[4].message.attribute(failure::MESSAGE), None);
    }

    #[test]
    fn details_lose_what_cannot_be_sent_and_nothing_else() {
        let message = message("body", Vec::new());
        assert_eq!(detail(&letter(&message, "a\u{1b}b\u{ffff}c\nd é")), Some("a b c d é"));
        assert_eq!(detail(&letter(&message, "")), None);
        assert_eq!(sendable("aéb", 2), "a");
        assert_eq!(sendable("aéb", 3), "aé");
    }
}
