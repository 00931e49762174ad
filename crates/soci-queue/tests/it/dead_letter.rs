//! What a dead letter says, and that every queue takes it.

use soci_queue::{
    DeadLetter, Group, JobHistory, MAX_MESSAGE_BYTES, Outgoing, Queue as _, failure,
    history_attribute as history,
};
use soci_sandbox::MemoryQueue;

const LETTER: DeadLetter<'_> = DeadLetter {
    body: "body",
    group: None,
    attributes: &[],
    id: "id-1",
    queue: "live",
    reason: "layer-rejected",
    runbook: "",
    detail: "detail",
    at: "1970-01-01T00:00:00Z",
    attempts: 0,
    first_failed_at: "",
    first_sent_at: "",
};

fn attributes(letter: &Outgoing) -> Vec<(&str, &str)> {
    letter.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn detail(letter: &Outgoing) -> Option<&str> {
    let found = letter.attributes.iter().find(|(name, _)| name == failure::MESSAGE);
    found.map(|(_, value)| value.as_str())
}

#[test]
fn a_letter_is_the_message_with_what_became_of_it() {
    let group = Group::of_repository("team/app");
    let letter = DeadLetter { group: Some(&group), ..LETTER }.outgoing();
    assert_eq!((letter.body.as_str(), &letter.group), ("body", &Some(group)));
    assert_eq!(
        attributes(&letter),
        [
            (failure::REASON, "layer-rejected"),
            (failure::MESSAGE_ID, "id-1"),
            (failure::QUEUE, "live"),
            (failure::AT, "1970-01-01T00:00:00Z"),
            (failure::MESSAGE, "detail"),
        ]
    );
}

#[test]
fn what_is_not_known_is_left_out() {
    let letter = DeadLetter { queue: "", id: "", detail: "", ..LETTER }.outgoing();
    assert_eq!(
        attributes(&letter),
        [(failure::REASON, "layer-rejected"), (failure::AT, "1970-01-01T00:00:00Z")]
    );
}

#[test]
fn a_message_that_fails_again_keeps_its_own_attributes_and_has_one_reason() {
    let mut had = vec![("trace".to_owned(), "1".to_owned())];
    had.extend(DeadLetter { reason: "image-gone", ..LETTER }.outgoing().attributes);
    let letter = DeadLetter { attributes: &had, ..LETTER }.outgoing();
    let first = DeadLetter { attributes: &had[..1], ..LETTER }.outgoing();
    assert_eq!(attributes(&letter)[..2], [("trace", "1"), (failure::REASON, "layer-rejected")]);
    assert_eq!(letter, first);
}

#[test]
fn details_lose_what_cannot_be_sent_and_nothing_else() {
    let letter = DeadLetter { detail: "a\u{1b}b\u{ffff}c\nd é", ..LETTER }.outgoing();
    assert_eq!(detail(&letter), Some("a b c d é"));
}

#[test]
fn a_letter_tells_of_the_tries_before_and_carries_no_history_of_its_own() {
    let others = (0..10).map(|n| (format!("n{n}"), "v".to_owned()));
    let history = history::ALL.map(|name| (name.to_owned(), "1".to_owned()));
    let had: Vec<_> = history.into_iter().chain(others).collect();
    let at = "1970-01-01T00:00:00Z";
    let letter = DeadLetter {
        attributes: &had,
        attempts: 97,
        first_failed_at: at,
        first_sent_at: at,
        ..LETTER
    }
    .outgoing();
    assert_eq!(
        attributes(&letter),
        [
            ("n0", "v"),
            ("n1", "v"),
            (failure::REASON, "layer-rejected"),
            (failure::MESSAGE_ID, "id-1"),
            (failure::QUEUE, "live"),
            (failure::AT, at),
            (failure::ATTEMPTS, "97"),
            (failure::FIRST_AT, at),
            (failure::FIRST_SENT_AT, at),
            (failure::MESSAGE, "detail"),
        ]
    );
}

#[tokio::test]
async fn attributes_that_find_no_room_are_left_out_and_nothing_else() {
    let queue = MemoryQueue::named("q");
    for body in ["x".to_owned(), "x".repeat(MAX_MESSAGE_BYTES / 2)] {
        // A message that a queue takes, with hardly a byte to spare.
        let room = MAX_MESSAGE_BYTES - body.len() - 3 * (2 + 6) - 2;
        let value = |size| "v".repeat(size);
        let had = [value(room), value(1), value(1)].into_iter().zip(["n0", "n1", "n2"]);
        let had: Vec<_> = had.map(|(value, name)| (name.to_owned(), value)).collect();
        let whole = Outgoing { body: body.clone(), group: None, attributes: had.clone() };
        queue.send(&whole).await.unwrap();
        let letter = DeadLetter { body: &body, attributes: &had, ..LETTER }.outgoing();
        queue.send(&letter).await.unwrap();
        assert_eq!(letter.body, body);
        assert_eq!(attributes(&letter)[..2], [("n1", "v"), ("n2", "v")]);
        let history = JobHistory::since(std::time::SystemTime::now()).failed(
            "throttled",
            "detail",
            std::time::SystemTime::now(),
        );
        let copy = history.carried_by(&body, None, &had);
        queue.send(&copy).await.unwrap();
        assert!(copy.attributes.iter().any(|(name, _)| name == history::LAST_REASON));
    }
}

#[tokio::test]
async fn a_letter_about_any_message_can_be_sent() {
    let queue = MemoryQueue::named("q");
    let many: Vec<_> = (0..10).map(|n| (format!("n{n}"), "v".to_owned())).collect();
    let long = "é".repeat(100_000);
    // What the letter takes beside body and detail.
    let fixed = DeadLetter { body: "", detail: "x", ..LETTER }.outgoing();
    let fixed: usize = fixed.attributes.iter().map(|(n, v)| n.len() + 6 + v.len()).sum();
    let body = |room: usize| "b".repeat(MAX_MESSAGE_BYTES + 1 - fixed - room);
    let (roomy, full, largest) = (body(25), body(1), "é".repeat(MAX_MESSAGE_BYTES / 2));
    for letter in [
        DeadLetter { attributes: &many, detail: &long, ..LETTER },
        DeadLetter { attributes: &many, detail: "\u{0}\u{1b}[31m\u{fffe}\u{ffff}\r\n", ..LETTER },
        DeadLetter { body: &roomy, detail: &long, ..LETTER },
        DeadLetter { body: &full, detail: &long, ..LETTER },
        DeadLetter { body: &largest, detail: &long, ..LETTER },
    ] {
        queue.send(&letter.outgoing()).await.unwrap();
    }
    let details: Vec<_> = queue.messages();
    let details = details.iter().map(|found| found.message.attribute(failure::MESSAGE));
    let lengths: Vec<_> = details.map(|detail| detail.map(|text| text.chars().count())).collect();
    assert_eq!(lengths, [Some(2000), Some(10), Some(12), None, None]);
    let found = queue.messages().pop().unwrap().message;
    assert_eq!(found.attribute(failure::REASON), Some(LETTER.reason), "it says why in any case");
    assert!(largest.starts_with(&found.body) && largest.len() - found.body.len() < 300);
}
