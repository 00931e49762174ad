//! How a service stops.

use std::time::Duration;

use soci_queue::{ErrorKind, Operation};
use tokio::time::Instant;

use super::support::{Setup, Told, send, visible};
use crate::consumer::{ConsumerSettings, Drained};

const NOTHING: Drained = Drained { finished: 0, given_back: 0, cut_off: 0 };

/// Whole seconds since then.
fn seconds(since: Instant) -> u64 {
    since.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn an_idle_service_stops_when_its_long_poll_ends() {
    let service = Setup { backfill: false, ..Setup::default() }.start();
    // The sixth poll of twenty seconds has begun.
    service.until(103).await;
    let (told, seen) = (Instant::now(), service.seen.clone());
    assert_eq!(service.end().await, NOTHING);
    assert_eq!(seconds(told), 17);
    assert_eq!(seen.times(|event| *event == Told::Draining), [103]);
}

#[tokio::test(start_paused = true)]
async fn a_service_on_queues_in_memory_stops_at_once() {
    let service = Setup { backfill: false, ..Setup::default() }.start_in_process();
    service.until(103).await;
    let (told, live) = (Instant::now(), service.live.clone());
    assert_eq!(service.end().await, NOTHING);
    assert_eq!(told.elapsed(), Duration::ZERO);
    // The poll that was dropped takes nothing.
    send(&live, &["done 1"]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(visible(&live), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_a_poll_brings_while_the_service_stops_is_given_back_at_once() {
    for after in [0, 1, 16] {
        let service = Setup { backfill: false, ..Setup::slots(3) }.start();
        service.until(103).await;
        let (live, seen) = (service.live.clone(), service.seen.clone());
        let late = async {
            tokio::time::sleep(Duration::from_secs(after)).await;
            send(&live, &["done 1"]).await;
        };
        let told = Instant::now();
        let (drained, ()) = tokio::join!(service.end(), late);
        assert_eq!(drained, Drained { given_back: 1, ..NOTHING });
        assert_eq!((seconds(told), visible(&live)), (after, 1));
        assert!(seen.starts().is_empty());
        assert_eq!(seen.outcomes(), [(103 + after, "given-back", "")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_is_not_waited_for_beyond_the_deadline() {
    let setup = Setup { backfill: false, ..Setup::slots(1) };
    let drain_deadline = Duration::from_secs(6);
    let settings = ConsumerSettings { drain_deadline, ..setup.settings };
    let service = Setup { settings, ..setup }.start();
    service.until(103).await;
    let told = Instant::now();
    assert_eq!(service.end().await, NOTHING);
    assert_eq!(seconds(told), 6);
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_never_ends_is_waited_for_no_longer_than_its_answer_may_take() {
    let setup = Setup { backfill: false, ..Setup::slots(1) };
    setup.live.hang_next(Operation::Receive, 1);
    let service = setup.start();
    service.until(3).await;
    let told = Instant::now();
    assert_eq!(service.end().await, NOTHING);
    // Twenty seconds of waiting and ten for the answer, three of which had passed.
    assert_eq!(seconds(told), 27);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_received_after_the_service_was_told_to_stop() {
    let setup = Setup { backfill: false, ..Setup::slots(2) };
    send(&setup.live, &["done 30", "done 50"]).await;
    let service = setup.start();
    service.until(10).await;
    send(&service.live, &["done 1"; 5]).await;
    let (live, seen) = (service.live.clone(), service.seen.clone());
    let asked = live.calls_of(Operation::Receive).len();
    assert_eq!(service.end().await, Drained { finished: 2, ..NOTHING });
    assert_eq!(live.calls_of(Operation::Receive).len(), asked);
    assert_eq!((visible(&live), seen.starts().len()), (5, 2));
}

#[tokio::test(start_paused = true)]
async fn jobs_may_finish_within_the_deadline_and_then_the_service_ends() {
    let setup = Setup { backfill: false, ..Setup::slots(2) };
    send(&setup.live, &["done 60", "reject 109"]).await;
    let service = setup.start();
    service.until(10).await;
    let (live, dead, seen) = (service.live.clone(), service.dead.clone(), service.seen.clone());
    let told = Instant::now();
    assert_eq!(service.end().await, Drained { finished: 2, ..NOTHING });
    assert_eq!(seconds(told), 99);
    assert!(live.messages().is_empty());
    assert_eq!(dead.messages().len(), 1);
    // Messages are kept hidden while jobs finish.
    let beats = seen.times(|event| *event == Told::Heartbeat(true));
    assert_eq!(beats, [40, 40, 80]);
}

#[tokio::test(start_paused = true)]
async fn jobs_that_do_not_finish_are_stopped_and_visible_again_at_the_deadline() {
    let setup = Setup { backfill: false, ..Setup::slots(3) };
    send(&setup.live, &["done 1000", "done 50", "done 1000"]).await;
    let service = setup.start();
    service.until(10).await;
    let (live, seen) = (service.live.clone(), service.seen.clone());
    let told = Instant::now();
    assert_eq!(service.end().await, Drained { finished: 1, given_back: 2, cut_off: 0 });
    assert_eq!(seconds(told), 100);
    assert_eq!(visible(&live), 2);
    assert_eq!(seen.stops().len(), 2);
    assert_eq!(seen.outcomes()[1..], [(110, "given-back", ""); 2]);
}

#[tokio::test(start_paused = true)]
async fn giving_back_is_tried_again_within_its_time() {
    let setup = Setup { backfill: false, ..Setup::slots(1) };
    send(&setup.live, &["done 30000"]).await;
    let service = setup.start();
    service.until(10).await;
    let live = service.live.clone();
    let told = Instant::now();
    let trouble = async {
        tokio::time::sleep(Duration::from_secs(99)).await;
        live.fail_next(Operation::Send, 1, ErrorKind::Transient);
        live.fail_next(Operation::SetVisibility, 3, ErrorKind::Transient);
    };
    let (drained, ()) = tokio::join!(service.end(), trouble);
    assert_eq!(drained, Drained { given_back: 1, ..NOTHING });
    assert!((100..110).contains(&seconds(told)));
    assert_eq!(visible(&live), 1);
}

#[tokio::test(start_paused = true)]
async fn a_service_ends_in_time_even_if_its_queue_does_not_answer() {
    let setup = Setup { backfill: false, ..Setup::slots(2) };
    send(&setup.live, &["done 30000", "done 30000"]).await;
    let service = setup.start();
    service.until(10).await;
    let live = service.live.clone();
    let told = Instant::now();
    let trouble = async {
        tokio::time::sleep(Duration::from_secs(99)).await;
        live.hang_next(Operation::Send, 9);
        live.hang_next(Operation::SetVisibility, 9);
    };
    let (drained, ()) = tokio::join!(service.end(), trouble);
    assert_eq!(drained.finished + drained.given_back, 0);
    assert_eq!(drained.cut_off, 2);
    assert_eq!(seconds(told), 110);
    assert_eq!((live.messages().len(), visible(&live)), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_receive_that_waits_goes_on_beside_jobs_that_finish() {
    let setup = Setup { backfill: false, ..Setup::slots(2) };
    send(&setup.live, &["done 50"]).await;
    let service = setup.start();
    service.until(10).await;
    let (live, seen) = (service.live.clone(), service.seen.clone());
    let late = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        send(&live, &["done 1"]).await;
    };
    let (drained, ()) = tokio::join!(service.end(), late);
    assert_eq!(drained, Drained { finished: 1, given_back: 1, cut_off: 0 });
    assert_eq!(seen.outcomes(), [(15, "given-back", ""), (50, "skipped", "no-work")]);
    assert_eq!(visible(&live), 1);
}

#[tokio::test(start_paused = true)]
async fn the_loop_goes_on_turning_while_the_service_drains() {
    let setup = Setup { backfill: false, ..Setup::slots(1) };
    send(&setup.live, &["done 1000"]).await;
    let service = setup.start();
    service.until(10).await;
    let seen = service.seen.clone();
    service.end().await;
    let turns = seen.times(|event| *event == Told::Turn);
    assert!(turns.windows(2).all(|pair| pair[1] - pair[0] <= 5), "{turns:?}");
    assert!(*turns.last().unwrap() >= 105);
}
