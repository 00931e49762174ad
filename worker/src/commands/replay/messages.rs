//! Moves messages from a dead-letter queue one by one, those that failed for some reasons.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use soci_jobs::RateLimiter;
use soci_jobs::reasons::RECEIVED_TOO_OFTEN;
use soci_queue::{
    MAX_RECEIVE, Message, MessageId, Outgoing, Queue, QueueError, Receipt, Receive, failure,
    history_attribute,
};

/// How long messages stay hidden: long enough for a receive's worth of them at one a second, and
/// for the whole of most queues to be looked through.
const VISIBILITY: Duration = Duration::from_mins(30);

/// How long to wait for messages. A short poll asks a part of the servers only.
const WAIT: Duration = Duration::from_secs(3);

/// Receives without anything new after which the queue counts as looked through.
const EMPTY_RECEIVES: u32 = 2;

/// What is moved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failures<'a> {
    /// Why they failed; all of them if empty.
    pub(super) reasons: &'a [String],
    /// Messages sent later stay: they have failed again since, and would go round and round.
    pub(super) before: SystemTime,
}

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Messages on the other queue.
    pub(super) moved: u64,
    /// Messages that were looked at and are not moved.
    pub(super) left: u64,
    /// Stand for messages that are hidden and have to be given back.
    hidden: Vec<Receipt>,
}

/// Why a message failed.
pub(in super::super) fn reason(message: &Message) -> &str {
    message.attribute(failure::REASON).unwrap_or(RECEIVED_TOO_OFTEN)
}

/// Moves the messages that are wanted. Each is deleted only after the other queue has it, so that
/// it may be on both, which is harmless, but never on none. What was done is in `tally` after an
/// error as well, and also if the future is dropped; [`give_back`] must follow.
pub(super) async fn replay<Q: Queue>(
    from: &Q,
    to: &Q,
    failures: Failures<'_>,
    limiter: Option<&RateLimiter>,
    tally: &mut Tally,
) -> Result<(), QueueError> {
    let mut seen: HashSet<MessageId> = HashSet::new();
    let mut empty = 0;
    while empty < EMPTY_RECEIVES {
        let receive = Receive { max: MAX_RECEIVE, wait: WAIT, visibility: VISIBILITY };
        let messages = from.receive(receive).await?;
        tally.hidden.extend(messages.iter().map(|message| message.receipt.clone()));
        let mut anything_new = false;
        for message in messages {
            // A message comes again if its time was up, or if it is on the queue twice.
            if seen.insert(message.id.clone()) {
                anything_new = true;
                tally.left += 1;
            }
            let wanted = failures.reasons.is_empty()
                || failures.reasons.iter().any(|wanted| wanted == reason(&message));
            if !wanted || message.sent_at >= failures.before {
                continue;
            }
            if let Some(limiter) = limiter {
                limiter.ready().await;
            }
            to.send(&again(&message)).await?;
            tally.hidden.retain(|receipt| *receipt != message.receipt);
            from.delete(&message.receipt).await?;
            tally.moved += 1;
            tally.left = tally.left.saturating_sub(1);
        }
        empty = if anything_new { 0 } else { empty + 1 };
    }
    Ok(())
}

/// Makes the messages that stay visible again at once. Those whose time is up are so already.
pub(super) async fn give_back<Q: Queue>(from: &Q, tally: &mut Tally) -> Result<(), QueueError> {
    for receipt in tally.hidden.drain(..) {
        if let Err(error) = from.set_visibility(&receipt, Duration::ZERO).await
            && error.kind != soci_queue::ErrorKind::ReceiptExpired
        {
            return Err(error);
        }
    }
    Ok(())
}

/// The message as it was before it failed for the first time: its tries and its age count anew.
fn again(message: &Message) -> Outgoing {
    let ours = |name: &str| failure::ALL.contains(&name) || history_attribute::ALL.contains(&name);
    let mut attributes = message.attributes.clone();
    attributes.retain(|(name, _)| !ours(name));
    Outgoing { body: message.body.clone(), group: message.group.clone(), attributes }
}

#[cfg(test)]
mod tests {
    use soci_queue::{ErrorKind, Group, Operation};
    use soci_sandbox::MemoryQueue;

    use super::*;

