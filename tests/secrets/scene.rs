//! What the watched processes do.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use soci_announce::{Announcement, Delivering, Destination, OutboxLimits, Outboxes};
use soci_aws::sdk::SdkConfig;
use soci_aws::{EcrCredentials, SqsQueue};
use soci_config::Environment;
use soci_index_lambda::{
    Answer, FunctionMetrics, InvocationHandler, QueueIdentity, Settings, Worker,
};
use soci_indexer::{Options, RemoteRepository};
use soci_jobs::{EndpointOverride, RegistryOpener, Runner};
use soci_lambda::{InvocationError, serve, start_logging};
use soci_logs::EmfLines;
use soci_manifest::{SociIndexSettings, Version};
use soci_oci::{Digest, Repository, TagOrDigest};
use soci_push::PushRules;
use soci_queue::{Queue as _, Receipt, Receive};
use soci_registry::{Client, ClientBuilder, RetryPolicy};
use soci_service::consumer::{ConsumerSettings, Queues};
use soci_service::event::{Event, EventSink};
use soci_service::handler::IndexHandler;
use soci_service::telemetry::{self, LogFormat, Otlp, Telemetry};
use soci_service::{Announcer, Service};
use soci_text::error_chain;
use soci_webhook::Webhook;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::stage::{REGISTRY, SCENE, Stage, UNCAPPED};

/// What a process says when it has got to the end.
pub(crate) const PLAYED: &str = "the scene is played";

/// The messages of the stage.
const MESSAGES: usize = 3;

/// Does nothing unless it is told what to play, as when somebody runs all tests that are ignored.
#[test]
#[ignore = "it is what the other tests start in a process of its own"]
fn a_scene() {
    let Ok(scene) = std::env::var(SCENE) else { return };
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        match scene.as_str() {
            "worker" => worker().await,
            "function" => function().await,
            "errors" => errors().await,
            other => panic!("{other} is no scene"),
        }
    });
    println!("{PLAYED}");
    // What is under way is not waited for.
    runtime.shutdown_background();
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

fn endpoint() -> EndpointOverride {
    variable("REGISTRY_ENDPOINT_URL").parse().unwrap()
}

/// As the programs set it up, but for shorter pauses.
fn client(sdk: &SdkConfig) -> ClientBuilder {
    let credentials = EcrCredentials::new(sdk).also_for([endpoint().host().to_owned()]);
    let retry = RetryPolicy {
        base: Duration::from_millis(1),
        cap: Duration::from_millis(5),
        ..RetryPolicy::default()
    };
    Client::builder().credentials(Arc::new(credentials)).plain_http(true).retry(retry)
}

fn queue(sdk: &SdkConfig, name: &str) -> SqsQueue {
    SqsQueue::new(sdk, &variable(name)).unwrap()
}

fn options() -> Options {
    let settings = SociIndexSettings { min_layer_size: 0, ..SociIndexSettings::default() };
    Options { settings, ..Options::default() }
}

/// Tells of jobs that have ended.
struct Ends(mpsc::UnboundedSender<()>);

impl EventSink for Ends {
    fn event(&self, event: &Event<'_>) {
        if matches!(event, Event::JobEnded { .. }) {
            let _ = self.0.send(());
        }
    }
}

/// Prints what is announced.
struct Printer;

impl Destination for Printer {
    fn name(&self) -> &'static str {
        "printer"
    }

    fn deliver<'a>(&'a self, announcement: &'a Announcement) -> Delivering<'a> {
        Box::pin(async move {
            println!("announced: {}", announcement.json());
            Ok(())
        })
    }
}

fn outboxes() -> Outboxes {
    let printer: Arc<dyn Destination> = Arc::new(Printer);
    // Nobody listens there, which the log has to say without saying where.
    let url = format!("http://127.0.0.1:1/{}", Stage::HOOK).parse().unwrap();
    let secret = format!("whsec_{}", Stage::HOOK_SECRET).parse().unwrap();
    let webhook = Webhook::new(url, secret, "soci-index-builder/test").unwrap();
    println!("{webhook:?}");
    Outboxes::to([printer, Arc::new(webhook)], OutboxLimits::default(), &[])
}

