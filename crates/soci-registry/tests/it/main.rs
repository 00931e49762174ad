//! The client against the fake registry, under faults.
#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails the test")]

mod auth;
mod blob;
mod connect;
mod manifest;
mod memory;
mod pace;
mod push;
mod referrers;
mod support;
