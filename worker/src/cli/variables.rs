//! The variables of a program as flags: `--queue-url` for `QUEUE_URL`.

use std::collections::HashMap;

use clap::{Arg, ArgMatches, Command, Error, FromArgMatches};
use soci_config::{Environment, Need, Program, Source, VARIABLES, Variable};

/// The worker's variables, given as flags. What is not given is left to the environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerArgs {
    given: HashMap<&'static str, String>,
}

impl WorkerArgs {
    /// Whether a variable was given as a flag.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }
}

impl Source for WorkerArgs {
    fn get(&self, name: &str) -> Option<String> {
        self.given.get(name).cloned().or_else(|| Environment.get(name))
    }
}

fn variables() -> impl Iterator<Item = (&'static Variable, Need)> {
    VARIABLES.iter().filter_map(|variable| Some((variable, variable.need(Program::Worker)?)))
}

impl clap::Args for WorkerArgs {
    fn augment_args(command: Command) -> Command {
        variables().fold(command, |command, (variable, need)| {
            let without = match need {
                Need::Required => "required".to_owned(),
                Need::Optional => "optional".to_owned(),
                Need::Default(value) | Need::Derived(value) => format!("default: {value}"),
            };
            let help = format!("{} [env: {}] [{without}]", variable.meaning, variable.name);
            command.arg(
                Arg::new(variable.name)
                    .long(variable.flag())
                    .value_name("VALUE")
                    .allow_hyphen_values(true)
                    .help(help)
                    .long_help(None),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for WorkerArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for (variable, _) in variables() {
            if let Some(value) = matches.get_one::<String>(variable.name) {
                self.given.insert(variable.name, value.clone());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    #[test]
    fn every_variable_is_a_flag_of_the_same_name_and_wins() {
        for (variable, _) in variables() {
            let command = WorkerArgs::augment_args(Command::new("worker"));
            let flag = format!("--{}", variable.flag());
            let matches = command.try_get_matches_from(["worker", &flag, "-value"]).unwrap();
            let args = WorkerArgs::from_arg_matches(&matches).unwrap();
            assert_eq!(args.get(variable.name).as_deref(), Some("-value"));
        }
    }
}