    fn dead(body: &str, reason: Option<&str>) -> Outgoing {
        let mut attributes = vec![("kept".to_owned(), "yes".to_owned())];
        if let Some(reason) = reason {
            attributes.push((failure::REASON.to_owned(), reason.to_owned()));
            attributes.push((failure::MESSAGE.to_owned(), "why".to_owned()));
        }
        // What the letters say of earlier tries, and what copies that SQS itself has moved carry.
        let told = [failure::ATTEMPTS, failure::FIRST_AT, failure::FIRST_SENT_AT];
        let carried = [history_attribute::ATTEMPTS, history_attribute::FIRST_SENT_AT];
        attributes.extend(told.into_iter().chain(carried).map(|n| (n.to_owned(), "1".to_owned())));
        let group = Some(Group::of_repository("team/app"));
        Outgoing { body: body.to_owned(), group, attributes }
    }

    /// A dead-letter queue with these messages, and an empty one.
    async fn queues(messages: &[Outgoing]) -> (MemoryQueue, MemoryQueue) {
        let (from, to) = (MemoryQueue::named("dead"), MemoryQueue::named("live"));
        for message in messages {
            from.send(message).await.unwrap();
        }
        (from, to)
    }

    async fn run(
        (from, to): &(MemoryQueue, MemoryQueue),
        reasons: &[&str],
    ) -> (Result<(), QueueError>, Tally) {
        let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
        let later = SystemTime::now() + Duration::from_hours(1);
        let failures = Failures { reasons: &reasons, before: later };
        let mut tally = Tally::default();
        let result = replay(from, to, failures, None, &mut tally).await;
        give_back(from, &mut tally).await.unwrap();
        (result, tally)
    }

    async fn visible(queue: &MemoryQueue) -> u64 {
        let backlog = queue.backlog().await.unwrap();
        assert_eq!(backlog.in_flight, 0);
        backlog.visible
    }

    #[tokio::test(start_paused = true)]
    async fn messages_with_the_reason_move_without_their_failure_and_the_others_stay() {
        let queues = queues(&[
            dead("a", Some("immutable-tag")),
            dead("b", None),
            dead("c", Some("no-such-image")),
            dead("d", Some("immutable-tag")),
        ])
        .await;
        let (result, tally) = run(&queues, &["immutable-tag", RECEIVED_TOO_OFTEN]).await;
        result.unwrap();
        assert_eq!((tally.moved, tally.left), (3, 1));
        assert_eq!((visible(&queues.0).await, visible(&queues.1).await), (1, 3));
        let receive = Receive { max: 10, wait: Duration::ZERO, visibility: VISIBILITY };
        let arrived = queues.1.receive(receive).await.unwrap();
        for message in arrived {
            assert!(["a", "b", "d"].contains(&message.body.as_str()));
            assert_eq!(message.attributes, [("kept".to_owned(), "yes".to_owned())]);
            assert_eq!(message.group, Some(Group::of_repository("team/app")));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_reasons_everything_moves_however_much_it_is() {
        let many: Vec<_> = (0..37).map(|n| dead(&n.to_string(), Some("x"))).collect();
        let queues = queues(&many).await;
        let (result, tally) = run(&queues, &[]).await;
        result.unwrap();
        assert_eq!((tally.moved, tally.left), (37, 0));
        assert_eq!((visible(&queues.0).await, visible(&queues.1).await), (0, 37));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_cannot_be_sent_is_not_deleted_and_visible_again_at_once() {
        let queues = queues(&[dead("a", None), dead("b", None)]).await;
        queues.1.fail_next(Operation::Send, 1, ErrorKind::Permanent);
        let (result, tally) = run(&queues, &[]).await;
        assert_eq!(result.unwrap_err().operation, Operation::Send);
        assert_eq!(tally.moved, 0);
        assert!(queues.0.calls_of(Operation::Delete).is_empty());
        assert_eq!((visible(&queues.0).await, visible(&queues.1).await), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_cannot_be_deleted_is_on_both_queues() {
        let queues = queues(&[dead("a", None)]).await;
        queues.0.fail_next(Operation::Delete, 1, ErrorKind::Transient);
        let (result, _) = run(&queues, &[]).await;
        assert_eq!(result.unwrap_err().operation, Operation::Delete);
        assert_eq!(queues.1.backlog().await.unwrap().visible, 1);
        tokio::time::advance(VISIBILITY).await;
        assert_eq!(visible(&queues.0).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn messages_that_fail_again_meanwhile_stay() {
        let queues = queues(&[dead("a", None)]).await;
        let long_ago = Failures { reasons: &[], before: SystemTime::UNIX_EPOCH };
        let mut tally = Tally::default();
        replay(&queues.0, &queues.1, long_ago, None, &mut tally).await.unwrap();
        give_back(&queues.0, &mut tally).await.unwrap();
        assert_eq!((tally.moved, tally.left, visible(&queues.0).await), (0, 1, 1));
    }
}
