//! `worker`: takes jobs off a queue until it is told to stop.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use soci_announce::{Destination, LossLines, OutboxLimits, OutboxObserver, Outboxes};
use soci_aws::ecr::EcrApi;
use soci_aws::{CloudWatch, EcrCredentials, EventBus, SqsQueue};
use soci_indexer::{Budget, Options, OutputTag, Reuse};
use soci_jobs::{RateLimiter, RegistryOpener, Remover, Runner};
use soci_logs::EmfLines;
use soci_registry::Client;
use soci_service::consumer::{ConsumerSettings, Queues};
use soci_service::event::EventSink;
use soci_service::handler::IndexHandler;
use soci_service::health_socket::HealthSocket;
use soci_service::metrics::Metrics;
use soci_service::protection::EcsAgent;
use soci_service::telemetry::{self, Emf, Otlp, Telemetry};
use soci_service::{About, Announcer, Service};
use soci_text::error_chain;
use soci_webhook::Webhook;
use tokio::net::TcpListener;

use crate::cli::WorkerArgs;
use crate::config::WorkerConfig;
use crate::process::{block_on, told_to_stop};
use crate::report;
use crate::usage::misconfigured;

/// Time to send the last traces.
const FLUSH: Duration = Duration::from_secs(5);

/// What the worker calls itself.
const USER_AGENT: &str = concat!("soci-index-builder/", env!("CARGO_PKG_VERSION"));

/// Time to announce how the last images ended. It counts against the task's `stopTimeout`, as draining and the traces do.
const LAST_ANNOUNCEMENTS: Duration = Duration::from_secs(3);

