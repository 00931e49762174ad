//! The client against the fake registry, under faults.
//!
//! Client and registry share one thread and one paused clock, which moves on only when neither has
//! anything to do (`support::start`): how long the machine takes for a test decides nothing. Tests that start programs
//! use real time and measure none.
#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails the test")]

mod auth;
mod blob;
mod connect;
mod heads;
mod loopback;
mod manifest;
mod memory;
mod pace;
mod proxies;
mod push;
mod push_streamed;
mod ranges;
mod reach;
mod redirect;
mod referrers;
mod servers;
mod support;
mod tags;
mod tls;
mod token;
mod upload;
