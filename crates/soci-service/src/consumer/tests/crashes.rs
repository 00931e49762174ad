//! A process that dies, at any point.

use std::time::Duration;

use soci_queue::{Operation, failure};

use super::support::{Service, Setup, Told, send};
use crate::consumer::ALONE_WITHIN;

const VISIBILITY: u64 = 120;

/// Starts services, one after the other whenever a job kills one, until none dies for six hours.
async fn survive(setup: &Setup) -> (Service, usize) {
    let mut deaths = 0;
    loop {
        let service = setup.again().start();
        let died = tokio::select! {
            () = service.seen.poisoned.notified() => true,
            () = service.pass(6 * 3600) => false,
        };
        if !died {
            return (service, deaths);
        }
        deaths += 1;
        assert!(deaths < 20, "the poison is never given up");
        service.kill().await;
        tokio::time::sleep(Duration::from_secs(VISIBILITY)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_kills_the_process_takes_no_neighbour_with_it_and_leaves_a_reason() {
    for neighbours in [0, 1, 3, 30] {
        for position in [0, neighbours / 2, neighbours] {
            let setup = Setup::as_deployed(4);
            for number in 0..=neighbours {
                let body = if number == position { "poison" } else { "done 3" };
                send(&setup.live, &[body]).await;
            }
            let (service, deaths) = survive(&setup).await;
            assert!(service.live.messages().is_empty(), "{neighbours} {position}");
            let letters = service.dead.messages();
            assert_eq!(letters.len(), 1, "{neighbours} {position}");
            let letter = &letters[0].message;
            assert_eq!(letter.body, "poison");
            assert_eq!(letter.attribute(failure::REASON), Some("process-ended"));
            let detail = letter.attribute(failure::MESSAGE).unwrap();
            assert!(detail.contains("received 4 times") && detail.contains("memory"), "{detail}");
            assert_eq!(deaths, 4);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn several_jobs_that_kill_the_process_end_one_after_the_other() {
    let setup = Setup::as_deployed(4);
    send(&setup.live, &["done 1", "poison 1", "done 2", "poison 2", "poison 3", "done 3"]).await;
    let (service, _) = survive(&setup).await;
    assert!(service.live.messages().is_empty());
    let letters = service.dead.messages();
    let mut bodies: Vec<_> = letters.iter().map(|found| found.message.body.as_str()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, ["poison 1", "poison 2", "poison 3"]);
    let reason = |found: &soci_sandbox::Snapshot| {
        found.message.attribute(failure::REASON) == Some("process-ended")
    };
    assert!(letters.iter().all(reason));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_again_is_handled_alone_and_then_the_others_go_on() {
    let setup = Setup::as_deployed(3);
    send(&setup.live, &["done 100 first"]).await;
    let service = setup.again().start();
    service.pass(10).await;
    service.kill().await;
    let service = setup.start();
    send(&service.live, &["done 20 a", "done 150 b"]).await;
    service.until(80).await;
    send(&service.live, &["done 1 c"]).await;
    service.until(95).await;
    send(&service.live, &["done 1 d"; 4]).await;
    service.until(600).await;
    let starts = service.seen.starts();
    let at = |wanted: &str| {
        let found = starts.iter().find(|(_, body)| body == wanted);
        found.map_or_else(|| panic!("{wanted} has not begun: {starts:?}"), |(at, _)| *at)
    };
    assert_eq!((at("done 20 a"), at("done 150 b"), at("done 1 c")), (0, 0, 80));
    assert_eq!(at("done 100 first"), 150, "it waits for the others");
    assert_eq!(at("done 1 d"), 250, "nothing else begins until it has ended");
    assert!(service.live.messages().is_empty() && service.dead.messages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_handled_alone_soon_goes_back_and_the_intake_goes_on() {
    let setup = Setup::as_deployed(2);
    send(&setup.live, &["done 1 again"]).await;
    let service = setup.again().start();
    service.live.hang_next(Operation::Delete, 9);
    service.pass(5).await;
    service.kill().await;
    let service = setup.start();
    send(&service.live, &["done 3000 long"]).await;
    service.until(130).await;
    send(&service.live, &["done 1 other"]).await;
    service.until(3600 + 900).await;
    let starts = service.seen.starts();
    let at = |wanted: &str| starts.iter().find(|(_, body)| body == wanted).unwrap().0;
    let waited = ALONE_WITHIN.as_secs();
    assert!((90 + waited..=100 + waited).contains(&at("done 1 other")), "{starts:?}");
    assert!(at("done 1 again") >= 3000, "{starts:?}");
    let postponed = service.seen.outcomes();
    let postponed = postponed.iter().filter(|(_, label, _)| *label == "postponed");
    assert!((1..5).contains(&postponed.count()));
    assert!(service.live.messages().is_empty() && service.dead.messages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_at_any_point_loses_nothing() {
    let calls = [Operation::Send, Operation::Delete, Operation::SetVisibility];
    for body in ["done 50", "fail 50", "reject 50", "gone 50", "refused 50", "index 50", "panic 50"]
    {
        for operation in calls {
            for calls_before in 0..2 {
                for seconds in [0, 41, 51, 55, 80] {
                    let setup = Setup::as_deployed(2);
                    send(&setup.live, &[body, "done 1"]).await;
                    let service = setup.again().start();
                    // From some call on the process hears nothing any more, and then it dies.
                    if calls_before == 0 {
                        service.live.hang_next(operation, 99);
                        service.dead.hang_next(operation, 99);
                    }
                    service.until(seconds).await;
                    service.live.hang_next(operation, 99);
                    service.dead.hang_next(operation, 99);
                    service.pass(calls_before).await;
                    service.kill().await;
                    let service = setup.start();
                    service.pass(1200).await;
                    let there = service.live.messages().len() + service.dead.messages().len();
                    let ended = service.seen.events().iter().any(|(_, told)| {
                        matches!(told, Told::Ended(_, "skipped" | "rejected" | "retried", ..))
                    });
                    let case = format!("{body}, {operation}, {calls_before}, {seconds} s");
                    match body {
                        // A copy and its original, where the process died in between.
                        "fail 50" | "panic 50" => {
                            assert!((1..=2).contains(&service.live.messages().len()), "{case}");
                        }
                        "reject 50" | "refused 50" => {
                            assert!(!service.dead.messages().is_empty(), "{case}");
                        }
                        _ => assert!(there == 0 && (ended || seconds > 50), "{case}: {there}"),
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_and_its_original_may_both_come_and_both_end() {
    let setup = Setup::as_deployed(2);
    send(&setup.live, &["gone-once 1"]).await;
    let service = setup.again().start();
    service.live.hang_next(Operation::Delete, 99);
    service.pass(20).await;
    assert_eq!(service.live.messages().len(), 2, "the copy is there before the original goes");
    service.kill().await;
    let service = setup.start();
    service.pass(2000).await;
    assert!(service.live.messages().is_empty() && service.dead.messages().is_empty());
}
