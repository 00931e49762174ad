//! What a failed call of AWS means: whether the same call may succeed later.
//!
//! Services say so by code, by status, or not at all, and the SDK's own classes are private to its
//! retries. So the rules stand here, once for all services:
//!
//! - An answer of the service passes by its code ([`is_passing`]), by 429 or by any 5xx. Anything else
//!   it says of the request, and says it again.
//! - No answer, half of one, or one that is not the service's passes: networks and proxies mend.
//! - A request that was never sent because nobody has credentials, or no region is known, does not pass
//!   ([`CredentialsFailure`]). Waiting brings none, and the person who could give some should read so at
//!   once.
//! - Nor does it pass where certificates or proxies were named wrongly.

use std::error::Error;

use aws_sdk_sqs::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::RequestId as _;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::credentials_failure::CredentialsFailure;
use crate::passing_codes::is_passing;

/// A failed call, apart from what it was about.
#[derive(Debug)]
pub(crate) struct CallFailure {
    /// The service's code, without the prefixes that older protocols put before it; `None` if the
    /// service did not answer, or not in its protocol.
    pub(crate) code: Option<String>,
    /// Whether the same call may succeed later.
    pub(crate) transient: bool,
    /// The service's identifier of the request.
    pub(crate) request_id: Option<String>,
    /// The error itself.
    pub(crate) source: Box<dyn Error + Send + Sync>,
}

impl CallFailure {
    /// Without `secret`, which was in the request, and parts of it in what the service says: services repeat
    /// what they refuse ("Value ... for parameter ReceiptHandle is invalid").
    pub(crate) fn without(mut self, secret: &str) -> Self {
        if let Some(refusal) = self.source.downcast_mut::<Refusal>() {
            refusal.message = without(&refusal.message, secret);
        }
        self
    }

    /// Whether the service answered with one of `codes`.
    pub(crate) fn is(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }
}

impl<E> From<SdkError<E, HttpResponse>> for CallFailure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let code = error.as_service_error().and_then(|service| service.code()).map(plain);
        let status = error.raw_response().map(|response| response.status().as_u16());
        if code.is_none()
            && let Some(failure) = CredentialsFailure::of(&error)
        {
            let transient = failure.is_transient();
            return Self { code, transient, request_id: None, source: Box::new(failure) };
        }
        let transient = match &error {
            SdkError::ServiceError(_) => {
                code.as_deref().is_some_and(is_passing)
                    || status.is_some_and(|status| status == 429 || status >= 500)
            }
            // The answer was cut short or is not the service's: a proxy's, for example.
            SdkError::ResponseError(_) | SdkError::TimeoutError(_) => true,
            SdkError::DispatchFailure(failure) => !failure.is_user(),
            _ => false,
        };
        let request_id = error.request_id().map(str::to_owned);
        let source = match &error {
            SdkError::ServiceError(refused) => {
                let metadata = refused.err().meta();
                let code = code.clone().or_else(|| status.map(|status| format!("status {status}")));
                Box::new(Refusal {
                    code: code.unwrap_or_default(),
                    message: metadata.message().unwrap_or("no reason given").to_owned(),
                })
            }
            // The layer that is left out says no more than "dispatch failure".
            _ => error.into_source().unwrap_or_else(|error| Box::new(error)),
        };
        Self { code, transient, request_id, source }
    }
}

/// A request that the SDK refuses to build.
impl From<BuildError> for CallFailure {
    fn from(error: BuildError) -> Self {
        Self { code: None, transient: false, request_id: None, source: Box::new(error) }
    }
}

/// `QueueDoesNotExist` of `com.amazonaws.sqs#QueueDoesNotExist`, and `NonExistentQueue` of
/// `AWS.SimpleQueueService.NonExistentQueue`.
pub(crate) fn plain(code: &str) -> String {
    code.rsplit(['#', '.']).next().unwrap_or(code).to_owned()
}

/// Longest part of a secret that may be repeated: shorter ones are words like others.
const MAX_REPEATED: usize = 11;

/// A message in which the words that are parts of a secret are left out.
fn without(message: &str, secret: &str) -> String {
    let whole = message.replace(secret, "[redacted]");
    let is_part = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        bare.len() > MAX_REPEATED && secret.contains(bare)
    };
    let words = whole.split(' ').map(|word| if is_part(word) { "[redacted]" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// What a service answered.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct Refusal {
    pub(crate) code: String,
    message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_repeats_of_a_secret_is_left_out() {
        let receipt = "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a+Zq/Wd8W==";
        let said =
            format!("Value {receipt} for parameter ReceiptHandle is invalid. Reason: expired.");
        assert_eq!(
            without(&said, receipt),
            "Value [redacted] for parameter ReceiptHandle is invalid. Reason: expired."
        );
        let cut = format!("The handle \"{}...\" is not valid.", &receipt[..20]);
        assert_eq!(without(&cut, receipt), "The handle [redacted] is not valid.");
    }
}
