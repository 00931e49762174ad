//! The index Lambda: indexes one image at once, within the time and memory of a function.
//!
//! It is invoked with the messages of an SQS queue, onto which the filter Lambda puts small images, or with
//! an ECR event. Both may hold whatever a job queue holds ([`soci_push::job`]). What it cannot finish before its
//! deadline, and what fails in passing, it hands over to the queue, whose worker has time.
//!
//! | what becomes of an image | direct invocation | message of a queue |
//! | --- | --- | --- |
//! | indexed, or nothing to do | a sentence | done |
//! | out of time, or failed in passing | a sentence, and a job on the queue | done, and a job on the queue |
//! | can never be indexed | a sentence, and on the dead-letter queue | done, and on the dead-letter queue |
//! | only a registry says that it has ended | a sentence, and a job on the queue | done, and a job on the queue |
//! | the queue that should take it fails or is not there | the invocation fails | stays on its queue |
//!
//! A message of the very queue that jobs are handed to is settled by the worker's rule ([`soci_jobs::NextStep`]), as no
//! worker reads that queue then:
//!
//! | what becomes of an image | message of the queue that jobs are handed to |
//! | --- | --- |
//! | only a registry says that it has ended, as of an image that is gone | done, and a copy for a second look a minute later |
//! | a registry says so again, in answer to the same | done: skipped, or on the dead-letter queue |
//! | failed in passing, or out of time | done, and a copy that is visible after a while |
//! | failed in passing too often, out of time twice, or can never be indexed | done, and on the dead-letter queue |
//!
//! An image that can never be indexed is answered with a sentence and no error once it is on the
//! dead-letter queue, because Lambda would try it twice more.
//!
//! Nothing is written to disk.

mod answer;
mod handler;
mod metrics;
mod payload;
mod program;
mod settings;
mod work;

pub use answer::{Answer, BatchAnswer, ItemFailure};
pub use handler::InvocationHandler;
pub use metrics::FunctionMetrics;
pub use payload::{Batch, Payload, PayloadError, QueueIdentity, Record, RecordAttribute};
pub use program::run;
pub use settings::Settings;
pub use work::{Delivery, Handled, Incoming, RETRIES, Worker};
