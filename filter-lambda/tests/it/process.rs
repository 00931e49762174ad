//! The program as Lambda runs it.

use std::time::Duration;

use serde_json::{Value, json};
use soci_lambda::testing::{AwsCall, FakeAws, FakeRuntime, FunctionAnswer, stop};
use tokio::process::{Child, Command};

use crate::support::{event, index, manifest};

/// Lambda's default timeout, ten times.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The program, what it runs on and what it calls.
struct World {
    runtime: FakeRuntime,
    aws: FakeAws,
    function: Child,
}

/// Starts the program with these variables on top of the queue and the filters.
async fn start(variables: &[(&str, &str)]) -> World {
    start_on(FakeAws::start().await, variables).await
}

/// Starts the program with a queue of small images, and these variables.
async fn start_with_small_images(variables: &[(&str, &str)]) -> World {
    let aws = FakeAws::start().await;
    let queue = aws.queue_url("small");
    start_on(aws, &[&[("SMALL_IMAGES_QUEUE_URL", &*queue)], variables].concat()).await
}

async fn start_on(aws: FakeAws, variables: &[(&str, &str)]) -> World {
    let runtime = FakeRuntime::start().await;
    let mut command = command(&runtime, &aws);
    command.env("QUEUE_URL", aws.queue_url("live"));
    command.env("SOCI_REPOSITORY_IMAGE_TAG_FILTERS", "team/*:*");
    command.envs(variables.iter().copied());
    World { function: command.spawn().unwrap(), runtime, aws }
}

fn command(runtime: &FakeRuntime, aws: &FakeAws) -> Command {
    let mut command = runtime.command(env!("CARGO_BIN_EXE_filter-lambda"));
    aws.prepare(&mut command);
    command
}

impl World {
    /// Status and body of the function's response.
    async fn invoke(&self, event: &Value) -> (u64, String) {
        match self.runtime.invoke(event.to_string(), TIMEOUT).await {
            FunctionAnswer::Response(response) => {
                let response: Value = serde_json::from_str(&response).unwrap();
                let body = response["body"].as_str().unwrap().to_owned();
                (response["statusCode"].as_u64().unwrap(), body)
            }
            FunctionAnswer::Error(error) => panic!("{error}"),
        }
    }

    /// What was put on the queue.
    fn sent(&self) -> Vec<Value> {
        let calls = self.aws.calls_of("SendMessage");
        calls.into_iter().map(|AwsCall { body, .. }| body).collect()
    }
}

/// ECR's answer to `BatchGetImage` with these manifests.
fn images(manifests: &[soci_filter_lambda::FetchedManifest]) -> Value {
    let image = |manifest: &soci_filter_lambda::FetchedManifest| {
        json!({
            "registryId": "123456789012", "repositoryName": "team/app",
            "imageId": { "imageDigest": manifest.digest.to_string() },
            "imageManifest": String::from_utf8(manifest.bytes.clone()).unwrap(),
            "imageManifestMediaType": manifest.media_type,
        })
    };
    json!({ "images": manifests.iter().map(image).collect::<Vec<_>>(), "failures": [] })
}

#[tokio::test]
async fn a_wanted_push_becomes_a_message_and_a_line_of_log() {
    let world = start(&[]).await;
    let digest = manifest(1).digest;
    let (status, body) = world.invoke(&event("team/app", "v1", digest)).await;
    assert_eq!(status, 200);
    assert!(body.starts_with("Successfully queued the image"), "{body}");
    let [message] = &world.sent()[..] else { panic!("{:?}", world.sent()) };
    assert_eq!(message["QueueUrl"], world.aws.queue_url("live"));
    assert_eq!(message["MessageGroupId"], "team/app");
    let job: Value = serde_json::from_str(message["MessageBody"].as_str().unwrap()).unwrap();
    assert_eq!((&job["v"], &job["digest"]), (&json!(1), &json!(digest.to_string())));

    assert_eq!(world.invoke(&event("other", "v1", digest)).await.0, 200);
    assert_eq!(world.invoke(&json!({})).await.0, 400);
    assert_eq!(world.sent().len(), 1);

    let lines = stop(world.function).await;
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<&Value> = lines.iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, ["queued", "unmatched", "malformed"]);
    for (name, value) in [
        ("level", "INFO"),
        ("repository", "team/app"),
        ("digest", &digest.to_string()),
        ("tag", "v1"),
        ("event_id", "13cde686-328b-6117-af20-0e5566167482"),
        ("request_id", "request-1"),
        ("message_id", "message-1"),
    ] {
        assert_eq!(lines[0][name], value, "{name}");
    }
}

