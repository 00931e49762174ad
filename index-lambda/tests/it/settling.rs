//! Messages of the very queue that jobs are handed to, which nobody else reads: their jobs end by the worker's rule.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use soci_oci::Digest;
use soci_queue::{ErrorKind, Operation, Outgoing, failure, history_attribute as history};
use soci_registry_server::testing::{Effect, Quirk, RequestKind};
use soci_sandbox::Presence;

use crate::support::{Stuck, World, job, message, messages, world, world_with};

/// A message as the filter Lambda sends it.
fn fresh(tag: &str, digest: Digest) -> Outgoing {
    let body = job(tag, digest).to_string();
    Outgoing { body, group: None, attributes: Vec::new() }
}

fn attribute<'a>(message: &'a Outgoing, name: &str) -> Option<&'a str> {
    let found = message.attributes.iter().find(|(found, _)| found == name);
    found.map(|(_, value)| value.as_str())
}

/// Takes the one message off the queue, whenever it becomes visible.
fn take(world: &mut World) -> Outgoing {
    let copy = message(&world.live);
    world.empty();
    copy
}

fn is_delayed(world: &World) -> bool {
    world.live.messages()[0].presence == Presence::Delayed
}

fn outcomes(world: &World) -> Vec<String> {
    let metrics = world.metrics();
    metrics.iter().map(|line| line["Outcome"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_image_that_is_gone_ends_with_its_second_look_and_without_a_letter() {
    let mut world = world().await;
    let pushed = fresh("v1", Digest::sha256_of(b"gone"));
    assert!(world.settle(&pushed, 1).await, "the copy is in its place");
    assert!(is_delayed(&world));
    let look = take(&mut world);
    assert_eq!(look.body, pushed.body);
    assert_eq!(attribute(&look, history::DOUBT), Some("image-gone image"));
    assert!(world.settle(&look, 1).await);
    assert!(messages(&world.live).is_empty() && messages(&world.dead).is_empty());
    assert_eq!(outcomes(&world), ["doubted", "skipped"]);
    let last = &world.metrics()[1];
    assert_eq!((&last["Reason"], &last["Lane"]), (&json!("image-gone"), &json!("live")));
}

#[tokio::test]
async fn an_image_that_appears_between_two_looks_is_indexed() {
    let mut world = world().await;
    let digest = world.push("v1", 1);
    world.registry.quirk(Quirk::on(RequestKind::ManifestGet, Effect::status(404)).times(1));
    world.registry.quirk(Quirk::on(RequestKind::ManifestHead, Effect::status(404)).times(1));
    assert!(world.settle(&fresh("v1", digest), 1).await);
    assert!(!world.is_indexed("v1"));
    let look = take(&mut world);
    assert!(world.settle(&look, 1).await);
    assert!(world.is_indexed("v1") && messages(&world.dead).is_empty());
    assert_eq!(outcomes(&world), ["doubted", "indexed"]);
}

#[tokio::test]
async fn another_doubt_than_the_first_one_is_looked_at_again() {
    let mut world = world().await;
    let mut look = fresh("v1", Digest::sha256_of(b"gone"));
    look.attributes.push((history::DOUBT.to_owned(), "registry-refused put-manifest".to_owned()));
    assert!(world.settle(&look, 1).await);
    assert_eq!(attribute(&take(&mut world), history::DOUBT), Some("image-gone image"));
}

#[tokio::test]
async fn what_fails_in_passing_comes_again_until_it_was_tried_often_enough() {
    let mut world = world().await;
    let digest = world.push("v1", 1);
    world.registry.quirk(Quirk::on(RequestKind::ManifestGet, Effect::status(503)).always());
    let mut next = fresh("v1", digest);
    next.attributes.push(("trace".to_owned(), "1".to_owned()));
    for tries in 1..13 {
        // An invocation that died before does not count against a job that came to an end of its own.
        assert!(world.settle(&next, 2).await, "{tries}");
        assert!(is_delayed(&world));
        next = take(&mut world);
        assert_eq!(attribute(&next, history::ATTEMPTS), Some(&*tries.to_string()));
        assert_eq!(attribute(&next, history::CRASHES), None);
        assert_eq!(attribute(&next, "trace"), Some("1"));
    }
    assert!(world.settle(&next, 1).await);
    assert!(messages(&world.live).is_empty());
    let letter = message(&world.dead);
    assert_eq!(attribute(&letter, failure::REASON), Some("registry-unavailable"));
    assert_eq!(attribute(&letter, failure::ATTEMPTS), Some("12"));
    assert!(attribute(&letter, failure::FIRST_AT).is_some());
    let detail = attribute(&letter, failure::MESSAGE).unwrap();
    assert!(detail.starts_with("given up after 0 h and 13 tries; the last: "), "{detail}");
    let outcomes = outcomes(&world);
    assert_eq!((&*outcomes[11], &*outcomes[12]), ("retried", "rejected"));
}

#[tokio::test]
async fn a_message_of_which_no_copy_is_taken_stays_on_its_queue() {
    let world = world().await;
    let gone = fresh("v1", Digest::sha256_of(b"gone"));
    world.live.fail_next(Operation::Send, 1, ErrorKind::Permanent);
    assert!(!world.settle(&gone, 1).await);
    assert!(messages(&world.live).is_empty() && messages(&world.dead).is_empty());
}

#[tokio::test]
async fn what_can_never_be_done_has_a_letter_at_once() {
    let world = world().await;
    let nonsense = Outgoing { body: "nonsense".to_owned(), group: None, attributes: Vec::new() };
    assert!(world.settle(&nonsense, 1).await);
    let letter = message(&world.dead);
    assert_eq!(attribute(&letter, failure::REASON), Some("malformed"));
    assert!(attribute(&letter, failure::FIRST_SENT_AT).is_some());
}

#[tokio::test]
async fn an_image_for_which_two_invocations_are_too_short_has_a_letter() {
    let mut world = world_with(|client| client.put_limit(Stuck::new())).await;
    let digest = world.push("v1", 1);
    assert!(world.settle(&fresh("v1", digest), 1).await);
    let again = take(&mut world);
    assert_eq!(attribute(&again, history::LAST_REASON), Some("deadline"));
    assert!(world.settle(&again, 1).await);
    assert!(messages(&world.live).is_empty());
    assert_eq!(attribute(&message(&world.dead), failure::REASON), Some("too-long"));
}

#[tokio::test]
async fn the_age_of_a_job_counts_from_its_first_message() {
    let world = world().await;
    let hour_ago = SystemTime::now() - Duration::from_hours(1);
    let seconds = hour_ago.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut look = fresh("v1", Digest::sha256_of(b"gone"));
    look.attributes.push((history::FIRST_SENT_AT.to_owned(), seconds.to_string()));
    assert!(world.settle(&look, 1).await);
    let told = &world.metrics()[0];
    let age = told["JobAgeSeconds"].as_f64().unwrap();
    assert!((3600.0..3700.0).contains(&age), "{age}");
    assert_eq!(told["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["Lane"]]));
}
