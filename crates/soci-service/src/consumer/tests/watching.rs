//! What is asked of the queues beside the work.

use std::time::Duration;

use soci_queue::{ErrorKind, Operation, Queue as _, Receive};

use super::support::{Setup, send, settings, visible};
use crate::consumer::ConsumerSettings;

/// A service that looks at dead letters, or does not.
fn looking(look_at_letters: bool) -> Setup {
    Setup { settings: ConsumerSettings { look_at_letters, ..settings() }, ..Setup::default() }
}

#[tokio::test(start_paused = true)]
async fn letters_are_looked_at_where_that_is_wanted_and_given_back() {
    for wanted in [true, false] {
        let service = looking(wanted).start();
        send(&service.live, &["reject 1", "reject 2"]).await;
        service.until(50).await;
        let status = service.status_store.snapshot().dead_letters.unwrap();
        assert_eq!(status.letters.as_ref().map(Vec::len), wanted.then_some(2));
        assert_eq!(visible(&service.dead), 2, "they are there for everybody");
        let receives = service.dead.calls_of(Operation::Receive).len();
        assert_eq!(receives > 0, wanted, "{receives}");
        assert!(service.dead.calls_of(Operation::Delete).is_empty());
        service.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn letters_that_somebody_has_in_hand_are_not_called_gone() {
    let service = looking(true).start();
    send(&service.live, &["reject 1", "reject 2"]).await;
    service.until(50).await;
    // An operator looks at all of them for a while.
    let all = Receive { max: 10, wait: Duration::ZERO, visibility: Duration::from_mins(5) };
    assert_eq!(service.dead.receive(all).await.unwrap().len(), 2);
    service.until(120).await;
    let status = service.status_store.snapshot().dead_letters.unwrap();
    assert_eq!((status.visible, status.all()), (0, 2));
    assert_eq!(status.letters.unwrap().len(), 2, "what was seen before is still there");
    service.end().await;
}

#[tokio::test(start_paused = true)]
async fn where_there_are_no_letters_nobody_asks_for_them() {
    let service = looking(true).start();
    service.until(300).await;
    assert!(service.dead.calls_of(Operation::Receive).is_empty());
    let status = service.status_store.snapshot().dead_letters.unwrap();
    assert_eq!(status.letters.map(|letters| letters.len()), Some(0));
    service.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_rejected_job_is_a_letter_at_once_however_long_it_is_until_the_next_count() {
    let service = looking(false).start();
    service.until(35).await;
    send(&service.live, &["reject 1"]).await;
    service.until(40).await;
    assert_eq!(service.status_store.snapshot().dead_letters.unwrap().all(), 1);
    service.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_age_of_the_oldest_message_is_shown_as_long_as_the_queue_tells_it() {
    let setup =
        Setup { settings: ConsumerSettings { max_jobs: 1, ..settings() }, ..Setup::default() };
    let dead = setup.dead.clone();
    send(&dead, &["a letter"]).await;
    let service = setup.start_in_process();
    service.until(40).await;
    let oldest = || service.status_store.snapshot().dead_letters.unwrap().oldest_seconds;
    assert!(oldest().is_some());
    dead.fail_next(Operation::Oldest, 1, ErrorKind::Transient);
    service.until(70).await;
    assert_eq!(oldest(), None, "what is not known any longer is not shown any longer");
    service.until(130).await;
    assert!(oldest().is_some());
    service.end().await;
}
