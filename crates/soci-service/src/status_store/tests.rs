use std::sync::Arc;

use soci_indexer::{Report, ReusedLayer, ZtocSource};
use soci_jobs::{JobEnd, MessageAction, Outcome, Why};
use soci_oci::Digest;
use soci_push::Job;
use soci_queue::{Backlog, ErrorKind, Message, MessageId, Operation, QueueError, Receipt};
use tokio::time::advance;

use super::*;

fn message() -> Message {
    Message {
        id: MessageId("m-1".to_owned()),
        receipt: Receipt("the-receipt".to_owned()),
        body: "the-body".to_owned(),
        receive_count: 2,
        sent_at: SystemTime::now() - Duration::from_secs(7),
        received_at: Instant::now(),
        group: None,
        attributes: vec![("secret".to_owned(), "the-attribute".to_owned())],
    }
}

fn job() -> Job {
    Job {
        repository: soci_oci::Repository::new("r.example:5000", "team/app").unwrap(),
        digest: layer(0),
        tag: Some("v1".parse().unwrap()),
        event_id: None,
        since: None,
    }
}

fn layer(seed: u64) -> Digest {
    Digest::sha256_of(&seed.to_le_bytes())
}

fn store() -> StatusStore {
    StatusStore::new(About { version: "1.2.3", commit: "abc" })
}

fn receive(store: &StatusStore, id: u64, queue: QueueKind) -> Arc<JobInHand> {
    let job = Arc::new(JobInHand::new(JobId(id), queue, &message()));
    store.event(&Event::JobReceived { job: &job });
    job
}

fn begin(store: &StatusStore, id: u64) -> Arc<JobInHand> {
    let in_hand = receive(store, id, QueueKind::Backfill);
    in_hand.name_image(&job());
    store.event(&Event::JobStarted { job: &in_hand });
    in_hand
}

/// Tells of the image of a job as [`Events`](crate::event::Events) does.
fn tell(store: &StatusStore, job: &Arc<JobInHand>, event: ImageEvent<'_>) {
    job.note(&event);
    store.event(&Event::Image { job, event });
}

fn start(store: &StatusStore, job: &Arc<JobInHand>, layer: &Digest, size: u64) {
    tell(store, job, ImageEvent::LayerStarted { layer, size });
}

fn read(store: &StatusStore, job: &Arc<JobInHand>, layer: &Digest, bytes: u64) {
    tell(store, job, ImageEvent::LayerRead { layer, bytes });
}

fn done(store: &StatusStore, job: &Arc<JobInHand>, layer: &Digest) {
    tell(store, job, ImageEvent::LayerDone { layer });
}

fn end(store: &StatusStore, job: &Arc<JobInHand>, end: &JobEnd, elapsed: Duration) {
    store.event(&Event::JobEnded { job, end, trouble: None, elapsed });
}

fn indexed() -> JobEnd {
    let report = Box::new(report());
    JobEnd { outcome: Outcome::Indexed(report), action: MessageAction::Delete }
}

fn reused() -> ReusedLayer {
    ReusedLayer {
        digest: layer(1),
        size: 600,
        ztoc: layer(8),
        ztoc_size: 6,
        files: 1,
        spans: 1,
        from: ZtocSource::Repository,
        elapsed: Duration::from_millis(1),
    }
}

fn given_back() -> JobEnd {
    JobEnd { outcome: Outcome::Stopped, action: MessageAction::GiveBack }
}