#[tokio::test]
async fn a_small_image_is_measured_in_ecr_and_put_on_the_queue_of_the_index_lambda() {
    let world = start_with_small_images(&[("INDEX_LAMBDA_MAX_IMAGE_BYTES", "1000")]).await;
    let small = manifest(1000);
    let root = index(std::slice::from_ref(&small));
    world.aws.answers("BatchGetImage", images(&[small.clone(), root.clone()]));
    let event = event("team/app", "v1", root.digest);
    assert_eq!(world.invoke(&event).await.0, 200);
    let [message] = &world.sent()[..] else { panic!("{:?}", world.sent()) };
    assert_eq!(message["QueueUrl"], world.aws.queue_url("small"));
    assert!(message["MessageBody"].as_str().unwrap().contains(&root.digest.to_string()));

    let asked = world.aws.calls_of("BatchGetImage");
    let digests = |call: &AwsCall| call.body["imageIds"][0]["imageDigest"].clone();
    let asked: Vec<Value> = asked.iter().map(digests).collect();
    assert_eq!(asked, [json!(root.digest.to_string()), json!(small.digest.to_string())]);
    let line = stop(world.function).await.pop().unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["outcome"], &line["bytes"]), (&json!("queued-small"), &json!(1000)));
}

#[tokio::test]
async fn what_the_queue_of_small_images_does_not_take_goes_to_the_worker() {
    let world = start_with_small_images(&[("AWS_MAX_ATTEMPTS", "1")]).await;
    let small = manifest(1000);
    world.aws.answers("BatchGetImage", images(std::slice::from_ref(&small)));
    world.aws.fails("SendMessage", 500);
    assert_eq!(world.invoke(&event("team/app", "v1", small.digest)).await.0, 200);
    let queues: Vec<Value> = world.sent().iter().map(|sent| sent["QueueUrl"].clone()).collect();
    assert_eq!(queues, [world.aws.queue_url("small"), world.aws.queue_url("live")]);
    let line = stop(world.function).await.pop().unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    let expected = (&json!("queued"), &json!("small-images-queue-failed"));
    assert_eq!((&line["outcome"], &line["reason"]), expected);
}

#[tokio::test]
async fn a_push_that_cannot_be_queued_fails_the_invocation_and_the_function_goes_on() {
    let world = start(&[("AWS_MAX_ATTEMPTS", "1")]).await;
    world.aws.fails("SendMessage", 500);
    let event = event("team/app", "v1", manifest(1).digest);
    let answer = world.runtime.invoke(event.to_string(), TIMEOUT).await;
    let FunctionAnswer::Error(error) = answer else { panic!("{answer:?}") };
    let error: Value = serde_json::from_str(&error).unwrap();
    assert_eq!(error["errorType"], "QueueError");
    let message = error["errorMessage"].as_str().unwrap();
    assert!(message.starts_with("queue live did not send a message (request aws-request-1)"));

    assert_eq!(world.invoke(&event).await.0, 200, "as Lambda tries again");
    let lines = stop(world.function).await;
    assert_eq!(lines.len(), 2, "one line for each: {lines:?}");
    assert!(lines[0].contains(r#""outcome":"failed""#), "{lines:?}");
}

#[tokio::test]
async fn a_wrong_configuration_ends_the_program_with_every_variable_named() {
    let (runtime, aws) = (FakeRuntime::start().await, FakeAws::start().await);
    let mut command = command(&runtime, &aws);
    command.env("QUEUE_URL", "live").env("SOCI_INDEX_VERSION", "V3");
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    for name in ["QUEUE_URL", "SOCI_INDEX_VERSION", "SOCI_REPOSITORY_IMAGE_TAG_FILTERS"] {
        assert!(said.contains(&format!("\n  {name}: ")), "{said}");
    }
}

#[tokio::test]
async fn outside_of_lambda_the_program_says_what_it_is() {
    let output = Command::new(env!("CARGO_BIN_EXE_filter-lambda"))
        .env_clear()
        .env("AWS_REGION", "eu-west-1")
        .env("QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/123456789012/live")
        .env("SOCI_REPOSITORY_IMAGE_TAG_FILTERS", "*:*")
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("AWS_LAMBDA_RUNTIME_API is not set"), "{said}");
}
