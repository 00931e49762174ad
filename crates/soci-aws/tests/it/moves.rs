//! Moves by SQS itself.

use serde_json::json;
use soci_aws::{MoveProgress, SqsQueue};

use crate::fake::{Answer, Fake};

fn queues(fake: &Fake) -> (SqsQueue, SqsQueue) {
    let url = |name: &str| format!("https://sqs.eu-west-1.amazonaws.com/1/{name}");
    let queue = |name| SqsQueue::new(&fake.config(), &url(name)).unwrap();
    (queue("dead"), queue("live"))
}

fn answer(operation: &str, request: &serde_json::Value) -> Answer {
    let url = request["QueueUrl"].as_str().unwrap_or_default();
    let name = url.rsplit('/').next().unwrap_or_default();
    Answer::Ok(match operation {
        "GetQueueAttributes" => json!({"Attributes": {"QueueArn": format!("arn:{name}")}}),
        "StartMessageMoveTask" => json!({"TaskHandle": "t"}),
        "ListMessageMoveTasks" => json!({"Results": [{
            "Status": "RUNNING", "ApproximateNumberOfMessagesMoved": 3,
            "ApproximateNumberOfMessagesToMove": 9,
        }]}),
        other => panic!("{other}"),
    })
}

#[tokio::test]
async fn a_move_names_both_queues_and_a_rate_that_sqs_takes() {
    let fake = Fake::new(answer);
    let (dead, live) = queues(&fake);
    dead.start_move(&live, Some(9_999)).await.unwrap();
    dead.start_move(&live, None).await.unwrap();
    let both = json!({"SourceArn": "arn:dead", "DestinationArn": "arn:live"});
    let mut limited = both.clone();
    limited["MaxNumberOfMessagesPerSecond"] = 500.into();
    assert_eq!(fake.calls("StartMessageMoveTask"), [limited, both]);
}

#[tokio::test]
async fn the_progress_is_that_of_the_latest_move() {
    let (dead, _) = queues(&Fake::new(answer));
    let progress = dead.move_progress().await.unwrap().unwrap();
    let running =
        MoveProgress { status: "RUNNING".to_owned(), moved: 3, total: Some(9), failure: None };
    assert_eq!(progress, running);
    assert!(!progress.is_over());
    assert!(MoveProgress { status: "COMPLETED".to_owned(), ..running }.is_over());
}

#[tokio::test]
async fn a_refusal_says_what_was_asked_of_which_queue() {
    let (dead, live) = queues(&Fake::refusing(400, "UnsupportedOperation"));
    let error = dead.start_move(&live, None).await.unwrap_err();
    assert!(!error.is_transient());
    assert!(error.to_string().starts_with("SQS did not tell the name of queue dead (request "));
}
