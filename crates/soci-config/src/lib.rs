//! The configuration of the programs: one table of variables, and a reader that reports every
//! mistake at once.
//!
//! [`VARIABLES`] is the table; `docs/CONFIGURATION.md` is made from it, which a test holds. A
//! program asks a [`VariableReader`] for the variables it needs and gets, beside the values, all
//! [`Problems`] at the end; a program with problems exits with [`EXIT_CODE`].
//!
//! Where values come from is a [`Source`]; only [`Environment`] and [`budget_of_this_process`] look at the process.

mod index;
mod memory;
pub mod name;
mod parse;
mod reader;
mod table;
#[cfg(feature = "testing")]
pub mod testing;

pub use index::{IndexSettings, SPAN_SIZES, read_push_rules};
pub use memory::{
    LEAST_BUDGET, MOST_BUDGET, WITHOUT_IMAGES, budget_of_this_process, default_budget,
};
pub use parse::{bytes, bytes_within, suffix};
pub use reader::{Environment, Problems, Source, VariableProblem, VariableReader};
pub use table::{Need, Program, VARIABLES, Variable, markdown};

/// Exit code of a program whose configuration is wrong: `EX_USAGE` of `sysexits.h`.
pub const EXIT_CODE: u8 = 64;
