//! How far something was looked at, without which no count of what is there is told.
//!
//! A queue that does not answer is not an empty one, and a list whose second page failed has more than its first. So
//! whoever counts what is there says how far it was looked at, and a count is told in one of three ways: as it is where all
//! was looked at; as "at least" so many where something was; and not at all where nothing was. In JSON the last is `null`,
//! and `complete` tells the other two apart. Why it was not all is told as any other failure, which the exit code follows.

use serde_json::Value;
use soci_service::words;

/// How far something was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Looked {
    /// Not at all.
    #[default]
    Not,
    /// Some of it; there may be more.
    InPart,
    /// All that there is.
    All,
}

impl Looked {
    /// How far a look came that was finished or not, and that saw something or not.
    pub(crate) fn of(finished: bool, seen: bool) -> Self {
        match (finished, seen) {
            (true, _) => Self::All,
            (false, true) => Self::InPart,
            (false, false) => Self::Not,
        }
    }

    /// Whether it was all.
    pub(crate) fn is_complete(self) -> bool {
        self == Self::All
    }

    /// A count of what was seen, for people.
    pub(crate) fn number(self, count: u64) -> String {
        match self {
            Self::Not => "an unknown number".to_owned(),
            Self::InPart => format!("at least {count}"),
            Self::All => count.to_string(),
        }
    }

    /// The same with what is counted, of which `noun` is the name of one.
    pub(crate) fn count(self, count: u64, noun: &str) -> String {
        match self {
            Self::Not => format!("an unknown number of {noun}s"),
            Self::InPart => format!("at least {}", words::count(count, noun)),
            Self::All => words::count(count, noun),
        }
    }

    /// A count of what was seen, for programs.
    pub(crate) fn json(self, count: u64) -> Value {
        match self {
            Self::Not => Value::Null,
            Self::InPart | Self::All => count.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_looked_at_has_no_count() {
        let told = |looked: Looked| (looked.number(2), looked.count(1, "letter"), looked.json(2));
        let (number, letters, json) = told(Looked::of(true, false));
        assert_eq!((number.as_str(), letters.as_str(), json), ("2", "1 letter", 2.into()));
        let (number, letters, json) = told(Looked::of(false, true));
        assert_eq!(number, "at least 2");
        assert_eq!((letters.as_str(), json), ("at least 1 letter", 2.into()));
        let (number, letters, json) = told(Looked::of(false, false));
        assert_eq!(number, "an unknown number");
        assert_eq!((letters.as_str(), json), ("an unknown number of letters", Value::Null));
        assert!(Looked::All.is_complete() && !Looked::InPart.is_complete());
    }
}
