//! Direct invocations: what is answered, and where images go that are not done.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde_json::{Value, json};
use soci_index_lambda::Answer;
use soci_indexer::Budget;
use soci_oci::Digest;
use soci_queue::{ErrorKind, JobHistory, Operation, failure};
use soci_registry_server::testing::{Effect, Quirk, RequestKind};
use soci_sandbox::Presence;
use soci_tests::TestImage;
use tokio::time::Instant;

use crate::support::{
    REPOSITORY, Stuck, event, invocation, job, message, messages, world, world_of, world_with,
};

const DONE: &str = "Successfully built and pushed SOCI index";

#[tokio::test]
async fn an_image_is_indexed_once_and_the_answer_is_the_same_again() {
    let world = world().await;
    let digest = world.push("v1", 1);
    assert_eq!(world.sentence(&event("v1", digest)).await, DONE);
    assert!(world.is_indexed("v1"));
    let written = world.registry.manifests(REPOSITORY);
    world.registry.clear_requests();
    assert_eq!(world.sentence(&event("v1", digest)).await, DONE);
    assert_eq!(world.registry.manifests(REPOSITORY), written);
    let writes = [RequestKind::UploadPost, RequestKind::UploadPut, RequestKind::ManifestPut];
    assert!(writes.iter().all(|kind| world.registry.requests_of(*kind).is_empty()));
    assert!(messages(&world.live).is_empty() && messages(&world.dead).is_empty());
}

#[tokio::test]
async fn a_job_and_a_record_of_a_failed_invocation_are_understood_as_well() {
    let world = world().await;
    let digest = world.push("v1", 1);
    assert_eq!(world.sentence(&job("v1", digest)).await, DONE);
    let digest = world.push("v2", 2);
    let envelope = json!({
        "version": "1.0", "requestContext": { "condition": "RetriesExhausted" },
        "requestPayload": event("v2", digest),
    });
    assert_eq!(world.sentence(&envelope).await, DONE);
    assert!(world.is_indexed("v1") && world.is_indexed("v2"));
}

#[tokio::test]
async fn what_needs_no_index_is_answered_in_the_known_words() {
    let mut world = world().await;
    let digest = world.push("v1", 1);
    let chart = TestImage::artifact("application/vnd.cncf.helm.config.v1+json");
    let chart = chart.put(&world.registry, REPOSITORY, "chart");
    let mut signature = event("v1", digest);
    signature["detail"]["artifact-media-type"] =
        json!("application/vnd.dev.cosign.artifact.sig.v1+json");
    let no_image = "Exited early due to manifest validation error";
    for (payload, expected) in [
        (event("", digest), "Skipped SOCI index generation for V2 as image has no tag"),
        (event("chart", chart), no_image),
        (signature, no_image),
        (
            event("v1-soci", digest),
            "Skipped SOCI index generation: tag \"v1-soci\" ends in \"-soci\", so the image is \
             already converted",
        ),
    ] {
        assert_eq!(world.sentence(&payload).await, expected);
    }
    world.handler.worker.rules.filters = "other:*".parse().unwrap();
    assert_eq!(
        world.sentence(&event("v1", digest)).await,
        "Skipped SOCI index generation: no filter matches team/app:v1"
    );
    assert!(!world.is_indexed("v1"));
    assert!(messages(&world.live).is_empty() && messages(&world.dead).is_empty());
}

#[tokio::test]
async fn an_image_without_a_layer_to_index_is_answered_in_the_known_words() {
    let world = world().await;
    // Compressed in a way that no ztoc describes.
    let zstd = (soci_oci::media_type::OCI_LAYER_ZSTD, bytes::Bytes::from_static(b"layer"));
    let image = TestImage::single("linux/amd64", &[zstd]);
    let digest = image.put(&world.registry, REPOSITORY, "v1");
    assert_eq!(
        world.sentence(&event("v1", digest)).await,
        "Skipping pushing SOCI index as it does not contain any zTOCs"
    );
}

#[tokio::test]
async fn events_of_something_else_are_an_error_in_the_known_words() {
    let world = world().await;
    let digest = world.push("v1", 1);
    for (pointer, value, expected) in [
        ("/source", "aws.s3", "the event's 'source' must be 'aws.ecr'"),
        ("/detail/action-type", "DELETE", "the event's 'detail.action-type' must be 'PUSH'"),
    ] {
        let mut event = event("v1", digest);
        *event.pointer_mut(pointer).unwrap() = json!(value);
        let fault = world.invoke(&event).await.unwrap_err();
        assert_eq!(fault.kind, "ECRImageActionEvent validation error");
        assert_eq!(fault.message, expected);
    }
    assert!(messages(&world.dead).is_empty(), "nothing is wrong with them");
}

