//! Jobs against the fake registry: from a message to what is in the registry at the end.
#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails the test")]

mod duplicates;
mod failures;
mod moved_tags;
mod order;
mod outcomes;
mod support;
