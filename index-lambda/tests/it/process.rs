//! The program as Lambda runs it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use soci_lambda::testing::{FakeAws, FakeRuntime, FunctionAnswer, stop};
use soci_registry_server::testing::{FakeAuth, FakeOptions, FakeRegistry};
use soci_tests::{TestImage, gzip_layer};
use tokio::process::Child;
use tokio::process::Command;

use crate::support::{REPOSITORY, event, job, records};

const TIMEOUT: Duration = Duration::from_mins(1);

/// The program, what it runs on and what it calls.
struct World {
    runtime: FakeRuntime,
    aws: FakeAws,
    registry: FakeRegistry,
    function: Child,
}

/// Starts the program, unable to write a byte to any file, with a registry that wants what ECR's
/// token says.
async fn start() -> World {
    let (runtime, aws) = (FakeRuntime::start().await, FakeAws::start().await);
    let (username, password) = ("AWS".to_owned(), "secret".to_owned());
    let auth = FakeAuth::Basic { username, password };
    let registry = FakeRegistry::with(FakeOptions { auth, ..FakeOptions::default() }).await;
    let expires = SystemTime::now() + Duration::from_hours(12);
    let expires = expires.duration_since(UNIX_EPOCH).unwrap().as_secs();
    aws.answers(
        "GetAuthorizationToken",
        json!({ "authorizationData": [{
            // AWS:secret
            "authorizationToken": "QVdTOnNlY3JldA==", "expiresAt": expires,
            "proxyEndpoint": "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        }] }),
    );
    let mut command = runtime.command("/bin/sh");
    // A process that writes beyond the limit is killed.
    command.args(["-c", "ulimit -f 0; exec \"$0\"", env!("CARGO_BIN_EXE_index-lambda")]);
    prepare(&mut command, &aws);
    command.env("REGISTRY_ENDPOINT_URL", format!("http://{}", registry.host()));
    World { function: command.spawn().unwrap(), runtime, aws, registry }
}

fn prepare(command: &mut Command, aws: &FakeAws) {
    aws.prepare(command);
    command.env("QUEUE_URL", aws.queue_url("live"));
    command.env("DEAD_LETTER_QUEUE_URL", aws.queue_url("dead"));
    command.env("MIN_LAYER_SIZE", "0");
}

impl World {
    async fn invoke(&self, payload: &Value, timeout: Duration) -> Value {
        match self.runtime.invoke(payload.to_string(), timeout).await {
            FunctionAnswer::Response(response) => serde_json::from_str(&response).unwrap(),
            FunctionAnswer::Error(error) => panic!("{error}"),
        }
    }

    /// The queue and the body of what was sent.
    fn sent(&self) -> Vec<(Value, Value)> {
        let calls = self.aws.calls_of("SendMessage").into_iter();
        calls
            .map(|mut call| (call.body["QueueUrl"].take(), call.body["MessageBody"].take()))
            .collect()
    }
}

#[tokio::test]
async fn an_image_is_indexed_with_the_token_of_ecr_and_without_a_byte_on_disk() {
    let world = start().await;
    let layers = [gzip_layer(1, 12_000_000), gzip_layer(2, 200_000)];
    let image = TestImage::single("linux/amd64", &layers);
    let digest = image.put(&world.registry, REPOSITORY, "v1");
    let done = world.invoke(&event("v1", digest), TIMEOUT).await;
    assert_eq!(done, "Successfully built and pushed SOCI index");
    assert!(world.registry.tags(REPOSITORY).iter().any(|(tag, _)| tag == "v1-soci"));

    let batch = records("small", &[job("v1", digest).to_string(), "nonsense".to_owned()]);
    assert_eq!(world.invoke(&batch, TIMEOUT).await, json!({ "batchItemFailures": [] }));
    let [(queue, body)] = &world.sent()[..] else { panic!("{:?}", world.sent()) };
    assert_eq!((queue, body), (&json!(world.aws.queue_url("dead")), &json!("nonsense")));

    let lines = stop(world.function).await;
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<&Value> = lines.iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, ["indexed", "already-indexed", "rejected"]);
    for (name, value) in [
        ("repository", json!(REPOSITORY)),
        ("digest", json!(digest.to_string())),
        ("tag", json!("v1")),
        ("event_id", json!("13cde686-328b-6117-af20-0e5566167482")),
        ("request_id", json!("request-1")),
        ("bytes", json!(layers[0].1.len() + layers[1].1.len())),
    ] {
        assert_eq!(lines[0][name], value, "{name}");
    }
}

#[tokio::test]
async fn a_function_without_time_hands_the_image_over() {
    let world = start().await;
    let image = TestImage::single("linux/amd64", &[gzip_layer(1, 200_000)]);
    let digest = image.put(&world.registry, REPOSITORY, "v1");
    // Less than the default margin.
    let answer = world.invoke(&event("v1", digest), Duration::from_secs(15)).await;
    assert!(answer.as_str().unwrap().starts_with("Handed over to the queue"), "{answer}");
    let [(queue, body)] = &world.sent()[..] else { panic!("{:?}", world.sent()) };
    assert_eq!(*queue, json!(world.aws.queue_url("live")));
    let body: Value = serde_json::from_str(body.as_str().unwrap()).unwrap();
    assert_eq!(body["digest"], json!(digest.to_string()));
}

#[tokio::test]
async fn a_wrong_configuration_ends_the_program_with_every_variable_named() {
    let (runtime, aws) = (FakeRuntime::start().await, FakeAws::start().await);
    let mut command = runtime.command(env!("CARGO_BIN_EXE_index-lambda"));
    prepare(&mut command, &aws);
    command.env("QUEUE_URL", "").env("DEADLINE_MARGIN_SECONDS", "soon").env("SPAN_SIZE", "-1");
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    for name in ["QUEUE_URL", "DEADLINE_MARGIN_SECONDS", "SPAN_SIZE"] {
        assert!(said.contains(&format!("\n  {name}: ")), "{said}");
    }
}
