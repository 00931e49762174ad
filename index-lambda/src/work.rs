//! What is done about one message.
//!
//! A message of the queue that jobs are handed to is settled here, as nobody else reads that queue then: by
//! [`NextStep`], the same rule as the worker's. What comes again does so as a fresh copy on that queue, so that only
//! invocations that died count against the queue's limit of receives. Everything else that is not done goes to that
//! queue, for whoever reads it.
//!
//! Lambda follows a chain of messages through a queue and back, and stops it after 16 invocations of a function (AWS Lambda
//! developer guide, "Use Lambda recursive loop detection"): the SDK hands on the identifier by which it does. So tries are
//! counted here ([`RETRIES`]), where a worker has a day. Turning that off is a setting that not every region has.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use soci_indexer::{ImageEvent, Reason};
use soci_jobs::{
    JobEnd, JobFacts, MessageAction, NextStep, Outcome, RepositoryOpener, RetryRule, Runner,
    SECOND_LOOK_AFTER, Unlimited, Why, reasons,
};
use soci_lambda::Invocation;
use soci_push::event::Timestamp;
use soci_push::job::JobError;
use soci_push::{Job, JobMessage, PushRules, Task, understand};
use soci_queue::{DeadLetter, Group, JobHistory, MessageId, Outgoing, Queue};
use soci_retry::Backoff;
use soci_text::{Runbook, error_chain};
use tokio::time::{Instant, timeout_at};

/// What has to be left of an invocation after a message was sent, to answer and to log.
pub(crate) const ANSWER_TIME: Duration = Duration::from_millis(500);

/// Reason of a try for which an invocation had too little time.
const DEADLINE: &str = "deadline";

/// How long the function tries what may pass: 13 times in one to two hours. With the look by which a job came to the queue,
/// and a second look at its end, that is below the 16 invocations of one chain.
pub const RETRIES: RetryRule = RetryRule {
    pauses: Backoff { first: Duration::from_mins(1), max: Duration::from_mins(15) },
    max_age: Duration::from_hours(24),
    max_tries: NonZeroU32::new(13),
};

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
    /// Whether it is on the queue that jobs are handed to, so that nobody else has it if it is not done.
    pub is_own: bool,
    /// How often it was received, this time included; 1 if it comes from no queue.
    pub receive_count: u32,
    /// What it says of its job.
    pub history: &'a JobHistory,
    /// What its sender says of it beside its text.
    pub attributes: &'a [(String, String)],
}

/// What became of a message.
#[derive(Debug)]
pub struct Handled {
    /// What it asks for, or why it is not understood.
    pub asked: Result<Task, JobError>,
    /// How that ended here.
    pub outcome: Outcome,
    /// Bytes of layers that were read for it.
    pub bytes_read: u64,
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
    /// A copy of it is on its own queue, as this message.
    ComesAgain {
        /// The copy.
        copy: MessageId,
        /// What it comes again for.
        action: MessageAction,
    },
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
            Ok(Task::Index(job) | Task::Remove(job)) => Some(job),
            Ok(Task::Skip { pushed, .. }) => pushed.as_ref(),
            Err(_) => None,
        }
    }

    /// What became of it, as log and metrics tell: in the worker's words ([`JobEnd::label`]) where these fit, else
    /// `handed-over`, or, where a queue had to take it and did not, `stuck` if it can never be done and `left` if it can.
    pub fn label(&self) -> &'static str {
        match (self.end(), &self.outcome) {
            (Some(end), _) => end.label(),
            (None, _) if matches!(self.delivery, Delivery::HandedOver(_)) => "handed-over",
            (None, Outcome::Rejected(_)) => "stuck",
            (None, _) => "left",
        }
    }

    /// The same as the worker has it; nothing where somebody else has the job now, or has to be found for it.
    pub(crate) fn end(&self) -> Option<JobEnd> {
        let action = match &self.delivery {
            Delivery::NotNeeded => MessageAction::Delete,
            Delivery::ComesAgain { action, .. } => *action,
            Delivery::DeadLettered(_) => MessageAction::DeadLetter,
            Delivery::HandedOver(_) | Delivery::Failed { .. } => return None,
        };
        Some(JobEnd { outcome: self.outcome.clone(), action })
    }
}

