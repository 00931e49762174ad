//! What one job does. [`Runner`] opens the image's repository and indexes it, with the policy of an
//! unattended service: jobs of one image wait for each other, results are remembered, and an image
//! that its tag has left is skipped. [`Outcome`] is how a job ended, [`NextStep`] what that asks for, and
//! [`MessageAction`] what was then done with its message. [`announcement`] is what others are told of it.

mod announce;
mod limiter;
mod locks;
mod memo;
mod next_step;
mod outcome;
pub mod reasons;
mod removal;
mod repositories;
mod runner;
mod slot;

pub use announce::{EndedImage, announcement};
pub use limiter::RateLimiter;
pub use next_step::{JobFacts, NOT_ALONE, NextStep, RetryRule};
pub use outcome::{EndKind, JobEnd, MessageAction, Outcome, SECOND_LOOK_AFTER, Why};
pub use removal::Remover;
pub use repositories::{EndpointError, EndpointOverride, RegistryOpener, RepositoryOpener};
pub use runner::{MAX_WAIT, Runner};
pub use slot::{JobSlot, SlotFuture, Unlimited, WaitsFor};
