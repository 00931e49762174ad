//! Why a command failed at an image or a repository: a stable code, and the same for people.
//!
//! Every line of a failure begins with the reference as it was given, so the words behind it say what is wrong and what helps,
//! and name the reference no more. What is not there is told alike by all commands, in [`not_there`].

use std::fmt::Display;

use soci_indexer::{
    CopyError, ImageName, IndexError, LayerError, LayoutError, ListError, PruneError, Reason,
    StoreError, VerifyError,
};
use soci_jobs::reasons;
use soci_oci::TagOrDigest;
use soci_text::error_chain;

use crate::process::{MISTAKE, StopSignal};

/// What is said where the image is not there that was named.
const NO_IMAGE: &str = "there is no such image: are registry, repository and tag right?";

/// The same of a repository.
const NO_REPOSITORY: &str = "there is no such repository: are registry and name right?";

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// A code of those that the service has, or of [`VerifyError::code`].
    pub(crate) code: &'static str,
    /// The same for people.
    pub(crate) detail: String,
    /// The exit code of a command that ends with it.
    pub(crate) exit: u8,
}

impl Failure {
    /// A failure in general.
    pub(crate) fn new(code: &'static str, detail: String) -> Self {
        Self { code, detail, exit: 1 }
    }

    /// What names the image is no name of one.
    pub(crate) fn mistake(detail: String) -> Self {
        Self { code: reasons::MALFORMED, detail, exit: MISTAKE }
    }

    /// A signal ended the command.
    pub(crate) fn interrupted(signal: StopSignal) -> Self {
        let failure = Self::new(Reason::Interrupted.code(), format!("interrupted by {signal}"));
        Self { exit: signal.exit_code(), ..failure }
    }

    /// The same with one thing more that helps.
    pub(crate) fn with_hint(self, hint: impl Display) -> Self {
        Self { detail: format!("{}; {hint}", self.detail), ..self }
    }

    /// A layout that cannot be opened or completed.
    pub(crate) fn of_layout(error: &LayoutError) -> Self {
        Self::new(Reason::Layout.code(), error_chain(error))
    }

    /// Something on this side of the registry that cannot be used: a certificate, a runtime.
    pub(crate) fn of_settings(error: &dyn std::error::Error) -> Self {
        Self::new(Reason::Settings.code(), error_chain(error))
    }

    /// An image that was named so and was not indexed, or could not be looked at.
    pub(crate) fn of_image(error: &IndexError, name: &ImageName) -> Self {
        let detail = missing(error, name).unwrap_or_else(|| {
            let transient = error.is_transient() && !was_tried_long(error);
            advised(words(error, name), help_for(error.reason(), transient))
        });
        Self::new(error.reason().code(), detail)
    }

    /// An image that was named so and was not copied.
    pub(crate) fn of_copy(error: &CopyError, name: &ImageName) -> Self {
        let (missing, wrong) = match error {
            CopyError::Image(error) => (missing(error, name), words(error, name)),
            error => (None, error_chain(error)),
        };
        let detail = missing.unwrap_or_else(|| advised(wrong, advice_for_copies(error)));
        Self::new(error.reason().code(), detail)
    }

    /// An image that was named so and does not verify.
    pub(crate) fn of_verify(error: &VerifyError, name: &ImageName) -> Self {
        let again = "index the image again with --force";
        let detail = match error {
            VerifyError::NotFound { target, .. } if *target == name.target => NO_IMAGE.to_owned(),
            VerifyError::NotFound { what, target } if error.is_of_the_index() => {
                not_there(what, target, again)
            }
            VerifyError::NotFound { what, target } => not_there(what, target, PUSH),
            error if error.is_of_the_index() => advised(error_chain(error), Some(again)),
            VerifyError::Read { target, source, .. } if *target == name.target => {
                error_chain(source)
            }
            error => error_chain(error),
        };
        Self::new(error.code(), detail)
    }

    /// A repository whose images are not listed.
    pub(crate) fn of_list(error: &ListError) -> Self {
        let detail = match error {
            ListError::Tags(source) if source.is_not_found() => NO_REPOSITORY.to_owned(),
            ListError::Tags(source) => error_chain(source),
            error => error_chain(error),
        };
        Self::new(error.reason().code(), detail)
    }

