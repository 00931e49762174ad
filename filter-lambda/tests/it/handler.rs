//! The handler: what is answered, and where events go.

use std::time::Duration;

use serde_json::{Value, json};
use soci_filter_lambda::Response;
use soci_lambda::InvocationError;
use soci_queue::Outgoing;
use tokio::time::Instant;

use crate::support::Mood::{Fails, Hangs, Works};
use crate::support::{FILTERS, Sent, World, event, index, invocation, manifest, world};

/// The one message on a queue.
fn only(queue: &Sent) -> Outgoing {
    let [message] = &queue.messages()[..] else { panic!("{:?}", queue.messages()) };
    message.clone()
}

/// The one message on the worker's queue.
fn queued(world: &World) -> Outgoing {
    only(&world.queue)
}

async fn handle(world: &World, event: &Value) -> Result<Response, InvocationError> {
    world.handler.handle(&event.to_string(), &invocation(30)).await
}

fn status(result: Result<Response, InvocationError>) -> u16 {
    result.unwrap().status_code
}

#[tokio::test]
async fn an_image_goes_to_one_of_two_queues_by_its_size_as_a_job_of_its_repository() {
    for (bytes, is_small) in [(1000, true), (1001, false)] {
        let image = manifest(bytes);
        let world = world([Works; 3], vec![image.clone()]);
        let response = handle(&world, &event("team/app", "v1", image.digest)).await.unwrap();
        assert_eq!(response.status_code, 200);
        assert_eq!(
            response.body,
            format!(
                "Successfully queued the image because the given event contained the image \
                 \"team/app:v1\" with digest \"{}\" which matched SOCI repository image tag filter \
                 \"team/*:*\". Message id: \"message-1\"",
                image.digest
            )
        );
        let (one, other) = (&world.small, &world.queue);
        let (taken, empty) = if is_small { (one, other) } else { (other, one) };
        assert_eq!(empty.messages(), []);
        let message = only(taken);
        assert_eq!(message.group.unwrap().as_str(), "team/app");
        assert_eq!(
            serde_json::from_str::<Value>(&message.body).unwrap(),
            json!({
                "v": 1, "registry": "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                "repository": "team/app", "digest": image.digest.to_string(), "tag": "v1",
                "event_id": "13cde686-328b-6117-af20-0e5566167482",
                "enqueued_at": "2026-08-01T12:34:56Z",
            })
        );
    }
}

#[tokio::test]
async fn an_image_index_is_as_large_as_all_its_platforms() {
    for (platforms, small) in [([400, 600], true), ([400, 601], false)] {
        let children = platforms.map(manifest);
        let root = index(&children);
        let world = world([Works; 3], [&children[..], std::slice::from_ref(&root)].concat());
        assert_eq!(status(handle(&world, &event("team/app", "v1", root.digest)).await), 200);
        assert_eq!(
            (world.small.messages().len(), world.queue.messages().len()),
            if small { (1, 0) } else { (0, 1) }
        );
        let asked = world.manifests.asked.lock().unwrap().clone();
        assert_eq!(asked, [vec![root.digest], children.map(|child| child.digest).to_vec()]);
    }
}

