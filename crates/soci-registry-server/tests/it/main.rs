//! The registry over HTTP: with this project's client as others use it, and by bare requests where
//! the protocol itself matters.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod images;
mod protocol;
mod quirks;
mod support;
mod uploads;
