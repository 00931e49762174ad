//! Tests of the ztoc crate from outside, in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is a failed test")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the numbers are the tests' own"
)]

mod ahead;
mod encoding;
mod golden;
mod hostile;
mod inflate;
mod limits;
mod members;
mod properties;
mod readers;
mod set_aside;
mod support;
