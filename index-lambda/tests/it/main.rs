//! Invocations of the index Lambda: with a fake registry and queues in memory around the handler,
//! and through the program as Lambda runs it.
#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails the test")]

mod announcing;
mod batch;
mod direct;
mod process;
mod removal;
mod settling;
mod support;
