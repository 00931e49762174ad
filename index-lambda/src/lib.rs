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
//! | the queue that should take it fails or is not there | the invocation fails | stays on its queue |
//! | out of time, or failed in passing, and the queue is the one it came from | | stays on its queue |
//!
//! An image that can never be indexed is answered with a sentence and no error once it is on the
//! dead-letter queue, because Lambda would try it twice more. A message that came from the very
//! queue that jobs are handed to is left there: a job put on it would begin to count its receives
//! from one again, and never be given up.
//!
//! Nothing is written to disk.

mod answer;
mod handler;
mod payload;
mod program;
mod settings;
mod work;

pub use answer::{Answer, BatchAnswer, ItemFailure};
pub use handler::InvocationHandler;
pub use payload::{Batch, Payload, PayloadError, QueueIdentity, Record};
pub use program::run;
pub use settings::Settings;
pub use work::{Delivery, Handled, Incoming, Worker};
