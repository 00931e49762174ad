//! What the commands for operators share.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::SystemTime;

use soci_aws::SqsQueue;
use soci_aws::sdk::SdkConfig;
use soci_jobs::RateLimiter;
use soci_push::event::Timestamp;
use soci_push::{EventTypes, JobMessage, PushRules, TagFilter, TagFilters};
use soci_queue::{Group, Outgoing, QueueError};
use soci_text::error_chain;

use crate::cli::WorkArgs;
use crate::{process, report};

/// Most messages handed to a [`Sink`] at once, as SQS has it.
const BATCH: usize = 10;

/// How a command ended that has something to print in any case.
pub(super) struct CommandOutput {
    /// The result, for people or as JSON.
    pub(super) text: String,
    /// What went wrong.
    pub(super) failures: Vec<String>,
}

/// Runs a command to its end. The exit code is that of the signal that ended it early, else 1 if anything went wrong.
pub(super) fn run(work: impl Future<Output = Result<CommandOutput, String>>) -> ExitCode {
    use std::io::Write as _;

    let outcome = process::block_on(work).map_err(|error| error_chain(error.as_ref()));
    let CommandOutput { text, failures } = match outcome.flatten() {
        Ok(outcome) => outcome,
        Err(failure) => CommandOutput { text: String::new(), failures: vec![failure] },
    };
    let printed = report::printed(std::io::stdout().write_all(text.as_bytes()));
    for failure in &failures {
        report::complain(failure);
    }
    match process::stopped_by() {
        _ if failures.is_empty() => printed,
        Some(signal) => ExitCode::from(signal.exit_code()),
        None => ExitCode::FAILURE,
    }
}

/// Tells how far a command is on standard error. Nobody is left to tell if that fails.
pub(super) fn progress(message: impl std::fmt::Display) {
    use std::io::Write as _;

    let _ = writeln!(std::io::stderr(), "{message}");
}

/// Opens a queue. A variable that is set to nothing counts as not set.
pub(super) fn open(config: &SdkConfig, url: Option<&str>) -> Result<Option<SqsQueue>, String> {
    let url = url.map(str::trim).filter(|url| !url.is_empty());
    let queue = url.map(|url| SqsQueue::new(config, url));
    queue.transpose().map_err(|error| error_chain(&error))
}

/// Where jobs are put, several at once.
pub(super) trait Sink {
    /// Puts messages there; after an error some of them may be there.
    async fn put(&self, messages: &[Outgoing]) -> Result<(), QueueError>;
}

impl Sink for SqsQueue {
    async fn put(&self, messages: &[Outgoing]) -> Result<(), QueueError> {
        self.send_batch(messages).await.map(drop)
    }
}

/// Puts jobs on a queue at a limited rate, a few at a time.
pub(super) struct Enqueuer<'a, S> {
    sink: &'a S,
    limiter: Option<RateLimiter>,
    batch: usize,
    waiting: Vec<Outgoing>,
    /// Whether jobs are only counted.
    dry_run: bool,
    /// Jobs that are on the queue, or would be.
    pub(super) sent: u64,
}

impl<'a, S: Sink> Enqueuer<'a, S> {
    pub(super) fn new(sink: &'a S, rate: Option<NonZeroU32>) -> Self {
        let limiter = rate.map(RateLimiter::per_second);
        let batch = rate.and_then(|rate| rate.get().try_into().ok()).unwrap_or(BATCH).min(BATCH);
        Self { sink, limiter, batch, waiting: Vec::new(), dry_run: false, sent: 0 }
    }

    /// One that only counts what it would send.
    pub(super) fn dry_run(sink: &'a S) -> Self {
        Self { dry_run: true, ..Self::new(sink, None) }
    }

    /// Takes a job, and sends it with others as soon as there are enough.
    pub(super) async fn add(&mut self, job: &JobMessage) -> Result<(), QueueError> {
        if let Some(limiter) = &self.limiter {
            limiter.ready().await;
        }
        self.waiting.push(Outgoing {
            body: job.encode(),
            group: Some(Group::of_repository(job.repository.name())),
            attributes: Vec::new(),
        });
        if self.waiting.len() >= self.batch { self.flush().await } else { Ok(()) }
    }

