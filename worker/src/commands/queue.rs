//! `queue`: how the queues stand.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use soci_aws::{CloudWatch, sdk};
use soci_jobs::reasons::RECEIVED_TOO_OFTEN;
use soci_queue::{Backlog, Queue, QueueError};
use soci_service::dead_letters::{Letter, Walk};
use soci_service::words::{count, duration};
use soci_text::error_chain;

use super::enqueue::{self, CommandOutput, Counts};
use crate::cli::QueueArgs;
use crate::report::Column::{Number, Text};
use crate::report::table;
use crate::usage::usage;

/// How long messages are hidden that are looked at, if giving them back fails.
const VISIBILITY: Duration = Duration::from_mins(1);

/// What there is to say about letters without a reason.
const NO_REASON: &str = "  received-too-often: SQS moved these by itself after too many receives, so \
                         nothing on them says why. Either a worker died at the last receive, or may not \
                         send to its queues, or something else than a worker received them\n";

pub(crate) fn queue(args: &QueueArgs) -> ExitCode {
    enqueue::run(async {
        let config = sdk::load().await;
        let ages = args.ages.then(|| CloudWatch::new(&config));
        let mut standings = Vec::new();
        let mut failures = Vec::new();
        for (role, url) in [
            ("live", &args.queue_url),
            ("backfill", &args.backfill_queue_url),
            ("dead letters", &args.dead_letter_queue_url),
        ] {
            let Some(queue) = enqueue::open(&config, url.as_deref())? else { continue };
            let queue = match &ages {
                Some(ages) => queue.with_ages(ages.clone()),
                None => queue,
            };
            let peek = if role == "dead letters" { args.peek } else { 0 };
            match look(&queue, role, peek).await {
                Ok(standing) => {
                    failures.extend(standing.unknown.clone());
                    standings.push(standing);
                }
                Err(error) => failures.push(error_chain(&error)),
            }
        }
        if standings.is_empty() && failures.is_empty() {
            usage(
                "no queue: give --queue-url, --backfill-queue-url or --dead-letter-queue-url, or the variables of these names",
            );
        }
        let now = SystemTime::now();
        let text = if args.json {
            let queues: Vec<_> = standings.iter().map(|standing| standing.json(now)).collect();
            let at = soci_push::event::Timestamp::from(now).to_string();
            format!("{}\n", json!({ "counted_at": at, "queues": queues, "failures": failures }))
        } else {
            text(&standings, now)
        };
        Ok(CommandOutput { text, failures })
    })
}

/// How a queue stands.
struct Standing {
    role: &'static str,
    name: String,
    backlog: Backlog,
    /// When the oldest message was sent, if the queue tells.
    oldest: Option<SystemTime>,
    /// Why that is not known, if it was asked and not told.
    unknown: Option<String>,
    peek: Option<Peek>,
}

/// What some messages of a queue say.
#[derive(Debug, Default)]
struct Peek {
    letters: usize,
    reasons: Counts,
    /// When the first of them failed.
    oldest: Option<SystemTime>,
}

async fn look<Q: Queue>(
    queue: &Q,
    role: &'static str,
    peek_at: usize,
) -> Result<Standing, QueueError> {
    // Counted first, as looking hides messages for a moment.
    let backlog = queue.backlog().await?;
    let oldest = queue.oldest().await;
    let peek = if peek_at > 0 { Some(peek(queue, peek_at).await?) } else { None };
    let (oldest, unknown) = match oldest {
        Ok(oldest) => (oldest, None),
        Err(error) => (None, Some(error_chain(&error))),
    };
    Ok(Standing { role, name: queue.name().to_owned(), backlog, oldest, unknown, peek })
}

/// Looks at up to `max` letters and gives them back at once.
async fn peek<Q: Queue>(queue: &Q, max: usize) -> Result<Peek, QueueError> {
    let (mut walk, mut peek) = (Walk::new(queue.clone(), VISIBILITY), Peek::default());
    let result = loop {
        let room = max.saturating_sub(peek.letters);
        if room == 0 {
            break Ok(());
        }
        match walk.next(room).await {
            Ok(messages) if messages.is_empty() => break Ok(()),
            Ok(messages) => messages.iter().for_each(|message| peek.add(&Letter::of(message))),
            Err(error) => break Err(error),
        }
    };
    // They are visible again after a minute in any case.
    let _ = walk.give_back().await;
    result.map(|()| peek)
}

impl Peek {
    fn add(&mut self, letter: &Letter) {
        self.letters += 1;
        self.reasons.add(&letter.reason);
        self.oldest = Some(self.oldest.map_or(letter.failed_at, |o| o.min(letter.failed_at)));
    }
}

