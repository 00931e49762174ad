//! The whole path from an image in a store to its pushed index, in one process.

mod faults;
mod golden;
mod layout;
mod outcomes;
mod support;
mod verify;
