//! Counters for Prometheus and everything that scrapes like it.

mod names;
mod process;
mod requests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};
use soci_announce::{DeliveryEnd, OutboxObserver};
use soci_indexer::{ImageEvent, LayerDecision, Report};
use soci_queue::{Backlog, Operation};
use soci_registry::{Observer, RequestDone, RetryScheduled};
use tokio::time::Instant;

pub use names::{ALL, Definition, Kind, PREFIX, STANDARD_PREFIX};

use crate::about::About;
use crate::event::{Event, EventSink};
use crate::service_state::ServiceState;
use crate::status_store::StatusStore;
use requests::{LatencyLabels, RequestLabels, RetryLabels};

/// Bounds of the time of a job, in seconds: from an image that was indexed before to an hour.
const JOB_BOUNDS: [f64; 16] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0,
    3600.0,
];

/// Bounds of a message's age, in seconds: up to a day, past which a backfill may well wait.
const AGE_BOUNDS: [f64; 13] =
    [1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 21_600.0, 43_200.0, 86_400.0];

/// Bounds of the time of a request, in seconds.
const REQUEST_BOUNDS: [f64; 12] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// What [`Metrics::render`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Counts what happens. Implements [`EventSink`] for the service and [`soci_registry::Observer`] for the
/// registry client.
///
/// Labels never come from images, repositories or registries, so their number is bounded.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    jobs: Family<JobLabels, Counter>,
    job_seconds: Histograms<OutcomeLabel>,
    job_age: Histograms<LaneLabel>,
    layers_built: Counter,
    layers_reused: Family<FromLabel, Counter>,
    layers_left_out: Family<ReasonLabel, Counter>,
    platforms_left_out: Family<ReasonLabel, Counter>,
    layer_read: Counter,
    queue_messages: Family<MessagesLabels, Gauge>,
    queue_counted: Family<LaneLabel, Gauge<f64, AtomicU64>>,
    oldest_message: Family<LaneLabel, Gauge<f64, AtomicU64>>,
    queue_failures: Family<QueueLabels, Counter>,
    heartbeats: Family<ResultLabel, Counter>,
    registry_requests: Family<RequestLabels, Counter>,
    registry_seconds: Histograms<LatencyLabels>,
    registry_retries: Family<RetryLabels, Counter>,
    announcements: Family<AnnouncementLabels, Counter>,
    draining: Gauge,
}

impl Metrics {
    /// Metrics of a process that begins now. What is in hand is read from `status` at every scrape.
    pub fn new(about: &About, status: &Arc<StatusStore>) -> Self {
        let mut all = Registry::default();
        let registry = all.sub_registry_with_prefix(PREFIX);
        let histogram = |bounds: fn() -> Histogram| bounds;
        let metrics = Self {
            jobs: add(registry, &names::JOBS, Family::default()),
            job_seconds: add(
                registry,
                &names::JOB_SECONDS,
                Family::new_with_constructor(histogram(|| Histogram::new(JOB_BOUNDS))),
            ),
            job_age: add(
                registry,
                &names::JOB_AGE,
                Family::new_with_constructor(histogram(|| Histogram::new(AGE_BOUNDS))),
            ),
            layers_built: add(registry, &names::LAYERS_BUILT, Counter::default()),
            layers_reused: add(registry, &names::LAYERS_REUSED, Family::default()),
            layers_left_out: add(registry, &names::LAYERS_LEFT_OUT, Family::default()),
            platforms_left_out: add(registry, &names::PLATFORMS_LEFT_OUT, Family::default()),
            layer_read: add(registry, &names::LAYER_READ, Counter::default()),
            queue_messages: add(registry, &names::QUEUE_MESSAGES, Family::default()),
            queue_counted: add(registry, &names::QUEUE_COUNTED, Family::default()),
            oldest_message: add(registry, &names::OLDEST_MESSAGE, Family::default()),
            queue_failures: add(registry, &names::QUEUE_FAILURES, Family::default()),
            heartbeats: add(registry, &names::HEARTBEATS, Family::default()),
            registry_requests: add(registry, &names::REGISTRY_REQUESTS, Family::default()),
            registry_seconds: add(
                registry,
                &names::REGISTRY_SECONDS,
                Family::new_with_constructor(histogram(|| Histogram::new(REQUEST_BOUNDS))),
            ),
            registry_retries: add(registry, &names::REGISTRY_RETRIES, Family::default()),
            announcements: add(registry, &names::ANNOUNCEMENTS, Family::default()),
            draining: add(registry, &names::DRAINING, Gauge::default()),
            registry: Registry::default(),
        };
        let start: Gauge<f64, AtomicU64> = add(registry, &names::START_TIME, Gauge::default());
        let started =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        start.set(started);
        let build = vec![("version", about.version), ("commit", about.commit)];
        registry.register(names::BUILD.name, names::BUILD.help, Info::new(build));
        registry.register_collector(Box::new(JobsInHand(status.clone())));
        registry.register_collector(Box::new(process::ProcessMemory));
        let standard = process::StandardMetrics { started };
        all.sub_registry_with_prefix(STANDARD_PREFIX).register_collector(Box::new(standard));
        // Series that are there from the start have a rate as soon as they first grow.
        for outcome in ["indexed", "already-indexed", "given-back"] {
            let _ = metrics.jobs.get_or_create(&JobLabels { outcome, reason: "" });
        }
        for reason in ["several-members", "global-header", "sparse-file", "trailing-bytes"] {
            let _ = metrics.layers_left_out.get_or_create(&ReasonLabel { reason });
        }
        for from in ["process", "repository"] {
            let _ = metrics.layers_reused.get_or_create(&FromLabel { from });
        }
        for reason in ["manifest-missing", "layer-missing", "foreign-layer"] {
            let _ = metrics.platforms_left_out.get_or_create(&ReasonLabel { reason });
        }
        for result in ["ok", "failed"] {
            let _ = metrics.heartbeats.get_or_create(&ResultLabel { result });
        }
        Self { registry: all, ..metrics }
    }

