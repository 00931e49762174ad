//! Which messages are received, and when.

use soci_queue::{ErrorKind, MAX_RECEIVE, Operation};
use soci_sandbox::Call;
use tokio::time::Instant;

use super::support::{Setup, Told, send, settings, visible};
use crate::consumer::{ConsumerError, ConsumerSettings, SettingsError};
use crate::event::QueueKind;

/// The maxima of the receives that a queue got.
fn maxima(queue: &soci_sandbox::MemoryQueue) -> Vec<usize> {
    let calls = queue.calls();
    let max = |(_, call): &(Instant, Call)| match call {
        Call::Receive(receive) => Some(receive.max),
        _ => None,
    };
    calls.iter().filter_map(max).collect()
}

#[tokio::test(start_paused = true)]
async fn no_more_messages_are_received_than_there_are_free_slots() {
    let setup = Setup { backfill: false, ..Setup::slots(3) };
    send(&setup.live, &["done 10"; 8]).await;
    let service = setup.start();
    service.pass(5).await;
    assert_eq!((visible(&service.live), service.seen.starts().len()), (5, 3));
    service.pass(100).await;
    assert_eq!(service.seen.most(), 3);
    assert_eq!(service.seen.starts().len(), 8);
    assert!(service.live.messages().is_empty());
    assert!(maxima(&service.live).iter().all(|max| *max <= 3));
}

#[tokio::test(start_paused = true)]
async fn a_free_slot_is_filled_at_once() {
    let setup = Setup { backfill: false, ..Setup::slots(2) };
    send(&setup.live, &["done 10", "done 3", "done 4", "done 1"]).await;
    let service = setup.start();
    service.pass(60).await;
    let at: Vec<_> = service.seen.starts().iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [0, 0, 3, 7]);
}

#[tokio::test(start_paused = true)]
async fn more_than_ten_slots_are_filled_by_several_receives() {
    let setup = Setup { backfill: false, ..Setup::slots(25) };
    send(&setup.live, &["done 10"; 30]).await;
    let service = setup.start();
    service.pass(5).await;
    assert_eq!(service.seen.most(), 25);
    assert_eq!(maxima(&service.live), [MAX_RECEIVE, MAX_RECEIVE, 5]);
}

