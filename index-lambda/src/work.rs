//! What is done about one message.

use soci_text::error_chain;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use soci_indexer::NoProgress;
use soci_jobs::{Done, Failure, Runner, Stores};
use soci_lambda::Invocation;
use soci_push::JobMessage;
use soci_push::job::JobError;
use soci_push::{Job, PushRules, SkippedPush, Task, understand};
use soci_queue::{DeadLetter, Group, MessageId, Outgoing, Queue};
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
pub enum Outcome {
    /// Its image was indexed, or needs no index.
    Done(Job, Done),
    /// It asks for nothing.
    Nothing {
        /// Why not.
        why: SkippedPush,
        /// What was pushed, if it is about a push.
        pushed: Option<Job>,
    },
    /// A job is on the queue.
    HandedOver {
        /// What it asks for.
        job: Job,
        /// Why it is not done here: `deadline`, or the name of a failure.
        reason: &'static str,
        /// The same for people.
        detail: String,
        /// The job's message.
        message: MessageId,
    },
    /// It can never be done, and is on the dead-letter queue.
    Rejected {
        /// Why.
        rejection: Rejection,
        /// The dead letter.
        message: MessageId,
    },
    /// It can never be done, and is on no other queue.
    Stuck {
        /// Why.
        rejection: Rejection,
        /// Why the dead-letter queue did not take it, if there is one.
        error: Option<String>,
    },
    /// It is not done, and is on no other queue.
    Left {
        /// What it asks for.
        job: Job,
        /// Why it is not done here.
        reason: &'static str,
        /// The same for people.
        detail: String,
        /// Why the queue did not take it, if it was asked.
        error: Option<String>,
    },
}

/// Why a message can never be done.
#[derive(Debug)]
pub enum Rejection {
    /// It is not understood.
    Malformed(JobError),
    /// Its image cannot be indexed.
    Failed(Box<Job>, Failure),
}

impl Rejection {
    /// Short stable name: `malformed`, or that of the failure.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Failed(_, failure) => failure.label(),
        }
    }

    /// The same for people.
    pub fn detail(&self) -> String {
        match self {
            Self::Malformed(error) => error_chain(error),
            Self::Failed(_, failure) => failure.detail(),
        }
    }

    /// What was asked for, if that is understood.
    pub fn job(&self) -> Option<&Job> {
        match self {
            Self::Malformed(_) => None,
            Self::Failed(job, _) => Some(job),
        }
    }
}

impl<S: Stores, Q: Queue> Worker<S, Q> {
    /// Does what a message asks for, as long as the invocation has time.
    pub async fn work(&self, message: &Incoming<'_>, invocation: &Invocation) -> Outcome {
        let job = match understand(message.body.as_bytes(), &self.rules) {
            Ok(Task::Index(job)) => job,
            Ok(Task::Skip { why, pushed }) => return Outcome::Nothing { why, pushed },
            Err(error) => {
                return self.reject(message, Rejection::Malformed(error), invocation).await;
            }
        };
        let stop_at = invocation.deadline.checked_sub(self.margin);
        let Some(stop_at) = stop_at.filter(|stop_at| Instant::now() < *stop_at) else {
            let detail = "the invocation has no time left to begin".to_owned();
            return self.hand_over(message, job, "deadline", detail, invocation).await;
        };
        // Boxed because it is by far the largest part of this future.
        let run = Box::pin(self.runner.run(&job, Arc::new(NoProgress)));
        match timeout_at(stop_at, run).await {
            Ok(Ok(done)) => Outcome::Done(job, done),
            Ok(Err(failure)) if failure.is_permanent() => {
                self.reject(message, Rejection::Failed(Box::new(job), failure), invocation).await
            }
            Ok(Err(failure)) => {
                let (reason, detail) = (failure.label(), failure.detail());
                self.hand_over(message, job, reason, detail, invocation).await
            }
            Err(_) => {
                let detail = "the invocation has no time left to finish".to_owned();
                self.hand_over(message, job, "deadline", detail, invocation).await
            }
        }
    }

    async fn hand_over(
        &self,
        message: &Incoming<'_>,
        job: Job,
        reason: &'static str,
        detail: String,
        invocation: &Invocation,
    ) -> Outcome {
        if message.stays {
            return Outcome::Left { job, reason, detail, error: None };
        }
        let body = JobMessage {
            repository: job.repository.clone(),
            digest: job.digest,
            tag: job.tag.clone(),
            event_id: job.event_id.clone(),
            enqueued_at: invocation.now,
        }
        .encode();
        let outgoing = Outgoing { body, group: Some(group_of(&job)), attributes: Vec::new() };
        match send(&self.queue, &outgoing, invocation.deadline).await {
            Ok(message) => Outcome::HandedOver { job, reason, detail, message },
            Err(error) => Outcome::Left { job, reason, detail, error: Some(error) },
        }
    }

    async fn reject(
        &self,
        message: &Incoming<'_>,
        rejection: Rejection,
        invocation: &Invocation,
    ) -> Outcome {
        let Some(dead_letters) = &self.dead_letters else {
            return Outcome::Stuck { rejection, error: None };
        };
        let group = rejection.job().map(group_of);
        let (reason, detail) = (rejection.label(), rejection.detail());
        let letter = DeadLetter {
            body: message.body,
            group: group.as_ref(),
            attributes: &[],
            id: message.id,
            queue: message.from,
            reason,
            detail: &detail,
            at: &invocation.now.to_string(),
        }
        .outgoing();
        match send(dead_letters, &letter, invocation.deadline).await {
            Ok(message) => Outcome::Rejected { rejection, message },
            Err(error) => Outcome::Stuck { rejection, error: Some(error) },
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
    deadline: Instant,
) -> Result<MessageId, String> {
    let until = deadline.checked_sub(ANSWER_TIME).unwrap_or(deadline);
    match timeout_at(until, queue.send(outgoing)).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(error)) => Err(error_chain(&error as &dyn Error)),
        Err(_) => Err(format!("queue {} did not answer before the invocation ends", queue.name())),
    }
}