impl<S: RepositoryOpener, Q: Queue> Worker<S, Q> {
    /// Does what a message asks for, as long as the invocation has time.
    pub async fn work(&self, message: &Incoming<'_>, invocation: &Invocation) -> Handled {
        let asked = understand(message.body.as_bytes(), &self.rules);
        let read = Arc::new(AtomicU64::new(0));
        let outcome = match &asked {
            Ok(Task::Index(job)) => self.index(job, invocation, &read).await,
            Ok(Task::Remove(job)) => self.remove(job, invocation).await,
            Ok(Task::Skip { why, .. }) => Outcome::Skipped(Why::new(why.label(), why.to_string())),
            Err(error) => Outcome::Rejected(Why::new(reasons::MALFORMED, error_chain(error))),
        };
        let job = match &asked {
            Ok(Task::Index(job) | Task::Remove(job)) => Some(job),
            _ => None,
        };
        if message.is_own {
            let (outcome, delivery) = self.settle(message, job, outcome, invocation).await;
            return Handled { asked, outcome, bytes_read: read.load(Ordering::Relaxed), delivery };
        }
        // A removal has no job: its event is the message.
        let body = match (&asked, job) {
            (Ok(Task::Index(_)), Some(job)) => job_of(job, invocation).encode(),
            _ => message.body.to_owned(),
        };
        let delivery = match (&outcome, job) {
            // Only a registry says that it has ended: a worker has a second look, some time later.
            (outcome, Some(job)) if outcome.doubt().is_some() => {
                self.hand_over(job, &body, outcome, invocation).await
            }
            // A worker has more memory.
            (Outcome::Rejected(why), Some(job))
                if why.found.is_some_and(Reason::is_of_this_process) =>
            {
                self.hand_over(job, &body, &outcome, invocation).await
            }
            (Outcome::Rejected(why), _) => self.reject(message, why, job, invocation).await,
            (Outcome::Failed(_) | Outcome::Postponed(_), Some(job)) => {
                self.hand_over(job, &body, &outcome, invocation).await
            }
            _ => Delivery::NotNeeded,
        };
        Handled { asked, outcome, bytes_read: read.load(Ordering::Relaxed), delivery }
    }

    /// Does with a message of the function's own queue what the outcome of its job asks for.
    async fn settle(
        &self,
        message: &Incoming<'_>,
        job: Option<&Job>,
        outcome: Outcome,
        invocation: &Invocation,
    ) -> (Outcome, Delivery) {
        let outcome = too_long(outcome, message.history);
        let facts = JobFacts {
            history: message.history,
            receive_count: message.receive_count,
            was_handled: true,
            // One invocation does not know how others end.
            outage: false,
            has_dead_letters: self.dead_letters.is_some(),
            now: SystemTime::now(),
            random: fastrand::f64(),
        };
        match NextStep::of(&outcome, &facts, &RETRIES) {
            NextStep::Delete => (outcome, Delivery::NotNeeded),
            NextStep::DeadLetter(why) => {
                let delivery = self.reject(message, &why, job, invocation).await;
                // The words of the letter are those of the log, too.
                let outcome = match outcome {
                    Outcome::Failed(_) => Outcome::Failed(why),
                    _ => Outcome::Rejected(why),
                };
                (outcome, delivery)
            }
            NextStep::Copy { history, delay, action } => {
                let group = job.map(group_of);
                let copy = history.carried_by(message.body, group.as_ref(), message.attributes);
                let delivery = match send(&self.queue, &copy, delay, invocation.deadline).await {
                    Ok(copy) => Delivery::ComesAgain { copy, action },
                    Err(error) => Delivery::Failed { error: Some(error) },
                };
                (outcome, delivery)
            }
            // It is hidden for as long as the function may run, and comes again after that.
            NextStep::Hide { .. } | NextStep::Leave => (outcome, Delivery::Failed { error: None }),
        }
    }