#[tokio::test(start_paused = true)]
async fn the_live_queue_goes_first() {
    let service = Setup::slots(1).start();
    send(&service.backfill, &["backfill 1"; 3]).await;
    send(&service.live, &["live 1"; 3]).await;
    service.pass(60).await;
    let starts = service.seen.starts();
    let bodies: Vec<_> = starts.iter().map(|(_, body)| body.as_str()).collect();
    assert_eq!(bodies, ["live 1", "live 1", "live 1", "backfill 1", "backfill 1", "backfill 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_live_message_waits_for_one_backfill_job_at_most() {
    let service = Setup::slots(2).start();
    send(&service.backfill, &["backfill 10"; 50]).await;
    service.until(35).await;
    send(&service.live, &["live 10"; 2]).await;
    service.until(60).await;
    let starts = service.seen.starts();
    let live: Vec<_> = starts.iter().filter(|(_, body)| body == "live 10").collect();
    assert_eq!(live.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [40, 40]);
}

#[tokio::test(start_paused = true)]
async fn backfill_goes_on_without_a_pause_while_the_live_queue_is_empty() {
    let service = Setup::slots(1).start();
    send(&service.backfill, &["backfill 3"; 20]).await;
    service.pass(100).await;
    let at: Vec<_> = service.seen.starts().iter().map(|(at, _)| *at).collect();
    assert_eq!(at, (0..20).map(|n| n * 3).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn backfill_fills_slots_that_a_slow_stream_of_live_messages_leaves() {
    let service = Setup::slots(4).start();
    send(&service.backfill, &["backfill 1000"; 3]).await;
    for _ in 0..5 {
        send(&service.live, &["live 1"]).await;
        service.pass(4).await;
    }
    assert_eq!(service.seen.starts().iter().filter(|(_, body)| body == "backfill 1000").count(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_idle_service_starts_a_live_message_at_once_and_backfill_soon() {
    let service = Setup::slots(2).start();
    service.until(1003).await;
    send(&service.live, &["live 1"]).await;
    service.until(2003).await;
    send(&service.backfill, &["backfill 1"]).await;
    service.until(3000).await;
    let starts = service.seen.starts();
    assert_eq!(starts[0], (1003, "live 1".to_owned()));
    assert!((2003..=2008).contains(&starts[1].0), "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_service_asks_its_queues_rarely() {
    let (alone, both) = (Setup { backfill: false, ..Setup::default() }, Setup::default());
    for (setup, most) in [(alone, 51), (both, 201)] {
        let service = setup.start();
        service.pass(1000).await;
        let asked = maxima(&service.live).len();
        assert!(asked <= most && asked >= 50, "{asked}");
        assert!(maxima(&service.backfill).len() <= most);
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_fails_is_asked_more_and_more_rarely_until_it_works() {
    let service = Setup { backfill: false, ..Setup::default() }.start();
    service.live.fail_next(Operation::Receive, 1000, ErrorKind::Transient);
    send(&service.live, &["done 1"]).await;
    service.until(600).await;
    // 31 s for the first five pauses, then 15 to 30 s each.
    let asked = service.live.calls_of(Operation::Receive).len();
    assert!((22..48).contains(&asked), "{asked}");
    let failed = |event: &Told| *event == Told::Failed("live".to_owned(), Operation::Receive);
    assert_eq!(service.seen.times(failed).len(), asked);
    service.live.heal();
    service.until(631).await;
    assert_eq!(service.seen.starts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_receive_without_an_answer_is_given_up() {
    let service = Setup { backfill: false, ..Setup::default() }.start();
    service.live.hang_next(Operation::Receive, 1);
    send(&service.live, &["done 1"]).await;
    service.until(40).await;
    // 20 s of waiting and 10 s for the answer, then a pause of up to a second.
    assert!((30..=31).contains(&service.seen.starts()[0].0));
}

#[tokio::test(start_paused = true)]
async fn a_backfill_queue_that_fails_does_not_slow_the_live_queue() {
    let service = Setup::slots(1).start();
    service.backfill.fail_next(Operation::Receive, 1000, ErrorKind::Permanent);
    for second in 1..100 {
        service.until(second * 10).await;
        send(&service.live, &["live 1"]).await;
    }
    service.until(1000).await;
    let at: Vec<_> = service.seen.starts().iter().map(|(at, _)| *at).collect();
    assert_eq!(at, (1..100).map(|n| n * 10).collect::<Vec<_>>());
    assert!(service.backfill.calls_of(Operation::Receive).len() < 100);
}

#[tokio::test(start_paused = true)]
async fn a_service_whose_queue_stays_missing_finishes_its_jobs_and_gives_up() {
    let setup = Setup { backfill: false, ..Setup::slots(2) };
    send(&setup.live, &["done 340"]).await;
    let service = setup.start();
    service.pass(1).await;
    service.live.fail_next(Operation::Receive, 1000, ErrorKind::Permanent);
    let (seen, live) = (service.seen.clone(), service.live.clone());
    let error = service.ended().await.unwrap_err();
    let ConsumerError::Queue(error) = error else { panic!("{error}") };
    assert_eq!((error.operation, error.kind), (Operation::Receive, ErrorKind::Permanent));
    assert!((320..=350).contains(&seen.started.elapsed().as_secs()));
    assert_eq!(seen.outcomes(), [(340, "skipped", "no-work")]);
    assert!(live.messages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_service_outlives_a_queue_that_is_missing_for_a_while() {
    let service = Setup { backfill: false, ..Setup::default() }.start();
    service.live.fail_next(Operation::Receive, 1000, ErrorKind::Permanent);
    service.until(200).await;
    service.live.heal();
    send(&service.live, &["done 1"]).await;
    service.until(1000).await;
    assert_eq!(service.seen.outcomes().len(), 1);
    assert_eq!(service.end().await.finished, 0);
}

#[tokio::test(start_paused = true)]
async fn settings_that_do_not_fit_together_begin_nothing() {
    let settings = ConsumerSettings { max_jobs: 0, ..settings() };
    let setup = Setup { settings, ..Setup::default() };
    let service = setup.start();
    let live = service.live.clone();
    let error = service.ended().await.unwrap_err();
    assert!(matches!(error, ConsumerError::Settings(SettingsError::NoJobs)));
    assert!(!error.is_transient() && live.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_loop_turns_every_few_seconds_idle_busy_or_without_a_queue() {
    let service = Setup::slots(1).start();
    service.until(300).await;
    send(&service.live, &["done 300"]).await;
    service.until(600).await;
    service.live.fail_next(Operation::Receive, 3, ErrorKind::Transient);
    service.live.hang_next(Operation::Receive, 3);
    service.until(900).await;
    let turns = service.seen.times(|event| *event == Told::Turn);
    assert!(turns.windows(2).all(|pair| pair[1] - pair[0] <= 5), "{turns:?}");
    assert!(turns[0] == 0 && *turns.last().unwrap() >= 895);
    assert!(turns.len() < 1000, "{} turns", turns.len());
}

#[tokio::test(start_paused = true)]
async fn backlogs_are_counted_every_half_minute_also_after_failures() {
    let service = Setup::slots(1).start();
    service.live.fail_next(Operation::Backlog, 1, ErrorKind::Permanent);
    service.backfill.hang_next(Operation::Backlog, 1);
    service.until(125).await;
    let counted = |lane| {
        service.seen.times(move |event| matches!(event, Told::Counted(found, _) if *found == lane))
    };
    for queue in [QueueKind::Live, QueueKind::Backfill] {
        assert_eq!(counted(queue), [30, 60, 90, 120]);
    }
    let failed = |event: &Told| matches!(event, Told::Failed(_, Operation::Backlog));
    assert_eq!(service.seen.times(failed), [0, 10]);
}