#[tokio::test]
async fn a_replicated_image_is_indexed_where_it_is_wanted() {
    let mut world = world().await;
    let mut event = event("v1", world.push("v1", 1));
    event["detail-type"] = json!("ECR Replication Action");
    event["detail"]["action-type"] = json!("REPLICATE");
    let fault = world.invoke(&event).await.unwrap_err();
    assert_eq!(fault.message, "the event's 'detail-type' must be 'ECR Image Action'");
    world.handler.worker.rules.event_types = soci_push::EventTypes::all();
    assert_eq!(world.sentence(&event).await, "Successfully built and pushed SOCI index");
    assert!(world.is_indexed("v1"));
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_on_the_dead_letter_queue() {
    let world = world().await;
    let mut malformed = event("v1", world.push("v1", 1));
    malformed["detail"]["image-digest"] = json!("sha256:12");
    assert_eq!(world.sentence(&malformed).await, "ECRImageActionEvent validation error");
    let letter = message(&world.dead);
    assert_eq!(letter.body, malformed.to_string());
    let attribute = |name: &str| {
        letter.attributes.iter().find(|(found, _)| found == name).map(|(_, value)| &**value)
    };
    assert_eq!(attribute(failure::REASON), Some("malformed"));
    assert_eq!(attribute(failure::MESSAGE_ID), Some("request-1"));
    assert_eq!(attribute(failure::AT), Some("2026-08-01T12:34:56Z"));
    assert!(attribute(failure::MESSAGE).unwrap().contains("detail.image-digest \"sha256:12\""));
}

#[tokio::test]
async fn without_a_dead_letter_queue_what_cannot_be_done_is_an_error_in_the_known_words() {
    let mut world = world().await;
    world.handler.worker.dead_letters = None;
    let gone = Digest::sha256_of(b"gone");
    let mut malformed = event("v1", gone);
    malformed["account"] = json!("me");
    let source = "the event's 'source' must be 'aws.ecr'";
    for (payload, kind, message) in [
        (
            malformed,
            "ECRImageActionEvent validation error",
            "the event's 'account' must be a valid AWS account ID",
        ),
        (json!({}), "ECRImageActionEvent validation error", source),
    ] {
        let fault = world.invoke(&payload).await.unwrap_err();
        assert_eq!(fault.kind, kind);
        assert!(fault.message.starts_with(message), "{fault}");
    }
}

#[tokio::test]
async fn what_only_the_registry_says_is_left_to_a_worker_s_second_look() {
    let world = world().await;
    let gone = Digest::sha256_of(b"gone");
    let sentence = world.sentence(&event("v1", gone)).await;
    assert!(sentence.starts_with("Handed over to the queue: "), "{sentence}");
    assert!(messages(&world.dead).is_empty());
    let found = world.live.messages().remove(0);
    assert_eq!(found.presence, Presence::Delayed);
    let body: Value = serde_json::from_str(&found.message.body).unwrap();
    assert_eq!(body, job("v1", gone));
    let history = JobHistory::of(&found.message);
    assert_eq!((history.doubt.as_deref(), history.attempts), (Some("image-gone image"), 0));
}

#[tokio::test]
async fn an_image_that_can_never_be_indexed_is_kept_and_not_tried_again() {
    let world = world().await;
    let broken =
        (soci_oci::media_type::OCI_LAYER_GZIP, bytes::Bytes::from_static(b"no gzip at all"));
    let image = TestImage::single("linux/amd64", &[broken]);
    let event = event("v1", image.put(&world.registry, REPOSITORY, "v1"));
    assert_eq!(world.sentence(&event).await, "SOCI index build error");
    let letter = message(&world.dead);
    assert_eq!(letter.body, event.to_string());
    assert_eq!(letter.group.unwrap().as_str(), REPOSITORY);
    let reason = letter.attributes.iter().find(|(name, _)| name == failure::REASON);
    assert_eq!(reason.unwrap().1, "layer-rejected");
    assert!(messages(&world.live).is_empty());
}

#[tokio::test]
async fn what_this_function_has_too_little_memory_for_is_left_to_a_worker() {
    let least = Budget::new(NonZeroUsize::MIN, Budget::LEAST_MEMORY);
    let world = world_of(|client| client, least).await;
    let image = TestImage::single("linux/amd64", &[soci_tests::many_files_layer(300_000).unwrap()]);
    let digest = image.put(&world.registry, REPOSITORY, "v1");
    let sentence = world.sentence(&event("v1", digest)).await;
    assert!(sentence.starts_with("Handed over to the queue: "), "{sentence}");
    assert!(messages(&world.dead).is_empty());
    let handed: Value = serde_json::from_str(&message(&world.live).body).unwrap();
    assert_eq!(handed, job("v1", digest));
}

#[tokio::test]
async fn a_dead_letter_queue_that_fails_makes_the_invocation_fail() {
    let world = world().await;
    world.dead.fail_next(Operation::Send, 1, ErrorKind::Permanent);
    let fault = world.invoke(&json!({ "v": 1 })).await.unwrap_err();
    assert!(fault.message.contains("queue dead did not send a message"), "{fault}");
}

#[tokio::test]
async fn a_failure_that_may_pass_is_handed_over_to_the_queue_as_a_job() {
    let world = world().await;
    let digest = world.push("v1", 1);
    world.registry.quirk(Quirk::on(RequestKind::ManifestGet, Effect::status(503)).always());
    let sentence = world.sentence(&event("v1", digest)).await;
    assert!(sentence.starts_with("Handed over to the queue: "), "{sentence}");
    let message = message(&world.live);
    assert_eq!(serde_json::from_str::<Value>(&message.body).unwrap(), job("v1", digest));
    assert_eq!(message.group.unwrap().as_str(), REPOSITORY);
    let history = JobHistory::of(&world.live.messages()[0].message);
    assert_eq!(history.last.unwrap().reason, "registry-unavailable");
    assert_eq!(history.attempts, 1);
    assert!(messages(&world.dead).is_empty());
}

#[tokio::test]
async fn a_queue_that_does_not_take_the_job_makes_the_invocation_fail() {
    let world = world().await;
    let digest = world.push("v1", 1);
    world.registry.quirk(Quirk::on(RequestKind::ManifestGet, Effect::status(503)).always());
    world.live.fail_next(Operation::Send, 1, ErrorKind::Transient);
    let fault = world.invoke(&event("v1", digest)).await.unwrap_err();
    assert_eq!(fault.kind, "SOCI index build error");
    assert!(fault.message.contains("queue live did not send a message"), "{fault}");
}

#[tokio::test]
async fn an_image_that_is_not_done_in_time_is_handed_over_and_leaves_no_manifest_behind() {
    let world = world_with(|client| client.put_limit(Stuck::new())).await;
    let digest = world.push("v1", 1);
    let before = world.registry.manifests(REPOSITORY);
    let (payload, invocation) = (event("v1", digest).to_string(), invocation(900));
    let answer = world.handler.handle(&payload, &invocation).await.unwrap();
    let left = invocation.deadline - Instant::now();
    assert!(left <= Duration::from_secs(20) && left > Duration::from_secs(19), "{left:?}");
    let expected = "Handed over to the queue: the invocation has no time left to finish";
    assert_eq!(answer, Answer::Sentence(expected.to_owned()));
    let body = message(&world.live).body;
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), job("v1", digest));
    assert_eq!(world.registry.manifests(REPOSITORY), before);
    assert!(!world.is_indexed("v1"));
}

#[tokio::test(start_paused = true)]
async fn without_time_nothing_is_begun() {
    let world = world().await;
    let digest = world.push("v1", 1);
    let payload = event("v1", digest).to_string();
    world.handler.handle(&payload, &invocation(20)).await.unwrap();
    assert_eq!(world.registry.requests(), []);
    assert_eq!(messages(&world.live).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_hangs_makes_the_invocation_fail_before_lambda_ends_it() {
    let world = world().await;
    world.live.hang_next(Operation::Send, 1);
    let invocation = invocation(20);
    let payload = event("v1", world.push("v1", 1)).to_string();
    let fault = world.handler.handle(&payload, &invocation).await.unwrap_err();
    assert!(Instant::now() < invocation.deadline);
    assert!(fault.message.contains("queue live did not answer"), "{fault}");
}
