//! Members of a JSON object, read one by one so that everything wrong is found in one reading.
//!
//! Values stay raw text until they are asked for: unknown members cost no memory, and nesting
//! costs no stack.

use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use soci_text::clip;

/// One field of a message that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} {problem}")]
pub struct FieldProblem {
    /// Where the field is, for example `detail.image-digest`.
    pub path: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It is required, and absent or null.
    #[error("is missing")]
    Missing,
    /// The object has it more than once, so readers may disagree about its value.
    #[error("is given more than once")]
    Repeated,
    /// It holds another kind of JSON value.
    #[error("must be {expected}, not {found}")]
    Kind {
        /// The kind it must be of, with its article.
        expected: &'static str,
        /// The kind it is of, with its article.
        found: &'static str,
    },
    /// It breaks the grammar of what it names.
    #[error("{value:?} must be {expected}")]
    Value {
        /// Its value, cut short.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
}

/// Lists problems for people, each once, separated by semicolons.
pub(crate) struct Listed<'a, T>(pub(crate) &'a [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, item) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("; ")?;
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}

/// The members of one object that somebody wants to know, as raw text, and what is wrong with
/// them.
pub(crate) struct Fields<'a> {
    prefix: &'static str,
    members: Vec<Member<'a>>,
    problems: Vec<FieldProblem>,
}

struct Member<'a> {
    name: &'static str,
    value: &'a RawValue,
    repeated: bool,
}

impl<'a> Fields<'a> {
    /// Reads the members called `names` of the object that is `text`. Paths of problems begin
    /// with `prefix`.
    pub(crate) fn read(
        text: &'a str,
        prefix: &'static str,
        names: &[&'static str],
    ) -> Result<Self, serde_json::Error> {
        if text.trim_ascii_start().starts_with('"') {
            // serde_json's error would repeat the string, however long it is.
            return Err(serde_json::Error::custom("it is a string"));
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        let members = reader.deserialize_map(Members(names))?;
        reader.end()?;
        Ok(Self { prefix, members, problems: Vec::new() })
    }

    /// Whether the object has a member `name`, even one that is null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.iter().any(|member| member.name == name)
    }

    /// The raw text of member `name`; `None` if it is absent or null, or given more than once,
    /// which is a problem.
    pub(crate) fn raw(&mut self, name: &'static str) -> Option<&'a str> {
        let member = self.members.iter().find(|member| member.name == name)?;
        let text = member.value.get();
        // Readers differ in whether the first or the last counts, and one of them was the sender's.
        if member.repeated {
            self.note(name, Problem::Repeated);
            return None;
        }
        (text != "null").then_some(text)
    }

    /// The raw text of member `name` if it is of the kind `expected`, one of those that [`kind`]
    /// gives.
    pub(crate) fn of_kind(
        &mut self,
        name: &'static str,
        expected: &'static str,
    ) -> Option<&'a str> {
        let text = self.raw(name)?;
        let found = kind(text);
        if found == expected {
            return Some(text);
        }
        self.note(name, Problem::Kind { expected, found });
        None
    }

    /// The string that is member `name`.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        let text = self.of_kind(name, "a string")?;
        // A lone surrogate is JSON and no text.
        let Ok(text) = serde_json::from_str(text) else {
            self.wrong(name, text, "a string of Unicode characters");
            return None;
        };
        Some(text)
    }

    /// The string that is member `name`, as `parse` understands it; `expected` says what
    /// `parse` takes.
    pub(crate) fn parsed<T>(
        &mut self,
        name: &'static str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.wrong(name, &text, expected);
        }
        parsed
    }

    /// Whether member `name` is neither absent nor null.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        let given = |member: &Member<'_>| member.repeated || member.value.get() != "null";
        self.members.iter().any(|member| member.name == name && given(member))
    }

    /// Notes that member `name` is missing if it is absent or null.
    pub(crate) fn require(&mut self, name: &'static str) {
        if !self.is_given(name) {
            self.note(name, Problem::Missing);
        }
    }

    /// Notes that member `name` has a value that breaks its grammar.
    pub(crate) fn wrong(&mut self, name: &'static str, value: &str, expected: &'static str) {
        self.note(name, Problem::Value { value: clip(value), expected });
    }

    /// What has been found wrong, in the order of the asking.
    pub(crate) fn into_problems(self) -> Vec<FieldProblem> {
        self.problems
    }

    fn note(&mut self, name: &str, problem: Problem) {
        let noted = FieldProblem { path: format!("{}{name}", self.prefix), problem };
        if !self.problems.contains(&noted) {
            self.problems.push(noted);
        }
    }
}

