//! Queues on SQS.
//!
//! What is tried again, and where:
//!
//! - Each call is tried three times in all by the SDK (where nothing else is configured), within a
//!   minute. That covers a broken connection and a moment of throttling, and nobody above needs to
//!   know.
//! - What still fails is told as transient or not ([`CallFailure`]) and never tried again here.
//!   Whoever holds the message knows better: extending its visibility is worth trying hard, since
//!   without it the work is done twice; deleting can wait for the next receive of the message.
//! - Only a batch is sent again from here ([`SqsQueue::send_batch`]), as SQS takes some of its
//!   messages and refuses others in one answer, which to the SDK is a success.
//! - A receipt that has ended is a kind of its own, not a failure to be retried: somebody else may
//!   have the message by now.
//!
//! Sending again after a lost answer can put a message on the queue twice. Delivery is at least once
//! in any case, and jobs are made for that.

mod batch;
mod redrive;
mod redrive_policy;
mod url;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{Builder, Region};
use aws_sdk_sqs::error::BuildError;
use aws_sdk_sqs::types::{
    Message as SqsMessage, MessageAttributeValue, MessageSystemAttributeName as System,
    QueueAttributeName as Attribute,
};
use soci_queue::{
    Backlog, ErrorKind, Group, MAX_DELAY, MAX_RECEIVE, MAX_VISIBILITY, MAX_WAIT, Message,
    MessageId, Operation, Outgoing, Queue, QueueError, Receipt, Receive,
};
use tokio::time::Instant;

use crate::call_failure::CallFailure;
use crate::cloudwatch::CloudWatch;
use crate::sdk::{ATTEMPT_TIMEOUT, CALL_TIMEOUT, SdkConfig};

pub use redrive::{MoveError, MoveProgress};
pub use url::{QueueUrl, QueueUrlError};

/// A standard queue on SQS. Clones are the same queue.
#[derive(Clone)]
pub struct SqsQueue {
    client: Client,
    url: Arc<QueueUrl>,
    /// Who is asked for the age of the oldest message, if anybody.
    ages: Option<CloudWatch>,
}

impl SqsQueue {
    /// The queue at `url`. Its region is the one that the URL names; where it names none, that of
    /// the configuration. Nothing is asked of the service yet.
    pub fn new(config: &SdkConfig, url: &str) -> Result<Self, QueueUrlError> {
        let url: QueueUrl = url.parse()?;
        let mut settings = Builder::from(config);
        if let Some(region) = url.region() {
            settings = settings.region(Region::new(region.to_owned()));
        }
        Ok(Self { client: Client::from_conf(settings.build()), url: Arc::new(url), ages: None })
    }

    /// The same queue, which asks CloudWatch how old its oldest message is.
    #[must_use]
    pub fn with_ages(self, ages: CloudWatch) -> Self {
        Self { ages: Some(ages), ..self }
    }

    /// The queue's URL.
    pub fn url(&self) -> &QueueUrl {
        &self.url
    }

    fn failed(&self, operation: Operation, failure: CallFailure) -> QueueError {
        let kind = kind(operation, &failure);
        let CallFailure { request_id, source, .. } = failure;
        QueueError { queue: self.url.name().to_owned(), operation, kind, request_id, source }
    }

    /// An answer that should say that a message is there, and does not.
    fn no_message_id(&self) -> QueueError {
        QueueError {
            queue: self.url.name().to_owned(),
            operation: Operation::Send,
            kind: ErrorKind::Transient,
            request_id: None,
            source: "the answer names no message".into(),
        }
    }

    /// A failed call about a receipt, which SQS repeats in what it says of one that it refuses.
    fn refused_receipt(
        &self,
        operation: Operation,
        receipt: &Receipt,
        failure: CallFailure,
    ) -> QueueError {
        self.failed(operation, failure.without(&receipt.0))
    }

