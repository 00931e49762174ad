//! Sending many messages in few requests.
//!
//! SQS judges each message of a request alone, so one answer can hold successes, refusals for good
//! and refusals in passing. Those in passing are sent again with what the answer left out, until all
//! are taken, one is refused for good, or the tries are used up. Then the whole batch has failed,
//! and the error says how many are on the queue.

use std::time::Duration;

use aws_sdk_sqs::types::{BatchResultErrorEntry, SendMessageBatchRequestEntry};
use soci_queue::{MAX_MESSAGE_BYTES, MessageId, Operation, Outgoing, QueueError};
use soci_retry::Backoff;

use super::{SqsQueue, attributes};
use crate::call_failure::{CallFailure, plain};
use crate::passing_codes::is_passing;

/// Most messages of one request (Amazon SQS API reference, `SendMessageBatch`).
const MAX_ENTRIES: usize = 10;

/// How often a message is sent before the batch fails, requests that the SDK repeats aside.
const MAX_TRIES: u32 = 5;

/// Pauses between the tries of a message.
const BETWEEN: Backoff =
    Backoff { first: Duration::from_millis(200), max: Duration::from_millis(1600) };

/// A message that the service did not take.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message} ({sent} of {messages} messages of the batch were sent)")]
struct NotTaken {
    code: String,
    message: String,
    sent: usize,
    messages: usize,
}

impl SqsQueue {
    /// Puts messages on the queue, as many in one request as SQS allows: ten, and 1 MiB together.
    /// Messages that the service refuses in passing, while it takes others of the same request,
    /// are sent again, five times in all. The identifiers are in the order of the messages.
    ///
    /// After an error some of the messages may be on the queue.
    pub async fn send_batch(&self, messages: &[Outgoing]) -> Result<Vec<MessageId>, QueueError> {
        let mut ids: Vec<Option<MessageId>> = vec![None; messages.len()];
        let mut left: Vec<usize> = (0..messages.len()).collect();
        let mut tries = 1;
        while !left.is_empty() {
            let mut failed = Vec::new();
            for batch in batches(messages, &left) {
                let answer = self.send_entries(messages, batch).await;
                let (sent, refused) = answer.map_err(|e| self.failed(Operation::Send, e))?;
                for (at, id) in sent {
                    if let Some(slot) = ids.get_mut(at) {
                        *slot = Some(id);
                    }
                }
                failed.extend(refused);
            }
            // What the answers do not mention at all is sent again as well.
            left.retain(|&at| ids[at].is_none());
            // SQS calls throttling the sender's fault as well, so the code is looked at too.
            let hopeless = |entry: &&BatchResultErrorEntry| {
                entry.sender_fault && !is_passing(&plain(&entry.code))
            };
            let refused = failed.iter().find(hopeless);
            if let Some(entry) = refused.or_else(|| failed.first().filter(|_| tries >= MAX_TRIES)) {
                let failure = not_taken(entry, refused.is_none(), &ids);
                return Err(self.failed(Operation::Send, failure));
            }
            if !left.is_empty() {
                if tries >= MAX_TRIES {
                    let silent = BatchResultErrorEntry::builder().code("NoAnswer").id("");
                    let silent = silent.sender_fault(false).build();
                    let silent = silent.map_err(|e| self.failed(Operation::Send, e.into()))?;
                    return Err(self.failed(Operation::Send, not_taken(&silent, true, &ids)));
                }
                tokio::time::sleep(BETWEEN.delay(tries, fastrand::f64())).await;
                tries += 1;
            }
        }
        Ok(ids.into_iter().flatten().collect())
    }

    /// Sends the messages at the positions `batch`; gives the positions of those that were taken.
    async fn send_entries(
        &self,
        messages: &[Outgoing],
        batch: &[usize],
    ) -> Result<(Vec<(usize, MessageId)>, Vec<BatchResultErrorEntry>), CallFailure> {
        let mut call = self.client.send_message_batch().queue_url(self.url.as_str());
        for &at in batch {
            let message = &messages[at];
            let entry = SendMessageBatchRequestEntry::builder()
                .id(at.to_string())
                .message_body(&message.body)
                .set_message_attributes(attributes(message)?)
                .set_message_group_id(message.group.as_ref().map(|g| g.as_str().to_owned()));
            call = call.entries(entry.build()?);
        }
        let answer = call.send().await?;
        let sent = answer
            .successful
            .into_iter()
            .filter_map(|entry| Some((entry.id.parse().ok()?, MessageId(entry.message_id))));
        Ok((sent.collect(), answer.failed))
    }
}

fn not_taken(
    entry: &BatchResultErrorEntry,
    transient: bool,
    ids: &[Option<MessageId>],
) -> CallFailure {
    let code = plain(&entry.code);
    let source = NotTaken {
        code: code.clone(),
        message: entry.message().unwrap_or("no reason given").to_owned(),
        sent: ids.iter().flatten().count(),
        messages: ids.len(),
    };
    CallFailure { code: Some(code), transient, request_id: None, source: Box::new(source) }
}

/// Cuts the positions `left` into requests. A message that is too large for any is one of its own,
/// for the service to refuse.
fn batches<'a>(messages: &[Outgoing], left: &'a [usize]) -> Vec<&'a [usize]> {
    let (mut batches, mut from, mut bytes) = (Vec::new(), 0, 0);
    for (position, &at) in left.iter().enumerate() {
        let size = messages[at].size();
        let full = position - from == MAX_ENTRIES || bytes + size > MAX_MESSAGE_BYTES;
        if full && position > from {
            batches.push(&left[from..position]);
            (from, bytes) = (position, 0);
        }
        bytes += size;
    }
    if from < left.len() {
        batches.push(&left[from..]);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Outgoing {
        Outgoing { body: "x".repeat(bytes), group: None, attributes: Vec::new() }
    }

    fn sizes(messages: &[Outgoing]) -> Vec<usize> {
        let left: Vec<_> = (0..messages.len()).collect();
        let batches = batches(messages, &left);
        assert_eq!(batches.concat(), left);
        batches.iter().map(|batch| batch.len()).collect()
    }

    #[test]
    fn a_request_has_at_most_ten_messages_and_a_mebibyte() {
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&vec![message(1); 25]), [10, 10, 5]);
        assert_eq!(sizes(&vec![message(300 << 10); 7]), [3, 3, 1]);
        assert_eq!(sizes(&[message(1), message(2 << 20), message(1)]), [1, 1, 1]);
        assert_eq!(sizes(&[message(1 << 20), message(0), message(1)]), [2, 1]);
    }
}
