use std::sync::Mutex;
use std::time::SystemTime;

use soci_indexer::{ImageEvent, Options};
use soci_jobs::{RegistryOpener, Unlimited};
use soci_manifest::{SociIndexSettings, Version};
use soci_push::event::Timestamp;
use soci_push::{JobMessage, TagFilters};
use soci_queue::{MessageId, Receipt};
use soci_registry_server::testing::FakeRegistry;
use soci_tests::{FakeRegistryClient, TestImage, gzip_layer};
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, info, info_span};

use soci_oci::Digest;

use super::*;
use crate::event::{EventSink, QueueKind};
use crate::job_in_hand::JobId;
use crate::log_capture::Log;

const REPOSITORY: &str = "team/app";

/// Keeps what it is told about jobs and layers.
#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl EventSink for Seen {
    fn event(&self, event: &Event<'_>) {
        let told = match event {
            Event::JobStarted { job } => {
                let repository = &job.image().unwrap().repository;
                format!("{} started {}", job.id.0, repository.split_once('/').unwrap().1)
            }
            Event::Image { job, event } => match event {
                ImageEvent::Planned { layers, .. } => format!("{} planned {layers}", job.id.0),
                ImageEvent::LayerStarted { .. } => format!("{} layer started", job.id.0),
                ImageEvent::LayerDone { .. } => format!("{} layer done", job.id.0),
                _ => return,
            },
            _ => return,
        };
        self.0.lock().unwrap().push(told);
    }
}

struct Setup {
    registry: FakeRegistry,
    handler: IndexHandler<RegistryOpener>,
    seen: Arc<Seen>,
}

impl Setup {
    async fn new() -> Self {
        let registry = FakeRegistry::start().await;
        let settings = SociIndexSettings {
            version: Version::V2,
            span_size: 64 << 10,
            min_layer_size: 0,
            ..SociIndexSettings::default()
        };
        let options = Options { settings, ..Options::default() };
        let rules = PushRules {
            version: Version::V2,
            output_suffix: "-soci".to_owned(),
            filters: TagFilters::or_all(Vec::new()),
            event_types: soci_push::EventTypes::default(),
            remove_results: false,
        };
        let runner = Runner::new(RegistryOpener::new(registry.client(), None), options);
        Self { registry, handler: IndexHandler { rules, runner }, seen: Arc::default() }
    }

    async fn handle(&self, body: &str) -> Outcome {
        let message = Message {
            id: MessageId("id".to_owned()),
            receipt: Receipt("receipt".to_owned()),
            body: body.to_owned(),
            receive_count: 1,
            sent_at: SystemTime::now(),
            received_at: Instant::now(),
            group: None,
            attributes: Vec::new(),
        };
        let events = Events::to([self.seen.clone() as Arc<dyn EventSink>]);
        let job = Arc::new(JobInHand::new(JobId(7), QueueKind::Live, &message));
        self.handler.handle(&job, &message, &events, &Unlimited).await
    }

    fn job(&self, digest: Digest) -> String {
        let job = JobMessage {
            repository: self.registry.repository(REPOSITORY),
            digest,
            tag: Some("1".parse().unwrap()),
            event_id: None,
            enqueued_at: Timestamp::default(),
        };
        job.encode()
    }

    fn told(&self) -> Vec<String> {
        self.seen.0.lock().unwrap().clone()
    }
}

fn image() -> TestImage {
    TestImage::single("linux/amd64", &[gzip_layer(1, 200_000), gzip_layer(2, 100_000)])
}

#[tokio::test]
async fn an_image_is_indexed_once_and_its_progress_is_told_by_job() {
    let setup = Setup::new().await;
    let job = setup.job(image().put(&setup.registry, REPOSITORY, "1"));
    let Outcome::Indexed(report) = setup.handle(&job).await else { panic!("not indexed") };
    assert_eq!(report.layers.len(), 2);
    let told = setup.told();
    assert_eq!(told[..2], ["7 started team/app", "7 planned 2"]);
    assert_eq!(told.iter().filter(|told| *told == "7 layer done").count(), 2);
    let Outcome::AlreadyIndexed(again) = setup.handle(&job).await else { panic!("not found") };
    assert_eq!(again.index, report.index);
}

#[tokio::test]
async fn the_span_of_a_job_gets_the_names_of_its_image() {
    let (log, _guard) = Log::start();
    let setup = Setup::new().await;
    let digest = image().put(&setup.registry, REPOSITORY, "1");
    let span = span_of(&log, &setup, &setup.job(digest)).await;
    assert_eq!(span["repository"], setup.registry.repository(REPOSITORY).to_string());
    assert_eq!(span["digest"], digest.to_string());
    assert_eq!(span["tag"], "1");
}

/// The fields that the span of a job has once its message is handled.
async fn span_of(log: &Log, setup: &Setup, body: &str) -> serde_json::Value {
    let span = info_span!("job", repository = Empty, digest = Empty, tag = Empty);
    async {
        setup.handle(body).await;
        info!(probe = true, "after it");
    }
    .instrument(span)
    .await;
    log.lines_with("probe").remove(0)["span"].take()
}

#[tokio::test]
async fn a_push_that_is_no_work_is_skipped_without_a_request() {
    let (log, _guard) = Log::start();
    let setup = Setup::new().await;
    let event = serde_json::json!({
        "source": "aws.ecr", "detail-type": "ECR Image Action", "account": "123456789012",
        "region": "eu-west-1", "detail": {
            "action-type": "PUSH", "result": "SUCCESS", "repository-name": REPOSITORY,
            "image-digest": image().digest().to_string(), "image-tag": "1-soci",
        },
    });
    let Outcome::Skipped(Why { reason, detail, .. }) = setup.handle(&event.to_string()).await
    else {
        panic!("not skipped")
    };
    assert_eq!(reason, "output-tag");
    assert!(detail.contains("1-soci"));
    let span = span_of(&log, &setup, &event.to_string()).await;
    let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    assert_eq!(span["repository"], format!("{host}/{REPOSITORY}"));
    assert_eq!(span["digest"], image().digest().to_string());
    assert_eq!(span["tag"], "1-soci");
    assert!(setup.told().is_empty() && setup.registry.requests().is_empty());
}

