//! What is done about a message.

use std::future::Future;
use std::sync::Arc;

use soci_jobs::{JobSlot, Outcome, RepositoryOpener, Runner, Why, reasons};
use soci_push::{Job, PushRules, Task, understand};
use soci_queue::Message;
use soci_text::error_chain;
use tracing::Span;

use crate::event::{Event, Events};
use crate::job_in_hand::JobInHand;

/// Handles messages.
pub trait Handler: Send + Sync + 'static {
    /// Names the image of a message that is not handled, for those who are told how its job ended.
    fn name_image(&self, job: &JobInHand, message: &Message);

    /// Handles a message. The same one may come again, also after it was done and while another
    /// process has it. Dropping the future stops the work.
    ///
    /// That the job was received and has ended is told by others; what comes between is for the
    /// handler to tell. It runs in the job's span, of which it fills in what it learns: `repository`,
    /// `digest`, `tag`. While it waits for another job it leaves its slot.
    fn handle(
        &self,
        job: &Arc<JobInHand>,
        message: &Message,
        events: &Events,
        slot: &dyn JobSlot,
    ) -> impl Future<Output = Outcome> + Send;
}

/// Indexes the images that messages ask for.
#[derive(Clone, Debug)]
pub struct IndexHandler<S> {
    /// Which messages are work.
    pub rules: PushRules,
    /// Does it.
    pub runner: Runner<S>,
}

impl<S: RepositoryOpener> Handler for IndexHandler<S> {
    fn name_image(&self, job: &JobInHand, message: &Message) {
        if let Ok(Task::Index(asked)) = understand(message.body.as_bytes(), &self.rules) {
            record(&asked);
            job.name_image(&asked);
        }
    }

    async fn handle(
        &self,
        job: &Arc<JobInHand>,
        message: &Message,
        events: &Events,
        slot: &dyn JobSlot,
    ) -> Outcome {
        let asked = match understand(message.body.as_bytes(), &self.rules) {
            Ok(Task::Index(asked)) => asked,
            // How that ends is nothing of an image that somebody waits for, so nobody is told which it is.
            Ok(Task::Remove(asked)) => {
                record(&asked);
                return self.runner.remove_in(slot, &asked).await;
            }
            Ok(Task::Skip { why, pushed }) => {
                if let Some(pushed) = &pushed {
                    record(pushed);
                }
                return Outcome::Skipped(Why::new(why.label(), why.to_string()));
            }
            Err(error) => {
                return Outcome::Rejected(Why::new(reasons::MALFORMED, error_chain(&error)));
            }
        };
        record(&asked);
        job.name_image(&asked);
        events.tell(&Event::JobStarted { job });
        self.runner.run_in(slot, &asked, events.of_image(job)).await
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

#[cfg(test)]
mod tests;