    /// All metrics in the text format of OpenMetrics 1.0.0, which Prometheus and its kin read.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail, nor do the collectors.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FromLabel {
    from: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    lane: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessagesLabels {
    lane: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    queue: String,
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnnouncementLabels {
    destination: &'static str,
    end: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

impl OutboxObserver for Metrics {
    fn begins(&self, destination: &'static str) {
        for end in DeliveryEnd::ALL {
            self.ended(destination, end, 0);
        }
    }

    fn ended(&self, destination: &'static str, end: DeliveryEnd, announcements: u64) {
        let labels = AnnouncementLabels { destination, end: end.label() };
        self.announcements.get_or_create(&labels).inc_by(announcements);
    }
}

impl EventSink for Metrics {
    fn event(&self, event: &Event<'_>) {
        match *event {
            Event::JobReceived { job } => {
                let labels = LaneLabel { lane: job.queue.label() };
                self.job_age.get_or_create(&labels).observe(job.age().as_secs_f64());
            }
            Event::Image { event: ImageEvent::LayerRead { bytes, .. }, .. } => {
                self.layer_read.inc_by(bytes);
            }
            Event::Image { event: ImageEvent::LayerDone { .. }, .. } => {
                self.layers_built.inc();
            }
            Event::Image { event: ImageEvent::LayerReused { from, .. }, .. } => {
                self.layers_reused.get_or_create(&FromLabel { from: from.name() }).inc();
            }
            Event::JobEnded { end, elapsed, .. } => {
                let outcome = end.label();
                self.jobs.get_or_create(&JobLabels { outcome, reason: end.reason() }).inc();
                let seconds = self.job_seconds.get_or_create(&OutcomeLabel { outcome });
                seconds.observe(elapsed.as_secs_f64());
                if let Some(report) = end.outcome.report() {
                    self.count_left_out(report);
                }
            }
            Event::Heartbeat { ok } => {
                let result = if ok { "ok" } else { "failed" };
                self.heartbeats.get_or_create(&ResultLabel { result }).inc();
            }
            Event::QueueFailed { queue, operation } => {
                let operation = operation_label(operation);
                let labels = QueueLabels { queue: queue.to_owned(), operation };
                self.queue_failures.get_or_create(&labels).inc();
            }
            Event::Counted { queue, backlog } => self.count_messages(queue.label(), backlog),
            Event::DeadLettersCounted { backlog } => self.count_messages("dead-letters", backlog),
            Event::Oldest { queue, sent_at } => {
                let labels = LaneLabel { lane: queue.label() };
                match sent_at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()) {
                    Some(at) => {
                        self.oldest_message.get_or_create(&labels).set(at.as_secs_f64());
                    }
                    None => {
                        self.oldest_message.remove(&labels);
                    }
                }
            }
            Event::Draining { .. } => {
                self.draining.set(1);
            }
            _ => {}
        }
    }
}

impl Observer for Metrics {
    fn request(&self, done: &RequestDone<'_>) {
        self.registry_requests.get_or_create(&RequestLabels::of(done)).inc();
        let latency = self.registry_seconds.get_or_create(&LatencyLabels::of(done));
        latency.observe(done.elapsed.as_secs_f64());
    }

    fn retry(&self, retry: &RetryScheduled<'_>) {
        self.registry_retries.get_or_create(&RetryLabels::of(retry)).inc();
    }
}

impl Metrics {
    fn count_left_out(&self, report: &Report) {
        let layers = report.skipped.iter().map(|layer| layer.decision);
        for decision in layers.filter(|decision| *decision != LayerDecision::TooSmall) {
            let labels = ReasonLabel { reason: decision.code() };
            self.layers_left_out.get_or_create(&labels).inc();
        }
        for left_out in &report.left_out_platforms {
            let labels = ReasonLabel { reason: left_out.code };
            self.platforms_left_out.get_or_create(&labels).inc();
        }
    }

    fn count_messages(&self, lane: &'static str, backlog: Backlog) {
        let Backlog { visible, in_flight, delayed } = backlog;
        for (state, count) in [("visible", visible), ("in_flight", in_flight), ("delayed", delayed)]
        {
            let labels = MessagesLabels { lane, state };
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.queue_messages.get_or_create(&labels).set(count);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.queue_counted.get_or_create(&LaneLabel { lane }).set(now.as_secs_f64());
    }
}

fn operation_label(operation: Operation) -> &'static str {
    match operation {
        Operation::Receive => "receive",
        Operation::SetVisibility => "set-visibility",
        Operation::Delete => "delete",
        Operation::Send => "send",
        Operation::Backlog => "backlog",
        Operation::MaxReceives => "max-receives",
        Operation::Oldest => "oldest",
        _ => "other",
    }
}

/// Says at every scrape what is in hand, and whether the registry is away: images, layers, jobs that wait,
/// and how old the oldest one is. It reads
/// the same records as the status page.
#[derive(Debug)]
struct JobsInHand(Arc<StatusStore>);

impl Collector for JobsInHand {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let jobs = self.0.jobs();
        let images = jobs.iter().filter(|job| job.image().is_some()).count();
        let layers: u64 = jobs.iter().map(|job| job.layers_open()).sum();
        let oldest = jobs.iter().map(|job| job.age()).max().unwrap_or_default();
        let count = |count: u64| ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
        let waiting = jobs.iter().filter(|job| job.waiting_without_slot().is_some()).count();
        let outage = self.0.outage_since();
        let unix_time = |since: Option<Instant>| {
            since.map_or(0.0, |since| {
                let since = SystemTime::now() - since.elapsed();
                since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
            })
        };
        let away = unix_time(self.0.queue_away_since());
        let since = unix_time(outage);
        process::gauge(&mut encoder, &names::QUEUE_AWAY_SINCE, &ConstGauge::new(away))?;
        self.state(&mut encoder)?;
        process::gauge(&mut encoder, &names::OUTAGE, &count(u64::from(outage.is_some())))?;
        process::gauge(&mut encoder, &names::OUTAGE_SINCE, &ConstGauge::new(since))?;
        process::gauge(&mut encoder, &names::JOBS_WAITING, &count(waiting as u64))?;
        process::gauge(&mut encoder, &names::IMAGES_IN_FLIGHT, &count(images as u64))?;
        process::gauge(&mut encoder, &names::LAYERS_IN_FLIGHT, &count(layers))?;
        process::gauge(&mut encoder, &names::OLDEST_JOB, &ConstGauge::new(oldest.as_secs_f64()))
    }
}

impl JobsInHand {
    fn state(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let now = self.0.state();
        let values = ServiceState::ALL.map(|state| (state.word(), i64::from(state == now)));
        process::gauges(encoder, &names::STATE, "state", &values)
    }
}

fn add<M: Metric + Clone>(registry: &mut Registry, definition: &Definition, metric: M) -> M {
    match &definition.unit {
        Some(unit) => registry.register_with_unit(
            definition.name,
            definition.help,
            unit.clone(),
            metric.clone(),
        ),
        None => registry.register(definition.name, definition.help, metric.clone()),
    }
    metric
}

#[cfg(test)]
mod tests;