#[tokio::test]
async fn a_deletion_removes_the_result_without_a_word_of_an_image_and_only_if_that_is_wanted() {
    /// Knows of no tags, as of results that are gone.
    #[derive(Debug)]
    struct Nothing;
    impl soci_registry::OwnApi for Nothing {
        fn tags_of<'a>(
            &'a self,
            _: &'a soci_oci::Repository,
            _: &'a [Digest],
        ) -> soci_registry::OwnApiFuture<'a, Vec<(Digest, Vec<soci_oci::Tag>)>> {
            Box::pin(async { Ok(Vec::new()) })
        }
        fn delete<'a>(
            &'a self,
            _: &'a soci_oci::Repository,
            _: &'a [(Digest, Vec<soci_oci::Tag>)],
        ) -> soci_registry::OwnApiFuture<'a, Vec<(Digest, String)>> {
            Box::pin(async { Ok(Vec::new()) })
        }
    }
    let mut setup = Setup::new().await;
    let event = serde_json::json!({
        "source": "aws.ecr", "detail-type": "ECR Image Action", "account": "123456789012",
        "region": "eu-west-1", "detail": {
            "action-type": "DELETE", "result": "SUCCESS", "repository-name": REPOSITORY,
            "image-digest": image().digest().to_string(), "image-tag": "1",
        },
    });
    let reason = |outcome: Outcome| match outcome {
        Outcome::Skipped(why) => why.reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(setup.handle(&event.to_string()).await), "other-event");
    assert!(setup.registry.requests().is_empty());
    setup.handler.rules.remove_results = true;
    let endpoint = format!("http://{}", setup.registry.host()).parse().unwrap();
    let opener = RegistryOpener::new(setup.registry.client(), Some(endpoint));
    let remover = soci_jobs::Remover::new(opener, Arc::new(Nothing));
    setup.handler.runner = setup.handler.runner.clone().with_remover(remover);
    assert_eq!(reason(setup.handle(&event.to_string()).await), "no-result");
    image().put(&setup.registry, REPOSITORY, "1");
    assert_eq!(reason(setup.handle(&event.to_string()).await), "image-back");
    assert!(setup.told().is_empty(), "no image is begun");
}

#[tokio::test]
async fn an_image_that_is_gone_is_skipped_and_doubted_at_first() {
    let setup = Setup::new().await;
    image().put(&setup.registry, REPOSITORY, "1");
    let other = TestImage::single("linux/arm64", &[gzip_layer(3, 1000)]);
    let job = setup.job(other.digest());
    // The tag is looked at first, and it names another image.
    let Outcome::Skipped(Why { reason, .. }) = setup.handle(&job).await else {
        panic!("not skipped")
    };
    assert_eq!(reason, "superseded");
    let job = job.replace(r#""tag":"1","#, "");
    let outcome = setup.handle(&job).await;
    let Outcome::Skipped(Why { reason, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(reason, "image-gone");
    assert!(outcome.doubt().is_some());
}

#[tokio::test]
async fn a_registry_that_is_away_is_a_failure_that_may_pass() {
    let setup = Setup::new().await;
    let job = setup.job(image().put(&setup.registry, REPOSITORY, "1"));
    let Setup { registry, handler, seen } = setup;
    // Nobody listens on its port any more.
    let gone = FakeRegistry::start().await;
    drop(registry);
    let setup = Setup { registry: gone, handler, seen };
    let handled = setup.handle(&job).await;
    let Outcome::Failed(Why { reason, .. }) = handled else { panic!("{handled:?}") };
    assert_eq!(reason, "registry-unavailable");
}

#[tokio::test]
async fn a_malformed_message_is_rejected_in_words_that_name_its_fields() {
    let setup = Setup::new().await;
    for (body, detail) in [
        ("no JSON", "the message is not a JSON object: expected ident at line 1 column 2"),
        (r#""text""#, "the message is not a JSON object: it is a string"),
        (
            r#"{"v":"1","digest":"sha256:short","tag":"1 0"}"#,
            "the message is malformed: v must be a number, not a string; registry is missing; \
             repository is missing; enqueued_at is missing; digest \"sha256:short\" must be a digest; \
             tag \"1 0\" must be a tag",
        ),
    ] {
        let Outcome::Rejected(Why { reason, detail: found, .. }) = setup.handle(body).await else {
            panic!("{body} was not rejected")
        };
        assert_eq!((reason, found.as_str()), ("malformed", detail));
    }
    assert!(setup.told().is_empty());
}

#[tokio::test]
async fn of_a_malformed_message_only_fields_are_repeated_short_and_escaped() {
    let setup = Setup::new().await;
    let long = "\n\u{1b}[31m".repeat(10_000);
    let body = serde_json::json!({
        "v": 1, "registry": long, "repository": long, "digest": long, "tag": long,
        "event_id": long, "enqueued_at": long, "password": "secret",
    });
    let Outcome::Rejected(Why { detail, .. }) = setup.handle(&body.to_string()).await else {
        panic!("not rejected")
    };
    assert!(detail.len() < 6_000, "{} bytes", detail.len());
    assert!(!detail.contains(char::is_control) && !detail.contains("secret"), "{detail}");
    assert!(detail.contains(r"\n\u{1b}[31m"), "{detail}");
}
