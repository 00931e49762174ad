//! What one job does: from the bytes of a message to an indexed image.
//!
//! [`understand`] reads a message and says whether there is work, without I/O. [`Runner`] opens the
//! image's repository and indexes it.

mod failure;
mod limiter;
mod locks;
mod memo;
mod runner;
mod stores;
mod task;

pub use failure::{Cause, Failure};
pub use limiter::RateLimiter;
pub use runner::{Done, Runner};
pub use stores::{EndpointError, EndpointOverride, RegistryStores, Stores};
pub use task::{Job, Nothing, Rules, Task, judge, understand};
