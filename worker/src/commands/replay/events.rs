//! Enqueues what events in a file ask for.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use serde_json::{Value, json};
use soci_push::job::{MessageContent, MessageLimits};
use soci_push::{JobError, JobMessage, PushRules, SkippedPush};
use soci_queue::QueueError;
use soci_text::error_chain;

use super::super::enqueue::{self, Counts, Enqueuer, Sink};

/// Most lines that are complained about one by one.
const MAX_COMPLAINTS: usize = 100;

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Lines that are not empty.
    lines: u64,
    enqueued: u64,
    skipped: Counts,
    /// Lines that are no event.
    bad: u64,
    failures: Vec<String>,
}

/// Opens a file, or standard input for `-`.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead>, String> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path);
    let file = file.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

/// Reads one JSON object a line: events, jobs, and Lambda's records of invocations that failed.
/// Empty lines are passed over, wrong ones told with their number.
pub(super) async fn replay<S: Sink>(
    mut input: impl BufRead,
    enqueuer: &mut Enqueuer<'_, S>,
    rules: &PushRules,
) -> Report {
    let mut report = Report::default();
    let (mut line, mut number) = (Vec::new(), 0_u64);
    loop {
        number += 1;
        match next_line(&mut input, &mut line) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                report.failures.push(format!("line {number} cannot be read: {error}"));
                break;
            }
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        report.lines += 1;
        let sent = match understand(&line, rules) {
            Ok(Ok(job)) => enqueuer.add(&job).await,
            Ok(Err(skipped)) => {
                report.skipped.add(skipped.label());
                Ok(())
            }
            Err(error) => {
                report.bad += 1;
                if report.failures.len() < MAX_COMPLAINTS {
                    report.failures.push(format!("line {number}: {}", error_chain(&error)));
                }
                Ok(())
            }
        };
        if let Err(error) = sent {
            return report.stopped(number, &error, enqueuer.sent);
        }
    }
    if let Err(error) = enqueuer.flush().await {
        return report.stopped(number, &error, enqueuer.sent);
    }
    report.enqueued = enqueuer.sent;
    report
}

/// The job that a line asks for, or why there is none.
fn understand(line: &[u8], rules: &PushRules) -> Result<Result<JobMessage, SkippedPush>, JobError> {
    Ok(match JobMessage::parse(line, MessageLimits::DEFAULT)?.content {
        MessageContent::Job(job) => Ok(job),
        MessageContent::Ignored(ignored) => Err(SkippedPush::Ignored(ignored)),
        // What was deleted long ago is for `prune`, which looks at all of a repository at once.
        MessageContent::Deletion(_) => Err(SkippedPush::deletion()),
        MessageContent::Push(push) => {
            rules.judge(&push).map(|_| JobMessage::from_push(&push, enqueue::now()))
        }
    })
}

/// Reads a line without holding more of it than a message can have, and a byte; `false` at the end.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let limit = MessageLimits::DEFAULT.max_bytes as u64 + 1;
    if input.by_ref().take(limit).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.len() as u64 == limit && !line.ends_with(b"\n") {
        input.skip_until(b'\n')?;
    }
    Ok(true)
}

impl Report {
    fn stopped(mut self, line: u64, error: &QueueError, sent: u64) -> Self {
        self.enqueued = sent;
        self.failures.push(format!("stopped at line {line}: {}", error_chain(error)));
        self
    }

    pub(super) fn failures(&self) -> Vec<String> {
        let mut failures = self.failures.clone();
        let untold = self.bad.saturating_sub(MAX_COMPLAINTS as u64);
        if untold > 0 {
            failures.push(format!("{untold} more lines are wrong"));
        }
        failures
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "lines": self.lines,
            "enqueued": self.enqueued,
            "skipped": self.skipped.json(),
            "bad": self.bad,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lines, enqueued, skipped, bad, .. } = self;
        writeln!(f, "{lines} lines: {enqueued} jobs enqueued, skipped {skipped}, {bad} wrong")
    }
}

#[cfg(test)]
mod tests {
    use soci_manifest::Version;
    use soci_queue::{ErrorKind, Operation, Queue as _};
    use soci_sandbox::MemoryQueue;

