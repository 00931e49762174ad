//! What the function answers.
//!
//! Shape, codes and sentences are those of the filter function in AWS's SOCI index builder for
//! CloudFormation, as far as it knows the case.

use serde::Serialize;
use soci_lambda::{other_event_error, validation_error};
use soci_push::event::{DeletionEvent, EventError, Ignored, PushEvent};
use soci_push::{Skip, SkippedPush};

/// What the function answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Response {
    /// 200 for an event that was understood, be it wanted or not; 400 for all others.
    #[serde(rename = "statusCode")]
    pub status_code: u16,
    /// What was done, for people.
    pub body: String,
}

impl Response {
    /// The job is on a queue.
    pub fn queued(push: &PushEvent, filter: &str, message_id: &str) -> Self {
        Self::ok(format!(
            "Successfully queued the image because {}. Message id: \"{message_id}\"",
            matched(push, filter)
        ))
    }

    /// The push is no work.
    pub fn skipped(push: &PushEvent, why: &SkippedPush) -> Self {
        let image = image(push);
        Self::ok(match why {
            SkippedPush::Unmatched { .. } => format!(
                "The given event contained the image \"{image}\" with digest \"{}\" which did not \
                 match any SOCI repository image tag filters",
                push.digest
            ),
            SkippedPush::Skip(Skip::OutputTag { suffix, .. }) => {
                format!("Skipping image \"{image}\" as it has the \"{suffix}\" suffix")
            }
            other => format!("Skipping image \"{image}\": {other}"),
        })
    }

    /// The event is on a queue, for the result of the image that it tells of to be removed.
    pub fn removal(deletion: &DeletionEvent, message_id: &str) -> Self {
        let image = named(deletion.repository.name(), deletion.tag.as_ref());
        Self::ok(format!(
            "Successfully queued the removal of the result of image \"{image}\", which was deleted. Message id: \"{message_id}\""
        ))
    }

    /// The image that was deleted has no result.
    pub fn nothing_to_remove(deletion: &DeletionEvent, why: &SkippedPush) -> Self {
        let image = named(deletion.repository.name(), deletion.tag.as_ref());
        Self::ok(format!("Skipping the deletion of image \"{image}\": {why}"))
    }

    /// Something else has happened than a successful push.
    pub fn ignored(ignored: &Ignored) -> Self {
        Self::refused(&other_event_error(ignored))
    }

    /// The event cannot be read.
    pub fn malformed(error: &EventError) -> Self {
        Self::refused(&validation_error(error))
    }

    fn ok(body: String) -> Self {
        Self { status_code: 200, body }
    }

    fn refused(sentence: &str) -> Self {
        let mut letters = sentence.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        Self { status_code: 400, body: first.into_iter().chain(letters).collect() }
    }
}

fn image(push: &PushEvent) -> String {
    named(push.repository.name(), push.tag.as_ref())
}

fn named(repository: &str, tag: Option<&soci_oci::Tag>) -> String {
    format!("{repository}:{}", tag.map(soci_oci::Tag::as_str).unwrap_or_default())
}

fn matched(push: &PushEvent, filter: &str) -> String {
    format!(
        "the given event contained the image \"{}\" with digest \"{}\" which matched SOCI \
         repository image tag filter \"{filter}\"",
        image(push),
        push.digest
    )
}
