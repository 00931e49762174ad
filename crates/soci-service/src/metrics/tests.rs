use std::time::Duration;

use soci_indexer::ZtocSource;
use soci_jobs::{JobEnd, MessageAction, Outcome, Why};
use soci_oci::Digest;
use soci_push::Job;
use soci_queue::{Message, MessageId, Receipt};
use soci_registry_server::testing::{Effect, FakeRegistry, Quirk, RequestKind as Asked};
use soci_tests::FakeRegistryClient;
use tokio::time::Instant;

use super::*;
use crate::event::{CountedQueue, Events, QueueKind};
use crate::job_in_hand::{JobId, JobInHand};

fn message(sent_ago: u64) -> Message {
    Message {
        id: MessageId("m-1".to_owned()),
        receipt: Receipt("receipt".to_owned()),
        body: String::new(),
        receive_count: 1,
        sent_at: SystemTime::now() - Duration::from_secs(sent_ago),
        received_at: Instant::now(),
        group: None,
        attributes: Vec::new(),
    }
}

fn job() -> Job {
    Job {
        repository: soci_oci::Repository::new("r.example", "team/app").unwrap(),
        digest: layer(0),
        tag: None,
        event_id: None,
        since: None,
    }
}

fn layer(seed: u8) -> Digest {
    Digest::sha256_of(&[seed])
}

/// The value of a series, as Prometheus reads it.
fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.render();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

#[track_caller]
fn check(metrics: &Metrics, series: &str, expected: f64) {
    let found = value(metrics, &format!("{PREFIX}_{series}"));
    assert_eq!(found, Some(expected), "{}", metrics.render());
}

/// Metrics, and what tells them beside the store that they read.
struct Told {
    metrics: Arc<Metrics>,
    events: Events,
    job: Arc<JobInHand>,
}

impl Told {
    /// A job in hand, whose message was sent so many seconds ago.
    fn of(about: &About, sent_ago: u64) -> Self {
        let status = Arc::new(StatusStore::new(*about));
        let metrics = Arc::new(Metrics::new(about, &status));
        let sinks: [Arc<dyn EventSink>; 2] = [status, metrics.clone()];
        let events = Events::to(sinks);
        let job = Arc::new(JobInHand::new(JobId(1), QueueKind::Live, &message(sent_ago)));
        events.tell(&Event::JobReceived { job: &job });
        Self { metrics, events, job }
    }

    fn image(&self, event: ImageEvent<'_>) {
        self.events.tell(&Event::Image { job: &self.job, event });
    }

    fn end(&self, end: &JobEnd, elapsed: Duration) {
        self.events.tell(&Event::JobEnded { job: &self.job, end, trouble: None, elapsed });
    }
}

/// Something of everything.
fn busy() -> Told {
    let told = Told::of(&About { version: "1.2.3", commit: "abc" }, 100);
    told.job.name_image(&job());
    told.events.tell(&Event::JobStarted { job: &told.job });
    told.image(ImageEvent::LayerStarted { layer: &layer(1), size: 10 });
    told.image(ImageEvent::LayerStarted { layer: &layer(2), size: 10 });
    told.image(ImageEvent::LayerRead { layer: &layer(1), bytes: 10 });
    told.image(ImageEvent::LayerRead { layer: &layer(2), bytes: 4 });
    told.image(ImageEvent::LayerDone { layer: &layer(1) });
    let from = ZtocSource::Process;
    told.image(ImageEvent::LayerReused { layer: &layer(3), size: 99, from });
    told.events.tell(&Event::Heartbeat { ok: true });
    told.events.tell(&Event::Heartbeat { ok: false });
    told.events.tell(&Event::QueueFailed { queue: "jobs", operation: Operation::Receive });
    let backlog = Backlog { visible: 7, in_flight: 2, delayed: 1 };
    told.events.tell(&Event::Counted { queue: QueueKind::Backfill, backlog });
    let sent_at = Some(UNIX_EPOCH + Duration::from_secs(1_000));
    told.events.tell(&Event::Oldest { queue: CountedQueue::DeadLetters, sent_at });
    told
}

