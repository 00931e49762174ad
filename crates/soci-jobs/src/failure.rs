//! Why a job failed, and whether it may succeed later.

use soci_text::{error_chain, truncate};
use std::error::Error;
use std::fmt;

use http::StatusCode;
use soci_indexer::{IndexError, LayerError, StoreError};
use soci_manifest::ImageError;
use soci_ztoc::BuildError;

/// Longest [`Failure::detail`] in bytes: a message may carry it as an attribute.
const MAX_DETAIL: usize = 2 << 10;

/// A job failed. As an error it is the [`IndexError`] that it stems from.
#[derive(Debug)]
pub struct Failure {
    cause: Cause,
    error: IndexError,
}

/// The causes of failures.
///
/// Permanent is only what lies in the image or in its repository's rules. Whatever may lie in this
/// deployment (a permission that is missing, a certificate that is not trusted, a host name that
/// is wrong) fails every job alike, and would sweep the whole queue into the dead-letter queue at
/// once if it were permanent. It is left to the queue, which gives a message up after so many tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// `image-gone`: the repository, the image, or a manifest, configuration or layer of it does
    /// not exist. Permanent.
    ImageGone,
    /// `image-malformed`: the documents of the image cannot be read or contradict each other.
    /// Permanent.
    ImageMalformed,
    /// `image-limit`: the image has more manifests, layers or bytes of these than are allowed.
    /// Permanent.
    ImageLimit,
    /// `platform-not-found`: the image lacks a platform that was asked for. Permanent.
    PlatformNotFound,
    /// `layer-rejected`: a layer is no archive that a ztoc can describe. Permanent.
    LayerRejected,
    /// `layer-limit`: a layer is larger, or has more entries or spans, than are allowed. Permanent.
    LayerLimit,
    /// `output-tag`: the image's tag and the suffix make no tag for the result. Permanent.
    OutputTag,
    /// `tag-immutable`: the result's tag names other content and may not move. Permanent.
    TagImmutable,
    /// `referrers-malformed`: the list of the image's referrers is no image index. Permanent.
    ReferrersMalformed,
    /// `registry-refused`: the registry refuses what is written as invalid or too large. Permanent.
    RegistryRefused,
    /// `internal`: an error of this program. Permanent.
    Internal,
    /// `unauthorized`: the registry refuses access, or there are no credentials for it.
    Unauthorized,
    /// `throttled`: the registry wants fewer requests.
    Throttled,
    /// `digest-mismatch`: the bytes that were sent are not those asked for.
    DigestMismatch,
    /// `registry-unavailable`: the registry cannot be reached, or does not work as it should.
    RegistryUnavailable,
    /// `superseded`: the tag names a later image. [`Runner::run`](crate::Runner::run) makes it
    /// [`Done::Skipped`](crate::Done::Skipped). Permanent.
    Superseded,
    /// `tag-gone`: the tag does not exist any more. Skipped in the same way. Permanent.
    TagGone,
    /// `settings`: images cannot be indexed with these settings.
    Settings,
    /// `layout`: an OCI layout on disk cannot be read or written.
    Layout,
    /// `interrupted`: the program is shutting down.
    Interrupted,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::ImageGone,
        Self::ImageMalformed,
        Self::ImageLimit,
        Self::PlatformNotFound,
        Self::LayerRejected,
        Self::LayerLimit,
        Self::OutputTag,
        Self::TagImmutable,
        Self::ReferrersMalformed,
        Self::RegistryRefused,
        Self::Internal,
        Self::Unauthorized,
        Self::Throttled,
        Self::DigestMismatch,
        Self::RegistryUnavailable,
        Self::Superseded,
        Self::TagGone,
        Self::Settings,
        Self::Layout,
        Self::Interrupted,
    ];

    /// Short stable name for counters and the dead-letter queue: lower case, words joined by
    /// hyphens.
    pub fn label(self) -> &'static str {
        match self {
            Self::ImageGone => "image-gone",
            Self::ImageMalformed => "image-malformed",
            Self::ImageLimit => "image-limit",
            Self::PlatformNotFound => "platform-not-found",
            Self::LayerRejected => "layer-rejected",
            Self::LayerLimit => "layer-limit",
            Self::OutputTag => "output-tag",
            Self::TagImmutable => "tag-immutable",
            Self::ReferrersMalformed => "referrers-malformed",
            Self::RegistryRefused => "registry-refused",
            Self::Internal => "internal",
            Self::Unauthorized => "unauthorized",
            Self::Throttled => "throttled",
            Self::DigestMismatch => "digest-mismatch",
            Self::RegistryUnavailable => "registry-unavailable",
            Self::Superseded => "superseded",
            Self::TagGone => "tag-gone",
            Self::Settings => "settings",
            Self::Layout => "layout",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether the same job is bound to fail again.
    pub fn is_permanent(self) -> bool {
        match self {
            Self::ImageGone
            | Self::ImageMalformed
            | Self::ImageLimit
            | Self::PlatformNotFound
            | Self::LayerRejected
            | Self::LayerLimit
            | Self::OutputTag
            | Self::TagImmutable
            | Self::ReferrersMalformed
            | Self::RegistryRefused
            | Self::Internal
            | Self::Superseded
            | Self::TagGone => true,
            Self::Unauthorized
            | Self::Throttled
            | Self::DigestMismatch
            | Self::RegistryUnavailable
            | Self::Settings
            | Self::Layout
            | Self::Interrupted => false,
        }
    }

    /// What a person can do about it, where the error does not say so.
    fn advice(self) -> Option<&'static str> {
        Some(match self {
            Self::ImageGone => {
                "it was deleted after the push, or the job names another registry or repository"
            }
            Self::ImageMalformed => "build the image again, or leave it without a SOCI index",
            Self::LayerRejected => {
                "soci-snapshotter rejects such a layer too; build the image again, or leave it \
                 without a SOCI index"
            }
            Self::PlatformNotFound => "ask for platforms that the image has, or for all of them",
            Self::OutputTag => "choose another suffix, or a shorter tag",
            Self::TagImmutable => {
                "exclude the tags of converted images from immutability (in ECR \
                 IMMUTABLE_WITH_EXCLUSION with the filter *-soci), choose another suffix, or delete \
                 that tag"
            }
            Self::Unauthorized => {
                "check the permissions of this program's role and the repository's policy"
            }
            Self::Throttled => "lower the rate of manifest PUTs, or ask for a higher quota",
            Self::Internal => "please report this",
            _ => return None,
        })
    }
}

