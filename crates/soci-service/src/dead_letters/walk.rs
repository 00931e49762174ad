//! Looking through a queue that lists nothing.
//!
//! A queue hands out messages and hides each until its visibility timeout ends. So whoever wants to see all of
//! them receives until nothing new comes, and makes those that stay visible again at the end. A process that
//! dies before leaves them hidden for the rest of that time; nothing is lost.
//!
//! A message can come again meanwhile, as its time is up or as a queue that is spread over servers delivers
//! twice. It is handed out once. One that was deleted and comes all the same is deleted again. Where many come
//! again the time was too short for so many messages, and nobody knows whether all were seen: the walk ends
//! and says so ([`Walk::is_complete`]).

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use soci_queue::{ErrorKind, MAX_RECEIVE, Message, MessageId, Queue, QueueError, Receipt, Receive};
use tokio::task::JoinSet;

/// How long to wait for messages. A short poll asks a part of the servers only.
const WAIT: Duration = Duration::from_secs(2);

/// Receives without anything new after which the queue counts as looked through.
const EMPTY_RECEIVES: u32 = 2;

/// Receives that bring only what was handed out before, after which the walk has gone round.
const KNOWN_RECEIVES: u32 = 3;

/// How many messages are given back at once.
const GIVE_BACK_AT_ONCE: usize = 16;

/// A walk through all messages of a queue.
#[derive(Debug)]
pub struct Walk<Q> {
    queue: Q,
    visibility: Duration,
    /// What stands for each message that is hidden by the walk.
    hidden: HashMap<MessageId, Receipt>,
    deleted: HashSet<MessageId>,
    empty: u32,
    /// Receives in a row that brought nothing but messages that had been handed out.
    known: u32,
}

impl<Q: Queue> Walk<Q> {
    /// A walk that hides each message for as long, which has to be enough for all that is done on the way.
    pub fn new(queue: Q, visibility: Duration) -> Self {
        Self {
            queue,
            visibility,
            hidden: HashMap::new(),
            deleted: HashSet::new(),
            empty: 0,
            known: 0,
        }
    }

    /// The next messages, at most `most` and at least one, none of which was there before; empty at the end.
    /// [`Walk::give_back`] must follow, also after an error and when this is dropped half-way.
    pub async fn next(&mut self, most: usize) -> Result<Vec<Message>, QueueError> {
        while self.empty < EMPTY_RECEIVES && self.known < KNOWN_RECEIVES {
            let max = most.clamp(1, MAX_RECEIVE);
            let receive = Receive { max, wait: WAIT, visibility: self.visibility };
            let mut fresh = Vec::new();
            let messages = self.queue.receive(receive).await?;
            let nothing = messages.is_empty();
            for message in messages {
                if self.deleted.contains(&message.id) {
                    // It stays hidden in any case, and comes again if it is not deleted now.
                    let _ = self.queue.delete(&message.receipt).await;
                } else if self.hidden.insert(message.id.clone(), message.receipt.clone()).is_none()
                {
                    fresh.push(message);
                }
            }
            self.empty = if nothing { self.empty + 1 } else { 0 };
            self.known = if fresh.is_empty() && !nothing { self.known + 1 } else { 0 };
            if !fresh.is_empty() {
                return Ok(fresh);
            }
        }
        Ok(Vec::new())
    }

    /// Whether all messages were seen when nothing more comes: none was visible again before the end.
    pub fn is_complete(&self) -> bool {
        self.known < KNOWN_RECEIVES
    }

    /// Takes a message off the queue for good. If that fails it is given back with the others.
    pub async fn delete(&mut self, message: &Message) -> Result<(), QueueError> {
        // Of two receipts of one message the latest stands for it.
        let latest = self.hidden.get(&message.id).unwrap_or(&message.receipt).clone();
        self.queue.delete(&latest).await?;
        self.hidden.remove(&message.id);
        self.deleted.insert(message.id.clone());
        Ok(())
    }

