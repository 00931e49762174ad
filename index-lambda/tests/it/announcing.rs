//! What others are told of ended images, and how long an invocation waits for that.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use soci_announce::testing::Bus;
use soci_announce::{Announcement, DeliveryError, Destination, OutboxLimits, Outboxes};
use soci_index_lambda::Answer;
use soci_oci::Digest;
use soci_queue::{Outgoing, history_attribute as history};
use soci_registry_server::testing::{Effect, Quirk, RequestKind};
use soci_tests::violations;
use tokio::time::Instant;

use crate::support::{World, event, invocation, job, message, records, world};

/// A function that announces to `bus`.
async fn world_of(bus: &Bus) -> World {
    let mut world = world().await;
    let destination: Arc<dyn Destination> = Arc::new(bus.clone());
    world.handler.outboxes = Outboxes::to([destination], OutboxLimits::default(), &[]);
    world
}

/// What was announced since the last time, each as the schema has it.
fn told(bus: &Bus) -> Vec<Value> {
    let schema = include_str!("../../../docs/events/image-ended.v1.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let read = |one: &Announcement| -> Value {
        let value = serde_json::from_str(&one.json()).unwrap();
        assert_eq!(violations(&schema, &value), Vec::<String>::new(), "{value:#}");
        value
    };
    bus.take().iter().map(read).collect()
}

/// The one thing that was announced since the last time: its status and its reason.
fn one(bus: &Bus) -> (String, String) {
    let told = told(bus);
    let [one] = &told[..] else { panic!("{told:?}") };
    let text = |member: &str| one[member].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

fn end(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[tokio::test]
async fn an_image_is_announced_however_its_job_comes() {
    let bus = Bus::default();
    let world = world_of(&bus).await;
    let digest = world.push("v1", 1);
    world.sentence(&event("v1", digest)).await;
    let told = told(&bus);
    let [indexed] = &told[..] else { panic!("{told:?}") };
    assert_eq!(indexed["status"], "indexed");
    assert_eq!(indexed["registry"], "123456789012.dkr.ecr.eu-west-1.amazonaws.com");
    assert_eq!((&indexed["repository"], &indexed["tag"]), (&json!("team/app"), &json!("v1")));
    assert_eq!(indexed["image_digest"], digest.to_string());
    assert_eq!(indexed["output_tag"], "v1-soci");
    let tags = world.registry.tags("team/app");
    let (_, converted) = tags.iter().find(|(tag, _)| tag == "v1-soci").unwrap();
    assert_eq!(indexed["index_digest"], converted.to_string());
    assert!(indexed["bytes_read"].as_u64().unwrap() > 50_000, "{indexed}");
    assert_eq!(world.batch(&[job("v1", digest).to_string()]).await, Vec::<String>::new());
    assert_eq!(one(&bus), end("already-indexed", ""));
}

#[tokio::test]
async fn what_is_no_work_and_what_names_no_image_is_not_announced() {
    let bus = Bus::default();
    let world = world_of(&bus).await;
    let digest = world.push("v1-soci", 1);
    world.sentence(&event("v1-soci", digest)).await;
    world.batch(&["no job".to_owned()]).await;
    assert_eq!(told(&bus), Vec::<Value>::new());
}

#[tokio::test]
async fn what_is_handed_over_is_announced_by_whoever_ends_it() {
    let bus = Bus::default();
    let world = world_of(&bus).await;
    // Only the registry says that it is gone, so a worker looks again.
    let gone = Digest::sha256_of(b"gone");
    world.sentence(&event("v1", gone)).await;
    let failing = world.push("v2", 2);
    world.registry.quirk(Quirk::on(RequestKind::BlobGet, Effect::status(403)).always());
    world.sentence(&event("v2", failing)).await;
    assert_eq!(world.live.messages().len(), 2);
    assert_eq!(told(&bus), Vec::<Value>::new());
}

#[tokio::test]
async fn on_its_own_queue_the_last_look_is_announced_and_none_before() {
    let bus = Bus::default();
    let mut world = world_of(&bus).await;
    let body = job("v1", Digest::sha256_of(b"gone")).to_string();
    let pushed = Outgoing { body, group: None, attributes: Vec::new() };
    assert!(world.settle(&pushed, 1).await);
    assert_eq!(told(&bus), Vec::<Value>::new());
    let look = message(&world.live);
    world.empty();
    assert!(world.settle(&look, 1).await);
    assert_eq!(one(&bus), end("skipped", "image-gone"));

    let failing = world.push("v2", 2);
    world.registry.quirk(Quirk::on(RequestKind::BlobGet, Effect::status(403)).always());
    let body = job("v2", failing).to_string();
    let mut tried = Outgoing { body, group: None, attributes: Vec::new() };
    assert!(world.settle(&tried, 1).await);
    assert_eq!(told(&bus), Vec::<Value>::new(), "it comes again");
    tried.attributes.push((history::ATTEMPTS.to_owned(), "12".to_owned()));
    world.empty();
    assert!(world.settle(&tried, 1).await);
    assert_eq!(one(&bus), end("failed", "unauthorized"));
    assert_eq!(world.dead.messages().len(), 1);
}

#[tokio::test]
async fn an_invocation_waits_three_seconds_for_a_bus_that_hangs_and_then_not_at_all() {
    let bus = Bus::default();
    let world = world_of(&bus).await;
    bus.hang(true);
    let digest = world.push("v1", 1);
    world.batch(&[job("v1", digest).to_string()]).await;
    tokio::time::pause();
    let again = async |seconds: u64| {
        let begun = Instant::now();
        let records = records("small", &["no job".to_owned()]);
        let answer = world.handler.handle(&records.to_string(), &invocation(seconds)).await;
        assert!(matches!(answer, Ok(Answer::Batch(_))), "{answer:?}");
        begun.elapsed()
    };
    assert_eq!(again(900).await.as_secs(), 3);
    // Nor longer than the invocation lasts, less what it needs to answer.
    assert!((500..600).contains(&again(1).await.as_millis()));
    // The try has failed by now, so nobody waits for the next one.
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(again(900).await.as_millis() < 10);
    bus.hang(false);
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(one(&bus), end("indexed", ""));
}

#[tokio::test]
async fn a_bus_that_refuses_or_throttles_changes_no_answer() {
    for error in [DeliveryError::lasting("no"), DeliveryError::passing("slow down")] {
        let bus = Bus::default();
        bus.refuse(error);
        let world = world_of(&bus).await;
        let digest = world.push("v1", 1);
        let sentence = world.sentence(&event("v1", digest)).await;
        assert_eq!(sentence, "Successfully built and pushed SOCI index");
        assert!(world.is_indexed("v1"));
        assert_eq!(told(&bus), Vec::<Value>::new());
    }
}
