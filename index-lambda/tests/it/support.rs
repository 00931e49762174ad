//! A handler, and the registry and the queues behind it.

use std::sync::{Arc, Once};
use std::time::Duration;

use serde_json::{Value, json};
use soci_announce::Outboxes;
use soci_index_lambda::{Answer, FunctionMetrics, InvocationHandler, QueueIdentity, Worker};
use soci_indexer::{Budget, Options};
use soci_jobs::{RegistryOpener, Runner};
use soci_lambda::{Invocation, InvocationError};
use soci_logs::EmfLines;
use soci_logs::testing::WrittenLines;
use soci_manifest::{SociIndexSettings, Version};
use soci_oci::Digest;
use soci_push::PushRules;
use soci_push::event::Timestamp;
use soci_queue::Outgoing;
use soci_registry::{ClientBuilder, PutLimit, PutLimitFuture};
use soci_registry_server::testing::FakeRegistry;
use soci_sandbox::MemoryQueue;
use soci_tests::{FakeRegistryClient, TestImage, gzip_layer};
use soci_text::Runbook;
use tokio::time::Instant;

/// The repository of all images here.
pub(crate) const REPOSITORY: &str = "team/app";

/// A handler, and the registry and the queues behind it.
pub(crate) struct World {
    pub(crate) registry: FakeRegistry,
    pub(crate) live: MemoryQueue,
    pub(crate) dead: MemoryQueue,
    /// What CloudWatch is told.
    pub(crate) told: WrittenLines,
    pub(crate) handler: InvocationHandler<RegistryOpener, MemoryQueue>,
}

/// A handler for version V2 with a dead-letter queue and a margin of 20 seconds, that wants every
/// image. Layers of all sizes get a ztoc.
pub(crate) async fn world() -> World {
    world_with(|client| client).await
}

/// The same with another client.
pub(crate) async fn world_with(client: impl FnOnce(ClientBuilder) -> ClientBuilder) -> World {
    world_of(client, Budget::of_this_machine()).await
}

/// The same with so much memory and so many layers at once.
pub(crate) async fn world_of(
    client: impl FnOnce(ClientBuilder) -> ClientBuilder,
    budget: Budget,
) -> World {
    let registry = FakeRegistry::start().await;
    let endpoint = format!("http://{}", registry.host()).parse().unwrap();
    let client = client(registry.client_builder()).build().unwrap();
    let settings = SociIndexSettings { min_layer_size: 0, ..SociIndexSettings::default() };
    let options = Options { settings, budget, ..Options::default() };
    let (live, dead) = (MemoryQueue::named("live"), MemoryQueue::named("dead"));
    let worker = Worker {
        rules: PushRules {
            version: Version::V2,
            output_suffix: "-soci".to_owned(),
            filters: "*:*".parse().unwrap(),
            event_types: soci_push::EventTypes::default(),
            remove_results: false,
        },
        runner: Runner::new(RegistryOpener::new(client, Some(endpoint)), options),
        queue: live.clone(),
        dead_letters: Some(dead.clone()),
        runbook: Runbook::default(),
        margin: Duration::from_secs(20),
    };
    let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/live".parse().unwrap();
    let told = WrittenLines::default();
    let lines = EmfLines::to("soci-index-builder/test".parse().unwrap(), told.clone());
    let metrics = Some(FunctionMetrics::new(lines).into());
    let (queue, outboxes) = (QueueIdentity::of(&url), Outboxes::default());
    let handler = InvocationHandler { worker, queue, metrics, outboxes };
    World { registry, live, dead, told, handler }
}

impl World {
    /// Pushes an image of its own for every seed.
    pub(crate) fn push(&self, tag: &str, seed: u64) -> Digest {
        let image = TestImage::single("linux/amd64", &[gzip_layer(seed, 200_000)]);
        image.put(&self.registry, REPOSITORY, tag)
    }

    /// Invokes the function with 15 minutes.
    pub(crate) async fn invoke(&self, payload: &Value) -> Result<Answer, InvocationError> {
        self.handler.handle(&payload.to_string(), &invocation(900)).await
    }

    /// Invokes the function with an event, and gives its sentence.
    pub(crate) async fn sentence(&self, payload: &Value) -> String {
        match self.invoke(payload).await {
            Ok(Answer::Sentence(sentence)) => sentence,
            other => panic!("{other:?}"),
        }
    }

    /// Invokes the function with messages `0`, `1` and so on of the queue `small`, and gives the
    /// names of those that are not done.
    pub(crate) async fn batch(&self, bodies: &[String]) -> Vec<String> {
        self.batch_of("small", bodies).await
    }

