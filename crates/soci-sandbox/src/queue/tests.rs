use soci_queue::{ErrorKind, Group, MAX_DELAY, MAX_VISIBILITY, MAX_WAIT};
use tokio::time::advance;

use super::presence::Presence;
use super::*;

const VISIBILITY: Duration = Duration::from_secs(30);

fn text(body: &str) -> Outgoing {
    Outgoing { body: body.to_owned(), group: None, attributes: Vec::new() }
}

fn grouped(group: &str, body: &str) -> Outgoing {
    Outgoing { group: Some(Group::of_repository(group)), ..text(body) }
}

fn short(max: usize) -> Receive {
    Receive { max, wait: Duration::ZERO, visibility: VISIBILITY }
}

fn long(wait: u64) -> Receive {
    Receive { max: 1, wait: Duration::from_secs(wait), visibility: VISIBILITY }
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.body.as_str()).collect()
}

async fn filled(messages: &[&str]) -> MemoryQueue {
    let queue = MemoryQueue::named("q");
    for message in messages {
        queue.send(&text(message)).await.unwrap();
    }
    queue
}

async fn one(queue: &MemoryQueue) -> Message {
    queue.receive(short(1)).await.unwrap().pop().expect("a message is visible")
}

async fn none(queue: &MemoryQueue) -> bool {
    queue.receive(short(10)).await.unwrap().is_empty()
}

#[tokio::test(start_paused = true)]
async fn a_received_message_is_hidden_until_its_timeout_ends() {
    let queue = filled(&["a"]).await;
    let first = one(&queue).await;
    assert_eq!((first.body.as_str(), first.receive_count), ("a", 1));
    advance(Duration::from_millis(29_999)).await;
    assert!(none(&queue).await);
    advance(Duration::from_millis(1)).await;
    let second = one(&queue).await;
    assert_eq!((second.id, second.receive_count), (first.id, 2));
    assert_ne!(second.receipt, first.receipt);
}

