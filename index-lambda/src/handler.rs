//! What happens to one invocation, and the lines that are logged about it.

use std::time::Duration;

use soci_jobs::{Done, Stores};
use soci_lambda::{Invocation, InvocationError};
use soci_push::Job;
use soci_queue::Queue;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::answer::{Answer, BatchAnswer, ItemFailure, is_settled, sentence};
use crate::payload::{Batch, Payload, QueueIdentity};
use crate::work::{Incoming, Outcome, Worker};

/// Handles invocations.
#[derive(Clone, Debug)]
pub struct Handler<S, Q> {
    /// Does the work.
    pub worker: Worker<S, Q>,
    /// The queue that jobs are handed to, as event source mappings name it.
    pub queue: QueueIdentity,
}

impl<S: Stores, Q: Queue> Handler<S, Q> {
    /// Handles the invocation with `payload`, and logs one line about every message in it. Messages
    /// of a queue are handled one after the other, each with all the memory there is.
    pub async fn handle(
        &self,
        payload: &str,
        invocation: &Invocation,
    ) -> Result<Answer, InvocationError> {
        match Payload::read(payload) {
            Ok(Payload::Batch(batch)) => Ok(Answer::Batch(self.batch(&batch, invocation).await)),
            Ok(Payload::Direct) => {
                let id = &*invocation.request_id;
                let message = Incoming { body: payload, id, from: "", stays: false };
                let outcome = self.one(&message, invocation).await;
                sentence(&outcome, payload).map(Answer::Sentence)
            }
            Err(error) => {
                let fault = InvocationError::of("PayloadError", &error);
                let request_id = &*invocation.request_id;
                error!(outcome = "failed", request_id, "{}", fault.message);
                Err(fault)
            }
        }
    }

    async fn batch(&self, batch: &Batch, invocation: &Invocation) -> BatchAnswer {
        let mut answer = BatchAnswer::default();
        for record in &batch.records {
            let message = Incoming {
                body: &record.body,
                id: &record.message_id,
                from: record.queue(),
                stays: self.queue.is(&record.event_source_arn),
            };
            let outcome = self.one(&message, invocation).await;
            if !is_settled(&outcome) {
                let item_identifier = record.message_id.clone();
                answer.batch_item_failures.push(ItemFailure { item_identifier });
            }
        }
        answer
    }

    async fn one(&self, message: &Incoming<'_>, invocation: &Invocation) -> Outcome {
        let begun = Instant::now();
        let outcome = self.worker.work(message, invocation).await;
        log(&outcome, message, &invocation.request_id, begun.elapsed());
        outcome
    }
}

fn log(outcome: &Outcome, message: &Incoming<'_>, request_id: &str, elapsed: Duration) {
    let seconds = elapsed.as_secs_f64();
    let message_id = (!message.from.is_empty()).then_some(message.id);
    let About { repository, digest, tag, event_id } = About::of(outcome);
    // A macro, because the fields and the level of a line are fixed where it is written.
    macro_rules! line {
        ($level:ident, $outcome:expr, $reason:expr, $($rest:tt)*) => {
            $level!(
                outcome = $outcome, reason = $reason, repository, digest, tag, event_id, request_id,
                message_id, seconds, $($rest)*
            )
        };
    }
    match outcome {
        Outcome::Done(_, Done::Indexed(report)) => {
            let (index, bytes) = (report.index.to_string(), report.bytes_read);
            line!(info, "indexed", None::<&str>, index, bytes, "SOCI index pushed");
        }
        Outcome::Done(_, Done::AlreadyIndexed(report)) => {
            let index = report.index.to_string();
            line!(info, "already-indexed", None::<&str>, index, "the SOCI index was there");
        }
        Outcome::Done(_, Done::Skipped { label, detail }) => {
            line!(info, "skipped", Some(*label), "{detail}");
        }
        Outcome::Nothing { why, .. } => line!(info, "skipped", Some(why.label()), "{why}"),
        Outcome::HandedOver { reason, detail, message, .. } => {
            let job_id = &*message.0;
            line!(warn, "handed-over", Some(*reason), job_id, "{detail}");
        }
        Outcome::Rejected { rejection, message } => {
            let (letter_id, detail) = (&*message.0, rejection.detail());
            line!(error, "rejected", Some(rejection.label()), letter_id, "{detail}");
        }
        Outcome::Stuck { rejection, error } => {
            let queue_error = error.as_deref();
            line!(error, "stuck", Some(rejection.label()), queue_error, "{}", rejection.detail());
        }
        Outcome::Left { reason, detail, error, .. } => {
            let queue_error = error.as_deref();
            line!(error, "left", Some(*reason), queue_error, "{detail}");
        }
    }
}

/// What every line about an image tells.
#[derive(Default)]
struct About<'a> {
    repository: Option<&'a str>,
    digest: Option<String>,
    tag: Option<&'a str>,
    event_id: Option<&'a str>,
}

impl<'a> About<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        let job = match outcome {
            Outcome::Done(job, _) | Outcome::HandedOver { job, .. } | Outcome::Left { job, .. } => {
                Some(job)
            }
            Outcome::Rejected { rejection, .. } | Outcome::Stuck { rejection, .. } => {
                rejection.job()
            }
            Outcome::Nothing { pushed, .. } => pushed.as_ref(),
        };
        job.map(Self::of_job).unwrap_or_default()
    }

    fn of_job(job: &'a Job) -> Self {
        Self {
            repository: Some(job.repository.name()),
            digest: Some(job.digest.to_string()),
            tag: job.tag.as_ref().map(soci_oci::Tag::as_str),
            event_id: job.event_id.as_ref().map(soci_push::event::EventId::as_str),
        }
    }
}
