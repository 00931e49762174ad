//! How a message stays ours while its job runs, and what happens when it does not.

use std::time::Duration;

use soci_queue::{ErrorKind, Operation, Queue as _, Receive};
use soci_sandbox::Call;

use super::support::{Setup, Told, send};

#[tokio::test(start_paused = true)]
async fn a_message_stays_hidden_while_its_job_runs() {
    let setup = Setup::slots(1);
    send(&setup.live, &["done 600"]).await;
    let service = setup.start();
    let other = Receive { max: 1, wait: Duration::ZERO, visibility: Duration::from_secs(1) };
    for second in (1..600).step_by(7) {
        service.until(second).await;
        assert!(service.live.receive(other).await.unwrap().is_empty());
    }
    service.until(601).await;
    assert_eq!(service.seen.outcomes(), [(600, "skipped", "no-work")]);
    assert!(service.live.messages().is_empty());
    // Every third of two minutes.
    let beats = service.seen.times(|event| *event == Told::Heartbeat(true));
    assert_eq!(beats, (1..15).map(|n| n * 40).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_fails_is_tried_again_soon() {
    let setup = Setup::slots(1);
    send(&setup.live, &["done 200"]).await;
    let service = setup.start();
    service.live.fail_next(Operation::SetVisibility, 3, ErrorKind::Transient);
    service.until(300).await;
    assert_eq!(service.seen.times(|event| *event == Told::Heartbeat(false)), [40, 48, 56]);
    assert_eq!(service.seen.times(|event| *event == Told::Heartbeat(true)), [64, 104, 144, 184]);
    assert_eq!(service.seen.outcomes(), [(200, "skipped", "no-work")]);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_without_an_answer_is_tried_again() {
    let setup = Setup::slots(1);
    send(&setup.live, &["done 100"]).await;
    let service = setup.start();
    service.live.hang_next(Operation::SetVisibility, 2);
    service.until(300).await;
    assert_eq!(service.seen.times(|event| *event == Told::Heartbeat(false)), [50, 68]);
    assert_eq!(service.seen.times(|event| *event == Told::Heartbeat(true)), [76]);
    assert_eq!(service.seen.outcomes(), [(100, "skipped", "no-work")]);
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_message_cannot_be_extended_is_abandoned_when_its_timeout_ends() {
    for kind in [ErrorKind::Transient, ErrorKind::Permanent] {
        let setup = Setup { backfill: false, ..Setup::slots(1) };
        send(&setup.live, &["done 200"]).await;
        let service = setup.start();
        service.live.fail_next(Operation::SetVisibility, 10, kind);
        service.until(500).await;
        assert_eq!(service.seen.stops(), [(120, "done 200".to_owned())]);
        let outcomes = service.seen.outcomes();
        assert_eq!(outcomes, [(120, "abandoned", "not-extended"), (320, "skipped", "no-work")]);
        let detail = service.seen.events().into_iter().find_map(|(_, event)| match event {
            Told::Detail(detail) => Some(detail),
            _ => None,
        });
        let detail = detail.unwrap();
        assert!(detail.contains("2m") || detail.contains("120s"), "{detail}");
        assert!(detail.ends_with("a test has asked for a failure"), "{detail}");
        assert!(service.live.messages().is_empty() && service.dead.messages().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_message_somebody_else_has_is_abandoned_at_once() {
    let setup = Setup { backfill: false, ..Setup::slots(1) };
    send(&setup.live, &["done 200"]).await;
    let service = setup.start();
    service.live.fail_next(Operation::SetVisibility, 1, ErrorKind::ReceiptExpired);
    service.until(41).await;
    assert_eq!(service.seen.outcomes(), [(40, "abandoned", "receipt-expired")]);
    assert_eq!(service.seen.stops(), [(40, "done 200".to_owned())]);
    assert!(service.live.calls_of(Operation::Delete).is_empty());
    assert_eq!(service.live.messages().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_takes_eleven_hours_is_put_on_the_dead_letter_queue() {
    let setup = Setup { backfill: false, ..Setup::slots(1) };
    send(&setup.live, &["done 1000000"]).await;
    let service = setup.start();
    service.until(11 * 3600 + 1).await;
    assert_eq!(service.seen.outcomes(), [(11 * 3600, "rejected", "too-long")]);
    assert_eq!(service.seen.last_detail(), "the job was stopped after 39600s");
    assert_eq!(service.seen.stops().len(), 1);
    assert!(service.live.messages().is_empty());
    let letter = service.dead.messages().remove(0).message;
    assert_eq!(letter.attribute(soci_queue::failure::REASON), Some("too-long"));
    let refused = service.seen.times(|event| *event == Told::Heartbeat(false));
    assert!(refused.is_empty());
    let asked = service.live.calls();
    assert!(asked.iter().any(|(_, call)| matches!(call, Call::SetVisibility(..))));
}
