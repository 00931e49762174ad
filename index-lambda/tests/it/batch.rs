//! Messages of a queue: which are done, and where the others go.

use serde_json::{Value, json};
use soci_index_lambda::{Answer, BatchAnswer, ItemFailure};
use soci_oci::Digest;
use soci_queue::{ErrorKind, Operation, failure};
use soci_registry_server::testing::{Effect, Quirk, RequestKind};

use crate::support::{
    Stuck, event, invocation, job, message, messages, records, world, world_with,
};

#[tokio::test]
async fn messages_of_every_kind_are_done_and_none_is_given_back() {
    let world = world().await;
    let digests = [world.push("v1", 1), world.push("v2", 2), world.push("v3", 3)];
    let envelope = json!({
        "requestContext": { "condition": "RetriesExhausted" },
        "requestPayload": event("v3", digests[2]),
    });
    let mut deleted = event("v1", digests[0]);
    deleted["detail"]["action-type"] = json!("DELETE");
    let bodies = [event("v1", digests[0]), job("v2", digests[1]), envelope, deleted];
    assert_eq!(world.batch(&bodies.map(|body| body.to_string())).await, [""; 0]);
    assert!(["v1", "v2", "v3"].iter().all(|tag| world.is_indexed(tag)));
    assert!(messages(&world.live).is_empty() && messages(&world.dead).is_empty());
}

#[tokio::test]
async fn one_message_that_fails_does_not_hold_up_the_others() {
    let world = world().await;
    let (good, gone) = (world.push("v1", 1), Digest::sha256_of(b"gone"));
    let bodies = [job("v0", gone), json!("nonsense"), job("v1", good)];
    assert_eq!(world.batch(&bodies.map(|body| body.to_string())).await, [""; 0]);
    assert!(world.is_indexed("v1"));
    let letters = messages(&world.dead);
    let attribute = |letter: usize, name: &str| {
        let found = letters[letter].attributes.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.clone()).unwrap()
    };
    assert_eq!(letters.len(), 1);
    assert_eq!(attribute(0, failure::REASON), "malformed");
    assert_eq!(attribute(0, failure::MESSAGE_ID), "1");
    assert_eq!(attribute(0, failure::QUEUE), "small");
    // What is gone gets a second look.
    let handed_over: Value = serde_json::from_str(&message(&world.live).body).unwrap();
    assert_eq!(handed_over, job("v0", gone));
    // Whoever reads the queue is told of it at once; SQS's own metrics of a queue that was idle come late.
    let metrics = world.metrics();
    let outcomes: Vec<_> = metrics.iter().map(|line| line["Outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["handed-over", "rejected", "indexed"]);
    let enqueued: Vec<_> = metrics.iter().map(|line| line["Enqueued"].as_u64()).collect();
    assert_eq!(enqueued, [Some(1), None, None]);
    let directives = metrics[0]["_aws"]["CloudWatchMetrics"].as_array().unwrap();
    let directive =
        directives.iter().find(|directive| directive["Metrics"][0]["Name"] == "Enqueued");
    assert_eq!(directive.unwrap()["Dimensions"], json!([[]]));
}

#[tokio::test]
async fn without_a_dead_letter_queue_the_message_stays_on_its_own() {
    let mut world = world().await;
    world.handler.worker.dead_letters = None;
    let bodies = [json!("nonsense"), job("v1", world.push("v1", 1))];
    assert_eq!(world.batch(&bodies.map(|body| body.to_string())).await, ["0"]);
    assert!(world.is_indexed("v1"));
}

#[tokio::test]
async fn what_fails_in_passing_is_handed_over_and_stays_only_if_that_fails() {
    let world = world().await;
    let digest = world.push("v1", 1);
    world.registry.quirk(Quirk::on(RequestKind::ManifestGet, Effect::status(503)).always());
    world.live.fail_next(Operation::Send, 1, ErrorKind::Transient);
    let body = event("v1", digest).to_string();
    assert_eq!(world.batch(&[body.clone(), body]).await, ["0"]);
    let handed_over: Value = serde_json::from_str(&message(&world.live).body).unwrap();
    assert_eq!(handed_over, job("v1", digest));
}

#[tokio::test]
async fn what_is_not_done_in_time_is_handed_over_with_all_that_was_not_begun() {
    let world = world_with(|client| client.put_limit(Stuck::new())).await;
    let digests = [world.push("v1", 1), world.push("v2", 2)];
    let bodies = [job("v1", digests[0]), job("v2", digests[1])].map(|body| body.to_string());
    assert_eq!(world.batch(&bodies).await, [""; 0]);
    let handed_over: Vec<Value> = messages(&world.live)
        .iter()
        .map(|message| serde_json::from_str(&message.body).unwrap())
        .collect();
    assert_eq!(handed_over, [job("v1", digests[0]), job("v2", digests[1])]);
    let asked = |digest: Digest| {
        world.registry.requests().iter().any(|request| request.path.contains(&digest.hex()))
    };
    assert!(asked(digests[0]) && !asked(digests[1]));
}

#[tokio::test]
async fn records_that_are_no_messages_make_the_invocation_fail() {
    let world = world().await;
    let mut records = records("small", &["{}".to_owned()]);
    records["Records"][0]["messageId"] = Value::Null;
    let payload = records.to_string();
    let fault = world.handler.handle(&payload, &invocation(900)).await.unwrap_err();
    assert_eq!(fault.kind, "PayloadError");
}

#[test]
fn an_answer_has_the_shape_that_the_mapping_reads() {
    let item_identifier = "id-1".to_owned();
    let some = BatchAnswer { batch_item_failures: vec![ItemFailure { item_identifier }] };
    assert_eq!(
        serde_json::to_string(&Answer::Batch(some)).unwrap(),
        r#"{"batchItemFailures":[{"itemIdentifier":"id-1"}]}"#
    );
    assert_eq!(
        serde_json::to_string(&Answer::Batch(BatchAnswer::default())).unwrap(),
        r#"{"batchItemFailures":[]}"#
    );
    assert_eq!(serde_json::to_string(&Answer::Sentence("done".to_owned())).unwrap(), r#""done""#);
}
