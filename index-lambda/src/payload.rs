//! What the function is invoked with.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::value::RawValue;
use soci_aws::QueueUrl;
use soci_queue::JobHistory;

/// `eventSource` of messages of SQS.
const SQS: &str = "aws:sqs";

/// Most of a text that an error repeats, in characters.
const MAX_SHOWN: usize = 80;

/// What the function is invoked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The messages of a queue, from an event source mapping.
    Batch(Batch),
    /// Anything else: an event or a job, from somebody who invokes the function.
    Direct,
}

/// Messages of a queue. Source: AWS Lambda developer guide, "Using Lambda with Amazon SQS".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The messages.
    pub records: Vec<Record>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its identifier.
    pub message_id: String,
    /// Its text.
    pub body: String,
    /// What sent it, `aws:sqs`.
    pub event_source: String,
    /// The queue's ARN.
    #[serde(rename = "eventSourceARN")]
    pub event_source_arn: String,
    /// What SQS says of it, such as how often it was received.
    #[serde(default)]
    pub attributes: HashMap<String, String>,
    /// What its sender says of it.
    #[serde(default)]
    pub message_attributes: HashMap<String, RecordAttribute>,
}

/// An attribute of a message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordAttribute {
    /// Its text; nothing of bytes.
    pub string_value: Option<String>,
}

/// Bytes that look like messages of a queue and are none. Nothing says which messages have failed,
/// so the invocation has to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// `Records` is no list of messages.
    #[error("\"Records\" is not a list of messages of SQS")]
    Records(#[source] serde_json::Error),
    /// They come from another service.
    #[error("the records come from {0:?}, not from \"aws:sqs\"")]
    Source(String),
}

impl Payload {
    /// Tells messages of a queue, an object with a member `Records`, from everything else.
    pub fn read(text: &str) -> Result<Self, PayloadError> {
        /// Values stay raw, so that nothing else of a payload can make this fail.
        #[derive(Deserialize)]
        struct Peek<'a> {
            #[serde(borrow, rename = "Records")]
            records: Option<&'a RawValue>,
        }
        let Ok(Peek { records: Some(records) }) = serde_json::from_str(text) else {
            return Ok(Self::Direct);
        };
        let records: Vec<Record> =
            serde_json::from_str(records.get()).map_err(PayloadError::Records)?;
        match records.iter().find(|record| record.event_source != SQS) {
            Some(other) => {
                Err(PayloadError::Source(other.event_source.chars().take(MAX_SHOWN).collect()))
            }
            None => Ok(Self::Batch(Batch { records })),
        }
    }
}

impl Record {
    /// Name of the queue that it comes from.
    pub fn queue(&self) -> &str {
        self.event_source_arn.rsplit(':').next().unwrap_or_default()
    }

    /// How often it was received, this time included.
    pub fn receive_count(&self) -> u32 {
        let count = self.attributes.get("ApproximateReceiveCount");
        count.and_then(|count| count.parse().ok()).unwrap_or(1)
    }

    /// What it says of its job; a message that does not tell when it was sent was sent at `now`. Receives before
    /// this one, after which nothing came, are counted.
    pub fn history(&self, now: SystemTime) -> JobHistory {
        let sent = self.attributes.get("SentTimestamp").and_then(|millis| millis.parse().ok());
        let sent = sent.and_then(|millis| UNIX_EPOCH.checked_add(Duration::from_millis(millis)));
        let text = |name: &str| self.message_attributes.get(name)?.string_value.as_deref();
        let history = JobHistory::read(text, sent.unwrap_or(now));
        let crashes = history.crashes.saturating_add(self.receive_count().saturating_sub(1));
        JobHistory { crashes, ..history }
    }

    /// What its sender says of it, as names and texts.
    pub fn texts(&self) -> Vec<(String, String)> {
        let text = |(name, attribute): (&String, &RecordAttribute)| {
            Some((name.clone(), attribute.string_value.clone()?))
        };
        let mut texts: Vec<_> = self.message_attributes.iter().filter_map(text).collect();
        texts.sort_unstable();
        texts
    }
}

/// What tells a queue from others: account, name, and region where it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueIdentity {
    region: Option<String>,
    account: String,
    name: String,
}

impl QueueIdentity {
    /// That of the queue at a URL, whose path is `/<account>/<name>`.
    pub fn of(url: &QueueUrl) -> Self {
        let mut path = url.as_str().rsplit('/').skip(1);
        Self {
            region: url.region().map(str::to_owned),
            account: path.next().unwrap_or_default().to_owned(),
            name: url.name().to_owned(),
        }
    }

