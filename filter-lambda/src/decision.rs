//! What is to be done with an event, from its text alone.
//!
//! The rules are those that the worker holds events against, [`PushRules`]; what is told apart here
//! is only what the response and the log say, and which events are kept although they cannot be read.

use soci_push::event::{DeletionEvent, EcrEvent, EventError, Ignored, MAX_EVENT_BYTES, PushEvent};
use soci_push::{PushRules, SkippedPush, TagFilter};

/// What is to be done with an event.
#[derive(Debug)]
pub enum PushDecision<'a> {
    /// The image is wanted.
    Wanted {
        /// The push.
        push: Box<PushEvent>,
        /// The first filter that matches.
        filter: &'a TagFilter,
    },
    /// The image was deleted, and its result is to go.
    Removal {
        /// The deletion.
        deletion: Box<DeletionEvent>,
        /// The first filter that matches.
        filter: &'a TagFilter,
    },
    /// The image was deleted, and nothing is to be done about it.
    NoRemoval {
        /// The deletion.
        deletion: Box<DeletionEvent>,
        /// Why there is nothing to do.
        why: SkippedPush,
    },
    /// The push is no work.
    Skipped {
        /// The push.
        push: Box<PushEvent>,
        /// Why it is none.
        why: SkippedPush,
    },
    /// Something else has happened than that an image has come, or it came in a way that is not wanted.
    Ignored(Ignored),
    /// ECR says that something has happened, and it cannot be read what.
    Unreadable(EventError),
    /// It does not say that it comes from ECR.
    Foreign(EventError),
}

impl<'a> PushDecision<'a> {
    /// Decides what is to be done with the event that is `payload`.
    pub fn of(payload: &str, rules: &'a PushRules) -> Self {
        let push = match EcrEvent::parse(payload.as_bytes(), MAX_EVENT_BYTES) {
            Ok(EcrEvent::Push(push)) => push,
            Ok(EcrEvent::Deletion(deletion)) => {
                return match rules.judge_deletion(&deletion) {
                    Ok(filter) => Self::Removal { deletion, filter },
                    Err(SkippedPush::Ignored(ignored)) => Self::Ignored(ignored),
                    Err(why) => Self::NoRemoval { deletion, why },
                };
            }
            Ok(EcrEvent::Ignored(ignored)) => return Self::Ignored(ignored),
            Err(error) if is_of_ecr(&error) => return Self::Unreadable(error),
            Err(error) => return Self::Foreign(error),
        };
        match rules.judge(&push) {
            Ok(filter) => Self::Wanted { push, filter },
            // An image came in a way that is not wanted.
            Err(SkippedPush::Ignored(ignored)) => Self::Ignored(ignored),
            Err(why) => Self::Skipped { push, why },
        }
    }
}

/// Whether an event that cannot be read says at least that it comes from ECR and tells of an image,
/// as all events do that EventBridge's rule lets through.
fn is_of_ecr(error: &EventError) -> bool {
    match error {
        EventError::Fields(problems) => {
            problems.iter().all(|problem| problem.path != "source" && problem.path != "detail-type")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use soci_lambda::testing::push_event;
    use soci_manifest::Version;
    use soci_push::Skip;

    use super::*;

    fn rules(filters: &str, version: Version) -> PushRules {
        let output_suffix = "-soci".to_owned();
        PushRules {
            filters: filters.parse().unwrap(),
            version,
            output_suffix,
            event_types: soci_push::EventTypes::default(),
            remove_results: false,
        }
    }

    #[test]
    fn a_push_is_wanted_by_the_first_filter_that_matches() {
        let rules = rules("other:*,team/*:v*,*:*", Version::V2);
        match PushDecision::of(&push_event(|_| {}), &rules) {
            PushDecision::Wanted { push, filter } => {
                assert_eq!(push.repository.name(), "team/app");
                assert_eq!(filter.to_string(), "team/*:v*");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_push_that_no_filter_matches_is_not_wanted() {
        let rules = rules("other:*", Version::V2);
        assert!(matches!(
            PushDecision::of(&push_event(|_| {}), &rules),
            PushDecision::Skipped { why: SkippedPush::Unmatched { .. }, .. }
        ));
    }

    #[test]
    fn output_is_skipped_before_the_filters_are_asked() {
        let rules = rules("*:*", Version::V2);
        let event = push_event(|event| event["detail"]["image-tag"] = json!("v1-soci"));
        assert!(matches!(
            PushDecision::of(&event, &rules),
            PushDecision::Skipped { why: SkippedPush::Skip(Skip::OutputTag { .. }), .. }
        ));
    }

    #[test]
    fn a_push_without_a_tag_is_wanted_for_v1_only() {
        let event = push_event(|event| event["detail"]["image-tag"] = json!(""));
        let (v2, v1) = (rules("*:*", Version::V2), rules("*:*", Version::V1));
        assert!(matches!(
            PushDecision::of(&event, &v2),
            PushDecision::Skipped { why: SkippedPush::Skip(Skip::Untagged), .. }
        ));
        assert!(matches!(PushDecision::of(&event, &v1), PushDecision::Wanted { .. }));
    }

    #[test]
    fn other_events_are_told_from_those_that_cannot_be_read() {
        let rules = rules("*:*", Version::V2);
        let delete = push_event(|event| event["detail"]["action-type"] = json!("DELETE"));
        assert!(matches!(
            PushDecision::of(&delete, &rules),
            PushDecision::Ignored(Ignored::Action(_))
        ));
        let cut = push_event(|event| event["detail"]["image-digest"] = json!("sha256:"));
        assert!(matches!(PushDecision::of(&cut, &rules), PushDecision::Unreadable(_)));
        for foreign in ["{}", "[]", "null", "\"text\"", r#"{"source":"aws.ecr"}"#] {
            assert!(
                matches!(PushDecision::of(foreign, &rules), PushDecision::Foreign(_)),
                "{foreign}"
            );
        }
    }
}
