//! What those who watch are told, and what is logged.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use soci_queue::{ErrorKind, Operation};

use super::support::{Setup, Told, send};
use crate::event::QueueKind;
use crate::job_in_hand::JobId;
use crate::log_capture::Log;
use crate::status_store::ServiceState;

#[tokio::test(start_paused = true)]
async fn those_who_watch_are_told_of_every_step() {
    let setup = Setup::slots(1);
    send(&setup.live, &["reject 50"]).await;
    let service = setup.start();
    service.live.fail_next(Operation::Delete, 1, ErrorKind::Permanent);
    service.until(50).await;
    send(&service.backfill, &["done 1"]).await;
    service.until(55).await;
    let events = service.seen.events();
    let told: Vec<_> = events
        .into_iter()
        .map(|(_, event)| event)
        .filter(|event| !matches!(event, Told::Turn | Told::Counted(..) | Told::Detail(_)))
        .collect();
    let seconds = Duration::from_secs;
    assert_eq!(
        told,
        [
            Told::Answered(QueueKind::Live, 1),
            Told::Received(JobId(1), QueueKind::Live),
            Told::Heartbeat(true),
            Told::Failed("live".to_owned(), Operation::Delete),
            Told::Ended(JobId(1), "rejected", "bad", seconds(50)),
            Told::Answered(QueueKind::Live, 0),
            Told::Answered(QueueKind::Backfill, 1),
            Told::Received(JobId(2), QueueKind::Backfill),
            Told::Ended(JobId(2), "skipped", "no-work", seconds(1)),
            Told::Answered(QueueKind::Live, 0),
            Told::Answered(QueueKind::Backfill, 0),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn every_outcome_is_one_line_in_the_span_of_its_job() {
    let (log, _guard) = Log::start();
    let setup = Setup::slots(4);
    send(&setup.live, &["done 5", "reject 6", "fail 7", "panic 8"]).await;
    let service = setup.start();
    service.until(9).await;
    send(&service.live, &["done 1000"]).await;
    service.until(10).await;
    service.end().await;
    let lines = log.lines_with("outcome");
    let found: Vec<_> = lines
        .iter()
        .map(|line| {
            let fields = &line["fields"];
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&line["level"]), text(&fields["outcome"]), text(&fields["reason"]))
        })
        .collect();
    let expected = [
        ("INFO", "skipped", "no-work"),
        ("ERROR", "rejected", "bad"),
        ("WARN", "retried", "weak"),
        ("WARN", "retried", "panic"),
        ("INFO", "given-back", ""),
    ];
    let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
    assert_eq!(found, expected);
    let sentences: BTreeSet<_> =
        lines.iter().map(|line| line["fields"]["message"].as_str()).collect();
    assert_eq!(sentences.len(), 4, "one for each outcome: {sentences:?}");
    for line in &lines {
        assert_eq!(line["span"]["name"], "job");
        assert_eq!(line["span"]["lane"], "live");
        assert_eq!(line["span"]["receive_count"], 1);
        assert_eq!(line["span"]["message_id"].as_str().unwrap().len(), 36);
        assert!(line["fields"]["seconds"].is_f64() && line["fields"]["bytes"].is_u64());
    }
    assert!((5.0..5.1).contains(&lines[0]["fields"]["seconds"].as_f64().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_done_about_a_message_is_on_the_line_of_its_outcome() {
    let (log, _guard) = Log::start();
    let setup = Setup::slots(1);
    send(&setup.live, &["done 5"]).await;
    let service = setup.start();
    service.live.fail_next(Operation::Delete, 1, ErrorKind::Permanent);
    service.until(10).await;
    let lines = log.lines_with("outcome");
    assert_eq!((lines.len(), &lines[0]["level"]), (1, &Value::from("WARN")));
    let trouble = lines[0]["fields"]["trouble"].as_str().unwrap();
    assert!(trouble.starts_with("queue live did not delete a message"), "{trouble}");
}

/// The lines about a queue that is away: level, failures, seconds.
fn lines_about_queues(log: &Log) -> Vec<(String, u64, u64)> {
    let lines = log.lines_with("failures").into_iter();
    lines
        .map(|line| {
            let number = |name: &str| line["fields"][name].as_u64().unwrap();
            (line["level"].as_str().unwrap().to_owned(), number("failures"), number("seconds"))
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn while_a_queue_is_away_state_and_log_say_so_and_since_when() {
    // A service gives up a queue that refuses it for five minutes.
    let kinds = [(ErrorKind::Transient, "WARN", 15), (ErrorKind::Permanent, "ERROR", 7)];
    for (kind, level, minutes) in kinds {
        let (log, _guard) = Log::start();
        let service = Setup { backfill: false, ..Setup::slots(1) }.start();
        let store = service.status_store.clone();
        service.until(100).await;
        assert_eq!(store.state(), ServiceState::Idle);
        service.live.fail_next(Operation::Receive, 10_000, kind);
        // Longer than the receive that is under way waits.
        service.until(130).await;
        send(&service.live, &["done 1"]).await;
        for minute in 3..minutes {
            service.until(minute * 60).await;
            assert_eq!(store.state(), ServiceState::QueueUnreachable, "{kind:?} {minute}");
            let status = store.snapshot();
            let [away] = status.queues_away.as_slice() else { panic!("{status:?}") };
            let lines = lines_about_queues(&log);
            let (_, failures, seconds) = lines.last().unwrap();
            assert_eq!((u64::from(away.failures), lines.len() as u64), (*failures, *failures));
            // The line was written when it failed last.
            let since = Duration::from_secs_f64(away.since_seconds).as_secs();
            assert!(since <= *seconds + 31, "{away:?} {seconds}");
            assert!(since + 131 > minute * 60, "{away:?}");
        }
        assert!(lines_about_queues(&log).iter().all(|(found, ..)| found == level));
        service.live.heal();
        service.until(minutes * 60).await;
        assert_eq!(store.state(), ServiceState::Idle);
        assert!(store.snapshot().queues_away.is_empty());
        assert_eq!(log.text().matches("the queue answers again").count(), 1);
        assert_eq!(service.seen.starts().len(), 1, "the message was handled");
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_away_while_all_slots_are_full_is_noticed_all_the_same() {
    let (log, _guard) = Log::start();
    let service = Setup { backfill: false, ..Setup::slots(1) }.start();
    let store = service.status_store.clone();
    send(&service.live, &["done 1000"]).await;
    service.until(100).await;
    assert_eq!(store.state(), ServiceState::Working);
    service.live.fail_next(Operation::Backlog, 10_000, ErrorKind::Transient);
    service.until(200).await;
    assert_eq!(store.state(), ServiceState::QueueUnreachable);
    let status = store.snapshot();
    assert!((60.0..100.0).contains(&status.queues_away[0].since_seconds), "{status:?}");
    assert!(log.text().contains("the queue does not answer"));
    service.live.heal();
    service.until(240).await;
    assert_eq!(store.state(), ServiceState::Working);
    assert_eq!(log.text().matches("the queue answers again").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn counts_that_fail_beside_receives_that_work_say_nothing_of_the_queue() {
    let service = Setup { backfill: false, ..Setup::slots(1) }.start();
    service.live.fail_next(Operation::Backlog, 10_000, ErrorKind::Transient);
    for minute in 1..10 {
        service.until(minute * 60).await;
        assert_eq!(service.status_store.state(), ServiceState::Idle);
    }
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_without_a_dead_letter_queue_is_an_error_in_the_log() {
    let (log, _guard) = Log::start();
    let setup = Setup { dead_letters: false, ..Setup::slots(1) };
    send(&setup.live, &["reject 5"]).await;
    let service = setup.start();
    service.until(10).await;
    let lines = log.lines_with("outcome");
    assert_eq!((lines.len(), &lines[0]["level"]), (1, &Value::from("ERROR")));
    assert_eq!(lines[0]["fields"]["outcome"], "retried");
}

#[tokio::test(start_paused = true)]
async fn neither_bodies_nor_receipts_are_logged() {
    let (log, _guard) = Log::start();
    let setup = Setup::slots(1);
    send(&setup.live, &["done 5 secret-body"]).await;
    let service = setup.start();
    service.pass(1).await;
    let receipt = service.live.messages().remove(0).message.receipt;
    service.until(10).await;
    let text = log.text();
    assert!(text.contains("there is nothing to do for the job"));
    assert!(!text.contains("secret-body"));
    assert!(!text.contains(&format!("\"{}\"", receipt.0)));
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_counted_and_that_they_cannot_be_is_logged_once() {
    let (log, _guard) = Log::start();
    let setup = Setup::slots(1);
    send(&setup.dead, &["letter", "letter"]).await;
    let service = setup.start();
    let counted = || service.status_store.snapshot().dead_letters.map(|letters| letters.visible);
    service.until(1).await;
    assert_eq!(counted(), Some(2));
    service.dead.fail_next(Operation::Backlog, 10, ErrorKind::Permanent);
    send(&service.dead, &["letter"]).await;
    service.until(200).await;
    assert_eq!(log.text().matches("dead letters not counted").count(), 1);
    let letters = service.status_store.snapshot().dead_letters.unwrap();
    assert!(letters.visible == 2 && letters.counted_seconds_ago > 190.0, "{letters:?}");
    service.dead.heal();
    service.until(231).await;
    assert_eq!(counted(), Some(3));
}
