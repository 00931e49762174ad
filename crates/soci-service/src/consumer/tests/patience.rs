//! For how long a job is tried, what counts, and what is believed.

use std::time::{Duration, SystemTime};

use soci_queue::{ErrorKind, JobHistory, Operation, Queue as _, failure};
use soci_sandbox::MemoryQueue;

use super::support::{Service, Setup, send, visible};
use crate::consumer::{ConsumerSettings, Drained};

const HOUR: u64 = 3600;

fn labels(service: &Service) -> Vec<(&'static str, &'static str)> {
    service.seen.outcomes().iter().map(|(_, label, reason)| (*label, *reason)).collect()
}

fn history(queue: &MemoryQueue) -> JobHistory {
    let messages = queue.messages();
    assert_eq!(messages.len(), 1);
    JobHistory::of(&messages[0].message)
}

#[tokio::test(start_paused = true)]
async fn a_job_is_tried_until_it_is_a_day_old_and_then_kept_with_its_last_reason() {
    let setup = Setup::as_deployed(1);
    send(&setup.live, &["fail 1"]).await;
    let sent_at = setup.live.messages()[0].message.sent_at;
    let service = setup.start();
    service.until(24 * HOUR).await;
    assert!(service.dead.messages().is_empty());
    assert_eq!(service.live.messages().len(), 1);
    let tries = service.seen.starts();
    // Seven tries within the first half an hour, then one every 15 minutes at most.
    assert!((100..220).contains(&tries.len()), "{}", tries.len());
    let pauses: Vec<_> = tries.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(pauses.iter().all(|pause| *pause <= 902), "{pauses:?}");
    assert!(pauses[20..].iter().all(|pause| *pause >= 450), "{pauses:?}");
    let carried = history(&service.live);
    assert_eq!(carried.attempts as usize, tries.len());
    let difference = sent_at.duration_since(carried.first_sent_at).unwrap();
    assert!(difference < Duration::from_secs(1));

    service.until(25 * HOUR).await;
    assert!(service.live.messages().is_empty());
    let letter = service.dead.messages().remove(0).message;
    assert_eq!(letter.attribute(failure::REASON), Some("weak"));
    let detail = letter.attribute(failure::MESSAGE).unwrap();
    assert!(detail.starts_with("given up after 24 h and "), "{detail}");
    assert!(detail.ends_with("tries; the last: fail after 1 s"), "{detail}");
    let attempts: usize = letter.attribute(failure::ATTEMPTS).unwrap().parse().unwrap();
    assert_eq!(attempts + 1, service.seen.starts().len());
    let time = |name| {
        let text = letter.attribute(name).unwrap();
        let time: soci_push::event::Timestamp = text.parse().unwrap();
        time.to_string()
    };
    assert!(time(failure::FIRST_SENT_AT) <= time(failure::FIRST_AT));
    assert!(time(failure::FIRST_AT) < time(failure::AT));
    assert_eq!(service.seen.outcomes().last().unwrap().1, "rejected");
}

