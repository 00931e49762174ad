//! Jobs that wait for another job.

use super::support::{Setup, Told, send};
use crate::consumer::slots::MAX_PARKED;

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_for_another_one_holds_no_slot() {
    let setup = Setup::as_deployed(2);
    send(&setup.live, &["wait 500 a", "wait 500 b", "wait 500 c", "wait 500 d"]).await;
    let service = setup.start();
    service.until(5).await;
    assert_eq!(service.seen.starts().len(), 4);
    send(&service.live, &["done 10 e", "done 10 f", "done 10 g"]).await;
    service.until(100).await;
    let starts = service.seen.starts();
    let at: Vec<_> = starts[4..].iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [5, 5, 15], "two slots are free");
    service.until(600).await;
    assert!(service.live.messages().is_empty());
    let waits = service.seen.times(|told| matches!(told, Told::Waits(_)));
    let goes_on = service.seen.times(|told| matches!(told, Told::GoesOn(_)));
    assert_eq!((waits, goes_on), (vec![0, 0, 0, 0], vec![500, 500, 500, 500]));
}

#[tokio::test(start_paused = true)]
async fn whoever_has_waited_takes_a_slot_again_before_it_goes_on() {
    let setup = Setup::as_deployed(1);
    send(&setup.live, &["wait 20 a"]).await;
    let service = setup.start();
    service.until(1).await;
    send(&service.live, &["done 100 b", "done 10 c"]).await;
    service.until(300).await;
    let goes_on = service.seen.times(|told| matches!(told, Told::GoesOn(_)));
    assert_eq!(goes_on, [101], "once the only slot is free");
    assert!(service.live.messages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_more_jobs_wait_than_may_and_the_others_come_again() {
    let setup = Setup::as_deployed(2);
    let jobs = MAX_PARKED + 20;
    for number in 0..jobs {
        send(&setup.live, &[&format!("wait 60 job-{number}")]).await;
    }
    send(&setup.live, &["done 1 last"]).await;
    let service = setup.start();
    service.until(30).await;
    let waiting = service.seen.times(|told| matches!(told, Told::Waits(_))).len();
    assert_eq!(waiting, MAX_PARKED);
    let labels = |wanted| {
        let outcomes = service.seen.outcomes();
        outcomes.iter().filter(|(_, label, _)| *label == wanted).count()
    };
    assert!(labels("postponed") >= 20);
    assert!(service.seen.starts().iter().any(|(_, body)| body == "done 1 last"));
    service.until(600).await;
    assert!(service.live.messages().is_empty() && service.dead.messages().is_empty());
    assert_eq!(labels("skipped"), jobs + 1);
}
