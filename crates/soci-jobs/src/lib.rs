//! What one job does. [`Runner`] opens the image's repository and indexes it, with the policy of an
//! unattended service.

mod failure;
mod limiter;
mod locks;
mod memo;
mod runner;
mod stores;

pub use failure::{Cause, Failure};
pub use limiter::RateLimiter;
pub use runner::{Done, Runner};
pub use stores::{EndpointError, EndpointOverride, RegistryStores, Stores};