impl Failure {
    /// Why.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// Whether the same job is bound to fail again; see [`Cause`].
    pub fn is_permanent(&self) -> bool {
        self.cause.is_permanent()
    }

    /// Short stable name for counters and the dead-letter queue: lower case, words joined by
    /// hyphens. All of them are in [`Cause`].
    pub fn label(&self) -> &'static str {
        self.cause.label()
    }

    /// The chain of errors and what can be done, for people: one line of at most 2 KiB. Without
    /// credentials, which the errors of the registry leave out.
    pub fn detail(&self) -> String {
        let advice = self.cause.advice().map(|advice| format!(" ({advice})")).unwrap_or_default();
        let mut text = error_chain(&self.error);
        truncate(&mut text, MAX_DETAIL - advice.len());
        text + &advice
    }
}

impl From<IndexError> for Failure {
    fn from(error: IndexError) -> Self {
        Self { cause: of_index(&error), error }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

fn of_index(error: &IndexError) -> Cause {
    match error {
        IndexError::NotFound { .. } => Cause::ImageGone,
        IndexError::NotADocument { .. } => Cause::ImageMalformed,
        IndexError::Read { source, .. } | IndexError::Referrers { source, .. } => of_store(source),
        IndexError::Write { source, .. } => match of_store(source) {
            Cause::RegistryUnavailable if is_refusal(source) => Cause::RegistryRefused,
            cause => cause,
        },
        IndexError::Image(error) => of_image(error),
        IndexError::Layer { source, .. } => of_layer(source),
        IndexError::OutputTag { .. } | IndexError::ReservedTag { .. } => Cause::OutputTag,
        IndexError::Superseded { .. } => Cause::Superseded,
        IndexError::TagGone { .. } => Cause::TagGone,
        IndexError::SpanSize(_) => Cause::Settings,
        IndexError::ReferrersList { .. } => Cause::ReferrersMalformed,
        _ => Cause::Internal,
    }
}

fn of_image(error: &ImageError) -> Cause {
    match error {
        ImageError::Limit { .. } | ImageError::TooLarge { .. } => Cause::ImageLimit,
        ImageError::PlatformNotFound { .. } => Cause::PlatformNotFound,
        ImageError::Nondistributable(_) => Cause::LayerRejected,
        ImageError::NotSupplied { .. }
        | ImageError::ZtocMissing { .. }
        | ImageError::NothingPlanned => Cause::Internal,
        _ => Cause::ImageMalformed,
    }
}

fn of_layer(error: &LayerError) -> Cause {
    match error {
        LayerError::Read(error) => of_store(error),
        LayerError::Build(error) if error.is_limit() => Cause::LayerLimit,
        LayerError::Build(BuildError::SpanSize { .. }) => Cause::Settings,
        LayerError::Build(BuildError::Failed | BuildError::SpansNotHashed) => Cause::Internal,
        LayerError::Build(_) => Cause::LayerRejected,
        LayerError::Interrupted => Cause::Interrupted,
        _ => Cause::Internal,
    }
}

fn of_store(error: &StoreError) -> Cause {
    match error {
        StoreError::Registry(error) => of_registry(error),
        StoreError::Layout(_) => Cause::Layout,
        _ => Cause::Internal,
    }
}

fn of_registry(error: &soci_registry::Error) -> Cause {
    match error {
        soci_registry::Error::Exhausted { source, .. } => of_registry(source),
        soci_registry::Error::NotFound(_) => Cause::ImageGone,
        soci_registry::Error::TagImmutable { .. } => Cause::TagImmutable,
        soci_registry::Error::Unauthorized { .. } | soci_registry::Error::Credentials(_) => {
            Cause::Unauthorized
        }
        // Bytes do change on their way, and a registry repairs what it holds.
        soci_registry::Error::DigestMismatch { .. } | soci_registry::Error::LongBody { .. } => {
            Cause::DigestMismatch
        }
        soci_registry::Error::Interrupted { .. } => Cause::Interrupted,
        soci_registry::Error::Status(status) if status.is_throttling() => Cause::Throttled,
        soci_registry::Error::Status(status)
            if matches!(status.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) =>
        {
            Cause::Unauthorized
        }
        _ => Cause::RegistryUnavailable,
    }
}

/// Whether the registry says that what was sent is not to its liking: invalid, too large, or of a
/// media type that it does not take.
fn is_refusal(error: &StoreError) -> bool {
    let StoreError::Registry(soci_registry::Error::Status(status)) = error else { return false };
    matches!(status.status.as_u16(), 400 | 413 | 415 | 422)
}

#[cfg(test)]
mod tests;