    async fn attributes<const N: usize>(
        &self,
        names: [Attribute; N],
    ) -> Result<[Option<String>; N], CallFailure> {
        let call = self.client.get_queue_attributes().queue_url(self.url.as_str());
        let call = call.set_attribute_names(Some(names.to_vec()));
        let found = call.send().await?.attributes.unwrap_or_default();
        Ok(names.map(|name| found.get(&name).cloned()))
    }
}

impl Queue for SqsQueue {
    fn name(&self) -> &str {
        self.url.name()
    }

    async fn receive(&self, receive: Receive) -> Result<Vec<Message>, QueueError> {
        let wait = receive.wait.min(MAX_WAIT);
        // The answer to a long poll comes only when the wait is over.
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(wait + ATTEMPT_TIMEOUT)
            .operation_timeout(wait + CALL_TIMEOUT)
            .build();
        // SQS does not tell when in the poll it gave the message. The earlier time is the safe one
        // for whoever counts the 12 hours from it.
        let received_at = Instant::now();
        let call = self
            .client
            .receive_message()
            .queue_url(self.url.as_str())
            .max_number_of_messages(whole(receive.max.clamp(1, MAX_RECEIVE)))
            .wait_time_seconds(seconds(wait))
            .visibility_timeout(seconds(receive.visibility.min(MAX_VISIBILITY)))
            .message_system_attribute_names(System::ApproximateReceiveCount)
            .message_system_attribute_names(System::SentTimestamp)
            .message_system_attribute_names(System::MessageGroupId)
            .message_attribute_names("All")
            .customize()
            .config_override(Builder::new().timeout_config(timeouts));
        let answer = call.send().await.map_err(|e| self.failed(Operation::Receive, e.into()))?;
        let messages = answer.messages.unwrap_or_default();
        Ok(messages.into_iter().filter_map(|message| read(message, received_at)).collect())
    }

    async fn set_visibility(
        &self,
        receipt: &Receipt,
        visibility: Duration,
    ) -> Result<(), QueueError> {
        self.client
            .change_message_visibility()
            .queue_url(self.url.as_str())
            .receipt_handle(&receipt.0)
            .visibility_timeout(seconds(visibility.min(MAX_VISIBILITY)))
            .send()
            .await
            .map_err(|error| {
                self.refused_receipt(Operation::SetVisibility, receipt, error.into())
            })?;
        Ok(())
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), QueueError> {
        self.client
            .delete_message()
            .queue_url(self.url.as_str())
            .receipt_handle(&receipt.0)
            .send()
            .await
            .map_err(|error| self.refused_receipt(Operation::Delete, receipt, error.into()))?;
        Ok(())
    }

    async fn send_after(
        &self,
        message: &Outgoing,
        delay: Duration,
    ) -> Result<MessageId, QueueError> {
        // Without one the queue's own would hold, which is somebody's wish.
        let delay = Some(delay).filter(|delay| !delay.is_zero());
        let attributes = attributes(message);
        let attributes = attributes.map_err(|e| self.failed(Operation::Send, e.into()))?;
        let call = self
            .client
            .send_message()
            .queue_url(self.url.as_str())
            .message_body(&message.body)
            .set_delay_seconds(delay.map(|delay| seconds(delay.min(MAX_DELAY))))
            .set_message_attributes(attributes)
            .set_message_group_id(message.group.as_ref().map(|group| group.as_str().to_owned()));
        let sent = call.send().await.map_err(|e| self.failed(Operation::Send, e.into()))?;
        // What was sent is deleted elsewhere after this, so only SQS's own identifier says that it is there.
        let id = sent.message_id.filter(|id| !id.is_empty());
        id.map(MessageId).ok_or_else(|| self.no_message_id())
    }

    async fn backlog(&self) -> Result<Backlog, QueueError> {
        let names = [
            Attribute::ApproximateNumberOfMessages,
            Attribute::ApproximateNumberOfMessagesNotVisible,
            Attribute::ApproximateNumberOfMessagesDelayed,
        ];
        let found = self.attributes(names).await;
        let found = found.map_err(|failure| self.failed(Operation::Backlog, failure))?;
        let [visible, in_flight, delayed] =
            found.map(|count| count.and_then(|count| count.parse().ok()).unwrap_or(0));
        Ok(Backlog { visible, in_flight, delayed })
    }