fn rejected() -> JobEnd {
    let outcome = Outcome::Rejected(Why::new("gone", "sha256:00 \"quoted\"\nand more"));
    JobEnd { outcome, action: MessageAction::DeadLetter }
}

#[test]
fn a_job_is_followed_from_its_receive_to_its_end() {
    let told = busy();
    let metrics = &told.metrics;
    check(metrics, "images_in_flight", 1.0);
    check(metrics, "layers_in_flight", 1.0);
    check(metrics, "layers_built_total", 1.0);
    check(metrics, "layers_reused_total{from=\"process\"}", 1.0);
    check(metrics, "layers_reused_total{from=\"repository\"}", 0.0);
    check(metrics, "layer_read_bytes_total", 14.0);
    check(metrics, "job_age_seconds_count{lane=\"live\"}", 1.0);
    check(metrics, "job_age_seconds_bucket{le=\"60.0\",lane=\"live\"}", 0.0);
    check(metrics, "job_age_seconds_bucket{le=\"120.0\",lane=\"live\"}", 1.0);
    let oldest = value(metrics, "soci_index_builder_oldest_job_age_seconds").unwrap();
    assert!((100.0..110.0).contains(&oldest), "{oldest}");

    told.end(&rejected(), Duration::from_secs(45));
    check(metrics, "jobs_total{outcome=\"rejected\",reason=\"gone\"}", 1.0);
    check(metrics, "job_seconds_sum{outcome=\"rejected\"}", 45.0);
    check(metrics, "job_seconds_bucket{le=\"30.0\",outcome=\"rejected\"}", 0.0);
    check(metrics, "job_seconds_bucket{le=\"60.0\",outcome=\"rejected\"}", 1.0);
    check(metrics, "oldest_job_age_seconds", 0.0);
}

#[test]
fn a_job_that_is_given_up_leaves_nothing_in_flight() {
    let told = busy();
    let metrics = &told.metrics;
    let given_back = JobEnd { outcome: Outcome::Stopped, action: MessageAction::GiveBack };
    told.end(&given_back, Duration::from_secs(1));
    check(metrics, "images_in_flight", 0.0);
    check(metrics, "layers_in_flight", 0.0);
    // What comes late from a task that is being dropped is not counted as in flight.
    told.image(ImageEvent::LayerStarted { layer: &layer(3), size: 10 });
    told.image(ImageEvent::LayerDone { layer: &layer(2) });
    check(metrics, "layers_in_flight", 0.0);
}

#[test]
fn a_message_that_is_not_understood_is_no_image_in_flight() {
    let told = Told::of(&About::THIS, 0);
    let metrics = &told.metrics;
    check(metrics, "images_in_flight", 0.0);
    told.end(&rejected(), Duration::ZERO);
    check(metrics, "images_in_flight", 0.0);
}

#[test]
fn queues_and_the_state_of_the_service_are_told() {
    let told = busy();
    let metrics = &told.metrics;
    check(metrics, "heartbeats_total{result=\"ok\"}", 1.0);
    check(metrics, "heartbeats_total{result=\"failed\"}", 1.0);
    check(metrics, "queue_failures_total{queue=\"jobs\",operation=\"receive\"}", 1.0);
    check(metrics, "queue_messages{lane=\"backfill\",state=\"visible\"}", 7.0);
    check(metrics, "queue_messages{lane=\"backfill\",state=\"in_flight\"}", 2.0);
    check(metrics, "queue_messages{lane=\"backfill\",state=\"delayed\"}", 1.0);
    let counted = value(metrics, &format!("{PREFIX}_queue_counted_seconds{{lane=\"backfill\"}}"));
    let ago = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64() - counted.unwrap();
    assert!((0.0..600.0).contains(&ago), "counted {ago} s ago");
    check(metrics, "oldest_message_sent_seconds{lane=\"dead-letters\"}", 1000.0);
    let queue = CountedQueue::DeadLetters;
    told.events.tell(&Event::Oldest { queue, sent_at: None });
    assert!(!metrics.render().contains("{lane=\"dead-letters\"}"), "what is not known is not told");
    check(metrics, "build_info{version=\"1.2.3\",commit=\"abc\"}", 1.0);
    check(metrics, "draining", 0.0);
    told.events.tell(&Event::Draining { until: Instant::now() });
    check(metrics, "draining", 1.0);
    let started = value(metrics, "soci_index_builder_start_time_seconds").unwrap();
    assert!(started > 1.7e9, "{started}");
}

