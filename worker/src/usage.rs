//! Mistakes of whoever runs the program, and the exit codes of all commands.
//!
//! | exit code | what it means |
//! | --- | --- |
//! | 0 | the command did its work, or there was none |
//! | 1 | it failed |
//! | 2 | a mistake on the command line: a flag, an argument, two that exclude each other, one that is missing |
//! | 64 | a mistake in the configuration: a variable of the environment |
//! | 130, 143 | interrupted by Ctrl-C (SIGINT), by SIGTERM |
//!
//! A value that a flag takes from a variable is a mistake where it was written: `--index-version 3` on the command line,
//! `SOCI_INDEX_VERSION=3` in the configuration. Whatever a command finds out about its flags later on ends in
//! [`usage`], before anything is begun, and speaks of that command.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory as _, Error, Parser as _};
use soci_config::Problems;

use crate::cli::Cli;
use crate::process::MISTAKE;
use crate::report;

/// The command line. A mistake in it, and help that it asks for, ends the program.
pub(crate) fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| match variable_of(&error) {
        Some((variable, reason)) => {
            report::complain(format_args!("the configuration is wrong:\n  {variable}: {reason}"));
            std::process::exit(soci_config::EXIT_CODE.into())
        }
        None => error.exit(),
    })
}

/// The variable that a wrong value comes from, if it comes from one, and what is wrong with it.
fn variable_of(error: &Error) -> Option<(String, String)> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = argument.split_whitespace().next()?;
    let given = |text: &str| {
        text == flag || text.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='))
    };
    let is_value = matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue);
    if !is_value || std::env::args().any(|text| given(&text)) {
        return None;
    }
    let command = command_in_use();
    let long = flag.strip_prefix("--")?;
    let argument = command.get_arguments().find(|argument| argument.get_long() == Some(long))?;
    let variable = argument.get_env()?.to_string_lossy().into_owned();
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => format!("{:?} is wrong: ", soci_text::clip(value)),
        _ => String::new(),
    };
    Some((variable, format!("{value}{}", reason(error, argument))))
}

/// What is wrong with a value.
fn reason(error: &Error, argument: &Arg) -> String {
    use std::error::Error as _;

    if let Some(source) = error.source() {
        return source.to_string();
    }
    let names = argument.get_possible_values();
    let names: Vec<_> = names.iter().map(clap::builder::PossibleValue::get_name).collect();
    format!("{} is expected", names.join(" or "))
}

/// Whether [`usage`] prints an object, too.
static IN_JSON: AtomicBool = AtomicBool::new(false);

/// From now on a mistake is told in an object on standard output as well: the command prints one in every case.
pub(crate) fn tell_in_json() {
    IN_JSON.store(true, Ordering::Relaxed);
}

/// Ends the program as other mistakes on the command line do.
pub(crate) fn usage(message: impl std::fmt::Display) -> ! {
    if IN_JSON.load(Ordering::Relaxed) {
        let object = report::failed_json(soci_jobs::reasons::MALFORMED, &message.to_string());
        // Standard error and the exit code tell in any case.
        let _ = report::line(object);
    }
    command_in_use().error(ErrorKind::ValueValidation, message).exit()
}

/// Tells what is wrong with the variables of a program that can also be given as flags; `given` says which of them were.
pub(crate) fn misconfigured(problems: &Problems, given: impl Fn(&str) -> bool) -> ExitCode {
    let mut lines = vec!["the configuration is wrong:".to_owned()];
    let mut code = soci_config::EXIT_CODE;
    for problem in &problems.0 {
        let variable = soci_config::VARIABLES.iter().find(|variable| variable.name == problem.name);
        let name = match variable {
            Some(variable) if given(problem.name) => {
                code = MISTAKE;
                format!("--{}", variable.flag())
            }
            _ => problem.name.to_owned(),
        };
        lines.push(format!("{name}: {}", problem.reason));
    }
    report::complain(lines.join("\n  "));
    ExitCode::from(code)
}

/// The command that was asked for, which usage and help speak of.
fn command_in_use() -> Command {
    in_use(Cli::command(), std::env::args_os().skip(1))
}

fn in_use(mut command: Command, arguments: impl Iterator<Item = OsString>) -> Command {
    // The names of subcommands with those of the commands around them.
    command.build();
    for argument in arguments {
        let Some(name) = argument.to_str() else { break };
        match command.find_subcommand(name) {
            Some(found) => command = found.clone(),
            None => break,
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_in_use_is_the_innermost() {
        let used = |line: &str| {
            let arguments = line.split_whitespace().map(OsString::from);
            in_use(Cli::command(), arguments).render_usage().to_string()
        };
        assert!(used("index app").contains("soci-index-builder index"));
        assert!(used("ztoc build --output x layer").contains("soci-index-builder ztoc build"));
        assert!(used("").contains("soci-index-builder <COMMAND>"));
        assert!(used("--version index").contains("soci-index-builder <COMMAND>"));
    }
}
