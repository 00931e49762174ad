use std::future::pending;
use std::task::Poll;

use soci_jobs::reasons::RECEIVED_TOO_OFTEN;
use soci_queue::{ErrorKind, Group, Operation, Outgoing, Receive, failure, history_attribute};
use soci_sandbox::MemoryQueue;

use soci_text::Runbook;

use crate::commands::wake::tests::Heard;

use super::*;

fn dead(body: &str, reason: Option<&str>) -> Outgoing {
    let mut attributes = vec![("kept".to_owned(), "yes".to_owned())];
    if let Some(reason) = reason {
        attributes.push((failure::REASON.to_owned(), reason.to_owned()));
        attributes.push((failure::MESSAGE.to_owned(), "why".to_owned()));
    }
    // What the letters say of earlier tries, and what copies that SQS itself has moved carry.
    let told = [failure::ATTEMPTS, failure::FIRST_AT, failure::FIRST_SENT_AT];
    let carried = [history_attribute::ATTEMPTS, history_attribute::FIRST_SENT_AT];
    attributes.extend(told.into_iter().chain(carried).map(|n| (n.to_owned(), "1".to_owned())));
    let group = Some(Group::of_repository("team/app"));
    Outgoing { body: body.to_owned(), group, attributes }
}

/// A dead-letter queue with these messages, and an empty one.
async fn queues(messages: &[Outgoing]) -> (MemoryQueue, MemoryQueue) {
    let (from, to) = (MemoryQueue::named("dead"), MemoryQueue::named("live"));
    for message in messages {
        from.send(message).await.unwrap();
    }
    (from, to)
}

/// Nobody is told of what is put back.
fn nobody() -> Waker<&'static Heard> {
    Waker::new(None)
}

fn of(reasons: &[&str]) -> Selection {
    let reasons = reasons.iter().map(ToString::to_string).collect();
    Selection { reasons, ..Selection::default() }
}

async fn moved((from, to): &(MemoryQueue, MemoryQueue), selection: &Selection) -> Changed {
    // A letter that is sent in the moment in which a replay begins is left there, which is not meant here.
    tokio::time::advance(Duration::from_secs(1)).await;
    put_back(from, to, selection, None, &nobody(), pending()).await
}

async fn visible(queue: &MemoryQueue) -> u64 {
    let backlog = queue.backlog().await.unwrap();
    assert_eq!(backlog.in_flight, 0);
    backlog.visible
}

