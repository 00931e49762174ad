//! What stands in for AWS on one machine: the demonstration of `local` and the tests run against it,
//! and nothing of it is deployed.
//!
//! - [`MemoryQueue`] is a queue in this process that behaves like SQS.
//! - [`sample_image`] makes an image to be pushed and indexed.

pub mod queue;
pub mod sample_image;

#[cfg(any(test, feature = "testing"))]
pub use queue::Call;
#[cfg(any(test, feature = "testing"))]
pub use queue::inspect::Snapshot;
#[cfg(any(test, feature = "testing"))]
pub use queue::presence::Presence;
pub use queue::{MemoryQueue, MemoryQueueOptions, Redrive};
