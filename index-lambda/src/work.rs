//! What is done about one message.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use soci_indexer::Reason;
use soci_jobs::{Outcome, RepositoryOpener, Runner, SECOND_LOOK_AFTER, Why, reasons};
use soci_lambda::Invocation;
use soci_push::job::JobError;
use soci_push::{Job, JobMessage, PushRules, Task, understand};
use soci_queue::{DeadLetter, Group, JobHistory, MessageId, Outgoing, Queue};
use soci_text::{Runbook, error_chain};
use tokio::time::{Instant, timeout_at};

/// What has to be left of an invocation after a message was sent, to answer and to log.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// Indexes images, and sends elsewhere what it does not index.
#[derive(Clone, Debug)]
pub struct Worker<S, Q> {
    /// Which messages are work.
    pub rules: PushRules,
    /// Does it.
    pub runner: Runner<S>,
    /// Takes what cannot be finished here.
    pub queue: Q,
    /// Takes what can never be done.
    pub dead_letters: Option<Q>,
    /// Where dead letters lead whoever reads them.
    pub runbook: Runbook,
    /// How long before the deadline an unfinished image is handed over.
    pub margin: Duration,
}

/// A message and where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Its text.
    pub body: &'a str,
    /// Its identifier, or that of the invocation.
    pub id: &'a str,
    /// Name of its queue; empty if it comes from none.
    pub from: &'a str,
    /// Whether it is on the queue that jobs are handed to, and stays there if it is not done.
    pub stays: bool,
}

/// What became of a message.
#[derive(Debug)]
pub struct Handled {
    /// What it asks for, or why it is not understood.
    pub asked: Result<Task, JobError>,
    /// How that ended here.
    pub outcome: Outcome,
    /// Where it is now.
    pub delivery: Delivery,
}

/// Where a message is once the function is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Nowhere: nothing is left to do.
    NotNeeded,
    /// A job for the same image is on the queue, as this message.
    HandedOver(MessageId),
    /// It is on the dead-letter queue, as this message.
    DeadLettered(MessageId),
    /// It is on no other queue, though something is left to do.
    Failed {
        /// Why the queue did not take it, if there is one and it was asked.
        error: Option<String>,
    },
}

impl Handled {
    /// The image that the message is about, if that is understood.
    pub fn job(&self) -> Option<&Job> {
        match &self.asked {
            Ok(Task::Index(job)) => Some(job),
            Ok(Task::Skip { pushed, .. }) => pushed.as_ref(),
            Err(_) => None,
        }
    }
}

impl<S: RepositoryOpener, Q: Queue> Worker<S, Q> {
    /// Does what a message asks for, as long as the invocation has time.
    pub async fn work(&self, message: &Incoming<'_>, invocation: &Invocation) -> Handled {
        let asked = understand(message.body.as_bytes(), &self.rules);
        let outcome = match &asked {
            Ok(Task::Index(job)) => self.index(job, invocation).await,
            Ok(Task::Skip { why, .. }) => Outcome::Skipped(Why::new(why.label(), why.to_string())),
            Err(error) => Outcome::Rejected(Why::new(reasons::MALFORMED, error_chain(error))),
        };
        let job = match &asked {
            Ok(Task::Index(job)) => Some(job),
            _ => None,
        };
        let delivery = match (&outcome, job) {
            // Only a registry says that it has ended: a worker has a second look, some time later.
            (outcome, Some(job)) if outcome.doubt().is_some() => {
                self.hand_over(message, job, outcome, invocation).await
            }
            // A worker has more memory.
            (Outcome::Rejected(why), Some(job))
                if why.found.is_some_and(Reason::is_of_this_process) =>
            {
                self.hand_over(message, job, &outcome, invocation).await
            }
            (Outcome::Rejected(why), _) => self.reject(message, why, job, invocation).await,
            (Outcome::Failed(_) | Outcome::Postponed(_), Some(job)) => {
                self.hand_over(message, job, &outcome, invocation).await
            }
            _ => Delivery::NotNeeded,
        };
        Handled { asked, outcome, delivery }
    }

