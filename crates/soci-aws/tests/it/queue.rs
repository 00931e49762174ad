//! The queue on SQS.

use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use serde_json::{Value, json};
use soci_aws::SqsQueue;
use soci_queue::{ErrorKind, Group, Operation, Outgoing, Queue, QueueError, Receipt, Receive};

use crate::fake::{Answer, Fake, REQUEST_ID};

const URL: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs";

fn queue(fake: &Fake) -> SqsQueue {
    SqsQueue::new(&fake.config(), URL).unwrap()
}

fn message(body: &str) -> Outgoing {
    Outgoing { body: body.to_owned(), group: None, attributes: Vec::new() }
}

const RECEIVE: Receive =
    Receive { max: 4, wait: Duration::from_secs(20), visibility: Duration::from_millis(59_001) };

/// The error that each operation gives.
async fn errors(fake: &Fake) -> Vec<QueueError> {
    let (queue, receipt) = (queue(fake), Receipt("r".to_owned()));
    vec![
        queue.receive(RECEIVE).await.unwrap_err(),
        queue.send(&message("x")).await.unwrap_err(),
        queue.backlog().await.unwrap_err(),
        queue.set_visibility(&receipt, Duration::ZERO).await.unwrap_err(),
        queue.delete(&receipt).await.unwrap_err(),
    ]
}

async fn kinds(fake: &Fake) -> [ErrorKind; 5] {
    let kinds: Vec<_> = errors(fake).await.iter().map(|error| error.kind).collect();
    kinds.try_into().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_message_is_read_with_its_attributes() {
    let fake = Fake::new(|_, _| {
        Answer::Ok(json!({"Messages": [{
            "MessageId": "m", "ReceiptHandle": "r", "Body": "{}",
            "Attributes": {
                "ApproximateReceiveCount": "3", "SentTimestamp": "1790000000123",
                "MessageGroupId": "team/app",
            },
            "MessageAttributes": {
                "b": {"DataType": "String", "StringValue": "2"},
                "a": {"DataType": "String", "StringValue": "1"},
                "binary": {"DataType": "Binary", "BinaryValue": "AAAA"},
            },
        }, {"MessageId": "without receipt", "Body": "{}"}]}))
    });
    let mut messages = queue(&fake).receive(RECEIVE).await.unwrap();
    assert_eq!(messages.len(), 1);
    let message = messages.remove(0);
    assert_eq!((message.id.0.as_str(), message.receipt.0.as_str()), ("m", "r"));
    assert_eq!((message.receive_count, message.group), (3, Some(Group::of_repository("team/app"))));
    let sent_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_123);
    assert_eq!(message.sent_at, sent_at);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(message.attributes, [pair("a", "1"), pair("b", "2")]);
    let asked = &fake.calls("ReceiveMessage")[0];
    assert_eq!(asked["QueueUrl"], URL);
    assert_eq!(asked["MaxNumberOfMessages"], 4);
    assert_eq!(asked["WaitTimeSeconds"], 20);
    assert_eq!(asked["VisibilityTimeout"], 60, "a part of a second counts as one");
    assert_eq!(asked["MessageAttributeNames"], json!(["All"]));
    let system = json!(["ApproximateReceiveCount", "SentTimestamp", "MessageGroupId"]);
    assert_eq!(asked["MessageSystemAttributeNames"], system);
}

