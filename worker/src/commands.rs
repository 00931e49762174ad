//! What each command does.

#[cfg(feature = "aws")]
mod backfill;
mod connection;
mod credentials;
#[cfg(feature = "aws")]
mod dead_letters;
#[cfg(feature = "aws")]
mod enqueue;
mod healthcheck;
mod image;
mod local;
#[cfg(feature = "aws")]
mod looked;
mod package;
#[cfg(feature = "aws")]
mod queue;
#[cfg(feature = "aws")]
mod replay;
mod sample_platform;
mod site;
mod status;
mod wait;
#[cfg(feature = "aws")]
mod wake;
#[cfg(feature = "aws")]
mod worker;
mod ztoc;

use std::process::ExitCode;

use soci_text::error_chain;

use crate::cli::{Command, ZtocCommand};
use crate::{process, report};

/// Runs a command. The exit code is 0 if it did its work or had none, 1 if it failed; mistakes on
/// the command line end with 2. An I/O error without context is one of standard output.
pub(crate) fn run(command: Command) -> ExitCode {
    match &command {
        // What runs unattended logs as its configuration says.
        Command::Worker(_) => {}
        // It prints how each job ended, which the service would log once more.
        Command::Local(_) => {
            process::log_to_stderr("warn,soci_service::consumer=off,soci_service::job_log=off");
        }
        // Of libraries only errors are heard in any case.
        Command::Index(args) if args.told.verbose => process::log_to_stderr("debug"),
        Command::Index(args) if args.told.quiet => process::log_to_stderr("error"),
        Command::Verify(args) if args.quiet => process::log_to_stderr("error"),
        Command::Wait(args) if args.quiet => process::log_to_stderr("error"),
        _ => process::log_to_stderr("warn"),
    }
    let result = match command {
        Command::Index(args) => return image::index(&args),
        Command::Verify(args) => return image::verify(&args),
        Command::Inspect(args) => return image::inspect(&args),
        Command::Ls(args) => return image::ls(&args),
        Command::Prune(args) => return image::prune(&args),
        Command::Copy(args) => return image::copy(&args),
        Command::Wait(args) => return wait::wait(&args),
        Command::SampleImage(args) => return image::sample_image(&args),
        #[cfg(feature = "aws")]
        Command::Worker(args) => return worker::worker(&args),
        #[cfg(feature = "aws")]
        Command::Backfill(args) => return backfill::backfill(&args.resolved()),
        #[cfg(feature = "aws")]
        Command::Replay(args) => return replay::replay(&args),
        #[cfg(feature = "aws")]
        Command::Queue(args) => return queue::queue(&args),
        #[cfg(feature = "aws")]
        Command::DeadLetters(args) => return dead_letters::dead_letters(&args.command),
        #[cfg(not(feature = "aws"))]
        Command::Worker(_)
        | Command::Backfill(_)
        | Command::Replay(_)
        | Command::Queue(_)
        | Command::DeadLetters(_) => {
            report::complain(
                "this program is built without AWS, which `worker`, `backfill`, `replay`, `queue` and \
                 `dead-letters` need; `cargo build --release` builds one that has them",
            );
            return ExitCode::from(soci_config::EXIT_CODE);
        }
        Command::Healthcheck(args) => return healthcheck::healthcheck(&args),
        Command::Status(args) => return status::status(&args),
        Command::Local(args) => return local::local(&args),
        Command::Ztoc(ZtocCommand::Build(args)) => ztoc::build(&args),
        Command::Ztoc(ZtocCommand::Info(args)) => ztoc::info(&args),
        Command::Ztoc(ZtocCommand::Extract(args)) => ztoc::extract(&args),
        Command::Completions(args) => package::completions(&args),
        Command::Man(args) => package::man(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Of the error itself: `anyhow`'s own look goes behind a context as well.
        Err(error) => {
            if let Some(error) = (*error).downcast_ref::<std::io::Error>() {
                return report::printed(Err(std::io::Error::new(error.kind(), error.to_string())));
            }
            report::complain(error_chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
