//! The flags of `completions` and `man`, which make what a package has beside the program.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The folder that the pages are written into, one for each command
    pub(crate) folder: PathBuf,
}
