//! Events through the filter Lambda: with fakes around the handler, and through the program as
//! Lambda runs it.
#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails the test")]

mod handler;
mod process;
mod support;
