//! `template.yaml`, the parts it is composed of, the table of variables and the code say the same.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod document;
mod operation;
mod parts;
mod roles;
mod variables;