#[tokio::test(start_paused = true)]
async fn letters_with_the_reason_move_without_their_failure_and_the_others_stay() {
    let queues = queues(&[
        dead("a", Some("immutable-tag")),
        dead("b", None),
        dead("c", Some("no-such-image")),
        dead("d", Some("immutable-tag")),
    ])
    .await;
    let changed = moved(&queues, &of(&["immutable-tag", RECEIVED_TOO_OFTEN])).await;
    assert_eq!((changed.done, changed.left, changed.failures.len()), (3, 1, 0));
    assert_eq!((visible(&queues.0).await, visible(&queues.1).await), (1, 3));
    let receive = Receive { max: 10, wait: Duration::ZERO, visibility: WHILE_MOVED };
    for message in queues.1.receive(receive).await.unwrap() {
        assert!(["a", "b", "d"].contains(&message.body.as_str()));
        assert_eq!(message.attributes, [("kept".to_owned(), "yes".to_owned())]);
        assert_eq!(message.group, Some(Group::of_repository("team/app")));
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_selection_everything_moves_however_much_it_is() {
    let many: Vec<_> = (0..37).map(|n| dead(&n.to_string(), Some("x"))).collect();
    let queues = queues(&many).await;
    let changed = moved(&queues, &Selection::default()).await;
    assert_eq!((changed.done, changed.left), (37, 0));
    assert_eq!((visible(&queues.0).await, visible(&queues.1).await), (0, 37));
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_cannot_be_sent_is_not_deleted_and_visible_again_at_once() {
    let queues = queues(&[dead("a", None), dead("b", None)]).await;
    queues.1.fail_next(Operation::Send, 1, ErrorKind::Permanent);
    let changed = moved(&queues, &Selection::default()).await;
    assert!(changed.failures[0].contains("send a message"), "{:?}", changed.failures);
    assert_eq!(changed.done, 0);
    assert!(queues.0.calls_of(Operation::Delete).is_empty());
    assert_eq!((visible(&queues.0).await, visible(&queues.1).await), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_cannot_be_deleted_is_on_both_queues() {
    let queues = queues(&[dead("a", None)]).await;
    queues.0.fail_next(Operation::Delete, 1, ErrorKind::Transient);
    let changed = moved(&queues, &Selection::default()).await;
    assert!(changed.failures[0].contains("delete a message"), "{:?}", changed.failures);
    assert_eq!((changed.done, changed.left), (0, 1));
    assert_eq!(queues.1.backlog().await.unwrap().visible, 1);
    tokio::time::advance(WHILE_MOVED).await;
    assert_eq!(visible(&queues.0).await, 1);
}

#[tokio::test(start_paused = true)]
async fn letters_are_deleted_one_by_one_and_looked_at_without_harm() {
    let queues = queues(&[dead("a", Some("x")), dead("b", Some("y")), dead("c", None)]).await;
    let found = look(&queues.0, &Selection::default(), 2, pending()).await;
    assert_eq!((found.letters.len(), found.matched, found.others), (2, 3, 0));
    assert_eq!(found.reasons.to_string(), "1 received-too-often, 1 x, 1 y");
    let ids = vec![found.letters[0].id.clone()];
    let one = Selection { ids, ..Selection::default() };
    let changed = delete(&queues.0, &one, pending()).await;
    assert_eq!((changed.done, changed.left, visible(&queues.0).await), (1, 2, 2));
    let found = look(&queues.0, &one, 2, pending()).await;
    assert_eq!((found.matched, found.others), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn letters_that_could_not_be_looked_at_are_not_counted() {
    let many: Vec<_> = (0..12).map(|n| dead(&n.to_string(), Some("x"))).collect();
    let queue = queues(&many).await.0;
    let runbook = Runbook::default();
    let told =
        |found: &Found| (text::list(found, &runbook, SystemTime::now()), found.json(&runbook));
    // The first receive fails: nothing is known.
    queue.fail_next(Operation::Receive, 1, ErrorKind::Permanent);
    let found = look(&queue, &Selection::default(), 100, pending()).await;
    let (list, json) = told(&found);
    assert_eq!((list.as_str(), found.failures.len()), ("an unknown number of dead letters\n", 1));
    assert_eq!((&json["complete"], &json["matched"]), (&json!(false), &json!(null)));
    let changed = delete(&queue, &of(&["y"]), pending()).await;
    assert_eq!((changed.looked, changed.left), (Looked::All, 12));
    queue.fail_next(Operation::Receive, 1, ErrorKind::Permanent);
    let changed = delete(&queue, &of(&["x"]), pending()).await;
    assert_eq!((changed.json(&runbook)["left"].clone(), changed.done), (json!(null), 0));
    // Nobody says how many are in hand: what can be looked at is, and it is a failure.
    queue.fail_next(Operation::Backlog, 1, ErrorKind::Permanent);
    let found = look(&queue, &Selection::default(), 100, pending()).await;
    let (list, json) = told(&found);
    assert!(list.contains("\n12 dead letters\n"), "{list}");
    assert_eq!((&json["in_hand"], &json["matched"]), (&json!(null), &json!(12)));
    assert!(found.failures[0].contains("are not counted"), "{:?}", found.failures);
    // Somebody stops it after the first ones.
    let mut polls = 0;
    let stop = std::future::poll_fn(|_| {
        polls += 1;
        if polls < 5 { Poll::Pending } else { Poll::Ready(()) }
    });
    let found = look(&queue, &Selection::default(), 100, stop).await;
    let (list, json) = told(&found);
    assert!(list.contains("\nat least "), "{list}");
    assert_eq!(json["complete"], false);
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_woken_as_soon_as_the_first_letter_is_put_back() {
    let queues = queues(&[dead("a", None), dead("b", None)]).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    let heard = Heard::default();
    let waker = Waker::new(Some(&heard));
    let everything = Selection::default();
    let changed = put_back(&queues.0, &queues.1, &everything, None, &waker, pending()).await;
    assert_eq!((changed.done, heard.all()), (2, vec![1]));
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_it_gets_back_what_was_hidden() {
    let queues = queues(&[dead("a", None), dead("b", None)]).await;
    let limiter = RateLimiter::per_second(std::num::NonZeroU32::MIN);
    limiter.ready().await;
    let stop = tokio::time::sleep(Duration::from_millis(100));
    let everything = Selection::default();
    tokio::time::advance(Duration::from_millis(1)).await;
    let changed =
        put_back(&queues.0, &queues.1, &everything, Some(&limiter), &nobody(), stop).await;
    // What has begun is finished: it is on the other queue and not on this one.
    assert_eq!((changed.done, changed.failures), (1, vec![INTERRUPTED.to_owned()]));
    assert_eq!((visible(&queues.0).await, visible(&queues.1).await), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn lists_and_letters_say_what_is_known_and_where_to_read_on() {
    let job = enqueue::tests::job("team/app");
    let letter = soci_queue::DeadLetter {
        body: &job.encode(),
        group: None,
        attributes: &[],
        id: "m-1",
        queue: "live",
        reason: "layer-memory",
        detail: "needs 812 MiB\nerror: forged",
        runbook: "",
        at: "2026-08-01T12:34:56Z",
        attempts: 2,
        first_failed_at: "2026-08-01T12:00:00Z",
        first_sent_at: "2026-08-01T11:00:00Z",
    };
    let queues = queues(&[letter.outgoing(), dead("no job", None)]).await;
    let mut found = look(&queues.0, &Selection::default(), 10, pending()).await;
    let runbook: Runbook = "https://wiki.example/soci".parse().unwrap();
    let now = SystemTime::now();
    let list = text::list(&found, &runbook, now);
    for wanted in [
        "layer-memory  registry.example/team/app@sha256:",
        "needs 812 MiB error: forged",
        "2 failed attempts before",
        "no job that is understood",
        "2 dead letters\n",
        "https://wiki.example/soci#layer-memory",
        "https://wiki.example/soci#received-too-often",
    ] {
        assert!(list.contains(wanted), "{wanted}: {list}");
    }
    found.letters.retain(|letter| letter.reason == "layer-memory");
    let letter = &found.letters[0];
    let whole = text::whole(letter, &runbook, now);
    for wanted in ["came from      live, message m-1", "first sent     2026-08-01T11:00:00Z"] {
        assert!(whole.contains(wanted), "{wanted}: {whole}");
    }
    assert!(whole.contains(&format!("dead-letters retry --id {}", letter.id)));
    let json = letter_json(letter, &runbook, now);
    assert_eq!((&json["reason"], &json["failed_id"]), (&json!("layer-memory"), &json!("m-1")));
    assert_eq!(json["repository"], "registry.example/team/app");
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_is_there_is_shown_though_the_others_in_hand_are_not_counted() {
    let (queue, _) = queues(&[dead("a", None)]).await;
    let all = look(&queue, &Selection::default(), 1, pending()).await;
    let id = &all.letters[0].id;
    queue.fail_next(Operation::Backlog, 1, ErrorKind::Permanent);
    let found = find(&queue, id, pending()).await;
    assert_eq!((found.letters.len(), &found.failures[..]), (1, &[][..]));
    queue.fail_next(Operation::Backlog, 1, ErrorKind::Permanent);
    let found = find(&queue, "none", pending()).await;
    assert!(found.failures[0].contains("are not counted"), "{:?}", found.failures);
    assert!(found.failures[1].contains("no letter has the identifier"), "{:?}", found.failures);
}