/// A parser for [`Fields::parsed`] of what reads itself from a string.
pub(crate) fn from_str<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// The kind of the JSON value that is `text`, with its article.
fn kind(text: &str) -> &'static str {
    match text.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

struct Members<'n>(&'n [&'static str]);

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Vec<Member<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<Member<'de>> = Vec::new();
        while let Some(name) = map.next_key_seed(Name(self.0))? {
            let Some(name) = name else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value = map.next_value()?;
            match members.iter_mut().find(|member| member.name == name) {
                Some(member) => member.repeated = true,
                None => members.push(Member { name, value, repeated: false }),
            }
        }
        Ok(members)
    }
}

/// The name among these that a key is equal to, if there is one.
struct Name<'n>(&'n [&'static str]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|name| **name == key).copied())
    }
}

/// `bytes` as text of at most `limit` bytes, or why not.
pub(crate) fn text_within(bytes: &[u8], limit: usize) -> Result<&str, TextError> {
    if bytes.len() > limit {
        return Err(TextError::TooLarge { size: bytes.len(), limit });
    }
    str::from_utf8(bytes).map_err(|error| TextError::Json(serde_json::Error::custom(error)))
}

/// Why bytes are not even looked at.
pub(crate) enum TextError {
    TooLarge { size: usize, limit: usize },
    Json(serde_json::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields<'_> {
        Fields::read(text, "at.", &["a", "b"]).unwrap()
    }

    #[test]
    fn unknown_members_are_passed_over_however_deep_they_nest() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = format!(r#"{{"x":{deep},"a":"1","x":2}}"#);
        assert_eq!(fields(&text).text("a").as_deref(), Some("1"));
    }

    #[test]
    fn every_problem_is_kept_with_its_path() {
        let mut fields = fields(r#"{"a":1,"b":"x","\u0062":"y"}"#);
        assert_eq!((fields.text("a"), fields.text("b")), (None, None));
        fields.require("a");
        fields.require("b");
        let listed = Listed(&fields.into_problems()).to_string();
        assert_eq!(listed, "at.a must be a string, not a number; at.b is given more than once");
    }

    #[test]
    fn null_counts_as_missing_and_only_where_required() {
        let mut fields = fields(r#"{"a":null}"#);
        assert_eq!((fields.text("a"), fields.text("b")), (None, None));
        fields.require("a");
        let missing = FieldProblem { path: "at.a".to_owned(), problem: Problem::Missing };
        assert_eq!(fields.into_problems(), [missing]);
    }

    #[test]
    fn a_lone_surrogate_is_a_problem_of_its_field() {
        let mut fields = fields(r#"{"a":"\ud800"}"#);
        assert_eq!(fields.text("a"), None);
        assert_eq!(fields.into_problems().len(), 1);
    }

    #[test]
    fn an_error_does_not_repeat_what_is_no_object() {
        let long = "s".repeat(1000);
        for text in [
            format!("\"{long}\""),
            format!(" \"{long}"),
            format!("[\"{long}\"]"),
            format!("{{\"{long}"),
            format!("{{\"x\":1}}{long}"),
            long.clone(),
            "1".repeat(1000),
        ] {
            let error = Fields::read(&text, "", &["a"]).err().unwrap().to_string();
            assert!(error.len() < 100 && !error.contains("ss"), "{error}");
        }
    }

    #[test]
    fn what_is_no_object_or_goes_on_is_refused() {
        for text in ["", "[]", "null", "{", "{}x", r#"{"a":}"#, r#"{"a":1"#] {
            assert!(Fields::read(text, "", &["a"]).is_err(), "{text}");
        }
    }
}