    async fn oldest(&self) -> Result<Option<SystemTime>, QueueError> {
        let Some(ages) = &self.ages else { return Ok(None) };
        let oldest = ages.oldest(self.url.name(), SystemTime::now()).await;
        oldest.map_err(|failure| self.failed(Operation::Oldest, failure))
    }

    async fn max_receives(&self) -> Result<Option<u32>, QueueError> {
        let found = self.attributes([Attribute::RedrivePolicy]).await;
        let found = found.map_err(|failure| self.failed(Operation::MaxReceives, failure))?;
        let [policy] = found;
        Ok(policy.as_deref().and_then(redrive_policy::max_receives))
    }
}

impl fmt::Debug for SqsQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqsQueue").field(&self.url.as_str()).finish()
    }
}

/// What kind of failure it is.
///
/// SQS calls a receipt that has ended by several names. `InvalidParameterValue` is one of them, and
/// also what extending beyond the 12 hours gives, with the same meaning for whoever holds the
/// message: no other parameter of these calls can be out of range.
fn kind(operation: Operation, failure: &CallFailure) -> ErrorKind {
    let of_a_receipt = matches!(operation, Operation::SetVisibility | Operation::Delete);
    let ended = ["ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue"];
    if of_a_receipt && failure.is(&ended) {
        ErrorKind::ReceiptExpired
    } else if failure.transient {
        ErrorKind::Transient
    } else {
        ErrorKind::Permanent
    }
}

/// The message; `None` without a receipt, as nothing can be done with it.
fn read(message: SqsMessage, received_at: Instant) -> Option<Message> {
    let id = message.message_id.unwrap_or_default();
    let Some(receipt) = message.receipt_handle else {
        tracing::warn!(message_id = id, "SQS gave a message without a receipt");
        return None;
    };
    let mut system = message.attributes.unwrap_or_default();
    let mut number = |name| system.remove(&name).and_then(|text| text.parse::<u64>().ok());
    let receive_count = number(System::ApproximateReceiveCount).unwrap_or(1);
    let sent_at = number(System::SentTimestamp)
        .and_then(|millis| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)));
    let group = system.remove(&System::MessageGroupId);
    let attributes = message.message_attributes.unwrap_or_default();
    let mut attributes: Vec<_> = attributes
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.string_value?)))
        .collect();
    attributes.sort_unstable();
    Some(Message {
        id: MessageId(id),
        receipt: Receipt(receipt),
        body: message.body.unwrap_or_default(),
        receive_count: receive_count.try_into().unwrap_or(u32::MAX),
        sent_at: sent_at.unwrap_or_else(SystemTime::now),
        received_at,
        group: group.map(|group| Group::of_repository(&group)),
        attributes,
    })
}

type Attributes = HashMap<String, MessageAttributeValue>;

/// The attributes of a message to send. The error is one of the SDK's builder, for want of a type
/// that is always given.
fn attributes(message: &Outgoing) -> Result<Option<Attributes>, BuildError> {
    let value = |value: &str| {
        MessageAttributeValue::builder().data_type("String").string_value(value).build()
    };
    let named = message.attributes.iter();
    let named = named.map(|(name, text)| value(text).map(|value| (name.clone(), value)));
    let attributes = named.collect::<Result<Attributes, _>>()?;
    Ok(Some(attributes).filter(|attributes| !attributes.is_empty()))
}

/// Seconds, rounded up so that a short time does not become none.
fn seconds(time: Duration) -> i32 {
    let up = u64::from(time.subsec_nanos() > 0);
    whole(time.as_secs().saturating_add(up))
}

fn whole<T: TryInto<i32>>(number: T) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}