    /// Makes what stays visible again at once. Those whose time is up are so already.
    pub async fn give_back(&mut self) -> Result<(), QueueError> {
        let mut calls = JoinSet::new();
        let mut result = Ok(());
        for (_, receipt) in self.hidden.drain() {
            if calls.len() >= GIVE_BACK_AT_ONCE {
                result = result.and(outcome(calls.join_next().await));
            }
            let queue = self.queue.clone();
            calls.spawn(async move { queue.set_visibility(&receipt, Duration::ZERO).await });
        }
        while let Some(ended) = calls.join_next().await {
            result = result.and(outcome(Some(ended)));
        }
        result
    }
}

/// What one call of giving back came to.
fn outcome(
    ended: Option<Result<Result<(), QueueError>, tokio::task::JoinError>>,
) -> Result<(), QueueError> {
    match ended {
        Some(Ok(Err(error))) if error.kind != ErrorKind::ReceiptExpired => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use soci_queue::{Operation, Outgoing};
    use soci_sandbox::MemoryQueue;

    use super::*;

    const LONG: Duration = Duration::from_mins(30);

    async fn queue(messages: usize) -> MemoryQueue {
        let queue = MemoryQueue::named("dead");
        for number in 0..messages {
            let body = number.to_string();
            let message = Outgoing { body, group: None, attributes: Vec::new() };
            queue.send(&message).await.unwrap();
        }
        queue
    }

    async fn all(walk: &mut Walk<MemoryQueue>) -> Vec<Message> {
        let mut all = Vec::new();
        loop {
            let messages = walk.next(usize::MAX).await.unwrap();
            if messages.is_empty() {
                return all;
            }
            all.extend(messages);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_message_is_handed_out_once_and_all_are_given_back() {
        let queue = queue(37).await;
        let mut walk = Walk::new(queue.clone(), LONG);
        assert_eq!(all(&mut walk).await.len(), 37);
        assert_eq!(queue.backlog().await.unwrap().in_flight, 37);
        walk.give_back().await.unwrap();
        assert_eq!(queue.backlog().await.unwrap().visible, 37);
    }

    #[tokio::test(start_paused = true)]
    async fn messages_that_come_again_meanwhile_are_not_handed_out_again() {
        let queue = queue(3).await;
        let mut walk = Walk::new(queue.clone(), Duration::from_secs(1));
        assert_eq!(walk.next(10).await.unwrap().len(), 3);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(walk.next(10).await.unwrap().is_empty());
        walk.give_back().await.unwrap();
        assert_eq!(queue.backlog().await.unwrap().visible, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_walk_that_goes_round_ends_and_says_so() {
        let queue = queue(25).await;
        let mut walk = Walk::new(queue.clone(), Duration::from_secs(1));
        for _ in 0..100 {
            if walk.next(10).await.unwrap().is_empty() {
                break;
            }
            tokio::time::advance(Duration::from_secs(2)).await;
        }
        assert!(!walk.is_complete());
        let mut walk = Walk::new(queue, LONG);
        all(&mut walk).await;
        assert!(walk.is_complete());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_deleted_is_gone_and_the_rest_stays() {
        let queue = queue(12).await;
        let mut walk = Walk::new(queue.clone(), LONG);
        for message in all(&mut walk).await.iter().step_by(2) {
            walk.delete(message).await.unwrap();
        }
        walk.give_back().await.unwrap();
        assert_eq!(queue.backlog().await.unwrap().visible, 6);
    }

    #[tokio::test(start_paused = true)]
    async fn one_message_that_cannot_be_given_back_keeps_no_other() {
        let queue = queue(20).await;
        let mut walk = Walk::new(queue.clone(), LONG);
        all(&mut walk).await;
        queue.fail_next(Operation::SetVisibility, 1, ErrorKind::Permanent);
        let error = walk.give_back().await.unwrap_err();
        assert_eq!(error.operation, Operation::SetVisibility);
        assert_eq!(queue.backlog().await.unwrap().visible, 19);
    }

    #[tokio::test(start_paused = true)]
    async fn a_walk_that_wants_few_takes_no_more() {
        let queue = queue(30).await;
        let mut walk = Walk::new(queue.clone(), LONG);
        assert_eq!(walk.next(2).await.unwrap().len(), 2);
        assert_eq!(queue.backlog().await.unwrap().in_flight, 2);
    }
}
