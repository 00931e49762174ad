//! Tests of the crate through its public interface.

use soci_queue::{DeadLetter, MAX_MESSAGE_BYTES, Queue as _, failure};
use soci_sandbox::MemoryQueue;

const LETTER: DeadLetter<'_> = DeadLetter {
    body: "body",
    group: None,
    attributes: &[],
    id: "id-1",
    queue: "live",
    reason: "layer-rejected",
    detail: "detail",
    at: "1970-01-01T00:00:00Z",
};

#[tokio::test]
async fn a_letter_about_any_message_can_be_sent() {
    let queue = MemoryQueue::named("q");
    let many: Vec<_> = (0..10).map(|n| (format!("n{n}"), "v".to_owned())).collect();
    let long = "é".repeat(100_000);
    // What the letter takes beside body and detail.
    let fixed = DeadLetter { body: "", detail: "x", ..LETTER }.outgoing();
    let fixed: usize = fixed.attributes.iter().map(|(n, v)| n.len() + 6 + v.len()).sum();
    let body = |room: usize| "b".repeat(MAX_MESSAGE_BYTES + 1 - fixed - room);
    let (roomy, full) = (body(25), body(1));
    for letter in [
        DeadLetter { attributes: &many, detail: &long, ..LETTER },
        DeadLetter { attributes: &many, detail: "\u{0}\u{1b}[31m\u{fffe}\u{ffff}\r\n", ..LETTER },
        DeadLetter { body: &roomy, detail: &long, ..LETTER },
        DeadLetter { body: &full, detail: &long, ..LETTER },
    ] {
        queue.send(&letter.outgoing()).await.unwrap();
    }
    let details: Vec<_> = queue.messages();
    let details = details.iter().map(|found| found.message.attribute(failure::MESSAGE));
    let lengths: Vec<_> = details.map(|detail| detail.map(|text| text.chars().count())).collect();
    assert_eq!(lengths, [Some(2000), Some(10), Some(12), None]);
}
