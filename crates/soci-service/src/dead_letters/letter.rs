//! What one dead letter says.

use std::time::{Duration, SystemTime};

use soci_jobs::reasons::RECEIVED_TOO_OFTEN;
use soci_push::JobMessage;
use soci_push::event::Timestamp;
use soci_push::job::{MessageContent, MessageLimits};
use soci_queue::{JobHistory, Message, Outgoing, failure, history_attribute};

use crate::shown_text::shown;

/// Most characters of a reason.
const MAX_REASON: usize = 64;

/// A message on the dead-letter queue. Its texts are fit to be shown, and bounded.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its identifier on the dead-letter queue.
    pub id: String,
    /// The identifier that its message had on the queue it comes from, which the log tells. A message that
    /// the queue itself moved keeps its own.
    pub failed_id: String,
    /// Name of that queue, if it is known.
    pub queue: Option<String>,
    /// Why it is there: a code of the runbook.
    pub reason: String,
    /// The same for people; empty if nothing is known.
    pub detail: String,
    /// The job that it asks for; `None` if its body is not understood, or asks for none.
    pub job: Option<JobMessage>,
    /// When it failed; when its message was sent, if the queue itself moved it.
    pub failed_at: SystemTime,
    /// Tries that failed before.
    pub attempts: u32,
    /// When the first of them failed, RFC 3339 in UTC.
    pub first_failed_at: Option<String>,
    /// When the first message of the job was sent, RFC 3339 in UTC.
    pub first_sent_at: Option<String>,
    /// When this message was sent.
    pub sent_at: SystemTime,
    /// How often it has been received where it is now.
    pub receive_count: u32,
    /// What was sent, shortened.
    pub body: String,
}

impl Letter {
    /// Reads a message of the dead-letter queue. Whatever it is, something can be said of it.
    pub fn of(message: &Message) -> Self {
        let told = |name| message.attribute(name).map(shown);
        let time = |name| message.attribute(name).and_then(|at| at.parse::<Timestamp>().ok());
        let history = JobHistory::of(message);
        // A code is a word. What is not one is shown as one line, and cut.
        let reason = told(failure::REASON).map(|reason| {
            let line = reason.chars().map(|c| if c == '\n' { ' ' } else { c });
            line.take(MAX_REASON).collect::<String>()
        });
        let reason = reason.filter(|reason| !reason.is_empty());
        let detail = match (&reason, &history.last) {
            (None, Some(last)) => {
                let (reason, detail) = (shown(&last.reason), shown(&last.detail));
                format!("its last try before that failed: {reason}: {detail}")
            }
            _ => told(failure::MESSAGE).unwrap_or_default(),
        };
        let attempts = message.attribute(failure::ATTEMPTS).and_then(|count| count.parse().ok());
        let text = |at: SystemTime| Timestamp::from(at).to_string();
        Self {
            id: shown(&message.id.0),
            failed_id: told(failure::MESSAGE_ID).unwrap_or_else(|| shown(&message.id.0)),
            queue: told(failure::QUEUE),
            reason: reason.unwrap_or_else(|| RECEIVED_TOO_OFTEN.to_owned()),
            detail,
            job: job(message.body.as_bytes()),
            failed_at: time(failure::AT).map_or(message.sent_at, SystemTime::from),
            attempts: attempts.unwrap_or(history.attempts),
            first_failed_at: told(failure::FIRST_AT).or_else(|| history.first_failed_at.map(text)),
            first_sent_at: told(failure::FIRST_SENT_AT)
                .or_else(|| Some(text(history.first_sent_at))),
            sent_at: message.sent_at,
            receive_count: message.receive_count,
            body: shown(&message.body),
        }
    }

    /// The image as people write it: `host/name:tag`, or with its digest where there is no tag.
    pub fn image(&self) -> Option<String> {
        self.job.as_ref().map(|job| match &job.tag {
            Some(tag) => format!("{}:{tag}", job.repository),
            None => format!("{}@{}", job.repository, job.digest),
        })
    }

    /// Time since it failed; none if the clocks differ.
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.failed_at).unwrap_or_default()
    }
}

/// What a body asks for, whoever wrote it.
fn job(body: &[u8]) -> Option<JobMessage> {
    match JobMessage::parse(body, MessageLimits::DEFAULT).ok()?.content {
        MessageContent::Job(job) => Some(job),
        MessageContent::Push(push) => Some(JobMessage::from_push(&push, Timestamp::default())),
        // What would be removed is no image that waits for an index.
        MessageContent::Deletion(_) | MessageContent::Ignored(_) => None,
    }
}

