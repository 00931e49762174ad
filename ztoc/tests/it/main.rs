//! Tests of the ztoc crate from outside, in one binary.

mod encoding;
mod golden;
mod hostile;
mod limits;
mod properties;
mod support;
