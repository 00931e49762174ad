//! What is wrong with an event, in the words of AWS's SOCI index builder for CloudFormation.
//!
//! Scripts and alarms of those who ran that builder look for its sentences, so both functions that
//! stand in its place answer with them. It checks one field after the other and tells of the first
//! that is wrong; here all are checked at once, and [`CHECKS`] brings them back into its order. What
//! it does not check is told in this project's own words.

use soci_push::event::{EventError, FieldProblem, Ignored, Problem};

/// The sentence about the first thing that is wrong with an event, without a capital letter and a
/// full stop.
pub fn validation_error(error: &EventError) -> String {
    if let EventError::Fields(problems) = error {
        let sentences = CHECKS.iter().filter(|check| problems.iter().any(|p| check.fits(p)));
        if let Some(first) = sentences.map(|check| check.sentence).next() {
            return first.to_owned();
        }
    }
    error.to_string()
}

/// The same for an event that tells of no image that has come, or of one that came in a way that is not wanted.
pub fn other_event_error(ignored: &Ignored) -> String {
    match ignored {
        Ignored::Source(_) => SOURCE.to_owned(),
        Ignored::DetailType(_) => DETAIL_TYPE.to_owned(),
        Ignored::Action(_) => ACTION.to_owned(),
        Ignored::Result(_) => RESULT.to_owned(),
        other => other.to_string(),
    }
}

const SOURCE: &str = "the event's 'source' must be 'aws.ecr'";
const DETAIL_TYPE: &str = "the event's 'detail-type' must be 'ECR Image Action'";
const ACTION: &str = "the event's 'detail.action-type' must be 'PUSH'";
const RESULT: &str = "the event's 'detail.result' must be 'SUCCESS'";

/// One check, in the order in which they are made.
struct Check {
    path: &'static str,
    when: When,
    sentence: &'static str,
}

enum When {
    Missing,
    NotMissing,
    Always,
}

impl Check {
    fn fits(&self, found: &FieldProblem) -> bool {
        let missing = found.problem == Problem::Missing;
        found.path == self.path
            && match self.when {
                When::Missing => missing,
                When::NotMissing => !missing,
                When::Always => true,
            }
    }
}

const fn check(path: &'static str, when: When, sentence: &'static str) -> Check {
    Check { path, when, sentence }
}

const CHECKS: [Check; 15] = [
    check("source", When::Always, SOURCE),
    check("account", When::Missing, "the event's 'account' must not be empty"),
    check("detail-type", When::Always, DETAIL_TYPE),
    check("detail", When::Missing, "the event's 'detail' must not be empty"),
    check("detail", When::NotMissing, "the event's 'detail' must be a JSON object literal"),
    check("detail.action-type", When::Always, ACTION),
    check("detail.result", When::Always, RESULT),
    check(
        "detail.repository-name",
        When::Missing,
        "the event's 'detail.repository-name' must not be empty",
    ),
    check(
        "detail.image-digest",
        When::Missing,
        "the event's 'detail.image-digest' must not be empty",
    ),
    check("account", When::NotMissing, "the event's 'account' must be a valid AWS account ID"),
    check(
        "detail.repository-name",
        When::NotMissing,
        "the event's 'detail.repository-name' must be a valid repository name",
    ),
    check(
        "detail.image-digest",
        When::NotMissing,
        "the event's 'detail.image-digest' must be a valid image digest",
    ),
    check(
        "detail.image-tag",
        When::Always,
        "the event's 'detail.image-tag' must be empty or a valid image tag",
    ),
    check("region", When::Missing, "the event's 'region' must not be empty"),
    check("region", When::NotMissing, "the event's 'region' must be a valid AWS region"),
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use soci_push::event::{EcrEvent, MAX_EVENT_BYTES};

    use super::*;
    use crate::testing::push_event;

    fn of(change: impl FnOnce(&mut Value)) -> String {
        let event = push_event(change);
        match EcrEvent::parse(event.as_bytes(), MAX_EVENT_BYTES) {
            Err(error) => validation_error(&error),
            Ok(EcrEvent::Ignored(ignored)) => other_event_error(&ignored),
            Ok(EcrEvent::Push(_) | EcrEvent::Deletion(_)) => {
                panic!("nothing is wrong with {event}")
            }
        }
    }

    #[test]
    fn each_field_has_its_sentence() {
        for (pointer, value, expected) in [
            ("/source", json!("aws.s3"), SOURCE),
            ("/source", json!(null), SOURCE),
            ("/detail-type", json!("x"), DETAIL_TYPE),
            ("/account", json!(null), "the event's 'account' must not be empty"),
            ("/account", json!("12"), "the event's 'account' must be a valid AWS account ID"),
            ("/detail", json!(null), "the event's 'detail' must not be empty"),
            ("/detail", json!([]), "the event's 'detail' must be a JSON object literal"),
            ("/detail/action-type", json!("REPLICATE"), ACTION),
            ("/detail/result", json!("FAILURE"), RESULT),
            (
                "/detail/repository-name",
                json!("A"),
                "the event's 'detail.repository-name' must be a valid repository name",
            ),
            (
                "/detail/image-digest",
                json!("sha256:1"),
                "the event's 'detail.image-digest' must be a valid image digest",
            ),
            (
                "/detail/image-tag",
                json!("-"),
                "the event's 'detail.image-tag' must be empty or a valid image tag",
            ),
            ("/region", json!("!"), "the event's 'region' must be a valid AWS region"),
        ] {
            assert_eq!(of(|event| *event.pointer_mut(pointer).unwrap() = value), expected);
        }
    }

    #[test]
    fn of_several_the_first_that_is_checked_is_named() {
        let sentence = of(|event| {
            event["account"] = json!("12");
            event["detail"]["repository-name"] = json!(null);
        });
        assert_eq!(sentence, "the event's 'detail.repository-name' must not be empty");
    }

    #[test]
    fn what_only_this_project_checks_is_told_in_its_own_words() {
        let sentence = of(|event| event["time"] = json!("yesterday"));
        assert!(sentence.contains("time \"yesterday\" must be a time"), "{sentence}");
        let error = EcrEvent::parse(b"[]", MAX_EVENT_BYTES).unwrap_err();
        assert_eq!(validation_error(&error), "the event is not a JSON object");
    }
}