#[tokio::test(start_paused = true)]
async fn the_age_of_a_job_counts_from_its_first_message_however_often_it_is_copied() {
    let setup = Setup::as_deployed(1);
    let max_job_age = Duration::from_hours(1);
    let settings = ConsumerSettings { max_job_age, ..setup.settings };
    let setup = Setup { settings, ..setup };
    // A message that waits for 50 minutes before anybody receives it.
    let service = setup.start();
    service.live.fail_next(Operation::Receive, 1_000, ErrorKind::Transient);
    send(&service.live, &["fail 1"]).await;
    service.until(50 * 60).await;
    service.live.heal();
    service.until(80 * 60).await;
    assert_eq!(service.dead.messages().len(), 1);
    let outcomes = service.seen.outcomes();
    let (last, ..) = *outcomes.last().unwrap();
    assert!((3600..3600 + 902).contains(&last), "{outcomes:?}");
    assert!(outcomes.len() >= 5, "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_given_back_twenty_times_has_failed_never() {
    let mut setup = Setup::as_deployed(1);
    let drain_deadline = Duration::from_secs(5);
    setup.settings = ConsumerSettings { drain_deadline, ..setup.settings };
    send(&setup.live, &["done 100"]).await;
    for _ in 0..20 {
        let service = setup.again().start();
        service.pass(50).await;
        assert_eq!(service.seen.starts().len(), 1);
        let drained = service.end().await;
        assert_eq!(drained, Drained { finished: 0, given_back: 1, cut_off: 0 });
        assert_eq!((setup.live.messages().len(), visible(&setup.live)), (1, 1));
        let message = setup.live.messages().remove(0).message;
        let carried = JobHistory::of(&message);
        assert_eq!((message.receive_count, carried.attempts, carried.crashes), (0, 0, 0));
    }
    let service = setup.again().start();
    service.pass(200).await;
    assert_eq!(labels(&service), [("skipped", "no-work")]);
    assert!(service.live.messages().is_empty() && service.dead.messages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_only_a_registry_says_is_believed_when_it_says_so_again_a_minute_later() {
    let setup = Setup::as_deployed(1);
    send(&setup.live, &["gone 1"]).await;
    let service = setup.start();
    service.until(60).await;
    assert_eq!(labels(&service), [("doubted", "image-gone")]);
    assert_eq!(history(&service.live).doubt.as_deref(), Some("image-gone"));
    service.until(120).await;
    assert_eq!(labels(&service), [("doubted", "image-gone"), ("skipped", "image-gone")]);
    let at: Vec<_> = service.seen.starts().iter().map(|(at, _)| *at).collect();
    assert!(at[1] - at[0] >= 60, "{at:?}");
    // An image that was deleted is an ordinary end.
    assert!(service.live.messages().is_empty() && service.dead.messages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_kept_as_a_letter_after_the_second_look() {
    let setup = Setup::as_deployed(1);
    send(&setup.live, &["refused 1"]).await;
    let service = setup.start();
    service.until(200).await;
    let expected = [("doubted", "registry-refused"), ("rejected", "registry-refused")];
    assert_eq!(labels(&service), expected);
    let letter = service.dead.messages().remove(0).message;
    assert_eq!(letter.attribute(failure::REASON), Some("registry-refused"));
    assert_eq!(letter.attribute(failure::ATTEMPTS), None, "a doubt is no failure");
}

#[tokio::test(start_paused = true)]
async fn one_wrong_answer_ends_nothing() {
    let setup = Setup::as_deployed(1);
    send(&setup.live, &["gone-once 1"]).await;
    let service = setup.start();
    service.until(200).await;
    assert_eq!(labels(&service), [("doubted", "tag-gone"), ("skipped", "no-work")]);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_not_taken_leaves_the_message_hidden_for_as_long() {
    let setup = Setup::as_deployed(1);
    send(&setup.live, &["fail 1"]).await;
    let service = setup.start();
    service.live.fail_next(Operation::Send, 1, ErrorKind::Permanent);
    service.until(60).await;
    let at: Vec<_> = service.seen.starts().iter().map(|(at, _)| *at).collect();
    assert!(at.len() >= 2 && (16..=32).contains(&at[1]), "{at:?}");
    assert_eq!(service.live.messages().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_stays_hidden_while_it_is_settled_however_long_that_takes() {
    let setup = Setup::as_deployed(1);
    send(&setup.live, &["reject 110"]).await;
    let service = setup.start();
    // Four calls without an answer and one that fails: some 45 seconds.
    service.dead.hang_next(Operation::Send, 4);
    let other =
        soci_queue::Receive { max: 1, wait: Duration::ZERO, visibility: Duration::from_secs(1) };
    for second in (1..200).step_by(3) {
        service.until(second).await;
        assert!(service.live.receive(other).await.unwrap().is_empty(), "{second}");
    }
    assert_eq!(labels(&service), [("rejected", "bad")]);
    assert_eq!((service.live.messages().len(), service.dead.messages().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn no_extension_lands_after_a_message_was_made_visible() {
    let setup = Setup::as_deployed(1);
    send(&setup.live, &["fail 40"]).await;
    let service = setup.start();
    // The extension at 40 s does not answer while the job ends, and no copy is taken.
    service.live.hang_next(Operation::SetVisibility, 1);
    service.live.fail_next(Operation::Send, 1, ErrorKind::Permanent);
    service.until(50).await;
    let calls = service.live.calls();
    let changes: Vec<_> = calls
        .iter()
        .filter_map(|(at, call)| match call {
            soci_sandbox::Call::SetVisibility(_, time) => {
                Some(((*at - service.started).as_secs(), time.as_secs()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(changes.first(), Some(&(40, 120)));
    let (at, hidden_for) = changes[1];
    assert!((40..=44).contains(&at) && (15..=30).contains(&hidden_for), "{changes:?}");
}

#[tokio::test(start_paused = true)]
async fn messages_that_carry_nonsense_are_handled_like_others() {
    let setup = Setup::as_deployed(1);
    for (name, value) in [
        ("job_attempts", "4294967295"),
        ("job_first_sent_at", "99999999999999"),
        ("job_first_failed_at", "x"),
        ("job_crashes", "-4"),
        ("job_doubt", "image-gone"),
    ] {
        let attributes = vec![(name.to_owned(), value.to_owned())];
        let body = format!("fail 1 {name}");
        setup.live.send(&soci_queue::Outgoing { body, group: None, attributes }).await.unwrap();
    }
    let service = setup.start();
    // Before the first of them may come again, which is 15 seconds after it failed.
    service.until(10).await;
    assert_eq!(labels(&service), [("retried", "weak"); 5]);
    assert_eq!(service.live.messages().len(), 5);
    let now = SystemTime::now() + Duration::from_hours(1);
    for found in service.live.messages() {
        assert!(JobHistory::of(&found.message).first_sent_at < now);
    }
}
