use std::sync::Arc;

use soci_indexer::Report;
use soci_queue::{MessageId, Receipt};
use tokio::time::advance;

use super::*;

const STUCK_AFTER: Duration = Duration::from_mins(1);

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

fn board() -> Board {
    Board::new(About { version: "1.2.3", commit: "abc" })
}

fn begin(board: &Board, ticket: u64) {
    board.job_received(Ticket(ticket), Lane::Backfill, &message());
    board.job_started(Ticket(ticket), &job());
}

fn report() -> Report {
    Report {
        image: layer(0),
        version: soci_manifest::Version::V2,
        index: layer(9),
        indexes: Vec::new(),
        tag: Some("v1-soci".parse().unwrap()),
        layers: Vec::new(),
        skipped: Vec::new(),
        bytes_read: 30,
        elapsed: Duration::from_secs(3),
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_shows_its_progress_and_its_rate() {
    let board = board();
    begin(&board, 1);
    board.planned(Ticket(1), 2, 1000);
    board.layer_started(Ticket(1), &layer(1), 600);
    board.layer_started(Ticket(1), &layer(2), 400);
    board.layer_read(Ticket(1), &layer(1), 100);
    board.layer_read(Ticket(1), &layer(2), 400);
    board.layer_done(Ticket(1), &layer(2));
    advance(Duration::from_secs(5)).await;
    let status = board.snapshot(STUCK_AFTER);
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
    assert_eq!(status.service.state, State::Working);
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_begins_again_begins_at_zero() {
    let board = board();
    begin(&board, 1);
    board.layer_started(Ticket(1), &layer(1), 600);
    board.layer_read(Ticket(1), &layer(1), 500);
    board.layer_started(Ticket(1), &layer(1), 600);
    board.layer_read(Ticket(1), &layer(1), 20);
    let status = board.snapshot(STUCK_AFTER);
    assert_eq!(status.running[0].layers.len(), 1);
    assert_eq!(status.running[0].layers[0].read, 20);
}

#[tokio::test(start_paused = true)]
async fn an_end_is_remembered_with_what_became_of_it() {
    let board = board();
    begin(&board, 1);
    board.layer_read(Ticket(1), &layer(1), 30);
    board.job_ended(Ticket(1), &Ending::Indexed(report().into()), Duration::from_millis(2500));
    begin(&board, 2);
    let again_in = Duration::from_secs(90);
    let detail = "the registry is busy".to_owned();
    let retried = Ending::Retried { reason: "busy", detail, again_in };
    board.job_ended(Ticket(2), &retried, Duration::from_secs(1));
    advance(Duration::from_secs(4)).await;
    let status = board.snapshot(STUCK_AFTER);
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
    let board = board();
    let (reason, detail) = ("reason", String::new());
    let endings = [
        Ending::Indexed(report().into()),
        Ending::AlreadyIndexed(report().into()),
        Ending::Skipped { reason, detail: detail.clone() },
        Ending::Rejected { reason, detail: detail.clone() },
        Ending::Retried { reason, detail: detail.clone(), again_in: Duration::ZERO },
        Ending::GivenBack,
        Ending::Abandoned { reason, detail },
    ];
    for (count, ending) in endings.iter().enumerate() {
        for _ in 0..=count {
            board.job_ended(Ticket(1), ending, Duration::ZERO);
        }
    }
    let Totals {
        indexed, already_indexed, skipped, rejected, retried, given_back, abandoned, ..
    } = board.snapshot(STUCK_AFTER).totals;
    let counts = [indexed, already_indexed, skipped, rejected, retried, given_back, abandoned];
    assert_eq!(counts, [1, 2, 3, 4, 5, 6, 7]);
}

#[tokio::test(start_paused = true)]
async fn its_memory_is_bounded() {
    let board = board();
    for ticket in 0..300 {
        begin(&board, ticket);
        let detail = "x".repeat(100_000);
        let ending = Ending::Rejected { reason: "long", detail };
        board.job_ended(Ticket(ticket), &ending, Duration::ZERO);
    }
    begin(&board, 1000);
    for seed in 0..500 {
        board.layer_started(Ticket(1000), &layer(seed), 10);
        board.layer_read(Ticket(1000), &layer(seed), 10);
        board.layer_done(Ticket(1000), &layer(seed));
    }
    let status = board.snapshot(STUCK_AFTER);
    assert_eq!((status.ended.len(), status.ended[0].ticket), (MAX_ENDED, 299));
    assert!(status.ended.iter().all(|end| end.detail.chars().count() <= MAX_TEXT + 1));
    let run = &status.running[0];
    assert_eq!((run.layers.len(), run.layers_done, run.bytes_read), (MAX_LAYERS, 500, 5000));
    assert_eq!(run.layers[MAX_LAYERS - 1].digest, layer(499).to_string());
}

#[tokio::test(start_paused = true)]
async fn what_is_secret_in_a_message_is_nowhere() {
    let board = board();
    begin(&board, 1);
    board.job_received(Ticket(2), Lane::Live, &message());
    board.job_ended(Ticket(2), &Ending::GivenBack, Duration::ZERO);
    let status = serde_json::to_string(&board.snapshot(STUCK_AFTER)).unwrap();
    assert!(status.contains("m-1"), "{status}");
    for secret in ["the-receipt", "the-body", "the-attribute"] {
        assert!(!status.contains(secret), "{secret}");
        assert!(!format!("{board:?}").contains(secret), "{secret}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_alive_while_the_loop_turns() {
    let board = board();
    assert!(board.is_live(STUCK_AFTER));
    advance(STUCK_AFTER + Duration::from_secs(1)).await;
    assert!(!board.is_live(STUCK_AFTER));
    assert_eq!(board.snapshot(STUCK_AFTER).service.state, State::Stuck);
    board.turn();
    advance(STUCK_AFTER).await;
    assert!(board.is_live(STUCK_AFTER));
    advance(Duration::from_secs(1)).await;
    assert!(!board.is_live(STUCK_AFTER));
    board.draining();
    assert!(board.is_live(STUCK_AFTER));
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_from_the_first_answer_until_it_drains() {
    let board = board();
    board.turn();
    board.turn();
    assert!(!board.is_ready());
    assert_eq!(board.snapshot(STUCK_AFTER).service.state, State::Starting);
    board.answered(Lane::Live, 0);
    assert!(board.is_ready());
    assert_eq!(board.snapshot(STUCK_AFTER).service.state, State::Idle);
    board.draining();
    assert!(!board.is_ready());
    assert_eq!(board.snapshot(STUCK_AFTER).service.state, State::Draining);
}

#[tokio::test(start_paused = true)]
async fn queues_are_told_once_they_have_been_counted() {
    let board = board();
    assert!(board.snapshot(STUCK_AFTER).queues.is_empty());
    board.backlog(Lane::Backfill, Backlog { visible: 5, in_flight: 2, delayed: 1 });
    advance(Duration::from_secs(3)).await;
    let queues = board.snapshot(STUCK_AFTER).queues;
    let [queue] = queues.as_slice() else { panic!("{queues:?}") };
    assert_eq!((queue.lane, queue.visible, queue.in_flight, queue.delayed), ("backfill", 5, 2, 1));
    assert!((queue.counted_seconds_ago - 3.0).abs() < 1e-3, "{queue:?}");
}

#[test]
fn no_byte_is_lost_when_many_tasks_read_at_once() {
    let board = Arc::new(board());
    begin(&board, 1);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let board = board.clone();
            scope.spawn(move || {
                board.layer_started(Ticket(1), &layer(seed), 10_000);
                for _ in 0..10_000 {
                    board.layer_read(Ticket(1), &layer(seed), 1);
                }
                board.layer_done(Ticket(1), &layer(seed));
            });
        }
    });
    let status = board.snapshot(STUCK_AFTER);
    assert_eq!((status.totals.bytes_read, status.running[0].bytes_read), (40_000, 40_000));
    assert!(status.running[0].layers.iter().all(|layer| layer.done && layer.read == 10_000));
}

/// Keeps the shape that others read: a field that goes or changes its type fails here.
#[tokio::test(start_paused = true)]
async fn the_shape_is_stable() {
    let board = board();
    begin(&board, 1);
    board.planned(Ticket(1), 1, 10);
    board.layer_started(Ticket(1), &layer(1), 10);
    begin(&board, 2);
    board.job_ended(Ticket(2), &Ending::Indexed(report().into()), Duration::ZERO);
    board.backlog(Lane::Live, Backlog::default());
    let status = serde_json::to_value(board.snapshot(STUCK_AFTER)).unwrap();
    let names = |value: &serde_json::Value| -> String {
        value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(status["schema"], 1);
    assert_eq!(names(&status), "schema now service queues totals running ended");
    assert_eq!(
        names(&status["service"]),
        "version commit state started_at uptime_seconds last_turn_seconds"
    );
    assert_eq!(names(&status["queues"][0]), "lane visible in_flight delayed counted_seconds_ago");
    assert_eq!(
        names(&status["totals"]),
        "received indexed already_indexed skipped rejected retried given_back abandoned \
         layers_built bytes_read"
    );
    assert_eq!(
        names(&status["running"][0]),
        "ticket message_id lane receive_count repository digest tag received_at queued_seconds \
         elapsed_seconds planned_layers planned_bytes layers_done bytes_read bytes_per_second \
         remaining_seconds layers"
    );
    assert_eq!(names(&status["running"][0]["layers"][0]), "digest size read done");
    assert_eq!(
        names(&status["ended"][0]),
        "ticket message_id lane receive_count repository digest tag outcome reason detail index \
         index_tag layers_built layers_skipped bytes_read again_in_seconds ended_at \
         ended_seconds_ago elapsed_seconds"
    );
    let now = status["now"].as_str().unwrap();
    assert!(now.parse::<soci_push::event::Timestamp>().is_ok(), "{now}");
}
