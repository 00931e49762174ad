//! Which files an image's program needs to start, told from the image alone.
//!
//! The configuration names the program, the layers' tables of contents are merged into one file tree
//! ([`Tree`]), and what a file needs stands at its beginning or in its tables ([`Inspector`]): a script names its
//! interpreter, an ELF program its dynamic linker and its libraries. [`needed_files`] follows all of that.
//!
//! Pure: it reads nothing itself. [`needed_files`] says which file it has to know more of, the caller inspects that
//! and asks again, until there is an answer. What a program opens once it runs is not found: modules of an interpreter,
//! plug-ins, data.
//!
//! Everything is bounded: the memory of the tree, the number of files, links and words. No input makes this crate
//! panic or loop.

mod config;
mod inspect;
mod search;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tree;

pub use config::{ConfigError, RunConfig};
pub use inspect::{Inspected, Inspector, MAX_INSPECTED};
pub use search::{Effort, FileToInspect, MAX_FILES, NeededFile, Searched, needed_files};
pub use tree::{EntryKind, Place, Tree, TreeEntry, TreeTooLarge};