impl Standing {
    /// Age of the oldest message: of the letters that were looked at, or as the queue tells.
    fn age(&self, now: SystemTime) -> Option<Duration> {
        let seen = self.peek.as_ref().and_then(|peek| peek.oldest);
        let oldest = self.oldest.into_iter().chain(seen).min();
        oldest.map(|oldest| now.duration_since(oldest).unwrap_or_default())
    }

    fn json(&self, now: SystemTime) -> Value {
        let Backlog { visible, in_flight, delayed } = self.backlog;
        let peek = self.peek.as_ref();
        json!({
            "role": self.role,
            "name": self.name,
            "visible": visible,
            "in_flight": in_flight,
            "delayed": delayed,
            "oldest_seconds": self.age(now).map(|age| age.as_secs()),
            "looked_at": peek.map(|peek| peek.letters),
            "reasons": peek.map(|peek| peek.reasons.json()),
        })
    }
}

/// The table of the queues. Counts are estimates of the moment that its last line names.
fn text(standings: &[Standing], now: SystemTime) -> String {
    let rows = standings.iter().map(|standing| {
        let Backlog { visible, in_flight, delayed } = standing.backlog;
        let age = standing.age(now);
        [
            standing.role.to_owned(),
            standing.name.clone(),
            visible.to_string(),
            in_flight.to_string(),
            delayed.to_string(),
            age.map_or("-".to_owned(), |age| duration(age.as_secs_f64())),
        ]
    });
    if standings.is_empty() {
        return String::new();
    }
    let mut text = table(
        [
            Text("queue"),
            Text("name"),
            Number("visible"),
            Number("in flight"),
            Number("delayed"),
            Number("oldest"),
        ],
        rows,
    );
    for peek in standings.iter().filter_map(|standing| standing.peek.as_ref()) {
        if peek.letters > 0 {
            let reasons = &peek.reasons;
            let _ = writeln!(
                text,
                "  reasons of {} that were looked at: {reasons}",
                count(peek.letters as u64, "dead letter")
            );
            if reasons.has(RECEIVED_TOO_OFTEN) {
                text.push_str(NO_REASON);
            }
        }
    }
    let _ = writeln!(text, "  counted at {}", soci_push::event::Timestamp::from(now));
    text
}

#[cfg(test)]
mod tests {
    use soci_queue::{Operation, Outgoing, failure};
    use soci_sandbox::MemoryQueue;

    use super::*;

    async fn dead_letters(reasons: &[Option<&str>]) -> MemoryQueue {
        let queue = MemoryQueue::named("dead");
        for reason in reasons {
            let attribute = |reason: &&str| (failure::REASON.to_owned(), (*reason).to_owned());
            let attributes = reason.as_ref().map(attribute).into_iter().collect();
            let message = Outgoing { body: "{}".to_owned(), group: None, attributes };
            queue.send(&message).await.unwrap();
        }
        queue
    }

    #[tokio::test(start_paused = true)]
    async fn dead_letters_are_counted_by_reason_and_given_back() {
        let reasons = [&[None; 12][..], &[Some("no-such-image"); 3][..]].concat();
        let queue = dead_letters(&reasons).await;
        let standing = look(&queue, "dead letters", 100).await.unwrap();
        let peek = standing.peek.as_ref().unwrap();
        assert_eq!(peek.letters, 15);
        assert_eq!(peek.reasons.to_string(), "12 received-too-often, 3 no-such-image");
        let backlog = Backlog { visible: 15, in_flight: 0, delayed: 0 };
        assert_eq!((standing.backlog, queue.backlog().await.unwrap()), (backlog, backlog));
        let json = standing.json(peek.oldest.unwrap() + Duration::from_secs(90));
        assert_eq!((&json["oldest_seconds"], &json["looked_at"]), (&json!(90), &json!(15)));
        assert_eq!(json["reasons"]["no-such-image"], 3);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_messages_are_received_than_wanted() {
        let queue = dead_letters(&[None; 30]).await;
        let standing = look(&queue, "dead letters", 12).await.unwrap();
        assert_eq!(standing.peek.unwrap().letters, 12);
        let standing = look(&queue, "live", 0).await.unwrap();
        assert!(standing.peek.is_none());
        assert_eq!(queue.calls_of(Operation::Receive).len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_names_every_queue_and_says_what_is_not_known() {
        let queue = dead_letters(&[None]).await;
        let live = look(&queue, "live", 0).await.unwrap();
        let dead = look(&queue, "dead letters", 1).await.unwrap();
        let now = dead.peek.as_ref().unwrap().oldest.unwrap() + Duration::from_hours(2);
        let text = text(&[live, dead], now);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].contains("live") && lines[1].ends_with("2 h"), "{text}");
        assert!(lines[2].contains("dead letters") && lines[2].ends_with("2 h"), "{text}");
        assert!(lines[3].contains("1 received-too-often"), "{text}");
        assert!(lines[4].contains("nothing on them says why"), "{text}");
        assert!(lines[5].starts_with("  counted at 20"), "{text}");
    }
}
