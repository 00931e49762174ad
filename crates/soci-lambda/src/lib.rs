//! What the Lambda functions share: the loop around a handler, the logs, and the sentences of
//! the functions in whose place they stand.
//!
//! [`serve`] is the loop. `lambda_runtime` speaks with Lambda; this crate reduces what it tells of
//! an invocation to an [`Invocation`], so that handlers are tested without it.

mod invocation;
mod logs;
#[cfg(feature = "testing")]
pub mod testing;
mod threads;
mod validation_error;

pub use invocation::{Invocation, InvocationError, ServeError, serve};
pub use logs::{LogSettings, start_logging};
pub use threads::block_on;
pub use validation_error::{other_event_error, validation_error};