    /// Whether `arn`, `arn:<partition>:sqs:<region>:<account>:<name>`, is of this queue.
    pub fn is(&self, arn: &str) -> bool {
        let mut parts = arn.rsplit(':');
        let (name, account, region) = (parts.next(), parts.next(), parts.next());
        name == Some(&self.name)
            && account == Some(&self.account)
            && (self.region.is_none() || region == self.region.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record(change: impl FnOnce(&mut Value)) -> Value {
        let mut record = json!({
            "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
            "receiptHandle": "secret",
            "body": "{}",
            "attributes": { "ApproximateReceiveCount": "1" },
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:small",
            "awsRegion": "eu-west-1"
        });
        change(&mut record);
        record
    }

    fn read(records: &Value) -> Result<Payload, PayloadError> {
        Payload::read(&json!({ "Records": records }).to_string())
    }

    #[test]
    fn messages_of_a_queue_are_read() {
        let Payload::Batch(batch) = read(&json!([record(|_| {}), record(|_| {})])).unwrap() else {
            panic!("it is a batch")
        };
        assert_eq!(batch.records.len(), 2);
        let record = &batch.records[0];
        assert_eq!(record.message_id, "059f36b4-87a3-44ab-83d2-661975830a7d");
        assert_eq!((&*record.body, record.queue()), ("{}", "small"));
        assert_eq!(read(&json!([])).unwrap(), Payload::Batch(Batch { records: Vec::new() }));
    }

    #[test]
    fn a_record_says_what_earlier_tries_left_on_it() {
        let Payload::Batch(batch) = read(&json!([record(|record| {
            record["attributes"] =
                json!({ "ApproximateReceiveCount": "3", "SentTimestamp": "1785587696789" });
            record["messageAttributes"] = json!({
                "job_attempts": { "stringValue": "2", "dataType": "String" },
                "job_doubt": { "stringValue": "image-gone image", "dataType": "String" },
                "trace": { "stringValue": "1", "binaryListValues": [], "dataType": "String" },
                "bytes": { "binaryValue": "AAA=", "dataType": "Binary" },
            });
        })]))
        .unwrap() else {
            panic!("it is a batch")
        };
        let record = &batch.records[0];
        let sent = UNIX_EPOCH + Duration::from_millis(1_785_587_696_789);
        let history = record.history(SystemTime::now());
        assert_eq!((record.receive_count(), history.first_sent_at), (3, sent));
        assert_eq!((history.attempts, history.crashes), (2, 2));
        assert_eq!(history.doubt.as_deref(), Some("image-gone image"));
        assert_eq!(record.texts().len(), 3);
    }

    #[test]
    fn everything_else_is_direct() {
        for text in
            ["{}", "[]", "null", "\"text\"", r#"{"Records":null}"#, r#"{"source":"aws.ecr"}"#]
        {
            assert_eq!(Payload::read(text).unwrap(), Payload::Direct, "{text}");
        }
    }

    #[test]
    fn records_that_cannot_be_told_apart_are_an_error() {
        let without = record(|record| record["messageId"] = Value::Null);
        for records in [json!({}), json!([1]), json!([record(|_| {}), without])] {
            assert!(matches!(read(&records), Err(PayloadError::Records(_))), "{records}");
        }
        let other = record(|record| record["eventSource"] = json!("aws:s3"));
        let error = read(&json!([record(|_| {}), other])).unwrap_err();
        assert_eq!(error.to_string(), "the records come from \"aws:s3\", not from \"aws:sqs\"");
    }

    #[test]
    fn a_queue_is_recognised_by_region_account_and_name() {
        let of = |url: &str| QueueIdentity::of(&url.parse().unwrap());
        let queue = of("https://sqs.eu-west-1.amazonaws.com/123456789012/live");
        assert!(queue.is("arn:aws:sqs:eu-west-1:123456789012:live"));
        for other in [
            "arn:aws:sqs:eu-west-2:123456789012:live",
            "arn:aws:sqs:eu-west-1:210987654321:live",
            "arn:aws:sqs:eu-west-1:123456789012:alive",
            "live",
            "",
        ] {
            assert!(!queue.is(other), "{other}");
        }
        let emulated = of("http://localhost:4566/123456789012/live");
        assert!(emulated.is("arn:aws:sqs:eu-west-1:123456789012:live"), "its region is not known");
    }
}
