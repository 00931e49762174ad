//! Reads variables and gathers what is wrong with them.
//!
//! A deployment takes minutes, so whoever made three mistakes shall see three of them. A read that
//! fails gives `None` and notes the problem. A program reads everything first, asks with `?` after
//! that, and gets its values from [`VariableReader::finish`] only if nothing was noted.
//!
//! A problem names the variable and repeats the value, cut short, unless it may hold a password.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use soci_text::clip;

use crate::parse;
use crate::table::{Need, Program, VARIABLES};

/// Where values come from.
pub trait Source {
    /// The value of a variable; `None` if it has none.
    fn get(&self, name: &str) -> Option<String>;
}

/// The environment of the process.
#[derive(Clone, Copy, Debug)]
pub struct Environment;

impl Source for Environment {
    /// A value that is not Unicode is one with replacement characters, which no parser takes.
    fn get(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }
}

impl<F: Fn(&str) -> Option<String>> Source for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// A variable that is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableProblem {
    /// The variable.
    pub name: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// Everything that is wrong with a program's configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<VariableProblem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is wrong:")?;
        for VariableProblem { name, reason } in &self.0 {
            write!(f, "\n  {name}: {reason}")?;
        }
        Ok(())
    }
}

/// Reads the variables of one program. An empty value counts as none, except where an empty text
/// means something.
pub struct VariableReader<'a> {
    program: Program,
    source: &'a dyn Source,
    problems: Vec<VariableProblem>,
}

impl fmt::Debug for VariableReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VariableReader").field("program", &self.program).finish_non_exhaustive()
    }
}

impl<'a> VariableReader<'a> {
    /// A reader for `program`.
    pub fn new(program: Program, source: &'a dyn Source) -> Self {
        Self { program, source, problems: Vec::new() }
    }

    /// The value of a variable, or the table's default, as `parse` understands it. `None` if there
    /// is none or if it is wrong, which is noted; so is a required value that is missing.
    pub fn parsed<T, E: fmt::Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.source.get(name).filter(|value| !value.trim().is_empty());
        self.interpret(name, value, parse)
    }

    /// The same where an empty value is a value.
    pub fn parsed_or_empty<T, E: fmt::Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.source.get(name);
        self.interpret(name, value, parse)
    }

    /// Text.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.parsed(name, |text| Ok::<_, String>(text.to_owned()))
    }

    /// A value that knows how to read itself.
    pub fn from_str<T: FromStr<Err: fmt::Display>>(&mut self, name: &'static str) -> Option<T> {
        self.parsed(name, |text| text.trim().parse())
    }

    /// A value that knows how to read itself, and is not repeated if it is wrong.
    pub fn secret<T: FromStr<Err: fmt::Display>>(&mut self, name: &'static str) -> Option<T> {
        let value = self.source.get(name).filter(|value| !value.trim().is_empty())?;
        match self.interpret(name, Some(value), |text| Ok::<_, String>(text.trim().parse()))? {
            Ok(parsed) => Some(parsed),
            Err(reason) => {
                self.reject(
                    name,
                    format!("the value (not shown, as it is secret) is wrong: {reason}"),
                );
                None
            }
        }
    }

    /// Notes where one of two is there without the other.
    pub fn together(&mut self, one: (&'static str, bool), other: (&'static str, bool)) {
        for ((lacking, is_there), (needs, needs_it)) in [(one, other), (other, one)] {
            if needs_it && !is_there {
                self.reject(lacking, format!("is not set, and {needs} needs it"));
            }
        }
    }

    /// A whole number within bounds.
    pub fn number(&mut self, name: &'static str, bounds: RangeInclusive<u64>) -> Option<u64> {
        self.parsed(name, |text| match text.trim().parse() {
            Ok(number) if bounds.contains(&number) => Ok(number),
            _ => Err(format!(
                "a whole number from {} to {} is expected",
                bounds.start(),
                bounds.end()
            )),
        })
    }

    /// A time in whole seconds within bounds.
    pub fn seconds(&mut self, name: &'static str, bounds: RangeInclusive<u64>) -> Option<Duration> {
        self.number(name, bounds).map(Duration::from_secs)
    }

    /// A number of bytes within bounds, with an optional unit.
    pub fn bytes(&mut self, name: &'static str, bounds: RangeInclusive<u64>) -> Option<u64> {
        self.parsed(name, |text| parse::bytes_within(text.trim(), &bounds))
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.parsed(name, |text| match text.trim() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("true or false is expected"),
        })
    }

    /// Notes that something is wrong that only shows when values are seen together.
    pub fn reject(&mut self, name: &'static str, reason: impl Into<String>) {
        self.problems.push(VariableProblem { name, reason: reason.into() });
    }

    /// `value`, if nothing was wrong.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(Problems(self.problems)),
        }
    }

    fn interpret<T, E: fmt::Display>(
        &mut self,
        name: &'static str,
        value: Option<String>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let need = VARIABLES.iter().find(|variable| variable.name == name);
        let need = need.and_then(|variable| variable.need(self.program));
        debug_assert!(need.is_some(), "{name} is not in the table for {:?}", self.program);
        let value = match (value, need) {
            (Some(value), _) => value,
            (None, Some(Need::Default(value))) => value.to_owned(),
            (None, Some(Need::Required)) => {
                self.reject(name, "is not set");
                return None;
            }
            (None, _) => return None,
        };
        match parse(&value) {
            Ok(parsed) => Some(parsed),
            Err(reason) => {
                self.reject(name, format!("{} is wrong: {reason}", shown(&value)));
                None
            }
        }
    }
}

