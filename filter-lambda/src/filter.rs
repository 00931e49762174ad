//! What is to be done with an event, from its text alone.

use soci_manifest::Version;
use soci_push::event::{Event, EventError, Ignored, MAX_EVENT_BYTES, PushEvent};
use soci_push::{Skip, TagFilter, TagFilters, why_not};

/// Which pushes are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The images that are wanted.
    pub filters: TagFilters,
    /// Version of the SOCI indexes that are built.
    pub version: Version,
    /// What the tags of converted images end in.
    pub output_suffix: String,
}

/// What is to be done with an event.
#[derive(Debug)]
pub enum Decision<'a> {
    /// The image is wanted.
    Wanted {
        /// The push.
        push: Box<PushEvent>,
        /// The first filter that matches.
        filter: &'a TagFilter,
    },
    /// No filter matches.
    Unmatched(Box<PushEvent>),
    /// What was pushed needs no index.
    Skip(Box<PushEvent>, Skip),
    /// Something else has happened than a successful push.
    Ignored(Ignored),
    /// ECR says that something has happened, and it cannot be read what.
    Unreadable(EventError),
    /// It does not say that it comes from ECR.
    Foreign(EventError),
}

impl Filter {
    /// Decides what is to be done with the event that is `payload`.
    pub fn read(&self, payload: &str) -> Decision<'_> {
        let push = match Event::parse(payload.as_bytes(), MAX_EVENT_BYTES) {
            Ok(Event::Push(push)) => push,
            Ok(Event::Ignored(ignored)) => return Decision::Ignored(ignored),
            Err(error) if is_of_ecr(&error) => return Decision::Unreadable(error),
            Err(error) => return Decision::Foreign(error),
        };
        if let Some(skip) = why_not(&push, self.version, &self.output_suffix) {
            return Decision::Skip(push, skip);
        }
        match self.filters.matching(push.repository.name(), push.tag.as_ref()) {
            Some(filter) => Decision::Wanted { push, filter },
            None => Decision::Unmatched(push),
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
    use serde_json::{Value, json};

    use super::*;

    fn filter(filters: &str, version: Version) -> Filter {
        let output_suffix = "-soci".to_owned();
        Filter { filters: filters.parse().unwrap(), version, output_suffix }
    }

    fn event(change: impl FnOnce(&mut Value)) -> String {
        let mut event = json!({
            "source": "aws.ecr", "detail-type": "ECR Image Action",
            "account": "123456789012", "region": "eu-west-1",
            "detail": {
                "action-type": "PUSH", "result": "SUCCESS", "repository-name": "team/app",
                "image-digest": format!("sha256:{}", "a".repeat(64)), "image-tag": "v1",
            },
        });
        change(&mut event);
        event.to_string()
    }

    #[test]
    fn a_push_is_wanted_by_the_first_filter_that_matches() {
        let filter = filter("other:*,team/*:v*,*:*", Version::V2);
        match filter.read(&event(|_| {})) {
            Decision::Wanted { push, filter } => {
                assert_eq!(push.repository.name(), "team/app");
                assert_eq!(filter.to_string(), "team/*:v*");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_push_that_no_filter_matches_is_not_wanted() {
        let filter = filter("other:*", Version::V2);
        assert!(matches!(filter.read(&event(|_| {})), Decision::Unmatched(_)));
    }

    #[test]
    fn output_is_skipped_before_the_filters_are_asked() {
        let filter = filter("*:*", Version::V2);
        let event = event(|event| event["detail"]["image-tag"] = json!("v1-soci"));
        assert!(matches!(filter.read(&event), Decision::Skip(_, Skip::OutputTag { .. })));
    }

    #[test]
    fn a_push_without_a_tag_is_wanted_for_v1_only() {
        let event = event(|event| event["detail"]["image-tag"] = json!(""));
        let of = |version| filter("*:*", version);
        assert!(matches!(of(Version::V2).read(&event), Decision::Skip(_, Skip::Untagged)));
        assert!(matches!(of(Version::V1).read(&event), Decision::Wanted { .. }));
    }

    #[test]
    fn other_events_are_told_from_those_that_cannot_be_read() {
        let filter = filter("*:*", Version::V2);
        let delete = event(|event| event["detail"]["action-type"] = json!("DELETE"));
        assert!(matches!(filter.read(&delete), Decision::Ignored(Ignored::Action(_))));
        let cut = event(|event| event["detail"]["image-digest"] = json!("sha256:"));
        assert!(matches!(filter.read(&cut), Decision::Unreadable(_)));
        for foreign in ["{}", "[]", "null", "\"text\"", r#"{"source":"aws.ecr"}"#] {
            assert!(matches!(filter.read(foreign), Decision::Foreign(_)), "{foreign}");
        }
    }
}