#[tokio::test]
async fn without_an_index_lambda_nothing_is_asked_and_everything_is_queued() {
    let image = manifest(1);
    let mut world = world([Works, Fails, Fails], vec![image.clone()]);
    world.handler.dispatcher.shortcut = None;
    assert_eq!(status(handle(&world, &event("team/app", "v1", image.digest)).await), 200);
    assert!(queued(&world).body.contains(&image.digest.to_string()));
    assert_eq!(world.manifests.asked.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn every_doubt_about_the_index_lambda_ends_on_the_queue() {
    let (image, unknown) = (manifest(1), manifest(2));
    let mut text = image.clone();
    text.media_type = "text/plain".to_owned();
    let nested = index(&[index(std::slice::from_ref(&image))]);
    let incomplete = index(std::slice::from_ref(&unknown));
    for (what, moods, root) in [
        ("the registry fails", [Works, Fails, Works], &image),
        ("the queue of small images fails", [Works, Works, Fails], &image),
        ("the image does not exist", [Works; 3], &unknown),
        ("a manifest of the index does not exist", [Works; 3], &incomplete),
        ("an index in the index", [Works; 3], &nested),
        ("an unknown media type", [Works; 3], &text),
    ] {
        let stored = match what {
            "an unknown media type" => vec![text.clone()],
            _ => vec![image.clone(), nested.clone(), incomplete.clone()],
        };
        let world = world(moods, stored);
        assert_eq!(status(handle(&world, &event("team/app", "v1", root.digest)).await), 200);
        assert!(queued(&world).body.contains(&root.digest.to_string()), "{what}");
        assert_eq!(world.small.messages(), [], "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn asking_never_takes_the_time_that_sending_needs() {
    let image = manifest(1);
    for (moods, left, expected) in [
        ([Works, Hangs, Works], 30, Duration::from_secs(5)),
        ([Works, Works, Hangs], 30, Duration::from_secs(5)),
        // Lambda's default timeout.
        ([Works, Hangs, Works], 3, Duration::from_millis(1500)),
    ] {
        let world = world(moods, vec![image.clone()]);
        let begun = Instant::now();
        let event = event("team/app", "v1", image.digest).to_string();
        let response = world.handler.handle(&event, &invocation(left)).await.unwrap();
        assert_eq!(response.status_code, 200);
        let took = begun.elapsed();
        assert!(took >= expected && took < expected + Duration::from_millis(10), "{took:?}");
        assert_eq!(world.queue.messages().len(), 1);
    }
}

#[tokio::test]
async fn a_queue_that_fails_makes_the_invocation_fail() {
    let image = manifest(2000);
    let world = world([Fails, Works, Works], vec![image.clone()]);
    let fault = handle(&world, &event("team/app", "v1", image.digest)).await.unwrap_err();
    assert_eq!(fault.kind, "QueueError");
    assert_eq!(
        fault.message,
        "queue live did not send a message (request sqs-request): it does not work"
    );
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_hangs_makes_the_invocation_fail_before_lambda_ends_it() {
    let image = manifest(2000);
    let world = world([Hangs, Works, Works], vec![image.clone()]);
    let begun = Instant::now();
    let fault = handle(&world, &event("team/app", "v1", image.digest)).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(fault.message.contains("has not taken the message"), "{fault}");
}

#[tokio::test]
async fn pushes_that_are_not_wanted_go_nowhere() {
    let digest = manifest(1).digest;
    let mut signature = event("team/app", "v1", digest);
    signature["detail"]["artifact-media-type"] =
        json!("application/vnd.dev.cosign.artifact.sig.v1+json");
    for (event, expected) in [
        (
            event("app", "v1", digest),
            format!(
                "The given event contained the image \"app:v1\" with digest \"{digest}\" which did \
                 not match any SOCI repository image tag filters"
            ),
        ),
        (
            event("team/app", "v1-soci", digest),
            "Skipping image \"team/app:v1-soci\" as it has the \"-soci\" suffix".to_owned(),
        ),
        (
            signature,
            "Skipping image \"team/app:v1\": it is a signature (media type \
             \"application/vnd.dev.cosign.artifact.sig.v1+json\")"
                .to_owned(),
        ),
    ] {
        let world = world([Fails; 3], Vec::new());
        let response = handle(&world, &event).await.unwrap();
        assert_eq!((response.status_code, response.body), (200, expected), "{FILTERS}");
    }
}

#[tokio::test]
async fn events_of_something_else_are_refused_and_go_nowhere() {
    for (pointer, value, expected) in [
        ("/source", "aws.s3", "The event's 'source' must be 'aws.ecr'"),
        ("/detail-type", "ECR Image Scan", "The event's 'detail-type' must be 'ECR Image Action'"),
        ("/detail/action-type", "DELETE", "The event's 'detail.action-type' must be 'PUSH'"),
        ("/detail/result", "FAILURE", "The event's 'detail.result' must be 'SUCCESS'"),
    ] {
        let mut event = event("team/app", "v1", manifest(1).digest);
        *event.pointer_mut(pointer).unwrap() = json!(value);
        let world = world([Fails; 3], Vec::new());
        let response = handle(&world, &event).await.unwrap();
        assert_eq!((response.status_code, &*response.body), (400, expected));
    }
}

#[tokio::test]
async fn images_that_come_without_a_push_are_sent_where_they_are_wanted() {
    let image = manifest(2000);
    let mut copy = event("team/app", "v1", image.digest);
    copy["detail-type"] = json!("ECR Replication Action");
    copy["detail"]["action-type"] = json!("REPLICATE");
    let mut cached = event("team/app", "v1", image.digest);
    cached["detail-type"] = json!("ECR Pull Through Cache Action");
    cached["detail"] = json!({
        "sync-status": "SUCCESS", "repository-name": "team/app", "image-tag": "v1",
        "image-digest": image.digest.to_string(),
    });
    for event in [copy, cached] {
        let refused = world([Fails; 3], Vec::new());
        let response = handle(&refused, &event).await.unwrap();
        let expected = "The event's 'detail-type' must be 'ECR Image Action'";
        assert_eq!((response.status_code, &*response.body), (400, expected));

        let mut wanted = world([Works; 3], vec![image.clone()]);
        wanted.handler.rules.event_types = soci_push::EventTypes::all();
        assert_eq!(status(handle(&wanted, &event).await), 200);
        let job: Value = serde_json::from_str(&queued(&wanted).body).unwrap();
        assert_eq!((&job["repository"], &job["tag"]), (&json!("team/app"), &json!("v1")));

        // What did not succeed is refused in the words of its kind.
        let mut failed = event;
        let member =
            if failed["detail"]["sync-status"].is_string() { "sync-status" } else { "result" };
        failed["detail"][member] = json!("FAILED");
        assert_eq!(status(handle(&wanted, &failed).await), 400);
    }
}

#[tokio::test]
async fn a_deletion_goes_to_the_queue_as_it_is_only_where_results_are_removed() {
    let mut deletion = event("team/app", "v1", manifest(1).digest);
    deletion["detail"]["action-type"] = json!("DELETE");
    let off = world([Works; 3], Vec::new());
    let response = handle(&off, &deletion).await.unwrap();
    let expected = "The event's 'detail.action-type' must be 'PUSH'";
    assert_eq!((response.status_code, &*response.body), (400, expected));
    assert!(off.queue.messages().is_empty());

    let removing = |mood| {
        let mut world = world([mood, Fails, Fails], Vec::new());
        world.handler.rules.remove_results = true;
        world
    };
    let on = removing(Works);
    let response = handle(&on, &deletion).await.unwrap();
    assert_eq!(response.status_code, 200);
    assert!(response.body.contains("removal of the result of image \"team/app:v1\""));
    let message = queued(&on);
    // What has not the option takes it for an event of something else.
    assert_eq!(message.body, deletion.to_string());
    assert_eq!(message.group.unwrap().as_str(), "team/app");
    assert!(!on.enqueued.text().is_empty(), "a worker that sleeps is woken");
    assert!(handle(&removing(Fails), &deletion).await.is_err(), "it is repeated");

    for (repository, tag) in [("team/app", "v1-soci"), ("other", "2"), ("team/app", "")] {
        let on = removing(Works);
        let mut deletion = deletion.clone();
        deletion["detail"]["repository-name"] = json!(repository);
        deletion["detail"]["image-tag"] = json!(tag);
        let response = handle(&on, &deletion).await.unwrap();
        assert_eq!(response.status_code, 200);
        assert!(response.body.starts_with("Skipping the deletion"), "{}", response.body);
        assert!(on.queue.messages().is_empty(), "{repository}:{tag}");
    }
}

#[tokio::test]
async fn an_event_of_ecr_that_cannot_be_read_is_refused_and_kept() {
    let mut event = event("team/app", "v1", manifest(1).digest);
    event["detail"]["image-digest"] = json!("sha256:12");
    event["account"] = json!("me");
    let kept = world([Works, Fails, Fails], Vec::new());
    let response = handle(&kept, &event).await.unwrap();
    assert_eq!(response.status_code, 400);
    assert_eq!(response.body, "The event's 'account' must be a valid AWS account ID");
    let message = queued(&kept);
    assert_eq!((message.body, message.group), (event.to_string(), None));

    let broken = world([Fails; 3], Vec::new());
    assert_eq!(handle(&broken, &event).await.unwrap_err().kind, "QueueError");
}

#[tokio::test]
async fn what_does_not_come_from_ecr_is_refused() {
    for (payload, expected) in [
        ("{}", "The event's 'source' must be 'aws.ecr'"),
        (
            r#"{"source":"aws.ecr","account":"123456789012"}"#,
            "The event's 'detail-type' must be 'ECR Image Action'",
        ),
        ("[1]", "The event is not a JSON object"),
    ] {
        let world = world([Fails; 3], Vec::new());
        let response = world.handler.handle(payload, &invocation(30)).await.unwrap();
        assert_eq!((response.status_code, &*response.body), (400, expected));
    }
}

#[tokio::test]
async fn cloudwatch_is_told_of_each_message_that_went_to_the_queue() {
    let (small, large) = (manifest(1000), manifest(1001));
    let cut = json!({ "source": "aws.ecr", "detail-type": "ECR Image Action" });
    for (queue, event, enqueued) in [
        (Works, event("team/app", "v1", large.digest), 1),
        (Works, cut, 1),
        (Works, event("team/app", "v1", small.digest), 0),
        (Works, event("nobody/app", "v1", large.digest), 0),
        (Fails, event("team/app", "v1", large.digest), 0),
    ] {
        let world = world([queue, Works, Works], vec![small.clone(), large.clone()]);
        drop(handle(&world, &event).await);
        let text = world.enqueued.text();
        assert_eq!(world.queue.messages().len(), enqueued, "{event}");
        assert_eq!(text.lines().count(), enqueued, "{event}: {text}");
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["Enqueued"], 1);
            let directive = &line["_aws"]["CloudWatchMetrics"][0];
            assert_eq!(
                *directive,
                json!({
                    "Namespace": "soci-index-builder/test", "Dimensions": [[]],
                    "Metrics": [{ "Name": "Enqueued", "Unit": "Count" }],
                })
            );
        }
    }
}

#[test]
fn a_response_has_the_two_members_that_callers_read() {
    let response = Response { status_code: 200, body: "done".to_owned() };
    assert_eq!(serde_json::to_string(&response).unwrap(), r#"{"statusCode":200,"body":"done"}"#);
}