#[tokio::test(start_paused = true)]
async fn parameters_stay_within_what_sqs_takes() {
    let fake = Fake::new(|_, _| Answer::Ok(json!({})));
    let day = Duration::from_hours(24);
    let receive = Receive { max: 100, wait: day, visibility: day };
    assert!(queue(&fake).receive(receive).await.unwrap().is_empty());
    queue(&fake).set_visibility(&Receipt("r".to_owned()), day).await.unwrap();
    let asked = &fake.calls("ReceiveMessage")[0];
    assert_eq!(asked["MaxNumberOfMessages"], 10);
    assert_eq!(
        (&asked["WaitTimeSeconds"], &asked["VisibilityTimeout"]),
        (&json!(20), &json!(43_200))
    );
    assert_eq!(fake.calls("ChangeMessageVisibility")[0]["VisibilityTimeout"], 43_200);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_that_takes_its_whole_time_is_no_timeout() {
    let fake = Fake::new(|_, _| Answer::Late(Duration::from_secs(22), json!({})));
    assert!(queue(&fake).receive(RECEIVE).await.unwrap().is_empty());
    assert_eq!(fake.calls("ReceiveMessage").len(), 1);
    let error = queue(&fake).backlog().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_is_sent_with_its_group_and_attributes() {
    let fake = Fake::new(|_, _| Answer::Ok(json!({"MessageId": "m", "MD5OfMessageBody": ""})));
    let attributes = vec![("name".to_owned(), "value".to_owned())];
    let group = Some(Group::of_repository("team/app"));
    let id = queue(&fake).send(&Outgoing { group, attributes, ..message("{}") }).await.unwrap();
    assert_eq!(id.0, "m");
    let asked = &fake.calls("SendMessage")[0];
    assert_eq!(
        (&asked["MessageBody"], &asked["MessageGroupId"]),
        (&json!("{}"), &json!("team/app"))
    );
    let value = json!({"DataType": "String", "StringValue": "value"});
    assert_eq!(asked["MessageAttributes"], json!({ "name": value }));
    queue(&fake).send(&message("{}")).await.unwrap();
    let bare = &fake.calls("SendMessage")[1];
    assert!(bare.get("MessageAttributes").is_none() && bare.get("MessageGroupId").is_none());
    assert!(bare.get("DelaySeconds").is_none(), "the queue's own delay holds");
}

#[tokio::test(start_paused = true)]
async fn a_message_is_sent_with_a_delay_that_sqs_takes() {
    let fake = Fake::new(|_, _| Answer::Ok(json!({"MessageId": "m"})));
    for delay in [Duration::from_millis(29_001), Duration::from_mins(15), Duration::from_hours(1)] {
        queue(&fake).send_after(&message("{}"), delay).await.unwrap();
    }
    let asked = fake.calls("SendMessage");
    let delays: Vec<_> = asked.iter().map(|call| call["DelaySeconds"].clone()).collect();
    assert_eq!(delays, [30, 900, 900]);
}

#[tokio::test(start_paused = true)]
async fn how_often_a_message_can_be_received_is_read_from_the_redrive_policy() {
    for (attributes, expected) in [
        (json!({"RedrivePolicy": r#"{"deadLetterTargetArn":"arn","maxReceiveCount":7}"#}), Some(7)),
        (json!({}), None),
    ] {
        let fake = Fake::new(move |_, _| Answer::Ok(json!({ "Attributes": attributes.clone() })));
        assert_eq!(queue(&fake).max_receives().await.unwrap(), expected);
        assert_eq!(fake.calls("GetQueueAttributes")[0]["AttributeNames"], json!(["RedrivePolicy"]));
    }
    let error = queue(&Fake::refusing(403, "AccessDenied")).max_receives().await.unwrap_err();
    assert_eq!((error.operation, error.kind), (Operation::MaxReceives, ErrorKind::Permanent));
}

#[tokio::test(start_paused = true)]
async fn the_backlog_is_read_from_the_attributes() {
    let fake = Fake::new(|_, _| {
        Answer::Ok(json!({"Attributes": {
            "ApproximateNumberOfMessages": "7",
            "ApproximateNumberOfMessagesNotVisible": "2",
            "ApproximateNumberOfMessagesDelayed": "1",
        }}))
    });
    let backlog = queue(&fake).backlog().await.unwrap();
    assert_eq!((backlog.visible, backlog.in_flight, backlog.delayed), (7, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn refusals_are_permanent_and_name_queue_operation_and_request() {
    for (status, code) in [
        (400, "AWS.SimpleQueueService.NonExistentQueue"),
        (400, "QueueDoesNotExist"),
        (403, "AccessDenied"),
        (403, "InvalidSignatureException"),
        (400, "KmsDisabled"),
    ] {
        let fake = Fake::refusing(status, code);
        assert_eq!(kinds(&fake).await, [ErrorKind::Permanent; 5], "{code}");
    }
    let error = errors(&Fake::refusing(403, "AccessDenied")).await.remove(0);
    assert_eq!((error.queue.as_str(), error.operation), ("jobs", Operation::Receive));
    assert_eq!(error.request_id.as_deref(), Some(REQUEST_ID));
    assert_eq!(error.source.to_string(), "AccessDenied: no");
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_transient() {
    for (status, code) in [
        (400, "RequestThrottled"),
        (400, "ThrottlingException"),
        (403, "RequestThrottled"),
        (400, "OverLimit"),
        (403, "ExpiredTokenException"),
        (500, "InternalFailure"),
        (503, "ServiceUnavailable"),
        (503, "SomethingNew"),
    ] {
        assert_eq!(kinds(&Fake::refusing(status, code)).await, [ErrorKind::Transient; 5], "{code}");
    }
    let fakes = [
        Fake::new(|_, _| Answer::Unreachable),
        Fake::new(|_, _| Answer::Html(502)),
        Fake::new(|_, _| Answer::Late(Duration::from_hours(1), json!({}))),
    ];
    for fake in fakes {
        assert_eq!(kinds(&fake).await, [ErrorKind::Transient; 5]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_receipt_that_has_ended_has_a_kind_of_its_own() {
    use ErrorKind::{Permanent, ReceiptExpired};
    for code in ["ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue"] {
        let expected = [Permanent, Permanent, Permanent, ReceiptExpired, ReceiptExpired];
        assert_eq!(kinds(&Fake::refusing(400, code)).await, expected, "{code}");
    }
    let old = "AWS.SimpleQueueService.MessageNotInflight";
    assert_eq!(kinds(&Fake::refusing(400, old)).await[3], ReceiptExpired);
}

#[derive(Debug)]
struct NoCredentials;

impl ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("none")))
    }
}

#[tokio::test(start_paused = true)]
async fn without_credentials_waiting_does_not_help() {
    let fake = Fake::new(|_, _| Answer::Ok(json!({})));
    let config = fake.config().into_builder();
    let none = SharedCredentialsProvider::new(NoCredentials);
    let config = config.credentials_provider(none).build();
    let queue = SqsQueue::new(&config, URL).unwrap();
    assert_eq!(queue.backlog().await.unwrap_err().kind, ErrorKind::Permanent);
}

/// Answers a batch: the entries whose body `refused` names fail with its code, the others are sent.
fn batch(request: &Value, mut refused: impl FnMut(&str) -> Option<(&'static str, bool)>) -> Answer {
    let (mut sent, mut failed) = (Vec::new(), Vec::new());
    for entry in request["Entries"].as_array().unwrap() {
        let (id, body) = (&entry["Id"], entry["MessageBody"].as_str().unwrap());
        match refused(body) {
            Some((code, sender)) => {
                failed.push(json!({"Id": id, "Code": code, "SenderFault": sender}));
            }
            None => sent.push(json!({
                "Id": id, "MessageId": format!("id of {body}"), "MD5OfMessageBody": "",
            })),
        }
    }
    Answer::Ok(json!({"Successful": sent, "Failed": failed}))
}

fn messages(count: usize) -> Vec<Outgoing> {
    (0..count).map(|number| message(&number.to_string())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_in_part_is_sent_again_in_that_part() {
    let mut failures = 3;
    let fake = Fake::new(move |_, request| {
        batch(request, |body| {
            let fails = (body == "3" || body == "11") && failures > 0;
            failures -= u32::from(fails);
            fails.then_some(("InternalError", false))
        })
    });
    let ids = queue(&fake).send_batch(&messages(12)).await.unwrap();
    let expected: Vec<_> = (0..12).map(|number| format!("id of {number}")).collect();
    assert_eq!(ids.into_iter().map(|id| id.0).collect::<Vec<_>>(), expected);
    let sizes = fake.calls("SendMessageBatch");
    let sizes: Vec<_> = sizes.iter().map(|c| c["Entries"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [10, 2, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_can_never_be_sent_fails_the_batch_at_once() {
    let fake = Fake::new(|_, request| {
        batch(request, |body| (body == "1").then_some(("InvalidMessageContents", true)))
    });
    let error = queue(&fake).send_batch(&messages(3)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Permanent);
    assert!(error.source.to_string().contains("2 of 3"), "{}", error.source);
    assert_eq!(fake.calls("SendMessageBatch").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_refused_again_and_again_ends_the_tries() {
    let fake = Fake::new(|_, request| batch(request, |_| Some(("ServiceUnavailable", false))));
    let error = queue(&fake).send_batch(&messages(1)).await.unwrap_err();
    assert!(error.is_transient());
    assert_eq!(fake.calls("SendMessageBatch").len(), 5);
    let silent = Fake::new(|_, _| Answer::Ok(json!({"Successful": [], "Failed": []})));
    let error = queue(&silent).send_batch(&messages(1)).await.unwrap_err();
    assert!(error.is_transient());
    assert_eq!(silent.calls("SendMessageBatch").len(), 5);
}
