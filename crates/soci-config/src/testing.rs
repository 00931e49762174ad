//! What every program's tests check about its configuration.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::reader::Source;
use crate::table::{Program, VARIABLES};

/// Checks that `read` asks its source for the variables that the table has for `program`, for all of
/// them and for no others, even where none is set.
///
/// # Panics
/// If it does not.
pub fn assert_reads_its_variables(program: Program, read: impl FnOnce(&dyn Source)) {
    let asked = RefCell::new(BTreeSet::new());
    let source = |name: &str| {
        asked.borrow_mut().insert(name.to_owned());
        None
    };
    read(&source);
    let table = VARIABLES.iter().filter(|variable| variable.need(program).is_some());
    let table: BTreeSet<String> = table.map(|variable| variable.name.to_owned()).collect();
    assert_eq!(*asked.borrow(), table);
}