    /// Indexes an image while there is time. What is not finished is a failure that may pass.
    async fn index(&self, job: &Job, invocation: &Invocation) -> Outcome {
        let out_of_time = |detail: &str| Outcome::Failed(Why::new("deadline", detail));
        let stop_at = invocation.deadline.checked_sub(self.margin);
        let Some(stop_at) = stop_at.filter(|stop_at| Instant::now() < *stop_at) else {
            return out_of_time("the invocation has no time left to begin");
        };
        // Boxed because it is by far the largest part of this future.
        let run = Box::pin(self.runner.run(job, Arc::new(|_| {})));
        let outcome = timeout_at(stop_at, run).await;
        outcome.unwrap_or_else(|_| out_of_time("the invocation has no time left to finish"))
    }

    /// Puts a job on the queue with what was found out here: how it failed, or what is to be looked at
    /// again.
    async fn hand_over(
        &self,
        message: &Incoming<'_>,
        job: &Job,
        outcome: &Outcome,
        invocation: &Invocation,
    ) -> Delivery {
        if message.stays {
            return Delivery::Failed { error: None };
        }
        let body = JobMessage {
            repository: job.repository.clone(),
            digest: job.digest,
            tag: job.tag.clone(),
            event_id: job.event_id.clone(),
            enqueued_at: invocation.now,
        }
        .encode();
        let now = SystemTime::now();
        let (history, delay) = match (outcome.doubt(), outcome) {
            (Some(why), _) => {
                let doubt = Some(why.doubt());
                (JobHistory { doubt, ..JobHistory::since(now) }, SECOND_LOOK_AFTER)
            }
            // That there was no time says nothing of the job.
            (None, Outcome::Failed(why)) if why.found.is_some() => {
                (JobHistory::since(now).failed(why.reason, &why.detail, now), Duration::ZERO)
            }
            _ => (JobHistory::since(now), Duration::ZERO),
        };
        let outgoing = history.carried_by(&body, Some(&group_of(job)), &[]);
        match send(&self.queue, &outgoing, delay, invocation.deadline).await {
            Ok(message) => Delivery::HandedOver(message),
            Err(error) => Delivery::Failed { error: Some(error) },
        }
    }

    async fn reject(
        &self,
        message: &Incoming<'_>,
        why: &Why,
        job: Option<&Job>,
        invocation: &Invocation,
    ) -> Delivery {
        let Some(dead_letters) = &self.dead_letters else {
            return Delivery::Failed { error: None };
        };
        let group = job.map(group_of);
        let letter = DeadLetter {
            body: message.body,
            group: group.as_ref(),
            attributes: &[],
            id: message.id,
            queue: message.from,
            reason: why.reason,
            runbook: &self.runbook.section(why.reason),
            detail: &why.detail,
            at: &invocation.now.to_string(),
            attempts: 0,
            first_failed_at: "",
            first_sent_at: "",
        }
        .outgoing();
        match send(dead_letters, &letter, Duration::ZERO, invocation.deadline).await {
            Ok(message) => Delivery::DeadLettered(message),
            Err(error) => Delivery::Failed { error: Some(error) },
        }
    }
}

fn group_of(job: &Job) -> Group {
    Group::of_repository(job.repository.name())
}

/// Sends a message while there is time to answer afterwards. The error is for people: whatever it
/// is, the message is not there.
async fn send<Q: Queue>(
    queue: &Q,
    outgoing: &Outgoing,
    delay: Duration,
    deadline: Instant,
) -> Result<MessageId, String> {
    let until = deadline.checked_sub(ANSWER_TIME).unwrap_or(deadline);
    match timeout_at(until, queue.send_after(outgoing, delay)).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(error)) => Err(error_chain(&error)),
        Err(_) => Err(format!("queue {} did not answer before the invocation ends", queue.name())),
    }
}