/// A value as a report shows it. One with an `@` may be a URL with a password.
fn shown(value: &str) -> String {
    if value.contains('@') {
        return "the value (not shown, as it may hold a password)".to_owned();
    }
    format!("{:?}", clip(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name;

    fn with<'a>(values: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |wanted| {
            values.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned())
        }
    }

    #[test]
    fn every_mistake_is_reported_with_its_variable() {
        let source = with(&[
            (name::MAX_CONCURRENT_IMAGES, "0"),
            (name::MEMORY_BUDGET, "lots"),
            (name::ANNOTATE_SPAN_SIZE, "yes"),
        ]);
        let mut reader = VariableReader::new(Program::Worker, &source);
        reader.text(name::QUEUE_URL);
        reader.number(name::MAX_CONCURRENT_IMAGES, 1..=1000);
        reader.bytes(name::MEMORY_BUDGET, 1..=u64::MAX);
        reader.flag(name::ANNOTATE_SPAN_SIZE);
        let problems = reader.finish(Some(())).unwrap_err();
        let names: Vec<_> = problems.0.iter().map(|problem| problem.name).collect();
        assert_eq!(
            names,
            ["QUEUE_URL", "MAX_CONCURRENT_IMAGES", "MEMORY_BUDGET", "ANNOTATE_SPAN_SIZE"]
        );
        let text = problems.to_string();
        assert!(text.contains("\n  QUEUE_URL: is not set\n"), "{text}");
        assert!(text.contains("\"0\" is wrong: a whole number from 1 to 1000"), "{text}");
    }

    #[test]
    fn an_empty_value_is_none_unless_empty_means_something() {
        let source = with(&[(name::MAX_CONCURRENT_IMAGES, " "), (name::OUTPUT_TAG_SUFFIX, "")]);
        let mut reader = VariableReader::new(Program::Worker, &source);
        assert_eq!(reader.number(name::MAX_CONCURRENT_IMAGES, 1..=1000), Some(4));
        let suffix = reader.parsed_or_empty(name::OUTPUT_TAG_SUFFIX, parse::suffix);
        assert_eq!(suffix.as_deref(), Some(""));
        assert_eq!(reader.text(name::EMF_NAMESPACE), None);
        assert!(reader.finish(Some(())).is_ok());
    }

    #[test]
    fn what_may_be_a_password_is_not_repeated() {
        let source = with(&[(name::REGISTRY_ENDPOINT_URL, "ftp://user:secret@host")]);
        let mut reader = VariableReader::new(Program::Worker, &source);
        reader.parsed(name::REGISTRY_ENDPOINT_URL, |_| Err::<(), _>("no"));
        let problems = reader.finish(Some(())).unwrap_err().to_string();
        assert!(problems.contains("REGISTRY_ENDPOINT_URL") && !problems.contains("secret"));
    }

    #[test]
    fn a_secret_is_not_repeated_and_has_its_pair() {
        let source = with(&[(name::WEBHOOK_SECRET, "hunter2")]);
        let mut reader = VariableReader::new(Program::Worker, &source);
        assert_eq!(reader.secret::<u8>(name::WEBHOOK_SECRET), None);
        assert_eq!(reader.secret::<u8>(name::WEBHOOK_URL), None);
        reader.together((name::WEBHOOK_URL, false), (name::WEBHOOK_SECRET, true));
        let problems = reader.finish(Some(())).unwrap_err();
        let names: Vec<_> = problems.0.iter().map(|problem| problem.name).collect();
        assert_eq!(names, [name::WEBHOOK_SECRET, name::WEBHOOK_URL]);
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
    }

    #[test]
    fn long_values_are_cut_in_reports() {
        let long = "x".repeat(10_000);
        let values = [(name::MEMORY_BUDGET, &*long)];
        let source = with(&values);
        let mut reader = VariableReader::new(Program::Worker, &source);
        reader.bytes(name::MEMORY_BUDGET, 0..=1);
        assert!(reader.finish(Some(())).unwrap_err().to_string().len() < 300);
    }
}
