//! Values of flags that several commands take.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
#[cfg(feature = "aws")]
use soci_aws::QueueUrl;
use soci_config::{LEAST_BUDGET, MOST_BUDGET, SPAN_SIZES, bytes_within};
use soci_manifest::Version;
use soci_push::TagFilter;

/// The code of a reason that a dead letter can have. One that is misspelled is told what it may have been.
#[cfg(feature = "aws")]
pub(super) fn letter_reason() -> clap::builder::PossibleValuesParser {
    soci_jobs::reasons::of_letters().into()
}

/// A number of bytes that a ztoc can hold as its span size.
pub(super) fn span_size(text: &str) -> Result<u64, String> {
    bytes_within(text, &SPAN_SIZES)
}

/// A number of bytes that is enough for images to be worked on.
pub(super) fn memory(text: &str) -> Result<u64, String> {
    bytes_within(text, &(LEAST_BUDGET..=MOST_BUDGET))
}

/// A version of the SOCI index. For its flag case is ignored.
pub(super) fn version() -> impl TypedValueParser<Value = Version> {
    let names = [PossibleValue::new("v1").alias("1"), PossibleValue::new("v2").alias("2")];
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Version>())
}

/// The URL of a queue. A variable that is set to nothing counts as not set.
#[cfg(feature = "aws")]
pub(super) fn queue_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    if !text.is_empty() {
        text.parse::<QueueUrl>().map_err(|error| soci_text::error_chain(&error))?;
    }
    Ok(text.to_owned())
}

/// A length of time as people write it: `90s`, `15m`, `2h`, `3d`.
pub(super) fn age(text: &str) -> Result<std::time::Duration, &'static str> {
    const WANTED: &str = "a number and a unit are expected, as in 90s, 15m, 2h or 3d";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(WANTED),
    };
    let number: u32 = number.parse().map_err(|_| WANTED)?;
    Ok(std::time::Duration::from_secs(u64::from(number) * seconds))
}

/// A pattern for names of repositories: a filter that any tag matches.
pub(super) fn glob(text: &str) -> Result<TagFilter, String> {
    format!("{text}:*").parse().map_err(|error| format!("the pattern {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_patterns_for_the_whole_name() {
        let matches = |pattern: &str, name| glob(pattern).unwrap().matches(name, None);
        assert!(matches("team/*", "team/app/web") && matches("*", "app"));
        assert!(!matches("team/*", "other/team/app") && !matches("app", "app2"));
        assert!(glob("a:b").is_err() && glob("Upper").is_err() && glob("").is_err());
    }

    #[test]
    fn ages_have_a_number_and_a_unit() {
        let seconds = |text| age(text).map(|age| age.as_secs());
        assert_eq!(
            ["0s", "90s", "15m", "15min", "2h", "3d"].map(seconds),
            [Ok(0), Ok(90), Ok(900), Ok(900), Ok(7_200), Ok(259_200)]
        );
        for wrong in ["", "2", "h", "-2h", "2 h", "1.5h", "2w", "99999999999s"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