    use super::*;

    fn event(tag: &str) -> String {
        json!({
            "detail-type": "ECR Image Action",
            "source": "aws.ecr",
            "account": "123456789012",
            "region": "eu-west-1",
            "detail": {
                "result": "SUCCESS",
                "action-type": "PUSH",
                "repository-name": "team/app",
                "image-digest": soci_oci::Digest::sha256_of(tag.as_bytes()).to_string(),
                "image-tag": tag,
            }
        })
        .to_string()
    }

    fn rules(filters: &str) -> PushRules {
        PushRules {
            version: Version::V2,
            output_suffix: "-soci".to_owned(),
            filters: filters.parse().unwrap(),
            event_types: soci_push::EventTypes::default(),
            remove_results: false,
        }
    }

    async fn run(queue: &MemoryQueue, text: &str, filters: &str) -> Report {
        replay(text.as_bytes(), &mut Enqueuer::new(queue, None), &rules(filters)).await
    }

    #[tokio::test]
    async fn wrong_lines_are_told_by_number_and_do_not_stop_the_rest() {
        let queue = MemoryQueue::named("jobs");
        let job = enqueue::tests::job("other").encode();
        let large = format!("\"{}\"", "x".repeat(3 << 20));
        let text = format!("{}\n\n{{}}\n{large}\n{}\nno\n{job}", event("1"), event("2-soci"));
        let report = run(&queue, &text, "*:*").await;
        assert_eq!((report.lines, report.enqueued, report.bad), (6, 2, 3));
        assert_eq!(report.skipped.to_string(), "1 output-tag");
        let failures = report.failures();
        for (failure, line) in failures.iter().zip([3, 4, 6]) {
            assert!(failure.starts_with(&format!("line {line}: ")), "{failure}");
        }
        assert_eq!(failures.len(), 3);
        assert_eq!(queue.backlog().await.unwrap().visible, 2);
    }

    #[tokio::test]
    async fn filters_hold_for_events() {
        let queue = MemoryQueue::named("jobs");
        let text = [event("1"), event("v2"), event("3").replace("PUSH", "DELETE")].join("\n");
        let report = run(&queue, &text, "team/*:v*").await;
        assert_eq!(report.enqueued, 1);
        assert_eq!(report.skipped.to_string(), "1 no-filter-matches, 1 other-event");
        assert!(report.failures().is_empty());
    }

    #[tokio::test]
    async fn events_of_the_kinds_that_are_wanted_are_taken() {
        let copy = event("2").replace("ECR Image", "ECR Replication").replace("PUSH", "REPLICATE");
        let text = [event("1"), copy].join("\n");
        for (event_types, enqueued) in [
            ("ECR Image Action", 1),
            ("ECR Replication Action", 1),
            ("ECR Replication Action,ECR Image Action", 2),
        ] {
            let queue = MemoryQueue::named("jobs");
            let rules = PushRules { event_types: event_types.parse().unwrap(), ..rules("*:*") };
            let report = replay(text.as_bytes(), &mut Enqueuer::new(&queue, None), &rules).await;
            assert_eq!((report.enqueued, report.bad), (enqueued, 0), "{event_types}");
        }
    }

    #[tokio::test]
    async fn a_queue_that_fails_stops_it_and_the_report_says_where() {
        let queue = MemoryQueue::named("jobs");
        queue.fail_next(Operation::Send, 1, ErrorKind::Permanent);
        let text = vec![event("1"); 15].join("\n");
        let report = run(&queue, &text, "*:*").await;
        assert!(report.failures()[0].starts_with("stopped at line 10: "), "{report:?}");
        assert_eq!((report.lines, report.enqueued), (10, 0));
    }

    #[tokio::test]
    async fn complaints_are_bounded() {
        let queue = MemoryQueue::named("jobs");
        let report = run(&queue, &"x\n".repeat(250), "*:*").await;
        let failures = report.failures();
        assert_eq!((report.bad, failures.len()), (250, 101));
        assert_eq!(failures[100], "150 more lines are wrong");
    }
}