fn report() -> Report {
    Report {
        already_there: false,
        image: layer(0),
        version: soci_manifest::Version::V2,
        index: layer(9),
        indexes: Vec::new(),
        tag: Some("v1-soci".parse().unwrap()),
        layers: Vec::new(),
        reused: Vec::new(),
        skipped: Vec::new(),
        left_out_platforms: Vec::new(),
        prefetch: Vec::new(),
        prefetch_files: Vec::new(),
        warnings: Vec::new(),
        bytes_read: 30,
        elapsed: Duration::from_secs(3),
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_shows_its_progress_and_its_rate() {
    let store = store();
    let job = begin(&store, 1);
    tell(&store, &job, ImageEvent::Planned { layers: 2, bytes: 1000 });
    start(&store, &job, &layer(1), 600);
    start(&store, &job, &layer(2), 400);
    read(&store, &job, &layer(1), 100);
    read(&store, &job, &layer(2), 400);
    done(&store, &job, &layer(2));
    advance(Duration::from_secs(5)).await;
    let status = store.snapshot();
    let [run] = status.running.as_slice() else { panic!("{status:?}") };
    assert_eq!(run.repository.as_deref(), Some("r.example:5000/team/app"));
    assert_eq!(run.digest, Some(layer(0).to_string()));
    assert_eq!((run.tag.as_deref(), run.lane, run.receive_count), (Some("v1"), "backfill", 2));
    assert_eq!((run.planned_layers, run.planned_bytes), (Some(2), Some(1000)));
    assert_eq!((run.layers_done, run.bytes_read), (1, 500));
    assert_eq!((run.bytes_per_second, run.remaining_seconds), (Some(100.0), Some(5.0)));
    assert!((run.elapsed_seconds - 5.0).abs() < 0.1 && run.queued_seconds >= 7.0, "{run:?}");
    let layers: Vec<_> = run.layers.iter().map(|l| (l.size, l.read, l.done)).collect();
    assert_eq!(layers, [(600, 100, false), (400, 400, true)]);
    assert_eq!(status.service.state, ServiceState::Working);
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_not_read_is_done_and_no_part_of_what_is_to_be_read() {
    let store = store();
    let job = begin(&store, 1);
    tell(&store, &job, ImageEvent::Planned { layers: 2, bytes: 1000 });
    let (first, from) = (layer(1), ZtocSource::Repository);
    tell(&store, &job, ImageEvent::LayerReused { layer: &first, size: 600, from });
    start(&store, &job, &layer(2), 400);
    read(&store, &job, &layer(2), 100);
    let status = store.snapshot();
    let [run] = status.running.as_slice() else { panic!("{status:?}") };
    assert_eq!((run.planned_layers, run.planned_bytes), (Some(2), Some(400)));
    assert_eq!((run.layers_done, run.bytes_read, run.layers.len()), (1, 100, 1));
    assert_eq!((status.totals.layers_reused, status.totals.layers_built), (1, 0));
    assert_eq!(job.layers_open(), 1);
    let outcome = Outcome::Indexed(Box::new(Report { reused: vec![reused()], ..report() }));
    end(&store, &job, &JobEnd { outcome, action: MessageAction::Delete }, Duration::from_secs(1));
    assert_eq!(store.snapshot().ended[0].layers_reused, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_begins_again_begins_at_zero() {
    let store = store();
    let job = begin(&store, 1);
    start(&store, &job, &layer(1), 600);
    read(&store, &job, &layer(1), 500);
    start(&store, &job, &layer(1), 600);
    read(&store, &job, &layer(1), 20);
    let status = store.snapshot();
    assert_eq!(status.running[0].layers.len(), 1);
    assert_eq!(status.running[0].layers[0].read, 20);
}

#[tokio::test(start_paused = true)]
async fn an_end_is_remembered_with_what_became_of_it() {
    let store = store();
    let job = begin(&store, 1);
    read(&store, &job, &layer(1), 30);
    end(&store, &job, &indexed(), Duration::from_millis(2500));
    let job = begin(&store, 2);
    let again_in = Duration::from_secs(90);
    let outcome = Outcome::Failed(Why::new("busy", "the registry is busy"));
    let retried = JobEnd { outcome, action: MessageAction::Retry { again_in } };
    end(&store, &job, &retried, Duration::from_secs(1));
    advance(Duration::from_secs(4)).await;
    let status = store.snapshot();
    assert!(status.running.is_empty());
    let [retried, indexed] = status.ended.as_slice() else { panic!("{status:?}") };
    assert_eq!((indexed.outcome, indexed.reason), ("indexed", ""));
    assert_eq!(indexed.index, Some(layer(9).to_string()));
    assert_eq!(indexed.index_tag.as_deref(), Some("v1-soci"));
    assert_eq!((indexed.bytes_read, indexed.elapsed_seconds), (30, 2.5));
    assert_eq!((retried.outcome, retried.reason), ("retried", "busy"));
    assert_eq!(retried.detail, "the registry is busy");
    assert_eq!((retried.again_in_seconds, retried.ended_seconds_ago), (Some(90.0), 4.0));
    let totals = &status.totals;
    assert_eq!((totals.received, totals.indexed, totals.retried), (2, 1, 1));
    assert_eq!(totals.bytes_read, 30);
}

#[tokio::test(start_paused = true)]
async fn every_outcome_has_a_count_of_its_own() {
    let store = store();
    let why = || Why::new("reason", "");
    let again = MessageAction::Retry { again_in: Duration::ZERO };
    let found = Box::new(Report { already_there: true, ..report() });
    let ends = [
        (Outcome::Indexed(report().into()), MessageAction::Delete),
        (Outcome::AlreadyIndexed(found), MessageAction::Delete),
        (Outcome::Skipped(why()), MessageAction::Delete),
        (Outcome::Rejected(why()), MessageAction::DeadLetter),
        (Outcome::Failed(why()), again),
        (Outcome::Stopped, MessageAction::GiveBack),
        (Outcome::Lost(why()), MessageAction::Leave),
    ];
    for (count, (outcome, action)) in ends.into_iter().enumerate() {
        let ended = JobEnd { outcome, action };
        for _ in 0..=count {
            end(&store, &begin(&store, 1), &ended, Duration::ZERO);
        }
    }
    let Totals {
        indexed, already_indexed, skipped, rejected, retried, given_back, abandoned, ..
    } = store.snapshot().totals;
    let counts = [indexed, already_indexed, skipped, rejected, retried, given_back, abandoned];
    assert_eq!(counts, [1, 2, 3, 4, 5, 6, 7]);
}

#[tokio::test(start_paused = true)]
async fn its_memory_is_bounded() {
    let store = store();
    for id in 0..300 {
        let job = begin(&store, id);
        let outcome = Outcome::Rejected(Why::new("long", "x".repeat(100_000)));
        let rejected = JobEnd { outcome, action: MessageAction::DeadLetter };
        end(&store, &job, &rejected, Duration::ZERO);
    }
    let job = begin(&store, 1000);
    for seed in 0..500 {
        start(&store, &job, &layer(seed), 10);
        read(&store, &job, &layer(seed), 10);
        done(&store, &job, &layer(seed));
    }
    let status = store.snapshot();
    assert_eq!((status.ended.len(), status.ended[0].ticket), (MAX_ENDED, 299));
    assert!(status.ended.iter().all(|end| end.detail.chars().count() <= MAX_TEXT + 1));
    let run = &status.running[0];
    assert_eq!((run.layers.len(), run.layers_done, run.bytes_read), (MAX_LAYERS, 500, 5000));
    assert_eq!(run.layers[MAX_LAYERS - 1].digest, layer(499).to_string());
}

#[tokio::test(start_paused = true)]
async fn what_is_secret_in_a_message_is_nowhere() {
    let store = store();
    let job = begin(&store, 1);
    let other = receive(&store, 2, QueueKind::Live);
    end(&store, &other, &given_back(), Duration::ZERO);
    drop(job);
    let status = serde_json::to_string(&store.snapshot()).unwrap();
    assert!(status.contains("m-1"), "{status}");
    for secret in ["the-receipt", "the-body", "the-attribute"] {
        assert!(!status.contains(secret), "{secret}");
        assert!(!format!("{store:?}").contains(secret), "{secret}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_alive_while_the_loop_turns() {
    let store = store();
    assert!(store.state().is_live());
    advance(STUCK_AFTER + Duration::from_secs(1)).await;
    assert_eq!(store.snapshot().service.state, ServiceState::Stuck);
    store.event(&Event::Turned);
    advance(STUCK_AFTER).await;
    assert!(store.state().is_live());
    advance(Duration::from_secs(1)).await;
    assert!(!store.state().is_live());
    store.event(&Event::Draining { until: Instant::now() });
    assert!(store.state().is_live());
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_from_the_first_answer_until_it_drains() {
    let store = store();
    store.event(&Event::Turned);
    store.event(&Event::Turned);
    assert_eq!(store.state(), ServiceState::Starting);
    store.event(&Event::Answered { queue: QueueKind::Live, messages: 0 });
    assert_eq!(store.snapshot().service.state, ServiceState::Idle);
    let until = Instant::now() + Duration::from_secs(90);
    store.event(&Event::Draining { until });
    let status = store.snapshot();
    assert_eq!(status.service.state, ServiceState::Draining);
    let told = status.service.draining_until.clone().unwrap();
    assert!(status.sentence().contains(&told), "{}", status.sentence());
}

fn away(queue: QueueKind, since: Instant, failures: u32) -> Event<'static> {
    let next_try = Instant::now() + Duration::from_secs(30);
    let error = QueueError {
        queue: "jobs".to_owned(),
        operation: Operation::Receive,
        kind: ErrorKind::Transient,
        request_id: None,
        source: "connection refused".into(),
    };
    Event::QueueAway { queue, since, failures, next_try, error: Box::leak(Box::new(error)) }
}

#[tokio::test(start_paused = true)]
async fn a_live_queue_that_is_away_is_the_state_and_a_backfill_queue_is_told_beside_it() {
    let store = store();
    let since = Instant::now();
    store.event(&Event::Answered { queue: QueueKind::Live, messages: 0 });
    advance(Duration::from_secs(40)).await;
    store.event(&Event::Turned);
    store.event(&away(QueueKind::Backfill, since, 1));
    assert_eq!(store.state(), ServiceState::Idle);
    store.event(&away(QueueKind::Live, since, 2));
    let _job = begin(&store, 1);
    let status = store.snapshot();
    assert_eq!(status.service.state, ServiceState::QueueUnreachable);
    assert_eq!(store.queue_away_since(), Some(since));
    let [live, backfill] = status.queues_away.as_slice() else { panic!("{status:?}") };
    assert_eq!((live.lane, backfill.lane, live.failures), ("live", "backfill", 2));
    assert!((live.since_seconds - 40.0).abs() < 1e-3, "{live:?}");
    assert!((live.next_try_seconds - 30.0).abs() < 1e-3, "{live:?}");
    assert!(live.error.contains("connection refused"), "{live:?}");
    assert!(status.sentence().contains(&live.since), "{}", status.sentence());
    store.event(&Event::QueueBack { queue: QueueKind::Live, since });
    assert_eq!(store.state(), ServiceState::Working);
    assert_eq!(store.snapshot().queues_away.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn queues_are_told_once_they_have_been_counted() {
    let store = store();
    assert!(store.snapshot().queues.is_empty());
    let backlog = Backlog { visible: 5, in_flight: 2, delayed: 1 };
    store.event(&Event::Counted { queue: QueueKind::Backfill, backlog });
    advance(Duration::from_secs(3)).await;
    let queues = store.snapshot().queues;
    let [queue] = queues.as_slice() else { panic!("{queues:?}") };
    assert_eq!((queue.lane, queue.visible, queue.in_flight, queue.delayed), ("backfill", 5, 2, 1));
    assert!((queue.counted_seconds_ago - 3.0).abs() < 1e-3, "{queue:?}");
}

#[test]
fn no_byte_is_lost_when_many_tasks_read_at_once() {
    let store = Arc::new(store());
    let job = begin(&store, 1);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (store, job) = (store.clone(), job.clone());
            scope.spawn(move || {
                start(&store, &job, &layer(seed), 10_000);
                for _ in 0..10_000 {
                    read(&store, &job, &layer(seed), 1);
                }
                done(&store, &job, &layer(seed));
            });
        }
    });
    let status = store.snapshot();
    assert_eq!((status.totals.bytes_read, status.running[0].bytes_read), (40_000, 40_000));
    assert!(status.running[0].layers.iter().all(|layer| layer.done && layer.read == 10_000));
}

/// Keeps the shape that others read: a field that goes or changes its type fails here.
#[tokio::test(start_paused = true)]
async fn the_shape_is_stable() {
    let store = store();
    let job = begin(&store, 1);
    tell(&store, &job, ImageEvent::Planned { layers: 1, bytes: 10 });
    start(&store, &job, &layer(1), 10);
    let other = begin(&store, 2);
    end(&store, &other, &indexed(), Duration::ZERO);
    store.event(&Event::Counted { queue: QueueKind::Live, backlog: Backlog::default() });
    let status = serde_json::to_value(store.snapshot()).unwrap();
    let names = |value: &serde_json::Value| -> String {
        value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(status["schema"], 1);
    assert_eq!(
        names(&status),
        "schema runbook now service queues dead_letters totals pace history queues_away outage running ended"
    );
    assert_eq!(
        names(&status["service"]),
        "version commit state started_at uptime_seconds last_turn_seconds last_message_seconds draining_until"
    );
    assert_eq!(
        names(&status["queues"][0]),
        "lane visible in_flight delayed counted_seconds_ago oldest_seconds"
    );
    assert_eq!(
        names(&status["history"][0]),
        "since indexed skipped failed retried bytes_read waiting"
    );
    assert_eq!(
        names(&status["totals"]),
        "received indexed already_indexed skipped rejected retried doubted postponed given_back \
         abandoned layers_built layers_reused bytes_read"
    );
    assert_eq!(
        names(&status["running"][0]),
        "ticket message_id lane receive_count attempts waits_for repository digest tag received_at \
         queued_seconds elapsed_seconds planned_layers planned_bytes layers_done bytes_read bytes_per_second \
         remaining_seconds layers"
    );
    assert_eq!(names(&status["running"][0]["layers"][0]), "digest size read done");
    assert_eq!(
        names(&status["ended"][0]),
        "ticket message_id lane receive_count attempts repository digest tag outcome reason detail index \
         index_tag layers_built layers_reused layers_skipped bytes_read again_in_seconds ended_at \
         ended_seconds_ago elapsed_seconds"
    );
    let now = status["now"].as_str().unwrap();
    assert!(now.parse::<soci_push::event::Timestamp>().is_ok(), "{now}");
}
