//! The flags of a login for one command.

use clap::Args;

/// A login that is used once and kept nowhere.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Log in to the image's registry as this user, whatever else is configured
    #[arg(long, value_name = "USER", requires = "password_stdin")]
    pub(crate) username: Option<String>,
    /// Read the password from standard input, where no other user of the machine can see it
    #[arg(long, requires = "username")]
    pub(crate) password_stdin: bool,
}
