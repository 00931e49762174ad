//! What each command does.

mod image;
mod ztoc;

use std::process::ExitCode;

use crate::cli::{Command, ZtocCommand};

/// Runs a command. The exit code is 0 if it did its work or had none, 1 if it failed; mistakes on
/// the command line end with 2.
pub(crate) fn run(command: Command) -> ExitCode {
    let result = match command {
        Command::Index(args) => return image::index(&args),
        Command::Verify(args) => return image::verify(&args),
        Command::Ztoc(ZtocCommand::Build(args)) => ztoc::build(&args),
        Command::Ztoc(ZtocCommand::Info(args)) => ztoc::info(&args),
        Command::Ztoc(ZtocCommand::Extract(args)) => ztoc::extract(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has had enough, as `head` has.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
