//! The whole path from an image in a store to its pushed index, in one process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is a failed test")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the numbers are the tests' own"
)]

mod at_once;
mod copy;
mod faults;
mod forecast;
mod golden;
mod inspect;
mod layout;
mod layout_names;
mod left_out;
mod list;
mod members;
mod outcomes;
mod output;
mod own_store;
mod parallel_lists;
mod partial;
mod prefetch;
mod prune;
mod read_back;
mod reads;
mod removal;
mod requests;
mod reuse;
mod support;
mod verify;
mod wait;
