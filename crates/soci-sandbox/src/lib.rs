//! What stands in for AWS on one machine: the demonstration of `local` and the tests run against it,
//! and nothing of it is deployed.
//!
//! [`MemoryQueue`] is a queue in this process that behaves like SQS.

pub mod queue;

#[cfg(any(test, feature = "testing"))]
pub use queue::{Call, Presence, Snapshot};
pub use queue::{MemoryQueue, MemoryQueueOptions, Redrive};
