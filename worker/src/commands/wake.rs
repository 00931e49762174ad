//! Wakes a worker for what commands enqueue.
//!
//! Where no task runs, an alarm starts one as soon as jobs wait. What SQS says of a queue that was idle for six hours comes up
//! to fifteen minutes late, so CloudWatch is told of them by the metric that the filter Lambda writes as well. A
//! function's log lines become metrics; a command may run anywhere, so it calls CloudWatch. That is told at once, and each minute while more comes. Where it
//! fails, the jobs are on the queue all the same and only wait for SQS's own word, so it is no failure of the command.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use soci_aws::CloudWatch;
use soci_aws::sdk::SdkConfig;
use soci_logs::{ENQUEUED, EmfNamespace};
use soci_queue::{Outgoing, QueueError};
use tokio::time::{Instant, timeout};

use super::enqueue::{Sink, progress};
use crate::cli::WakeArgs;

/// How often CloudWatch is told, which counts by minutes.
const EVERY: Duration = Duration::from_mins(1);

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who is told how many jobs were enqueued.
pub(super) trait Listener {
    /// Tells it. The error is for people.
    async fn tell(&self, jobs: u64) -> Result<(), String>;
}

/// CloudWatch, under a namespace.
pub(super) struct Metrics {
    cloudwatch: CloudWatch,
    namespace: EmfNamespace,
}

impl Listener for Metrics {
    async fn tell(&self, jobs: u64) -> Result<(), String> {
        self.cloudwatch.count(self.namespace.as_str(), ENQUEUED, jobs).await
    }
}

/// Tells of jobs that were enqueued, if anybody is to be told.
pub(super) struct Waker<L> {
    listener: Option<L>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    /// Jobs that nobody was told of.
    untold: u64,
    last: Option<Instant>,
    failed: bool,
}

impl Waker<Metrics> {
    /// One that tells CloudWatch, if the flags say where; nothing counts as not said.
    pub(super) fn of(args: &WakeArgs, config: &SdkConfig) -> Result<Self, String> {
        let namespace = args.metrics_namespace.as_deref().map(str::trim);
        let namespace = namespace.filter(|namespace| !namespace.is_empty());
        let namespace: Option<EmfNamespace> = namespace
            .map(str::parse)
            .transpose()
            .map_err(|error| format!("--metrics-namespace (EMF_NAMESPACE): {error}"))?;
        let metrics = |namespace| Metrics { cloudwatch: CloudWatch::new(config), namespace };
        Ok(Self::new(namespace.map(metrics)))
    }
}

impl<L: Listener> Waker<L> {
    pub(super) fn new(listener: Option<L>) -> Self {
        Self { listener, told: Mutex::default() }
    }

    /// So many more jobs are on the queue.
    pub(super) async fn enqueued(&self, jobs: u64) {
        let Some(listener) = &self.listener else { return };
        let Some(jobs) = self.due(jobs) else { return };
        let failure = match timeout(PATIENCE, listener.tell(jobs)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => format!("no answer for {PATIENCE:?}"),
        };
        self.told.lock().unwrap_or_else(PoisonError::into_inner).failed = true;
        progress(format_args!(
            "CloudWatch could not be told of the jobs: {failure}. A worker that sleeps may take fifteen minutes to find them"
        ));
    }

    /// How many jobs to tell of now, if it is time.
    fn due(&self, jobs: u64) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.untold = told.untold.saturating_add(jobs);
        let soon = told.last.is_some_and(|last| last.elapsed() < EVERY);
        if told.failed || soon || told.untold == 0 {
            return None;
        }
        told.last = Some(Instant::now());
        Some(std::mem::take(&mut told.untold))
    }
}

/// A queue whose jobs are told of.
pub(super) struct Waking<'a, S, L> {
    pub(super) queue: &'a S,
    pub(super) waker: &'a Waker<L>,
}

impl<S: Sink, L: Listener> Sink for Waking<'_, S, L> {
    async fn put(&self, messages: &[Outgoing]) -> Result<(), QueueError> {
        self.queue.put(messages).await?;
        self.waker.enqueued(messages.len() as u64).await;
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use soci_queue::{ErrorKind, Operation};
    use soci_sandbox::MemoryQueue;

    use super::*;

    /// Remembers what it was told.
    #[derive(Default)]
    pub(in super::super) struct Heard {
        jobs: Mutex<Vec<u64>>,
        refuses: bool,
        hangs: bool,
    }

    impl Listener for &Heard {
        async fn tell(&self, jobs: u64) -> Result<(), String> {
            self.jobs.lock().unwrap().push(jobs);
            if self.hangs {
                std::future::pending::<()>().await;
            }
            if self.refuses { Err("no".to_owned()) } else { Ok(()) }
        }
    }

    impl Heard {
        pub(in super::super) fn all(&self) -> Vec<u64> {
            self.jobs.lock().unwrap().clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_job_is_told_at_once_and_more_of_them_each_minute() {
        let heard = Heard::default();
        let waker = Waker::new(Some(&heard));
        for _ in 0..130 {
            waker.enqueued(10).await;
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(heard.all(), [10, 600, 600]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_heard_is_no_failure_and_is_not_said_again() {
        for heard in
            [Heard { refuses: true, ..Heard::default() }, Heard { hangs: true, ..Heard::default() }]
        {
            let queue = MemoryQueue::named("jobs");
            let waker = Waker::new(Some(&heard));
            let sink = Waking { queue: &queue, waker: &waker };
            let message = Outgoing { body: "1".to_owned(), group: None, attributes: Vec::new() };
            let begun = Instant::now();
            for _ in 0..3 {
                sink.put(std::slice::from_ref(&message)).await.unwrap();
                tokio::time::advance(EVERY).await;
            }
            assert_eq!((queue.messages().len(), heard.all()), (3, vec![1]));
            assert!(begun.elapsed() <= 3 * EVERY + PATIENCE);
        }
    }

    #[tokio::test]
    async fn nobody_is_told_of_what_the_queue_did_not_take() {
        let (queue, heard) = (MemoryQueue::named("jobs"), Heard::default());
        let waker = Waker::new(Some(&heard));
        queue.fail_next(Operation::Send, 1, ErrorKind::Permanent);
        let message = Outgoing { body: "1".to_owned(), group: None, attributes: Vec::new() };
        let sink = Waking { queue: &queue, waker: &waker };
        assert!(sink.put(std::slice::from_ref(&message)).await.is_err());
        assert!(heard.all().is_empty());
    }
}
