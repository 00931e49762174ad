//! The index Lambda as a program: reads its settings, makes the clients, and serves invocations until it is stopped.

use std::error::Error;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::value::RawValue;
use soci_announce::{Destination, LossLines, OutboxLimits, OutboxObserver, Outboxes};
use soci_aws::ecr::EcrApi;
use soci_aws::sdk::SdkConfig;
use soci_aws::{EcrCredentials, EventBus, SqsQueue};
use soci_indexer::{Budget, Options, OutputTag, Reuse};
use soci_jobs::{EndpointOverride, RateLimiter, RegistryOpener, Remover, Runner};
use soci_lambda::{InvocationError, block_on, serve, start_logging};
use soci_logs::EmfLines;
use soci_registry::Client;
use soci_text::error_chain;
use soci_webhook::Webhook;

use crate::{Answer, FunctionMetrics, InvocationHandler, QueueIdentity, Settings, Worker};

/// Boxed because the SDK nests futures deeper than the compiler likes to look.
type Handled<'a> = Pin<Box<dyn Future<Output = Result<Answer, InvocationError>> + 'a>>;

/// What the function calls itself.
const USER_AGENT: &str = concat!("soci-index-builder/", env!("CARGO_PKG_VERSION"));

/// Runs the function; the exit code is that of the process.
pub fn run() -> ExitCode {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let settings = match Settings::read(&soci_config::Environment, cores) {
        Ok(settings) => settings,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(soci_config::EXIT_CODE);
        }
    };
    start_logging(settings.logs.clone());
    let runtime = &mut tokio::runtime::Builder::new_multi_thread();
    match block_on(runtime, serve_invocations(&settings)).map_err(Into::into).flatten() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error_chain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn serve_invocations(settings: &Settings) -> Result<(), Box<dyn Error>> {
    let sdk = soci_aws::sdk::load().await;
    let queue = SqsQueue::new(&sdk, settings.queue_url.as_str())?;
    let dead_letters = settings.dead_letter_queue_url.as_ref();
    let dead_letters = dead_letters.map(|url| SqsQueue::new(&sdk, url.as_str())).transpose()?;
    let endpoint = settings.registry_endpoint.clone();
    let credentials = EcrCredentials::new(&sdk)
        .also_for(endpoint.iter().map(|endpoint| endpoint.host().to_owned()));
    let client = Client::builder()
        .credentials(Arc::new(credentials))
        .plain_http(endpoint.as_ref().is_some_and(EndpointOverride::plain_http))
        .user_agent(USER_AGENT)
        .put_limit(Arc::new(RateLimiter::per_second(settings.put_image_rate)))
        .build()?;
    let index = &settings.index;
    let options = Options {
        settings: index.settings.clone(),
        platforms: index.platforms.clone(),
        output: OutputTag::Suffix(index.output_suffix.clone()),
        budget: Budget::new(settings.layers, settings.memory_budget),
        reuse: Reuse::new(index.reuse),
        ..Options::default()
    };
    let opener = RegistryOpener::new(client, endpoint);
    let mut runner = Runner::new(opener.clone(), options);
    if index.remove_results {
        runner = runner.with_remover(Remover::new(opener, Arc::new(EcrApi::new(&sdk))));
    }
    let worker = Worker {
        rules: index.push_rules(),
        runner,
        queue,
        dead_letters,
        runbook: settings.runbook.clone(),
        margin: settings.deadline_margin,
    };
    let outboxes = outboxes(settings, &sdk)?;
    let metrics = settings.emf_namespace.clone();
    let metrics = metrics.map(|namespace| FunctionMetrics::new(EmfLines::new(namespace)).into());
    let queue = QueueIdentity::of(&settings.queue_url);
    let handler = InvocationHandler { worker, queue, metrics, outboxes };
    let handle = |payload: Box<RawValue>, invocation| -> Handled<'_> {
        let handler = &handler;
        Box::pin(async move { handler.handle(payload.get(), &invocation).await })
    };
    Ok(serve(handle).await?)
}

/// Where it is announced how images end.
fn outboxes(settings: &Settings, sdk: &SdkConfig) -> Result<Outboxes, soci_registry::Error> {
    let mut destinations: Vec<Arc<dyn Destination>> = Vec::new();
    if let Some(name) = &settings.event_bus {
        destinations.push(Arc::new(EventBus::new(sdk, name.clone())));
    }
    if let Some((url, secret)) = settings.webhook.clone() {
        destinations.push(Arc::new(Webhook::new(url, secret, USER_AGENT)?));
    }
    let mut observers: Vec<Arc<dyn OutboxObserver>> = Vec::new();
    if let Some(name) = &settings.emf_namespace {
        observers.push(Arc::new(LossLines::new(EmfLines::new(name.clone()))));
    }
    Ok(Outboxes::to(destinations, OutboxLimits::default(), &observers))
}