    /// A repository of which it cannot be told what is of no use.
    pub(crate) fn of_prune(error: &PruneError) -> Self {
        let detail = match error {
            PruneError::Tags(source) if source.is_not_found() => NO_REPOSITORY.to_owned(),
            PruneError::Tags(source) => error_chain(source),
            error => error_chain(error),
        };
        Self::new(error.reason().code(), detail)
    }

    /// A repository, or all of them, that ECR's own API does not tell of.
    #[cfg(feature = "aws")]
    pub(crate) fn of_ecr(error: &soci_aws::ecr::EcrError) -> Self {
        let (reason, detail) = match error {
            error if error.is_no_repository() => (Reason::ImageGone, NO_REPOSITORY.to_owned()),
            error if error.is_transient() => (Reason::RegistryUnavailable, error_chain(error)),
            // A call that does not pass by itself is one that is not allowed.
            error => (Reason::Unauthorized, error_chain(error)),
        };
        Self::new(reason.code(), detail)
    }
}

/// What helps where a part of an image is gone.
const PUSH: &str = "push the image again";

/// What is said of an image, or a part of it, that is not there.
fn missing(error: &IndexError, name: &ImageName) -> Option<String> {
    match error {
        IndexError::NotFound { target } if *target == name.target => Some(NO_IMAGE.to_owned()),
        IndexError::NotFound { target } => Some(not_there("manifest", target, PUSH)),
        IndexError::Read { target, source } if source.is_not_found() => {
            Some(not_there("manifest or configuration", target, PUSH))
        }
        IndexError::Layer { digest, source: LayerError::Read(source), .. }
            if source.is_not_found() =>
        {
            Some(not_there("layer", &(*digest).into(), PUSH))
        }
        IndexError::Write {
            source: StoreError::Copy { digest, reading: true, source }, ..
        } if source.is_not_found() => {
            Some(not_there("layer or configuration", &(*digest).into(), PUSH))
        }
        _ => None,
    }
}

/// An error without what the reference in front of it says already: that it is the image that cannot be read.
fn words(error: &IndexError, name: &ImageName) -> String {
    match error {
        IndexError::Read { target, source } if *target == name.target => error_chain(source),
        error => error_chain(error),
    }
}

/// Whether the error says how often it was tried, so that nobody needs to be told to try again.
fn was_tried_long(error: &IndexError) -> bool {
    use soci_registry::Error::Exhausted;
    match error {
        IndexError::Read { source, .. }
        | IndexError::Write { source, .. }
        | IndexError::Referrers { source, .. }
        | IndexError::Layer { source: LayerError::Read(source), .. } => {
            matches!(source, StoreError::Registry(Exhausted { .. }))
        }
        _ => false,
    }
}

/// The one wording for a part of an image or an index that is not there.
fn not_there(what: &str, target: &TagOrDigest, help: &str) -> String {
    format!("{what} {target} is not there: {help}")
}

/// What is wrong, and what helps.
fn advised(wrong: String, advice: Option<&str>) -> String {
    match advice {
        Some(advice) => format!("{wrong} ({advice})"),
        None => wrong,
    }
}

/// What a person in front of the command can do.
fn help_for(reason: Reason, transient: bool) -> Option<&'static str> {
    let advice = match reason {
        // The error names the registry to log in to; a role is the service's.
        Reason::Unauthorized => None,
        reason => reason.advice(),
    };
    advice.or_else(|| transient.then_some("it may pass; try again"))
}

/// The same for whoever copies.
fn advice_for_copies(error: &CopyError) -> Option<&'static str> {
    match error {
        CopyError::Lacking { .. } => {
            Some("push these to the source, or copy one platform that is there with --platform")
        }
        CopyError::NoSuchPlatform { has, .. } if has.is_empty() => {
            Some("without --platform it is copied as it is")
        }
        error => match error.reason() {
            // Nothing is indexed here, of which the usual advice speaks.
            Reason::TagImmutable => Some("choose another tag, or delete that one"),
            Reason::ImageMalformed => Some("build the image again"),
            reason => {
                let tried = matches!(error, CopyError::Image(error) if was_tried_long(error));
                help_for(reason, error.is_transient() && !tried)
            }
        },
    }
}
