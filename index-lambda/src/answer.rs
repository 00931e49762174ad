//! What the function answers.

use serde::Serialize;
use soci_jobs::Done;
use soci_lambda::{InvocationError, other_event_error, validation_error};
use soci_push::Skip;
use soci_push::SkippedPush;
use soci_push::event::{Event, MAX_EVENT_BYTES};
use soci_push::job::JobError;

use crate::work::{Outcome, Rejection};

/// What the function answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To somebody who invokes it: a sentence.
    Sentence(String),
    /// To an event source mapping.
    Batch(BatchAnswer),
}

/// Which messages are not done. Source: AWS Lambda developer guide, "Implementing partial batch
/// responses"; the mapping needs `ReportBatchItemFailures`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchAnswer {
    /// These; all others are deleted.
    pub batch_item_failures: Vec<ItemFailure>,
}

/// A message that is not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemFailure {
    /// The message's identifier.
    pub item_identifier: String,
}

// The sentences of the generator function in AWS's SOCI index builder for CloudFormation.
const DONE: &str = "Successfully built and pushed SOCI index";
const EMPTY: &str = "Skipping pushing SOCI index as it does not contain any zTOCs";
const NO_IMAGE: &str = "Exited early due to manifest validation error";
const NO_TAG: &str = "Skipped SOCI index generation for V2 as image has no tag";
const MALFORMED: &str = "ECRImageActionEvent validation error";
const BUILD_FAILED: &str = "SOCI index build error";
const PUSH_FAILED: &str = "SOCI index push error";

/// The answer to a direct invocation with `payload`. Fails if its image is neither done nor on a queue.
pub(crate) fn sentence(outcome: &Outcome, payload: &str) -> Result<String, InvocationError> {
    Ok(match outcome {
        Outcome::Done(_, Done::Indexed(_) | Done::AlreadyIndexed(_)) => DONE.to_owned(),
        Outcome::Done(_, Done::Skipped { label, detail }) => match *label {
            "nothing-to-index" => EMPTY.to_owned(),
            "superseded" | "tag-gone" => skipped(detail),
            _ => NO_IMAGE.to_owned(),
        },
        Outcome::Nothing { why, .. } => return of_nothing(why),
        Outcome::HandedOver { detail, .. } => format!("Handed over to the queue: {detail}"),
        Outcome::Rejected { rejection, .. } => kind_of(rejection).to_owned(),
        Outcome::Stuck { rejection, error } => {
            return Err(fault(
                kind_of(rejection),
                message_of(rejection, payload),
                error.as_deref(),
            ));
        }
        Outcome::Left { detail, error, .. } => {
            return Err(fault(BUILD_FAILED, detail.clone(), error.as_deref()));
        }
    })
}

/// Whether a message of a queue may be deleted.
pub(crate) fn is_settled(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Done(..)
        | Outcome::Nothing { .. }
        | Outcome::HandedOver { .. }
        | Outcome::Rejected { .. } => true,
        Outcome::Stuck { .. } | Outcome::Left { .. } => false,
    }
}

fn of_nothing(nothing: &SkippedPush) -> Result<String, InvocationError> {
    Ok(match nothing {
        SkippedPush::Ignored(ignored) => {
            return Err(InvocationError { kind: MALFORMED, message: other_event_error(ignored) });
        }
        SkippedPush::Skip(Skip::Untagged) => NO_TAG.to_owned(),
        SkippedPush::Skip(
            Skip::SociIndex { .. }
            | Skip::Signature { .. }
            | Skip::Sbom { .. }
            | Skip::Attestation { .. }
            | Skip::HelmChart { .. },
        ) => NO_IMAGE.to_owned(),
        other => skipped(&other.to_string()),
    })
}

fn skipped(detail: &str) -> String {
    format!("Skipped SOCI index generation: {detail}")
}

/// The sentence that the builder for CloudFormation has for such a failure.
fn kind_of(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::Malformed(_) => MALFORMED,
        Rejection::Failed(_, failure) => match failure.label() {
            "image-gone" => NO_IMAGE,
            "tag-immutable" | "registry-refused" | "output-tag" => PUSH_FAILED,
            _ => BUILD_FAILED,
        },
    }
}

fn message_of(rejection: &Rejection, payload: &str) -> String {
    match rejection {
        Rejection::Malformed(JobError::Event(error)) => validation_error(error),
        // To somebody who sends events it is an event, of which the field is missing that would say
        // so.
        Rejection::Malformed(JobError::Unknown) => {
            match Event::parse(payload.as_bytes(), MAX_EVENT_BYTES) {
                Err(error) => validation_error(&error),
                Ok(_) => rejection.detail(),
            }
        }
        other => other.detail(),
    }
}

fn fault(kind: &'static str, message: String, error: Option<&str>) -> InvocationError {
    let message = match error {
        Some(error) => format!("{message}; {error}"),
        None => message,
    };
    InvocationError { kind, message }
}
