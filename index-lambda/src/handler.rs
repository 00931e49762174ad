//! What happens to one invocation, and the lines that are logged about it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use soci_announce::Outboxes;
use soci_jobs::{EndedImage, MessageAction, Outcome, RepositoryOpener, announcement};
use soci_lambda::{Invocation, InvocationError};
use soci_push::Task;
use soci_queue::{JobHistory, Queue};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::answer::{Answer, BatchAnswer, ItemFailure, is_settled, sentence};
use crate::metrics::FunctionMetrics;
use crate::payload::{Batch, Payload, QueueIdentity};
use crate::work::{ANSWER_TIME, Delivery, Handled, Incoming, Worker};

/// Longest time that an invocation waits for what it announces.
const ANNOUNCING_TIME: Duration = Duration::from_secs(3);

/// Handles invocations.
#[derive(Clone, Debug)]
pub struct InvocationHandler<S, Q> {
    /// Does the work.
    pub worker: Worker<S, Q>,
    /// The queue that jobs are handed to, as event source mappings name it.
    pub queue: QueueIdentity,
    /// Tells CloudWatch, if it is told.
    pub metrics: Option<Arc<FunctionMetrics>>,
    /// Where it is announced how images end.
    pub outboxes: Outboxes,
}

impl<S: RepositoryOpener, Q: Queue> InvocationHandler<S, Q> {
    /// Handles the invocation with `payload`, and logs one line about every message in it. Messages
    /// of a queue are handled one after the other, each with all the memory there is.
    pub async fn handle(
        &self,
        payload: &str,
        invocation: &Invocation,
    ) -> Result<Answer, InvocationError> {
        self.outboxes.wake();
        let answer = self.answer(payload, invocation).await;
        // The process stands still from the answer to the next invocation, and with it what it has to say.
        let left = invocation.deadline.saturating_duration_since(Instant::now());
        self.outboxes.flush(ANNOUNCING_TIME.min(left.saturating_sub(ANSWER_TIME))).await;
        answer
    }

    async fn answer(
        &self,
        payload: &str,
        invocation: &Invocation,
    ) -> Result<Answer, InvocationError> {
        match Payload::read(payload) {
            Ok(Payload::Batch(batch)) => Ok(Answer::Batch(self.batch(&batch, invocation).await)),
            Ok(Payload::Direct) => {
                let id = &*invocation.request_id;
                let message = Incoming {
                    body: payload,
                    id,
                    from: "",
                    is_own: false,
                    receive_count: 1,
                    history: &JobHistory::since(SystemTime::now()),
                    attributes: &[],
                };
                let handled = self.one(&message, invocation).await;
                sentence(&handled, payload).map(Answer::Sentence)
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
                is_own: self.queue.is(&record.event_source_arn),
                receive_count: record.receive_count(),
                history: &record.history(SystemTime::now()),
                attributes: &record.texts(),
            };
            let handled = self.one(&message, invocation).await;
            if !is_settled(&handled) {
                let item_identifier = record.message_id.clone();
                answer.batch_item_failures.push(ItemFailure { item_identifier });
            }
        }
        answer
    }

    async fn one(&self, message: &Incoming<'_>, invocation: &Invocation) -> Handled {
        let begun = Instant::now();
        let handled = self.worker.work(message, invocation).await;
        self.announce(&handled, begun.elapsed());
        if let Some(metrics) = &self.metrics {
            metrics.handled(&handled, message);
        }
        log(&handled, message, &invocation.request_id, begun.elapsed());
        handled
    }

    /// Announces how an image ended, unless somebody else has it now. A push that is no work is no image of the function's.
    fn announce(&self, handled: &Handled, elapsed: Duration) {
        let (Ok(Task::Index(job)), Some(end)) = (&handled.asked, handled.end()) else { return };
        let image = EndedImage {
            registry: job.repository.registry(),
            repository: job.repository.name(),
            digest: &job.digest,
            tag: job.tag.as_ref().map(soci_oci::Tag::as_str),
            bytes_read: handled.bytes_read,
            elapsed,
            at: SystemTime::now(),
        };
        if let Some(announcement) = announcement(&image, &end) {
            self.outboxes.send(&announcement);
        }
    }
}

fn log(handled: &Handled, message: &Incoming<'_>, request_id: &str, elapsed: Duration) {
    let seconds = elapsed.as_secs_f64();
    let message_id = (!message.from.is_empty()).then_some(message.id);
    let job = handled.job();
    let repository = job.map(|job| job.repository.name());
    let digest = job.map(|job| job.digest.to_string());
    let tag = job.and_then(|job| job.tag.as_ref()).map(soci_oci::Tag::as_str);
    let event_id = job.and_then(|job| job.event_id.as_ref()).map(soci_push::event::EventId::as_str);
    let outcome = handled.label();
    let reason = handled.outcome.why().map(|why| why.reason);
    let detail = handled.outcome.why().map_or("", |why| &why.detail);
    // A macro, because the fields and the level of a line are fixed where it is written.
    macro_rules! line {
        ($level:ident, $($rest:tt)*) => {
            $level!(
                outcome, reason, repository, digest, tag, event_id, request_id,
                message_id, seconds, $($rest)*
            )
        };
    }
    if let Some(report) = handled.outcome.report() {
        let left_out = report.unlike_reference();
        for warning in report.warnings.iter().chain(&left_out) {
            warn!(repository, digest, tag, event_id, request_id, message_id, "{warning}");
        }
    }
    match (&handled.outcome, &handled.delivery) {
        (Outcome::Indexed(report), _) => {
            let (index, bytes) = (report.index.to_string(), report.bytes_read);
            line!(info, index, bytes, "SOCI index pushed");
        }
        (Outcome::AlreadyIndexed(report), _) => {
            let index = report.index.to_string();
            line!(info, index, "the SOCI index was there");
        }
        (Outcome::Skipped(_), Delivery::NotNeeded) => line!(info, "{detail}"),
        (_, Delivery::HandedOver(job)) => {
            line!(warn, job_id = &*job.0, "{detail}");
        }
        // Nothing has failed yet where the registry is asked once more.
        (_, Delivery::ComesAgain { copy, action: MessageAction::SecondLook { again_in } }) => {
            line!(info, job_id = &*copy.0, again_in = again_in.as_secs(), "{detail}");
        }
        (_, Delivery::ComesAgain { copy, action }) => {
            let again_in = match action {
                MessageAction::Retry { again_in } => Some(again_in.as_secs()),
                _ => None,
            };
            line!(warn, job_id = &*copy.0, again_in, "{detail}");
        }
        (_, Delivery::DeadLettered(letter)) => {
            line!(error, letter_id = &*letter.0, "{detail}");
        }
        (_, delivery) => {
            let queue_error = match delivery {
                Delivery::Failed { error } => error.as_deref(),
                _ => None,
            };
            line!(error, queue_error, "{detail}");
        }
    }
}
