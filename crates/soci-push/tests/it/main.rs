//! Tests of the crate through its public interface.

#![expect(clippy::unwrap_used, reason = "a failed test is a failed test, in its helpers too")]

mod messages;
mod understanding;
