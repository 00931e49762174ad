//! What becomes of a message.

use std::time::Duration;

use soci_queue::{ErrorKind, Group, Operation, Outgoing, Queue as _, failure};
use soci_sandbox::{MemoryQueue, MemoryQueueOptions, Redrive};

use super::support::{Setup, Told, send, settings, visible};
use crate::consumer::{Backoff, ConsumerSettings};

#[tokio::test(start_paused = true)]
async fn what_is_done_is_deleted() {
    let setup = Setup::slots(2);
    send(&setup.live, &["done 5", "done 7"]).await;
    let service = setup.start();
    service.until(6).await;
    assert_eq!(service.live.messages().len(), 1);
    service.until(8).await;
    assert!(service.live.messages().is_empty() && service.dead.messages().is_empty());
    assert_eq!(service.seen.outcomes(), [(5, "skipped", "no-work"), (7, "skipped", "no-work")]);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_done_is_deleted_after_it_is_on_the_dead_letter_queue() {
    let service = Setup::slots(1).start();
    let message = Outgoing {
        body: "reject 5".to_owned(),
        group: Some(Group::of_repository("team/app")),
        attributes: vec![("origin".to_owned(), "test".to_owned())],
    };
    let id = service.live.send(&message).await.unwrap();
    service.until(6).await;
    assert!(service.live.messages().is_empty());
    assert_eq!(service.seen.outcomes(), [(5, "rejected", "bad")]);
    let letter = service.dead.messages().remove(0).message;
    assert_eq!((&letter.body, &letter.group), (&message.body, &message.group));
    assert_eq!(letter.attribute("origin"), Some("test"));
    assert_eq!(letter.attribute(failure::REASON), Some("bad"));
    assert_eq!(letter.attribute(failure::MESSAGE), Some("reject after 5 s"));
    assert_eq!(letter.attribute(failure::MESSAGE_ID), Some(id.0.as_str()));
    assert_eq!(letter.attribute(failure::QUEUE), Some("live"));
    let at = letter.attribute(failure::AT).unwrap();
    assert!(at.parse::<soci_push::event::Timestamp>().is_ok(), "{at}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_not_taken_is_sent_again() {
    let setup = Setup::slots(1);
    send(&setup.live, &["reject 5"]).await;
    let service = setup.start();
    service.dead.fail_next(Operation::Send, 3, ErrorKind::Transient);
    service.until(15).await;
    assert_eq!((service.live.messages().len(), service.dead.messages().len()), (0, 1));
    assert_eq!(service.dead.calls_of(Operation::Send).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_not_deleted_while_the_dead_letter_queue_does_not_take_it() {
    for kind in [ErrorKind::Transient, ErrorKind::Permanent] {
        let setup = Setup::slots(1);
        send(&setup.live, &["reject 5"]).await;
        let service = setup.start();
        service.dead.fail_next(Operation::Send, 5, kind);
        service.until(15).await;
        assert_eq!(service.live.messages().len(), 1);
        let (_, outcome, reason) = service.seen.outcomes()[0];
        assert_eq!((outcome, reason), ("retried", "bad"));
        let detail = service.seen.last_detail();
        assert!(detail.starts_with("reject after 5 s; the dead-letter queue did not take it"));
        service.dead.heal();
        service.until(120).await;
        assert_eq!((service.live.messages().len(), service.dead.messages().len()), (0, 1));
        assert_eq!(service.seen.starts().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_dead_letter_queue_the_queue_s_own_redrive_ends_it() {
    let own = MemoryQueue::named("own");
    let redrive = Redrive { dead_letters: own.clone(), max_receives: 3 };
    let live = MemoryQueue::new(MemoryQueueOptions {
        name: "live".to_owned(),
        redrive: Some(redrive),
        ..MemoryQueueOptions::default()
    });
    send(&live, &["reject 1"]).await;
    let service = Setup { live, backfill: false, dead_letters: false, ..Setup::default() }.start();
    service.until(1000).await;
    let outcomes = service.seen.outcomes();
    let outcomes: Vec<_> = outcomes.iter().map(|(_, outcome, why)| (*outcome, *why)).collect();
    assert_eq!(outcomes, [("retried", "bad"); 3]);
    assert!(service.live.messages().is_empty());
    assert_eq!(own.messages().remove(0).message.attribute(failure::REASON), None);
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_comes_again_after_longer_and_longer_times() {
    let retry = Backoff { first: Duration::from_secs(30), max: Duration::from_secs(200) };
    let settings = ConsumerSettings { retry, ..settings() };
    let setup = Setup { backfill: false, settings, ..Setup::default() };
    send(&setup.live, &["fail 1"]).await;
    let service = setup.start();
    service.until(1000).await;
    let at: Vec<_> = service.seen.starts().iter().map(|(at, _)| *at).collect();
    let pauses: Vec<_> = at.windows(2).map(|pair| pair[1] - pair[0] - 1).collect();
    for (pause, most) in pauses.iter().zip([30, 60, 120, 200, 200]) {
        assert!((most / 2..=most + 1).contains(pause), "{pauses:?}");
    }
    assert!(pauses.len() >= 5);
    assert!(
        service
            .seen
            .outcomes()
            .iter()
            .all(|(_, outcome, reason)| { (*outcome, *reason) == ("retried", "weak") })
    );
    // It is a fresh copy each time, and there is never more than one message.
    assert_eq!(service.live.messages().len(), 1);
    assert_eq!(service.live.calls_of(Operation::Delete).len(), at.len());
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_that_may_pass_and_frees_its_slot() {
    let setup = Setup { backfill: false, ..Setup::slots(1) };
    send(&setup.live, &["panic 2", "done 1"]).await;
    let service = setup.start();
    service.until(10).await;
    assert_eq!(service.seen.outcomes(), [(2, "retried", "panic"), (3, "skipped", "no-work")]);
    assert_eq!(service.live.messages().len(), 1);
    assert_eq!(visible(&service.live), 0);
    let details = service.seen.events().into_iter().find_map(|(_, event)| match event {
        Told::Detail(detail) => Some(detail),
        _ => None,
    });
    assert_eq!(details.unwrap(), "the handler panicked: panic after 2 s");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_fails_is_tried_again() {
    let setup = Setup::slots(1);
    send(&setup.live, &["done 5"]).await;
    let service = setup.start();
    service.live.fail_next(Operation::Delete, 2, ErrorKind::Transient);
    service.live.hang_next(Operation::Delete, 1);
    service.until(60).await;
    assert!(service.live.messages().is_empty());
    assert_eq!(service.live.calls_of(Operation::Delete).len(), 4);
    assert_eq!(service.seen.starts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_could_not_be_deleted_comes_again_and_is_deleted_then() {
    for kind in [ErrorKind::Transient, ErrorKind::Permanent, ErrorKind::ReceiptExpired] {
        let setup = Setup { backfill: false, ..Setup::slots(1) };
        send(&setup.live, &["done 5"]).await;
        let service = setup.start();
        let tries = if kind == ErrorKind::Transient { 5 } else { 1 };
        service.live.fail_next(Operation::Delete, tries, kind);
        service.until(300).await;
        assert!(service.live.messages().is_empty());
        let outcomes = service.seen.outcomes();
        assert!(outcomes.iter().all(|(_, outcome, _)| *outcome == "skipped"));
        assert_eq!(outcomes.len(), 2);
        assert_eq!(service.live.calls_of(Operation::Delete).len(), tries + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_job_that_cannot_be_given_back_comes_again_when_its_timeout_ends() {
    let setup = Setup { backfill: false, ..Setup::slots(1) };
    send(&setup.live, &["fail 5"]).await;
    let service = setup.start();
    service.live.fail_next(Operation::Send, 1, ErrorKind::Permanent);
    service.live.fail_next(Operation::SetVisibility, 1, ErrorKind::Permanent);
    service.until(125).await;
    let at: Vec<_> = service.seen.starts().iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [0, 120]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_replayed_and_fails_again_has_one_reason() {
    let service = Setup::slots(1).start();
    let old = failure::ALL;
    let mut attributes: Vec<_> =
        old.iter().map(|name| ((*name).to_owned(), "old".to_owned())).collect();
    attributes.extend((0..1).map(|n| (format!("own{n}"), "kept".to_owned())));
    let message = Outgoing { body: "reject 1".to_owned(), group: None, attributes };
    service.live.send(&message).await.unwrap();
    service.until(5).await;
    let letter = service.dead.messages().remove(0).message;
    assert!(old.iter().all(|name| letter.attribute(name) != Some("old")));
    // It has never failed in passing, so nothing is told of that.
    assert_eq!(letter.attribute(failure::ATTEMPTS), None);
    assert_eq!(letter.attributes.len(), 8);
    assert_eq!(letter.attribute("own0"), Some("kept"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_deleted_that_was_not_done_or_kept() {
    let setup = Setup { backfill: false, ..Setup::slots(3) };
    send(&setup.live, &["fail 1", "panic 1", "reject 1", "done 1", "fail 2"]).await;
    let service = setup.start();
    service.until(10).await;
    let kept: Vec<_> = service.live.messages().iter().map(|m| m.message.body.clone()).collect();
    assert_eq!(kept, ["fail 1", "panic 1", "fail 2"]);
    assert_eq!(service.dead.messages().len(), 1);
}
