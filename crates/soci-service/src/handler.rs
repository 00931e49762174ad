//! What is done about a message.

use soci_text::error_chain;
use std::future::Future;
use std::sync::Arc;

use soci_indexer::{Progress, Report};
use soci_jobs::{Done, Runner, Stores};
use soci_oci::Digest;
use soci_push::{Job, PushRules, Task, understand};
use soci_queue::Message;
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
    pub rules: PushRules,
    /// Does it.
    pub runner: Runner<S>,
}

impl<S: Stores> Handler for IndexHandler<S> {
    async fn handle(&self, ticket: Ticket, message: &Message, watch: &Arc<dyn Watch>) -> Handled {
        let body = message.body.as_bytes();
        let job = match understand(body, &self.rules) {
            Ok(Task::Index(job)) => job,
            Ok(Task::Skip { why, pushed }) => {
                if let Some(job) = &pushed {
                    record(job);
                }
                return Handled::Skipped { reason: why.label(), detail: why.to_string() };
            }
            Err(error) => {
                return Handled::Rejected { reason: "malformed", detail: error_chain(&error) };
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

#[cfg(test)]
mod tests;
