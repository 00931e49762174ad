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
//!
//! Where `--json` is on the command line, wherever and of whichever command, a mistake is told in an object on standard
//! output as well: a program that reads one for each failure need not know who found it. What people read stays on
//! standard error.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory as _, Error, Parser as _};
use soci_config::Problems;
use soci_indexer::Reason;
use soci_jobs::reasons;

use crate::cli::Cli;
use crate::process::MISTAKE;
use crate::report;

/// The command line. A mistake in it, and help that it asks for, ends the program.
pub(crate) fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| {
        if let Some((variable, reason)) = variable_of(&error) {
            let mistake = format!("{variable}: {reason}");
            in_json(Reason::Settings.code(), &mistake);
            report::complain(format_args!("the configuration is wrong:\n  {mistake}"));
            std::process::exit(soci_config::EXIT_CODE.into())
        }
        // Help that was asked for is no mistake.
        if error.exit_code() == i32::from(MISTAKE) {
            in_json(reasons::MALFORMED, &in_one_line(&error.render().to_string()));
        }
        error.exit()
    })
}

/// Tells a mistake to a program that reads objects.
fn in_json(reason: &str, mistake: &str) {
    if wants_json(std::env::args_os().skip(1)) {
        // Standard error and the exit code tell in any case.
        let _ = report::line(report::failed_json(reason, mistake));
    }
}

/// Whether these arguments ask for objects. What follows `--` is no flag.
fn wants_json(mut arguments: impl Iterator<Item = OsString>) -> bool {
    arguments
        .find(|argument| argument == "--json" || argument == "--")
        .is_some_and(|found| found == "--json")
}

/// What is wrong, of what clap tells about it: the first paragraph, before tips and usage.
fn in_one_line(told: &str) -> String {
    let told = told.strip_prefix("error: ").unwrap_or(told);
    let lines = told.lines().map(str::trim).take_while(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
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

/// Ends the program as other mistakes on the command line do.
pub(crate) fn usage(message: impl std::fmt::Display) -> ! {
    in_json(reasons::MALFORMED, &message.to_string());
    command_in_use().error(ErrorKind::ValueValidation, message).exit()
}

/// Tells what is wrong with the variables of a program that can also be given as flags; `given` says which of them were.
pub(crate) fn misconfigured(problems: &Problems, given: impl Fn(&str) -> bool) -> ExitCode {
    let mut lines = Vec::new();
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
    let reason = if code == MISTAKE { reasons::MALFORMED } else { Reason::Settings.code() };
    in_json(reason, &lines.join("; "));
    report::complain(format_args!("the configuration is wrong:\n  {}", lines.join("\n  ")));
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
    fn objects_are_wanted_where_the_flag_is_one() {
        let wanted = |line: &str| wants_json(line.split_whitespace().map(OsString::from));
        assert!(
            wanted("index --json") && wanted("--json nonsense") && wanted("ls --x --json -- a")
        );
        assert!(!wanted("index") && !wanted("index --jsonl") && !wanted("index -- --json"));
    }

    #[test]
    fn of_what_clap_tells_the_mistake_is_taken() {
        let mistake = |line: &str| {
            let arguments = ["soci-index-builder"].into_iter().chain(line.split_whitespace());
            in_one_line(&Cli::try_parse_from(arguments).unwrap_err().render().to_string())
        };
        assert_eq!(mistake("ls r.example/a --jsn"), "unexpected argument '--jsn' found");
        assert_eq!(
            mistake("ls"),
            "the following required arguments were not provided: <REPOSITORY>"
        );
        let told = mistake("index a --index-version v3");
        assert!(told.starts_with("invalid value 'v3' for '--index-version <VERSION>'"), "{told}");
    }

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