/// A letter's message as it was before it failed for the first time: its tries and its age count anew.
pub fn again(message: &Message) -> Outgoing {
    let ours = |name: &str| failure::ALL.contains(&name) || history_attribute::ALL.contains(&name);
    let mut attributes = message.attributes.clone();
    attributes.retain(|(name, _)| !ours(name));
    Outgoing { body: message.body.clone(), group: message.group.clone(), attributes }
}

#[cfg(test)]
pub(super) mod tests {
    use soci_queue::{Queue as _, Receive};
    use soci_sandbox::MemoryQueue;

    use super::*;

    pub(in super::super) async fn message(body: &str, attributes: &[(&str, &str)]) -> Message {
        let queue = MemoryQueue::named("dead");
        let attributes =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let letter =
            Outgoing { body: body.to_owned(), group: None, attributes: attributes.collect() };
        queue.send(&letter).await.unwrap();
        let receive = Receive { max: 1, wait: Duration::ZERO, visibility: Duration::ZERO };
        queue.receive(receive).await.unwrap().remove(0)
    }

    pub(in super::super) fn body(name: &str, tag: Option<&str>) -> String {
        let job = JobMessage {
            repository: soci_oci::Repository::new("registry.example", name).unwrap(),
            digest: soci_oci::Digest::sha256_of(name.as_bytes()),
            tag: tag.map(|tag| tag.parse().unwrap()),
            event_id: None,
            enqueued_at: Timestamp::default(),
        };
        job.encode()
    }

    #[tokio::test]
    async fn a_letter_says_why_it_is_there_and_for_which_image() {
        let attributes = [
            (failure::REASON, "layer-memory"),
            (failure::MESSAGE, "needs 812 MiB"),
            (failure::MESSAGE_ID, "m-1"),
            (failure::QUEUE, "live"),
            (failure::AT, "2026-08-01T12:34:56Z"),
            (failure::ATTEMPTS, "3"),
        ];
        let letter = Letter::of(&message(&body("team/app", Some("1")), &attributes).await);
        assert_eq!(letter.image().unwrap(), "registry.example/team/app:1");
        assert_eq!(
            (letter.reason.as_str(), letter.detail.as_str()),
            ("layer-memory", "needs 812 MiB")
        );
        assert_eq!((letter.failed_id.as_str(), letter.queue.as_deref()), ("m-1", Some("live")));
        assert_eq!(letter.attempts, 3);
        let later = letter.failed_at + Duration::from_hours(2);
        assert_eq!(letter.age(later), Duration::from_hours(2));
        assert_eq!(Timestamp::from(letter.failed_at).to_string(), "2026-08-01T12:34:56Z");
    }

    #[tokio::test]
    async fn one_that_the_queue_moved_says_what_its_last_try_said() {
        let attributes = [
            (history_attribute::LAST_REASON, "throttled"),
            (history_attribute::LAST_MESSAGE, "too many requests"),
            (history_attribute::ATTEMPTS, "2"),
        ];
        let message = message("no job", &attributes).await;
        let letter = Letter::of(&message);
        assert_eq!(letter.reason, RECEIVED_TOO_OFTEN);
        assert!(letter.detail.ends_with("throttled: too many requests"), "{}", letter.detail);
        assert_eq!((letter.attempts, letter.image()), (2, None));
        assert_eq!((&letter.failed_id, letter.failed_at), (&letter.id, message.sent_at));
        assert!(again(&message).attributes.is_empty());
    }

    #[tokio::test]
    async fn what_others_wrote_is_disarmed_and_nothing_of_it_is_believed() {
        let attributes = [
            (failure::REASON, "a\u{85}[2J"),
            (failure::AT, "yesterday"),
            (failure::ATTEMPTS, "many"),
        ];
        let message = message(&"x\u{202e}".repeat(4_000), &attributes).await;
        let letter = Letter::of(&message);
        assert!(!letter.reason.contains('\u{85}') && !letter.body.contains('\u{202e}'));
        assert!(letter.body.chars().count() <= crate::shown_text::MAX_TEXT + 1);
        assert_eq!((letter.failed_at, letter.attempts), (message.sent_at, 0));
    }
}
