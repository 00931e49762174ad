//! Tests of the crate through its public interface.

mod dead_letter;
