//! What is done about a message.

use std::future::Future;
use std::sync::Arc;

use indexer::{Progress, Report};
use jobs::{Done, Job, Rules, Runner, Stores, Task, understand};
use oci::Digest;
use queue::Message;
use soci::event::{EventError, FieldProblem, Problem};
use soci::job::JobError;
use tracing::Span;

use crate::watch::{Ticket, Watch};

/// How a handler left a message.
#[derive(Clone, Debug)]
pub enum Handled {
    /// The index was built and pushed.
    Indexed(Box<Report>),
    /// The same index was there.
    AlreadyIndexed(Box<Report>),
    /// There is nothing to do.
    Skipped {
        /// Short stable name: lower case, words joined by hyphens.
        reason: &'static str,
        /// The same for people.
        detail: String,
    },
    /// It can never be done.
    Rejected {
        /// Short stable name: lower case, words joined by hyphens.
        reason: &'static str,
        /// The same for people.
        detail: String,
    },
    /// It may be done later.
    Failed {
        /// Short stable name: lower case, words joined by hyphens.
        reason: &'static str,
        /// The same for people.
        detail: String,
    },
}

/// Handles messages.
pub trait Handler: Send + Sync + 'static {
    /// Handles a message. The same one may come again, also after it was done and while another
    /// process has it. Dropping the future stops the work.
    ///
    /// Opening and closing `ticket` is not for the handler; what comes between is. It runs in the
    /// job's span, of which it fills in what it learns: `repository`, `digest`, `tag`.
    fn handle(
        &self,
        ticket: Ticket,
        message: &Message,
        watch: &Arc<dyn Watch>,
    ) -> impl Future<Output = Handled> + Send;
}

/// Indexes the images that messages ask for.
#[derive(Clone, Debug)]
pub struct IndexHandler<S> {
    /// Which messages are work.
    pub rules: Rules,
    /// Does it.
    pub runner: Runner<S>,
}

impl<S: Stores> Handler for IndexHandler<S> {
    async fn handle(&self, ticket: Ticket, message: &Message, watch: &Arc<dyn Watch>) -> Handled {
        let body = message.body.as_bytes();
        let job = match understand(body, &self.rules) {
            Ok(Task::Index(job)) => job,
            Ok(Task::Nothing(nothing)) => {
                return Handled::Skipped { reason: nothing.label(), detail: nothing.to_string() };
            }
            Err(error) => {
                return Handled::Rejected {
                    reason: "malformed",
                    detail: format!("the message of {} bytes {}", body.len(), wrong_with(&error)),
                };
            }
        };
        record(&job);
        watch.job_started(ticket, &job);
        let progress = Arc::new(Forward { ticket, watch: watch.clone() });
        match self.runner.run(&job, progress).await {
            Ok(Done::Indexed(report)) => Handled::Indexed(Box::new(report)),
            Ok(Done::AlreadyIndexed(report)) => Handled::AlreadyIndexed(Box::new(report)),
            Ok(Done::Skipped { label, detail }) => Handled::Skipped { reason: label, detail },
            Err(failure) => {
                let (reason, detail) = (failure.label(), failure.detail());
                if failure.is_permanent() {
                    Handled::Rejected { reason, detail }
                } else {
                    Handled::Failed { reason, detail }
                }
            }
        }
    }
}

/// Names the image in the job's span.
fn record(job: &Job) {
    let span = Span::current();
    span.record("repository", tracing::field::display(&job.repository));
    span.record("digest", tracing::field::display(&job.digest));
    if let Some(tag) = &job.tag {
        span.record("tag", tracing::field::display(tag));
    }
}

/// Progress of a job's layers, for those who watch the service.
struct Forward {
    ticket: Ticket,
    watch: Arc<dyn Watch>,
}

impl Progress for Forward {
    fn planned(&self, layers: usize, bytes: u64) {
        self.watch.planned(self.ticket, layers, bytes);
    }

    fn layer_started(&self, layer: &Digest, size: u64) {
        self.watch.layer_started(self.ticket, layer, size);
    }

    fn layer_read(&self, layer: &Digest, bytes: u64) {
        self.watch.layer_read(self.ticket, layer, bytes);
    }

    fn layer_done(&self, layer: &Digest) {
        self.watch.layer_done(self.ticket, layer);
    }
}

/// What is wrong with a message, without repeating anything of it: it may hold anything, and this is
/// logged and shown.
fn wrong_with(error: &JobError) -> String {
    match error {
        JobError::Json(error) | JobError::Event(EventError::Json(error)) => {
            format!("is not a JSON object (line {}, column {})", error.line(), error.column())
        }
        JobError::Fields(problems) | JobError::Event(EventError::Fields(problems)) => {
            let problems: Vec<_> = problems.iter().map(without_value).collect();
            format!("has wrong fields: {}", problems.join("; "))
        }
        JobError::TooLarge { limit, .. } | JobError::Event(EventError::TooLarge { limit, .. }) => {
            format!("is larger than {limit} bytes")
        }
        JobError::Unknown => {
            "is neither a job nor an event nor a record of an invocation".to_owned()
        }
        JobError::Version { .. } => {
            "is a job of a version that this release does not read".to_owned()
        }
        JobError::Succeeded => "is a record of an invocation that succeeded".to_owned(),
        JobError::Nested { limit } => format!("has more than {limit} records inside of each other"),
        _ => "cannot be understood".to_owned(),
    }
}

fn without_value(FieldProblem { path, problem }: &FieldProblem) -> String {
    match problem {
        Problem::Value { expected, .. } => format!("{path} must be {expected}"),
        problem => format!("{path} {problem}"),
    }
}

#[cfg(test)]
mod tests;
