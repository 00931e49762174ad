//! What the function answers.

use serde::Serialize;
use soci_jobs::{Outcome, Why, reasons};
use soci_lambda::{InvocationError, other_event_error, validation_error};
use soci_push::event::{EcrEvent, MAX_EVENT_BYTES};
use soci_push::job::JobError;
use soci_push::{Skip, SkippedPush, Task};

use crate::work::{Delivery, Handled};

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
pub(crate) fn sentence(handled: &Handled, payload: &str) -> Result<String, InvocationError> {
    if let Ok(Task::Skip { why, .. }) = &handled.asked {
        return of_nothing(why);
    }
    let why = handled.outcome.why();
    if let (Ok(Task::Remove(_)), Delivery::NotNeeded, Some(why)) =
        (&handled.asked, &handled.delivery, why)
    {
        return Ok(format!("The image was deleted: {}", why.detail));
    }
    match (&handled.delivery, why) {
        // What was done needs no reason; what was stopped does not occur here, and left nothing.
        (_, None) => Ok(DONE.to_owned()),
        (Delivery::NotNeeded, Some(why)) => Ok(match why.reason {
            "nothing-to-index" => EMPTY.to_owned(),
            "superseded" | "tag-gone" | "other-platforms" => skipped(&why.detail),
            _ => NO_IMAGE.to_owned(),
        }),
        // The last does not occur here: nobody's own queue is asked directly.
        (Delivery::HandedOver(_) | Delivery::ComesAgain { .. }, Some(why)) => {
            Ok(format!("Handed over to the queue: {}", why.detail))
        }
        (Delivery::DeadLettered(_), Some(why)) => Ok(kind_of(why).to_owned()),
        (Delivery::Failed { error }, Some(why)) => {
            let (kind, message) = match handled.outcome {
                Outcome::Rejected(_) => (kind_of(why), message_of(handled, why, payload)),
                _ => (BUILD_FAILED, why.detail.clone()),
            };
            Err(fault(kind, message, error.as_deref()))
        }
    }
}

/// Whether a message of a queue may be deleted.
pub(crate) fn is_settled(handled: &Handled) -> bool {
    !matches!(handled.delivery, Delivery::Failed { .. })
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

/// The sentence that the builder for CloudFormation has for what can never be done.
fn kind_of(why: &Why) -> &'static str {
    match why.reason {
        reasons::MALFORMED => MALFORMED,
        "image-gone" => NO_IMAGE,
        "tag-immutable" | "registry-refused" | "output-tag" | "no-referrers" => PUSH_FAILED,
        _ => BUILD_FAILED,
    }
}

fn message_of(handled: &Handled, why: &Why, payload: &str) -> String {
    match &handled.asked {
        Err(JobError::Event(error)) => validation_error(error),
        // To somebody who sends events it is an event, of which the field is missing that would say
        // so.
        Err(JobError::Unknown) => match EcrEvent::parse(payload.as_bytes(), MAX_EVENT_BYTES) {
            Err(error) => validation_error(&error),
            Ok(_) => why.detail.clone(),
        },
        _ => why.detail.clone(),
    }
}

fn fault(kind: &'static str, message: String, error: Option<&str>) -> InvocationError {
    let message = match error {
        Some(error) => format!("{message}; {error}"),
        None => message,
    };
    InvocationError { kind, message }
}