    /// The same with the messages of another queue.
    pub(crate) async fn batch_of(&self, queue: &str, bodies: &[String]) -> Vec<String> {
        match self.invoke(&records(queue, bodies)).await {
            Ok(Answer::Batch(answer)) => {
                answer.batch_item_failures.into_iter().map(|item| item.item_identifier).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Invokes the function with a message of the queue that jobs are handed to, as it is after `receives`; whether it is
    /// done.
    pub(crate) async fn settle(&self, message: &Outgoing, receives: u32) -> bool {
        let mut records = records("live", std::slice::from_ref(&message.body));
        let record = &mut records["Records"][0];
        record["attributes"]["ApproximateReceiveCount"] = json!(receives.to_string());
        for (name, value) in &message.attributes {
            record["messageAttributes"][name] =
                json!({ "stringValue": value, "dataType": "String" });
        }
        match self.invoke(&records).await {
            Ok(Answer::Batch(answer)) => answer.batch_item_failures.is_empty(),
            other => panic!("{other:?}"),
        }
    }

    /// Takes all messages off the queue that jobs are handed to.
    pub(crate) fn empty(&mut self) {
        self.live = MemoryQueue::named("live");
        self.handler.worker.queue = self.live.clone();
    }

    /// The lines that CloudWatch was told.
    pub(crate) fn metrics(&self) -> Vec<Value> {
        self.told.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Whether the registry has the converted image of a tag.
    pub(crate) fn is_indexed(&self, tag: &str) -> bool {
        let tags = self.registry.tags(REPOSITORY);
        tags.iter().any(|(found, _)| *found == format!("{tag}-soci"))
    }
}

/// An invocation that ends in `seconds`.
pub(crate) fn invocation(seconds: u64) -> Invocation {
    Invocation {
        request_id: "request-1".to_owned(),
        deadline: Instant::now() + Duration::from_secs(seconds),
        now: Timestamp::from_unix_seconds(1_785_587_696),
    }
}

/// The event of a push.
pub(crate) fn event(tag: &str, digest: Digest) -> Value {
    json!({
        "version": "0", "id": "13cde686-328b-6117-af20-0e5566167482",
        "detail-type": "ECR Image Action", "source": "aws.ecr", "account": "123456789012",
        "time": "2026-08-01T12:34:56Z", "region": "eu-west-1", "resources": [],
        "detail": {
            "result": "SUCCESS", "action-type": "PUSH", "repository-name": REPOSITORY,
            "image-digest": digest.to_string(), "image-tag": tag,
        },
    })
}

/// The job that the event leads to.
pub(crate) fn job(tag: &str, digest: Digest) -> Value {
    json!({
        "v": 1, "registry": "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "repository": REPOSITORY, "digest": digest.to_string(), "tag": tag,
        "event_id": "13cde686-328b-6117-af20-0e5566167482",
        "enqueued_at": "2026-08-01T12:34:56Z",
    })
}

/// The messages `0`, `1` and so on of a queue, as an event source mapping hands them over.
pub(crate) fn records(queue: &str, bodies: &[String]) -> Value {
    let record = |(number, body): (usize, &String)| {
        json!({
            "messageId": number.to_string(), "receiptHandle": "r", "body": body,
            "attributes": { "ApproximateReceiveCount": "1" }, "messageAttributes": {},
            "eventSource": "aws:sqs", "awsRegion": "eu-west-1",
            "eventSourceARN": format!("arn:aws:sqs:eu-west-1:123456789012:{queue}"),
        })
    };
    json!({ "Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>() })
}

/// The messages in a queue.
pub(crate) fn messages(queue: &MemoryQueue) -> Vec<Outgoing> {
    let messages = queue.messages().into_iter().map(|snapshot| snapshot.message);
    let outgoing = |message: soci_queue::Message| Outgoing {
        body: message.body,
        group: message.group,
        attributes: message.attributes,
    };
    messages.map(outgoing).collect()
}

/// The one message in a queue.
pub(crate) fn message(queue: &MemoryQueue) -> Outgoing {
    let [message] = &messages(queue)[..] else { panic!("{:?}", messages(queue)) };
    message.clone()
}

/// Holds the first manifest PUT back for ever, and stops the clock as it does: from then on time
/// passes as soon as nothing else happens.
#[derive(Debug)]
pub(crate) struct Stuck(Once);

impl Stuck {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Once::new()))
    }
}

impl PutLimit for Stuck {
    fn wait(&self) -> PutLimitFuture<'_> {
        self.0.call_once(tokio::time::pause);
        Box::pin(std::future::pending())
    }
}
