//! What others are told of ended images, and that nobody waits for them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use soci_announce::testing::Bus;
use soci_announce::{Announcement, DeliveryError, Destination, OutboxLimits, Outboxes};
use soci_oci::Digest;

use super::support::{Setup, send};

fn outboxes(bus: &Bus) -> Outboxes {
    let destination: Arc<dyn Destination> = Arc::new(bus.clone());
    Outboxes::to([destination], OutboxLimits::default(), &[])
}

/// What was announced: status, digest of the image and reason.
fn told(bus: &Bus) -> Vec<(String, String, Option<String>)> {
    let read = |one: &Announcement| {
        let value: Value = serde_json::from_str(&one.json()).unwrap();
        let status = value["status"].as_str().unwrap().to_owned();
        (status, one.image_digest.clone(), one.reason.clone())
    };
    bus.announcements().iter().map(read).collect()
}

/// What is announced of a job with this message.
fn end(status: &str, body: &str, reason: Option<&str>) -> (String, String, Option<String>) {
    let digest = Digest::sha256_of(body.as_bytes()).to_string();
    (status.to_owned(), digest, reason.map(str::to_owned))
}

fn announcing(slots: usize, bus: &Bus) -> Setup {
    Setup { outboxes: outboxes(bus), ..Setup::slots(slots) }
}

#[tokio::test(start_paused = true)]
async fn every_end_is_announced_once_and_what_comes_again_is_not() {
    let bus = Bus::default();
    let setup = announcing(8, &bus);
    let bodies = ["built 1", "there 2", "done 3", "reject 4", "fail 5", "gone 6", "panic 7"];
    send(&setup.live, &bodies).await;
    let service = setup.start();
    service.until(20).await;
    let first = [
        end("indexed", "built 1", None),
        end("already-indexed", "there 2", None),
        end("skipped", "done 3", Some("no-work")),
        end("failed", "reject 4", Some("bad")),
    ];
    assert_eq!(told(&bus), first, "what failed in passing, and what is doubted, has not ended");
    // The second look is a minute later, and the tries go on for a day.
    service.until(12 * 3600).await;
    assert_eq!(told(&bus)[4..], [end("skipped", "gone 6", Some("image-gone"))]);
    service.until(25 * 3600).await;
    let mut last = told(&bus).split_off(5);
    last.sort();
    let mut expected =
        [end("failed", "fail 5", Some("weak")), end("failed", "panic 7", Some("panic"))];
    expected.sort();
    assert_eq!(last, expected);
    let announcements = bus.announcements();
    let (built, failed) = (&announcements[0], &announcements[5]);
    assert_eq!((&*built.registry, &*built.repository), ("r.example", "app"));
    assert_eq!(built.deploy, Some(format!("r.example/app@{}", Digest::sha256_of(b"index"))));
    assert!((1.0..1.1).contains(&built.seconds), "{}", built.seconds);
    assert!(failed.message.as_deref().unwrap().starts_with("given up after 24 h"));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_given_up_as_the_process_died_is_announced_with_its_image() {
    let bus = Bus::default();
    let setup = Setup { outboxes: outboxes(&bus), ..Setup::as_deployed(1) };
    send(&setup.live, &["poison"]).await;
    for _ in 0..4 {
        let service = setup.again().start();
        service.seen.poisoned.notified().await;
        service.kill().await;
        tokio::time::sleep(Duration::from_mins(2)).await;
    }
    let service = setup.again().start();
    service.pass(3600).await;
    assert_eq!(told(&bus), [end("failed", "poison", Some("process-ended"))]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_announces_nothing_of_what_is_given_back() {
    let bus = Bus::default();
    let setup = announcing(1, &bus);
    send(&setup.live, &["built 5000"]).await;
    let service = setup.start();
    service.pass(5).await;
    assert_eq!(service.end().await.given_back, 1);
    assert_eq!(told(&bus), []);
}

#[tokio::test(start_paused = true)]
async fn jobs_end_alike_whatever_becomes_of_their_announcements() {
    let ends = async |bus: &Bus, announced: bool| {
        let mut setup = Setup::slots(2);
        if announced {
            setup.outboxes = outboxes(bus);
        }
        send(&setup.live, &["built 1", "done 2", "reject 3", "there 4"].repeat(5)).await;
        let service = setup.start();
        service.until(600).await;
        let (outcomes, left) = (service.seen.outcomes(), service.live.messages().len());
        let letters = service.dead.messages().len();
        (outcomes, left, letters)
    };
    let plain = ends(&Bus::default(), false).await;
    assert_eq!((plain.0.len(), plain.1, plain.2), (20, 0, 5));
    let (refusing, throttling, hanging) = (Bus::default(), Bus::default(), Bus::default());
    refusing.refuse(DeliveryError::lasting("no"));
    throttling.refuse(DeliveryError::passing("slow down"));
    hanging.hang(true);
    for bus in [refusing, throttling, hanging] {
        assert_eq!(ends(&bus, true).await, plain);
        assert_eq!(told(&bus), []);
    }
}
