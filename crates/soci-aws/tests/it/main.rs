//! The crate against a fake of AWS.

#![expect(clippy::unwrap_used, reason = "tests")]

#[cfg(feature = "commands")]
mod any_region;
mod catalogue;
mod credentials;
mod eventbridge;
mod fake;
mod moves;
mod queue;