/// The worker, until it has dealt with all messages. Then its pages are printed.
async fn worker() {
    let format = match variable("LOG_FORMAT").as_str() {
        "json" => LogFormat::Json,
        _ => LogFormat::Text,
    };
    let otlp = Some(Otlp { endpoint: Some(variable("OTEL_EXPORTER_OTLP_ENDPOINT")) });
    let telemetry = Telemetry { format, level: variable("LOG_LEVEL"), otlp };
    let logs = if std::env::var_os(UNCAPPED).is_none() {
        Some(telemetry::init(&telemetry).unwrap())
    } else {
        let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        tracing_subscriber::registry().with(layer).try_init().unwrap();
        None
    };
    let sdk = soci_aws::sdk::load().await;
    let queues = Queues {
        live: queue(&sdk, "QUEUE_URL"),
        backfill: None,
        dead_letters: Some(queue(&sdk, "DEAD_LETTER_QUEUE_URL")),
        runbook: soci_text::Runbook::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site = listener.local_addr().unwrap();
    let second = Duration::from_secs(1);
    let settings = ConsumerSettings {
        long_poll: second,
        idle_poll: second,
        backlog_interval: second,
        ..ConsumerSettings::default()
    };
    let service = Service::new(listener, settings, soci_text::Runbook::default());
    let client = client(&sdk).observer(service.metrics.clone()).build().unwrap();
    let rules = PushRules {
        version: Version::V2,
        output_suffix: "-soci".to_owned(),
        filters: "*:*".parse().unwrap(),
        event_types: soci_push::EventTypes::default(),
        remove_results: false,
    };
    let runner = Runner::new(RegistryOpener::new(client, Some(endpoint())), options());
    let (sender, mut ends) = mpsc::unbounded_channel();
    let handler = IndexHandler { rules, runner };
    let outboxes = outboxes();
    let announcer = Announcer::new(outboxes.clone());
    let sinks: Vec<Arc<dyn EventSink>> = vec![Arc::new(announcer), Arc::new(Ends(sender))];
    tokio::spawn(service.run(queues, handler, sinks, std::future::pending()));
    for _ in 0..MESSAGES {
        ends.recv().await.unwrap();
    }
    outboxes.close(Duration::from_secs(20)).await;
    for path in ["/", "/status", "/metrics", "/livez", "/nothing"] {
        println!("{}", tokio::task::spawn_blocking(move || page(site, path)).await.unwrap());
    }
    if let Some(logs) = logs {
        logs.flush(Duration::from_secs(20)).await;
    }
}

fn page(site: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(site).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 "), "{text}");
    text
}

/// The index function, as its `main` sets it up, until it is killed.
async fn function() {
    let settings = Settings::read(&Environment, NonZeroUsize::MIN).unwrap();
    start_logging(settings.logs.clone());
    let sdk = soci_aws::sdk::load().await;
    let client = client(&sdk).build().unwrap();
    let worker = Worker {
        rules: settings.index.push_rules(),
        runner: Runner::new(RegistryOpener::new(client, Some(endpoint())), options()),
        queue: queue(&sdk, "QUEUE_URL"),
        dead_letters: Some(queue(&sdk, "DEAD_LETTER_QUEUE_URL")),
        runbook: settings.runbook.clone(),
        margin: settings.deadline_margin,
    };
    let metrics = Some(
        FunctionMetrics::new(EmfLines::new("soci-index-builder/stack".parse().unwrap())).into(),
    );
    let queue = QueueIdentity::of(&settings.queue_url);
    let handler = InvocationHandler { worker, queue, metrics, outboxes: outboxes() };
    let handle = |payload: Box<RawValue>, invocation| {
        let handler = &handler;
        let answer: Pin<Box<dyn Future<Output = Result<Answer, InvocationError>>>> =
            Box::pin(async move { handler.handle(payload.get(), &invocation).await });
        answer
    };
    serve(handle).await.unwrap();
}

/// Calls that fail. Their errors are printed in both forms.
async fn errors() {
    let level = variable("LOG_LEVEL");
    let telemetry = Telemetry { format: LogFormat::Text, level, otlp: None };
    let _logs = telemetry::init(&telemetry).unwrap();
    let sdk = soci_aws::sdk::load().await;
    let live = queue(&sdk, "QUEUE_URL");
    let receipt = Receipt(Stage::RECEIPT.to_owned());
    tell(&live.delete(&receipt).await.unwrap_err());
    tell(&live.set_visibility(&receipt, Duration::from_secs(1)).await.unwrap_err());
    let receive = Receive { max: 10, wait: Duration::ZERO, visibility: Duration::from_secs(30) };
    println!(
        "{:?}",
        live.receive(receive).await.unwrap().iter().map(|m| &m.receipt).collect::<Vec<_>>()
    );
    println!("{live:?} {sdk:?}");

    // What the registry and its storage refuse.
    let registry = variable(REGISTRY);
    let repository = |name: &str| Repository::new(&registry, name).unwrap();
    let open = client(&sdk).build().unwrap();
    let tag = TagOrDigest::Tag("v1".parse().unwrap());
    let manifest = open.manifest(&repository("team/broken"), &tag).await.unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest.bytes).unwrap();
    let layer: Digest = manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
    tell(&open.blob_bytes(&repository("team/broken"), &layer, 1 << 20).await.unwrap_err());
    tell(&open.manifest(&repository("team/nothing"), &tag).await.unwrap_err());
    let store = RemoteRepository::new(open.clone(), repository("team/broken"));
    let name = soci_indexer::ImageName { target: tag.clone(), tag: Some("v1".parse().unwrap()) };
    tell(&soci_indexer::index_image(&store, &name, &options()).await.unwrap_err());
    println!("{open:?} {store:?}");

    // What the proxy refuses, the registry's client and the SDK.
    let secure = client(&sdk).plain_http(false).build().unwrap();
    let abroad = Repository::new("registry.example", "team/app").unwrap();
    tell(&secure.manifest(&abroad, &tag).await.unwrap_err());
    let abroad = sdk.into_builder().endpoint_url("https://sqs.eu-west-1.amazonaws.com").build();
    let abroad = SqsQueue::new(&abroad, "https://sqs.eu-west-1.amazonaws.com/123456789012/live");
    tell(&abroad.unwrap().delete(&receipt).await.unwrap_err());
}

fn tell(error: &(dyn std::error::Error + 'static)) {
    println!("{}\n{error:?}\n{error:#?}", error_chain(error));
    let mut next = error.source();
    while let Some(source) = next {
        println!("{source} {source:?}");
        next = source.source();
    }
}