    /// Removes the result of an image that was deleted, while there is time.
    async fn remove(&self, job: &Job, invocation: &Invocation) -> Outcome {
        let stop_at = invocation.deadline.checked_sub(self.margin).unwrap_or(invocation.deadline);
        let removal = Box::pin(self.runner.remove_in(&Unlimited, job));
        timeout_at(stop_at, removal).await.unwrap_or_else(|_| {
            let detail = "the invocation has no time left to finish";
            Outcome::Failed(Why::new(DEADLINE, detail))
        })
    }

    /// Indexes an image while there is time, and counts the bytes of layers that it reads. What is not finished is a failure
    /// that may pass.
    async fn index(&self, job: &Job, invocation: &Invocation, read: &Arc<AtomicU64>) -> Outcome {
        let stop_at = invocation.deadline.checked_sub(self.margin);
        let Some(stop_at) = stop_at.filter(|stop_at| Instant::now() < *stop_at) else {
            let detail = "the invocation has no time left to begin";
            return Outcome::Postponed(Why::new(DEADLINE, detail));
        };
        // Boxed because it is by far the largest part of this future.
        let read = read.clone();
        let count = move |event: &ImageEvent<'_>| {
            if let ImageEvent::LayerRead { bytes, .. } = event {
                read.fetch_add(*bytes, Ordering::Relaxed);
            }
        };
        let run = Box::pin(self.runner.run(job, Arc::new(count)));
        let outcome = timeout_at(stop_at, run).await;
        outcome.unwrap_or_else(|_| {
            let detail = "the invocation has no time left to finish";
            Outcome::Failed(Why::new(DEADLINE, detail))
        })
    }

    /// Puts a job's message on the queue with what was found out here: how it failed, or what is to be looked at
    /// again.
    async fn hand_over(
        &self,
        job: &Job,
        body: &str,
        outcome: &Outcome,
        invocation: &Invocation,
    ) -> Delivery {
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
        let outgoing = history.carried_by(body, Some(&group_of(job)), &[]);
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
        let (group, history) = (job.map(group_of), message.history);
        let written = |time: SystemTime| Timestamp::from(time).to_string();
        // Who invokes the function has sent nothing.
        let of_a_queue = !message.from.is_empty();
        let first_sent_at = if of_a_queue { written(history.first_sent_at) } else { String::new() };
        let letter = DeadLetter {
            body: message.body,
            group: group.as_ref(),
            attributes: message.attributes,
            id: message.id,
            queue: message.from,
            reason: why.reason,
            runbook: &self.runbook.section(why.reason),
            detail: &why.detail,
            at: &invocation.now.to_string(),
            attempts: history.attempts,
            first_failed_at: &history.first_failed_at.map(written).unwrap_or_default(),
            first_sent_at: &first_sent_at,
        }
        .outgoing();
        match send(dead_letters, &letter, Duration::ZERO, invocation.deadline).await {
            Ok(message) => Delivery::DeadLettered(message),
            Err(error) => Delivery::Failed { error: Some(error) },
        }
    }
}

/// An image for which a whole invocation is too short has an end, as it has in a worker: when that was so twice.
fn too_long(outcome: Outcome, history: &JobHistory) -> Outcome {
    let is_late = matches!(&outcome, Outcome::Failed(why) if why.reason == DEADLINE);
    let was_late = history.last.as_ref().is_some_and(|last| last.reason == DEADLINE);
    if is_late && was_late {
        let detail =
            "two invocations of the index Lambda were too short for it; a worker has eleven hours";
        return Outcome::Rejected(Why::new(reasons::TOO_LONG, detail));
    }
    outcome
}

fn job_of(job: &Job, invocation: &Invocation) -> JobMessage {
    JobMessage {
        repository: job.repository.clone(),
        digest: job.digest,
        tag: job.tag.clone(),
        event_id: job.event_id.clone(),
        enqueued_at: invocation.now,
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
