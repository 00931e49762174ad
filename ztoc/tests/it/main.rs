//! Tests of the ztoc crate from outside, in one binary.

mod golden;
mod support;