#[cfg(target_os = "linux")]
#[test]
fn the_memory_of_the_process_is_told() {
    let metrics = &Told::of(&About::THIS, 0).metrics;
    let now = value(metrics, "soci_index_builder_resident_memory_bytes").unwrap();
    let peak = value(metrics, "soci_index_builder_resident_memory_peak_bytes").unwrap();
    assert!(now > 1e6 && peak >= now, "{now} {peak}");
}

#[tokio::test]
async fn requests_and_retries_of_the_registry_client_are_counted() {
    let metrics = &Told::of(&About::THIS, 0).metrics;
    let fake = FakeRegistry::start().await;
    let repository = fake.repository("app");
    let client = fake.client_builder().observer(metrics.clone()).build().unwrap();
    fake.quirk(Quirk::on(Asked::ManifestGet, Effect::status(503)));
    fake.quirk(Quirk::on(Asked::ManifestGet, Effect::status(429)));
    let missing = client.manifest(&repository, &soci_oci::TagOrDigest::Digest(layer(0))).await;
    assert!(missing.is_err());
    let labels = "method=\"GET\",target=\"manifest\"";
    for status in ["503", "429", "404"] {
        check(metrics, &format!("registry_requests_total{{{labels},status=\"{status}\"}}"), 1.0);
    }
    check(metrics, &format!("registry_request_seconds_count{{{labels}}}"), 3.0);
    check(metrics, "registry_retries_total{reason=\"status\"}", 1.0);
    check(metrics, "registry_retries_total{reason=\"throttled\"}", 1.0);
}

/// What every line of the OpenMetrics text format has to be.
#[test]
fn the_text_is_open_metrics_and_names_what_the_table_names() {
    let told = busy();
    let metrics = &told.metrics;
    metrics.begins("eventbridge");
    told.end(&rejected(), Duration::from_secs(1));
    let text = metrics.render();
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert_eq!(text.matches("# EOF").count(), 1);
    let types: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).collect();
    for definition in ALL {
        let kind = match definition.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        };
        // Requests are counted by another test.
        if definition.name.starts_with("registry_") {
            continue;
        }
        let full = definition.full_name();
        let family = full.strip_suffix("_total").or(full.strip_suffix("_info")).unwrap_or(&full);
        assert!(types.contains(&format!("{family} {kind}").as_str()), "{full}: {types:?}");
        let sample = text.lines().find(|line| {
            line.strip_prefix(full.as_str())
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_lowercase()))
        });
        let sample = sample.unwrap_or_else(|| panic!("{full} is not told in:\n{text}"));
        for label in definition.labels {
            assert!(sample.contains(&format!("{label}=\"")), "{sample}");
        }
    }
    let seen: std::collections::HashSet<&str> = types.iter().copied().collect();
    assert_eq!(seen.len(), types.len(), "no family is told twice");
}

#[test]
fn announcements_are_counted_by_where_they_go_and_what_became_of_them() {
    let told = Told::of(&About::THIS, 0);
    told.metrics.begins("eventbridge");
    told.metrics.ended("eventbridge", DeliveryEnd::Delivered, 1);
    told.metrics.ended("eventbridge", DeliveryEnd::Dropped, 3);
    let series = |end| format!("announcements_total{{destination=\"eventbridge\",end=\"{end}\"}}");
    check(&told.metrics, &series("delivered"), 1.0);
    check(&told.metrics, &series("dropped"), 3.0);
    check(&told.metrics, &series("given-up"), 0.0);
}