#[tokio::test(start_paused = true)]
async fn a_receive_gets_what_is_there_up_to_its_maximum() {
    let queue = filled(&["a", "b", "c"]).await;
    assert_eq!(bodies(&queue.receive(short(2)).await.unwrap()), ["a", "b"]);
    assert_eq!(bodies(&queue.receive(short(2)).await.unwrap()), ["c"]);
    assert!(none(&queue).await);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_when_a_message_is_sent() {
    let queue = filled(&[]).await;
    let started = Instant::now();
    let sender = async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        queue.send(&text("late")).await.unwrap();
    };
    let (received, ()) = tokio::join!(queue.receive(long(20)), sender);
    assert_eq!(bodies(&received.unwrap()), ["late"]);
    assert_eq!(started.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_when_a_message_becomes_visible_again() {
    let queue = filled(&["a"]).await;
    one(&queue).await;
    advance(Duration::from_secs(25)).await;
    let started = Instant::now();
    assert_eq!(bodies(&queue.receive(long(20)).await.unwrap()), ["a"]);
    assert_eq!(started.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_when_a_message_is_given_back() {
    let queue = filled(&["a"]).await;
    let held = one(&queue).await;
    let started = Instant::now();
    let giver = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        queue.set_visibility(&held.receipt, Duration::ZERO).await.unwrap();
    };
    let (received, ()) = tokio::join!(queue.receive(long(20)), giver);
    assert_eq!(received.unwrap()[0].receive_count, 2);
    assert_eq!(started.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_of_an_empty_queue_ends_in_time_without_messages() {
    let queue = filled(&[]).await;
    let started = Instant::now();
    assert!(queue.receive(long(20)).await.unwrap().is_empty());
    assert_eq!(started.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_receive_that_is_dropped_takes_nothing() {
    let queue = filled(&[]).await;
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.receive(long(20)).await }
    });
    tokio::task::yield_now().await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    queue.send(&text("a")).await.unwrap();
    assert_eq!(one(&queue).await.receive_count, 1);
}

#[tokio::test(start_paused = true)]
async fn extending_counts_from_now() {
    let queue = filled(&["a"]).await;
    let held = one(&queue).await;
    advance(Duration::from_secs(20)).await;
    queue.set_visibility(&held.receipt, VISIBILITY).await.unwrap();
    advance(Duration::from_secs(29)).await;
    assert!(none(&queue).await);
    advance(Duration::from_secs(1)).await;
    assert_eq!(one(&queue).await.receive_count, 2);
}

#[tokio::test(start_paused = true)]
async fn a_message_stays_hidden_for_12_hours_after_its_receive_at_most() {
    let queue = filled(&["a"]).await;
    let held = one(&queue).await;
    queue.set_visibility(&held.receipt, MAX_VISIBILITY).await.unwrap();
    advance(Duration::from_mins(12 * 60 - 1)).await;
    queue.set_visibility(&held.receipt, Duration::from_mins(1)).await.unwrap();
    let error = queue.set_visibility(&held.receipt, Duration::from_secs(61)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Permanent);
    advance(Duration::from_mins(1)).await;
    let held = one(&queue).await;
    queue.set_visibility(&held.receipt, MAX_VISIBILITY).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_that_became_visible_cannot_be_extended() {
    let queue = filled(&["a"]).await;
    let held = one(&queue).await;
    advance(VISIBILITY).await;
    let error = queue.set_visibility(&held.receipt, VISIBILITY).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ReceiptExpired);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_became_visible_can_still_be_deleted() {
    let queue = filled(&["a"]).await;
    let held = one(&queue).await;
    advance(VISIBILITY).await;
    queue.delete(&held.receipt).await.unwrap();
    assert!(none(&queue).await);
    assert_eq!(queue.backlog().await.unwrap(), Backlog::default());
}

#[tokio::test(start_paused = true)]
async fn a_receipt_expires_when_the_message_is_received_again() {
    let queue = filled(&["a"]).await;
    let first = one(&queue).await;
    advance(VISIBILITY).await;
    let second = one(&queue).await;
    for error in [
        queue.delete(&first.receipt).await.unwrap_err(),
        queue.set_visibility(&first.receipt, VISIBILITY).await.unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::ReceiptExpired);
        assert!(!error.is_transient());
    }
    queue.delete(&second.receipt).await.unwrap();
    assert!(queue.messages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn deleting_twice_succeeds_and_extending_what_is_deleted_does_not() {
    let queue = filled(&["a"]).await;
    let held = one(&queue).await;
    queue.delete(&held.receipt).await.unwrap();
    queue.delete(&held.receipt).await.unwrap();
    let error = queue.set_visibility(&held.receipt, VISIBILITY).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ReceiptExpired);
}

#[tokio::test(start_paused = true)]
async fn the_receive_after_the_last_allowed_one_moves_the_message() {
    let dead_letters = MemoryQueue::named("dead");
    let queue = MemoryQueue::new(MemoryQueueOptions {
        name: "q".to_owned(),
        redrive: Some(Redrive { dead_letters: dead_letters.clone(), max_receives: 2 }),
        ..MemoryQueueOptions::default()
    });
    let poison = Outgoing {
        attributes: vec![("n".to_owned(), "v".to_owned())],
        ..grouped("team/app", "poison")
    };
    let id = queue.send(&poison).await.unwrap();
    queue.send(&text("fine")).await.unwrap();
    for count in 1..=2 {
        let received = queue.receive(short(10)).await.unwrap();
        assert_eq!(received.iter().map(|m| m.receive_count).collect::<Vec<_>>(), [count; 2]);
        for message in received.iter().filter(|message| message.body == "fine" && count == 2) {
            queue.delete(&message.receipt).await.unwrap();
        }
        assert!(dead_letters.messages().is_empty());
        advance(VISIBILITY).await;
    }
    assert_eq!(queue.backlog().await.unwrap().visible, 1);
    assert!(none(&queue).await);
    assert!(queue.messages().is_empty());
    let moved = one(&dead_letters).await;
    assert_eq!((moved.id, moved.body.as_str(), moved.receive_count), (id, "poison", 1));
    assert_eq!(moved.group, Some(Group::of_repository("team/app")));
    assert_eq!(moved.attributes, poison.attributes);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_of_the_dead_letter_queue_sees_what_is_moved_there() {
    let dead_letters = MemoryQueue::named("dead");
    let redrive = Redrive { dead_letters: dead_letters.clone(), max_receives: 1 };
    let queue = MemoryQueue::new(MemoryQueueOptions {
        redrive: Some(redrive),
        ..MemoryQueueOptions::default()
    });
    queue.send(&text("poison")).await.unwrap();
    one(&queue).await;
    advance(VISIBILITY).await;
    let (dead, live) = tokio::join!(dead_letters.receive(long(20)), queue.receive(long(1)));
    assert_eq!(bodies(&dead.unwrap()), ["poison"]);
    assert!(live.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_busy_group_does_not_hold_up_the_others() {
    let queue = MemoryQueue::named("q");
    for n in 0..100 {
        queue.send(&grouped("busy", &format!("busy {n}"))).await.unwrap();
    }
    for message in [grouped("calm", "calm 0"), text("alone 0"), grouped("calm", "calm 1")] {
        queue.send(&message).await.unwrap();
    }
    let received = queue.receive(short(6)).await.unwrap();
    assert_eq!(bodies(&received), ["busy 0", "calm 0", "alone 0", "busy 1", "calm 1", "busy 2"]);
}

#[tokio::test(start_paused = true)]
async fn the_backlog_tells_visible_messages_from_those_in_flight() {
    let queue = filled(&["a", "b", "c"]).await;
    let held = one(&queue).await;
    assert_eq!(queue.backlog().await.unwrap(), Backlog { visible: 2, in_flight: 1, delayed: 0 });
    queue.set_visibility(&held.receipt, Duration::ZERO).await.unwrap();
    assert_eq!(queue.backlog().await.unwrap(), Backlog { visible: 3, in_flight: 0, delayed: 0 });
}

#[tokio::test(start_paused = true)]
async fn messages_tell_when_they_were_sent_on_the_clock_that_tests_hold() {
    let queue = filled(&["a"]).await;
    advance(Duration::from_secs(100)).await;
    queue.send(&text("b")).await.unwrap();
    let sent: Vec<_> = queue.messages().iter().map(|found| found.message.sent_at).collect();
    assert_eq!(sent[1].duration_since(sent[0]).unwrap().as_secs(), 100);
}

#[tokio::test(start_paused = true)]
async fn what_sqs_refuses_is_refused() {
    let queue = filled(&["a"]).await;
    let attribute = |name: &str, value: &str| Outgoing {
        attributes: vec![(name.to_owned(), value.to_owned())],
        ..text("a")
    };
    let eleven = (0..11).map(|n| (format!("n{n}"), "v".to_owned())).collect();
    for message in [
        text(""),
        text("a\u{0}"),
        text(&"a".repeat(MAX_MESSAGE_BYTES + 1)),
        attribute("n", ""),
        attribute("", "v"),
        attribute("a b", "v"),
        attribute("n", "\u{1b}[0m"),
        attribute("n", &"v".repeat(MAX_MESSAGE_BYTES - 7)),
        Outgoing { attributes: eleven, ..text("a") },
    ] {
        let error = queue.send(&message).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Permanent);
        assert_eq!(error.to_string(), "queue q did not send a message");
    }
    queue.send(&attribute("n", &"v".repeat(MAX_MESSAGE_BYTES - 8))).await.unwrap();
    queue.send(&text(&"a".repeat(MAX_MESSAGE_BYTES))).await.unwrap();

    let too_long = MAX_VISIBILITY + Duration::from_secs(1);
    for receive in [
        short(0),
        short(11),
        Receive { wait: MAX_WAIT + Duration::from_secs(1), ..short(1) },
        Receive { visibility: too_long, ..short(1) },
    ] {
        assert_eq!(queue.receive(receive).await.unwrap_err().kind, ErrorKind::Permanent);
    }
    let held = one(&queue).await;
    for (receipt, visibility) in [
        (held.receipt, too_long),
        (Receipt("nonsense".to_owned()), VISIBILITY),
        (Receipt("99.1".to_owned()), VISIBILITY),
    ] {
        let error = queue.set_visibility(&receipt, visibility).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Permanent);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_fail_as_a_test_wants_it_and_are_logged() {
    let queue = filled(&["a"]).await;
    queue.fail_next(Operation::Receive, 2, ErrorKind::Transient);
    for _ in 0..2 {
        let error = queue.receive(short(1)).await.unwrap_err();
        assert!(error.is_transient());
        assert_eq!(error.to_string(), "queue q did not receive messages (request test)");
    }
    let held = one(&queue).await;
    queue.hang_next(Operation::Delete, 1);
    let hanging = tokio::time::timeout(Duration::from_secs(5), queue.delete(&held.receipt));
    assert!(hanging.await.is_err());
    queue.fail_next(Operation::Delete, 1, ErrorKind::Permanent);
    queue.heal();
    queue.delete(&held.receipt).await.unwrap();
    assert_eq!(queue.calls_of(Operation::Receive).len(), 3);
    assert_eq!(queue.calls().last().unwrap().1, Call::Delete(held.receipt));
}

#[tokio::test(start_paused = true)]
async fn a_delayed_message_is_there_and_cannot_be_received_before_its_time() {
    let queue = filled(&[]).await;
    queue.send_after(&text("late"), Duration::from_millis(59_001)).await.unwrap();
    let delayed = Backlog { visible: 0, in_flight: 0, delayed: 1 };
    assert_eq!(queue.backlog().await.unwrap(), delayed);
    assert_eq!(queue.messages()[0].presence, Presence::Delayed);
    advance(Duration::from_millis(59_999)).await;
    assert!(none(&queue).await);
    advance(Duration::from_millis(1)).await;
    let received = one(&queue).await;
    assert_eq!((received.body.as_str(), received.receive_count), ("late", 1));
    // Afterwards it is a message like any other.
    queue.set_visibility(&received.receipt, Duration::ZERO).await.unwrap();
    assert_eq!(one(&queue).await.receive_count, 2);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_when_a_delay_is_over() {
    let queue = filled(&[]).await;
    queue.send_after(&text("late"), Duration::from_secs(7)).await.unwrap();
    let started = Instant::now();
    assert_eq!(bodies(&queue.receive(long(20)).await.unwrap()), ["late"]);
    assert_eq!(started.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_delay_has_the_limit_of_sqs() {
    let queue = filled(&[]).await;
    queue.send_after(&text("a"), MAX_DELAY).await.unwrap();
    let beyond = queue.send_after(&text("b"), MAX_DELAY + Duration::from_secs(1)).await;
    assert_eq!(beyond.unwrap_err().kind, ErrorKind::Permanent);
    assert_eq!(queue.messages().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_queue_tells_how_often_a_message_can_be_received() {
    let redrive = Redrive { dead_letters: MemoryQueue::named("dead"), max_receives: 5 };
    let redriving = MemoryQueue::new(MemoryQueueOptions {
        redrive: Some(redrive),
        ..MemoryQueueOptions::default()
    });
    assert_eq!(redriving.max_receives().await.unwrap(), Some(5));
    assert_eq!(filled(&[]).await.max_receives().await.unwrap(), None);
}