    /// Sends what waits.
    pub(super) async fn flush(&mut self) -> Result<(), QueueError> {
        if !self.waiting.is_empty() {
            if !self.dry_run {
                self.sink.put(&self.waiting).await?;
            }
            self.sent += self.waiting.drain(..).count() as u64;
        }
        Ok(())
    }
}

/// Which pushes are work, by these flags. They say nothing of images that came without a push.
pub(super) fn push_rules(work: &WorkArgs, filter: &[TagFilter]) -> PushRules {
    PushRules {
        version: work.index_version,
        output_suffix: work.tag_suffix.clone(),
        filters: TagFilters::or_all(filter.to_vec()),
        event_types: EventTypes::default(),
        remove_results: false,
    }
}

/// How often each of some reasons occurred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts(BTreeMap<String, u64>);

impl Counts {
    pub(super) fn add(&mut self, reason: &str) {
        *self.0.entry(reason.to_owned()).or_default() += 1;
    }

    pub(super) fn has(&self, reason: &str) -> bool {
        self.0.contains_key(reason)
    }

    pub(super) fn most_frequent_first(&self) -> impl Iterator<Item = (&str, u64)> {
        let mut counts: Vec<_> = self.0.iter().map(|(reason, n)| (reason.as_str(), *n)).collect();
        counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        counts.into_iter()
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (reason, count) in &other.0 {
            *self.0.entry(reason.clone()).or_default() += count;
        }
    }

    pub(super) fn remove(&mut self, reason: &str) -> u64 {
        self.0.remove(reason).unwrap_or(0)
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }
}

/// `3 untagged, 1 signature`, or `-`; the most frequent first.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("-");
        }
        for (position, (reason, count)) in self.most_frequent_first().enumerate() {
            let comma = if position > 0 { ", " } else { "" };
            write!(f, "{comma}{count} {reason}")?;
        }
        Ok(())
    }
}

/// The time, as jobs carry it.
pub(super) fn now() -> Timestamp {
    SystemTime::now().into()
}

#[cfg(test)]
pub(super) mod tests {
    use soci_queue::Queue as _;
    use soci_sandbox::MemoryQueue;

    use super::*;

    impl Sink for MemoryQueue {
        async fn put(&self, messages: &[Outgoing]) -> Result<(), QueueError> {
            for message in messages {
                self.send(message).await?;
            }
            Ok(())
        }
    }

    pub(in super::super) fn job(name: &str) -> JobMessage {
        JobMessage {
            repository: soci_oci::Repository::new("registry.example", name).unwrap(),
            digest: soci_oci::Digest::sha256_of(name.as_bytes()),
            tag: None,
            event_id: None,
            enqueued_at: Timestamp::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_go_out_at_the_rate_and_all_of_them() {
        let queue = MemoryQueue::named("jobs");
        let mut enqueuer = Enqueuer::new(&queue, NonZeroU32::new(4));
        let started = tokio::time::Instant::now();
        for number in 0..10 {
            enqueuer.add(&job(&format!("app{number}"))).await.unwrap();
        }
        assert_eq!((enqueuer.sent, started.elapsed().as_millis()), (8, 2250));
        enqueuer.flush().await.unwrap();
        assert_eq!((enqueuer.sent, queue.backlog().await.unwrap().visible), (10, 10));
    }

    #[test]
    fn counts_tell_the_most_frequent_first() {
        let mut counts = Counts::default();
        assert_eq!(counts.to_string(), "-");
        for reason in ["b", "a", "b", "c"] {
            counts.add(reason);
        }
        assert_eq!(counts.to_string(), "2 b, 1 a, 1 c");
        assert_eq!(counts.json().to_string(), r#"{"a":1,"b":2,"c":1}"#);
    }
}
