//! The rules of this repository, held against its files.
//!
//! A rule that only people remember is broken within a year. Each rule here reads the tree and names
//! the file and the line that break it, so that the person who made the change hears of it, and not
//! the next reader.
//!
//! - `crates.rs`: which crate may use which, in one table; and the table in `ARCHITECTURE.md`.
//! - `pure.rs`: crates that promise to do no input and output keep the promise.
//! - `circles.rs`: no two files of a crate need each other.
//! - `files.rs`: how a file begins, how long it may be, why it may break a lint, and what its types
//!   are not called.
//! - `logs.rs`: one file gives a process its subscriber, and knows whose crates are whose.
//! - `documents.rs`: what a document names exists, and the README names the Rust that is needed.
//! - `registries.rs`: the document on registries and the table of their habits name the same ones.
//! - `commands.rs`: the justfile, `.ci/run` and the workflows do the same, and run only what is pinned.
//! - `origin.rs`: one place says where the repository is and which version this is.
//!
//! A check takes what was read and returns what it found, so that its own tests hand it a small tree
//! that breaks the rule. `tree.rs` and `module.rs` do the reading.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod circles;
mod commands;
mod crates;
mod documents;
mod files;
mod logs;
mod module;
mod origin;
mod parity;
mod pure;
mod registries;
mod tree;

/// Fails with everything that a check found, one a line.
#[track_caller]
fn none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}