/// Runs the worker. The exit code is 64 if the configuration is wrong, 2 if a flag is.
pub(crate) fn worker(args: &WorkerArgs) -> ExitCode {
    let config = match WorkerConfig::read(args) {
        Ok(config) => config,
        Err(problems) => {
            return misconfigured(&problems, |name| args.is_given(name));
        }
    };
    match block_on(run(config)).flatten() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(error_chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(config: WorkerConfig) -> anyhow::Result<()> {
    let otlp = config.otlp_endpoint.clone().map(|endpoint| Otlp { endpoint: Some(endpoint) });
    let level = config.log_level.clone();
    let logs = telemetry::init(&Telemetry { format: config.log_format, level, otlp })?;
    let served = serve(config).await;
    if let Err(error) = &served {
        tracing::error!(reason = error_chain(error.as_ref()), "the worker ends");
    }
    logs.flush(FLUSH).await;
    served
}

async fn serve(config: WorkerConfig) -> anyhow::Result<()> {
    // Before anything is said of readiness, so that a signal during the start ends it as well.
    let told = told_to_stop()?;
    let stop = async move {
        told.await;
    };
    let address = config.http_address;
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("{address} cannot be listened on"))?;
    let health = health_socket(address);
    let address = listener.local_addr().context("the address of the site is unknown")?;
    let sdk = soci_aws::sdk::load().await;
    let ages = config.queue_ages.then(|| CloudWatch::new(&sdk));
    let queue = |url: &soci_aws::QueueUrl| {
        let queue = SqsQueue::new(&sdk, url.as_str());
        queue.map(|queue| match &ages {
            Some(ages) => queue.with_ages(ages.clone()),
            None => queue,
        })
    };
    let queues = Queues {
        live: queue(&config.queue_url)?,
        backfill: config.backfill_queue_url.as_ref().map(queue).transpose()?,
        dead_letters: config.dead_letter_queue_url.as_ref().map(queue).transpose()?,
        runbook: config.runbook.clone(),
    };
    let settings = ConsumerSettings {
        max_jobs: config.max_concurrent_images.get(),
        visibility: config.visibility_timeout,
        max_job_time: config.max_job_time,
        max_job_age: config.max_job_age,
        drain_deadline: config.drain_deadline,
        look_at_letters: config.dead_letters_on_page,
        ..ConsumerSettings::default()
    };
    let mut service = Service::new(listener, settings, config.runbook.clone());
    service.health = health;
    service.agent = config.ecs_agent_uri.as_deref().map(EcsAgent::new).transpose()?;
    let handler = handler(&config, &sdk, service.metrics.clone())?;
    let outboxes = outboxes(&config, &sdk, service.metrics.clone())?;
    let mut others: Vec<Arc<dyn EventSink>> = Vec::new();
    if let Some(name) = config.emf_namespace {
        others.push(Arc::new(Emf::new(EmfLines::new(name))));
    }
    if !outboxes.is_empty() {
        others.push(Arc::new(Announcer::new(outboxes.clone())));
    }
    tracing::info!(
        version = About::THIS.version,
        commit = About::THIS.commit,
        queue = config.queue_url.name(),
        site = %address,
        images = config.max_concurrent_images,
        memory_budget_mib = config.memory_budget >> 20,
        registry_endpoint = config.registry_endpoint.as_ref().map(soci_jobs::EndpointOverride::host),
        index_version = ?config.index.settings.version,
        filters = %config.index.filters,
        event_types = %config.index.event_types,
        remove_results = config.index.remove_results,
        webhook = config.webhook.is_some(),
        event_bus = config.event_bus.as_ref().map(soci_aws::EventBusName::as_str),
        "worker started"
    );
    let served = service.run(queues, handler, others, stop).await;
    outboxes.close(LAST_ANNOUNCEMENTS).await;
    served?;
    Ok(())
}

/// Where it is announced how images end.
fn outboxes(
    config: &WorkerConfig,
    sdk: &soci_aws::sdk::SdkConfig,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Outboxes> {
    let mut destinations: Vec<Arc<dyn Destination>> = Vec::new();
    if let Some(name) = &config.event_bus {
        destinations.push(Arc::new(EventBus::new(sdk, name.clone())));
    }
    if let Some((url, secret)) = config.webhook.clone() {
        destinations.push(Arc::new(Webhook::new(url, secret, USER_AGENT)?));
    }
    let mut observers: Vec<Arc<dyn OutboxObserver>> = vec![metrics];
    if let Some(name) = &config.emf_namespace {
        observers.push(Arc::new(LossLines::new(EmfLines::new(name.clone()))));
    }
    Ok(Outboxes::to(destinations, OutboxLimits::default(), &observers))
}

/// The way of `healthcheck`, which finds it by the configured address. Without one it goes through the site.
fn health_socket(site: SocketAddr) -> Option<HealthSocket> {
    match HealthSocket::bind(site) {
        Ok(socket) => Some(socket),
        Err(error) => {
            tracing::warn!(%site, %error, "health checks have no socket of their own");
            None
        }
    }
}

/// What is done about a message.
fn handler(
    config: &WorkerConfig,
    sdk: &soci_aws::sdk::SdkConfig,
    metrics: Arc<Metrics>,
) -> anyhow::Result<IndexHandler<RegistryOpener>> {
    let endpoint = config.registry_endpoint.clone();
    let credentials = EcrCredentials::new(sdk)
        .also_for(endpoint.iter().map(|endpoint| endpoint.host().to_owned()));
    let client = Client::builder()
        .credentials(Arc::new(credentials))
        .plain_http(endpoint.as_ref().is_some_and(soci_jobs::EndpointOverride::plain_http))
        .user_agent(USER_AGENT)
        .observer(metrics)
        .put_limit(Arc::new(RateLimiter::per_second(config.put_image_rate)))
        .build()?;
    let cores = std::thread::available_parallelism().unwrap_or(std::num::NonZeroUsize::MIN);
    let layers = config.max_concurrent_layers.unwrap_or(cores);
    let index = &config.index;
    let options = Options {
        settings: index.settings.clone(),
        platforms: index.platforms.clone(),
        output: OutputTag::Suffix(index.output_suffix.clone()),
        budget: Budget::new(layers, config.memory_budget),
        reuse: Reuse::new(index.reuse),
        ..Options::default()
    };
    let opener = RegistryOpener::new(client, endpoint);
    let mut runner = Runner::new(opener.clone(), options);
    if index.remove_results {
        runner = runner.with_remover(Remover::new(opener, Arc::new(EcrApi::new(sdk))));
    }
    Ok(IndexHandler { rules: index.push_rules(), runner })
}
