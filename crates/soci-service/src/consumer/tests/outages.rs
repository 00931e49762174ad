//! What happens while the registry is away.

use std::sync::atomic::Ordering;

use soci_indexer::Reason;
use soci_queue::{JobHistory, Queue as _};

use super::support::{Service, Setup, Told, send};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

async fn with_images(setup: &Setup, images: usize) {
    for number in 0..images {
        send(&setup.live, &[&format!("index 2 image-{number}")]).await;
    }
}

fn away(service: &Service, away: bool) {
    service.seen.away.store(away, Ordering::Relaxed);
}

/// Outages as they were told, with the seconds.
fn told(service: &Service) -> Vec<(u64, &'static str)> {
    let outage = |(at, told): &(u64, Told)| match told {
        Told::Outage(what, Reason::RegistryUnavailable) => Some((*at, *what)),
        _ => None,
    };
    service.seen.events().iter().filter_map(outage).collect()
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_any_length_loses_nothing_and_writes_no_letter() {
    for length in [MINUTE, 12 * MINUTE, HOUR, 10 * HOUR, 23 * HOUR] {
        for images in [1, 2, 3, 30] {
            let setup = Setup::as_deployed(4);
            with_images(&setup, images).await;
            let service = setup.start();
            away(&service, true);
            service.until(length).await;
            assert_eq!(service.live.messages().len(), images, "{length} {images}");
            away(&service, false);
            // The longest pause and the longest way to the next probe.
            service.until(length + 21 * MINUTE).await;
            assert!(service.live.messages().is_empty(), "{length} {images}");
            assert!(service.dead.messages().is_empty());
            let done = service.seen.outcomes();
            let done = done.iter().filter(|(_, label, _)| *label == "skipped").count();
            assert_eq!(done, images);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_an_outage_lasts_one_job_at_a_time_is_tried_and_none_is_counted() {
    let setup = Setup::as_deployed(4);
    with_images(&setup, 30).await;
    let service = setup.start();
    away(&service, true);
    service.until(10 * HOUR).await;
    let tries = service.seen.starts();
    // Those that found it out, and then one every five minutes.
    assert!((110..260).contains(&tries.len()), "{}", tries.len());
    let later: Vec<_> = tries.iter().map(|(at, _)| *at).filter(|at| *at > 30).collect();
    assert!(later.windows(2).all(|pair| pair[1] - pair[0] >= 7), "{later:?}");
    for found in service.live.messages() {
        let history = JobHistory::of(&found.message);
        assert!(history.attempts <= 2, "{history:?}");
    }
    let counted = service.live.messages().into_iter().filter(|found| {
        JobHistory::of(&found.message)
            .last
            .is_some_and(|last| last.reason == "registry-unavailable")
    });
    assert!(counted.count() >= 4);
    let told = told(&service);
    assert_eq!(told[0].1, "began");
    assert!(told[1..].iter().all(|(_, what)| *what == "lasts"), "{told:?}");

    away(&service, false);
    let back = 10 * HOUR;
    service.until(back + 21 * MINUTE).await;
    let ended: Vec<_> = self::told(&service).into_iter().filter(|(_, w)| *w == "ended").collect();
    assert_eq!(ended.len(), 1);
    assert!(ended[0].0 <= back + 5 * MINUTE + 2, "{ended:?}");
    assert!(service.live.messages().is_empty());
    assert_eq!(service.live.backlog().await.unwrap().delayed, 0);
}

#[tokio::test(start_paused = true)]
async fn one_image_that_fails_for_the_registry_holds_up_nobody() {
    let setup = Setup::as_deployed(2);
    send(&setup.live, &["index 1 lonely"]).await;
    let service = setup.start();
    away(&service, true);
    service.until(HOUR).await;
    assert!(told(&service).is_empty());
    send(&service.live, &["done 1"]).await;
    service.until(HOUR + 3).await;
    assert_eq!(service.seen.starts().last().unwrap().1, "done 1");
}

#[tokio::test(start_paused = true)]
async fn jobs_that_need_no_registry_do_not_end_an_outage() {
    let setup = Setup::as_deployed(4);
    with_images(&setup, 3).await;
    let service = setup.start();
    away(&service, true);
    service.until(5).await;
    assert_eq!(told(&service), [(2, "began")]);
    send(&service.live, &["done 1", "reject 1", "gone 1"]).await;
    service.until(HOUR).await;
    assert!(told(&service).iter().all(|(_, what)| *what != "ended"));
    // What a registry that is half away says of an image is not believed.
    assert!(service.live.messages().iter().any(|found| found.message.body == "gone 1"));
}

#[tokio::test(start_paused = true)]
async fn a_worker_to_which_no_job_comes_forgets_the_outage() {
    let setup = Setup::as_deployed(4);
    with_images(&setup, 3).await;
    let service = setup.start();
    away(&service, true);
    service.until(23 * HOUR).await;
    assert_eq!(told(&service).last().map(|(_, what)| *what), Some("lasts"));
    // The last of them have been given up.
    service.until(26 * HOUR).await;
    assert!(service.live.messages().is_empty());
    assert_eq!(told(&service).last().map(|(_, what)| *what), Some("forgotten"));
}
