//! The commands that need AWS, in a program that is built without it. They are there so that whoever
//! types one is told why it does nothing, and left out of the help, which lists what works.

use std::ffi::OsString;

use clap::Args;

/// Whatever follows such a command: all of it is taken, and none of it is read.
#[derive(Debug, Args)]
#[command(hide = true, disable_help_flag = true)]
pub(crate) struct Ignored {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    _rest: Vec<OsString>,
}
