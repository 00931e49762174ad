//! What an error means to whoever asked for an index: a short stable code, whether asking again can
//! help, and what a person can do. This is the one place where that is decided, for the commands as
//! for the service.
//!
//! Three kinds of reasons:
//!
//! - There is nothing to index. That is an ordinary end and no failure.
//! - It lies in the image or in its repository's rules. The same image fails again, so it is permanent.
//!   Where only the registry's word stands for that, and no bytes whose digest was verified, one answer is
//!   not enough: registries say wrong things in passing, too ([`Reason::is_believed_at_once`]).
//! - It lies in what is around the image: the network, the registry, a permission that is missing, a
//!   certificate that is not trusted. These fail every image alike and end when somebody or time mends
//!   them. A service must not condemn an image for them, or one wrong permission would sweep the whole
//!   queue into the dead-letter queue at once.

mod asked;
mod looked;
mod removal;

use http::StatusCode;
use soci_manifest::{ImageError, NotAnImage, SkipReason};
use soci_ztoc::BuildError;

use crate::error::{CopyError, IndexError, LayerError, LayoutError, StoreError};

/// Why an image was not indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// `nothing-to-index`: every layer is too small, compressed in a way that no ztoc describes, of several
    /// gzip members, or left out for what is in it.
    NothingToIndex,
    /// `prefetch-kept`: it has an index with a list of files to prefetch, which the one that would take its place has not.
    PrefetchKept,
    /// `soci-index`: it is a SOCI index.
    SociIndex,
    /// `artifact`: it is something else than an image: a chart, a module.
    Artifact,
    /// `no-file-system`: its layers are no file systems, as of signatures and attestations.
    NoFileSystem,
    /// `no-platform`: it is an image index without an image.
    NoPlatform,
    /// `other-platforms`: it has none of the platforms that are indexed.
    OtherPlatforms,
    /// `not-an-image`: it is neither a manifest nor an image index.
    NotAnImage,
    /// `superseded`: the tag names a later image, whose push is an event of its own (V2).
    Superseded,
    /// `tag-gone`: the tag does not exist any more, so nobody can deploy its result (V2).
    TagGone,
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
    /// `layer-memory`: a layer's ztoc takes more memory than there is. Permanent.
    LayerMemory,
    /// `image-memory`: the image's documents take more memory than there is for these. Permanent.
    ImageMemory,
    /// `output-tag`: the image's tag and the suffix make no tag for the result. Permanent.
    OutputTag,
    /// `tag-immutable`: the result's tag names other content and may not move. Permanent.
    TagImmutable,
    /// `referrers-malformed`: the list of the image's referrers is no image index. Permanent.
    ReferrersMalformed,
    /// `no-referrers`: the registry has neither a referrers API nor a place for a list of referrers, so that V1 cannot be
    /// had there. Permanent.
    NoReferrers,
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
    /// `not-stored`: the registry does not have what it was given, or what the image names.
    NotStored,
    /// `overtaken`: the tag moved whenever its result was written.
    Overtaken,
    /// `registry-unavailable`: the registry cannot be reached, or does not work as it should. So it is with a store
    /// of the caller's own whose failure may pass.
    RegistryUnavailable,
    /// `settings`: images cannot be indexed with these settings.
    Settings,
    /// `layout`: an OCI layout on disk, or a store of the caller's own, cannot be read or written.
    Layout,
    /// `interrupted`: the program is shutting down.
    Interrupted,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 33] = [
        Self::NothingToIndex,
        Self::PrefetchKept,
        Self::SociIndex,
        Self::Artifact,
        Self::NoFileSystem,
        Self::NoPlatform,
        Self::OtherPlatforms,
        Self::NotAnImage,
        Self::Superseded,
        Self::TagGone,
        Self::ImageGone,
        Self::ImageMalformed,
        Self::ImageLimit,
        Self::PlatformNotFound,
        Self::LayerRejected,
        Self::LayerLimit,
        Self::LayerMemory,
        Self::ImageMemory,
        Self::OutputTag,
        Self::TagImmutable,
        Self::ReferrersMalformed,
        Self::NoReferrers,
        Self::RegistryRefused,
        Self::Internal,
        Self::Unauthorized,
        Self::Throttled,
        Self::DigestMismatch,
        Self::NotStored,
        Self::Overtaken,
        Self::RegistryUnavailable,
        Self::Settings,
        Self::Layout,
        Self::Interrupted,
    ];

    /// Short stable name for counters and the dead-letter queue: lower case, words joined by
    /// hyphens.
    pub fn code(self) -> &'static str {
        match self {
            Self::NothingToIndex => "nothing-to-index",
            Self::PrefetchKept => "prefetch-kept",
            Self::SociIndex => "soci-index",
            Self::Artifact => "artifact",
            Self::NoFileSystem => "no-file-system",
            Self::NoPlatform => "no-platform",
            Self::OtherPlatforms => "other-platforms",
            Self::NotAnImage => "not-an-image",
            Self::Superseded => "superseded",
            Self::TagGone => "tag-gone",
            Self::ImageGone => "image-gone",
            Self::ImageMalformed => "image-malformed",
            Self::ImageLimit => "image-limit",
            Self::PlatformNotFound => "platform-not-found",
            Self::LayerRejected => "layer-rejected",
            Self::LayerLimit => "layer-limit",
            Self::LayerMemory => "layer-memory",
            Self::ImageMemory => "image-memory",
            Self::OutputTag => "output-tag",
            Self::TagImmutable => "tag-immutable",
            Self::ReferrersMalformed => "referrers-malformed",
            Self::NoReferrers => "no-referrers",
            Self::RegistryRefused => "registry-refused",
            Self::Internal => "internal",
            Self::Unauthorized => "unauthorized",
            Self::Throttled => "throttled",
            Self::DigestMismatch => "digest-mismatch",
            Self::NotStored => "not-stored",
            Self::Overtaken => "overtaken",
            Self::RegistryUnavailable => "registry-unavailable",
            Self::Settings => "settings",
            Self::Layout => "layout",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether there is nothing to index, which is no failure.
    pub fn is_skip(self) -> bool {
        matches!(
            self,
            Self::NothingToIndex
                | Self::PrefetchKept
                | Self::SociIndex
                | Self::Artifact
                | Self::NoFileSystem
                | Self::NoPlatform
                | Self::OtherPlatforms
                | Self::NotAnImage
                | Self::Superseded
                | Self::TagGone
        )
    }

    /// Whether the same image is bound to end in the same way again in this process, whatever changes around
    /// it. One with more memory may be another matter: [`Reason::is_of_this_process`].
    pub fn is_permanent(self) -> bool {
        match self {
            Self::NothingToIndex
            | Self::PrefetchKept
            | Self::SociIndex
            | Self::Artifact
            | Self::NoFileSystem
            | Self::NoPlatform
            | Self::OtherPlatforms
            | Self::NotAnImage
            | Self::Superseded
            | Self::TagGone
            | Self::ImageGone
            | Self::ImageMalformed
            | Self::ImageLimit
            | Self::PlatformNotFound
            | Self::LayerRejected
            | Self::LayerLimit
            | Self::LayerMemory
            | Self::ImageMemory
            | Self::OutputTag
            | Self::TagImmutable
            | Self::ReferrersMalformed
            | Self::NoReferrers
            | Self::RegistryRefused
            | Self::Internal => true,
            Self::Unauthorized
            | Self::Throttled
            | Self::DigestMismatch
            | Self::NotStored
            | Self::Overtaken
            | Self::RegistryUnavailable
            | Self::Settings
            | Self::Layout
            | Self::Interrupted => false,
        }
    }

    /// Whether it may end a job as soon as it was seen once.
    ///
    /// What follows from bytes whose digest was verified, from the job itself or from the settings is
    /// the same at every look. What a registry only says, by a status or a digest of a tag, may be one
    /// wrong answer: a 404 of a replica that lags behind, a refusal in the midst of a change. A service
    /// believes that when it is said again some time later. Whether a failure may pass is another
    /// question; those that may are tried again in any case.
    pub fn is_believed_at_once(self) -> bool {
        !matches!(
            self,
            Self::Superseded
                | Self::TagGone
                | Self::ImageGone
                | Self::TagImmutable
                | Self::ReferrersMalformed
                | Self::NoReferrers
                | Self::RegistryRefused
        )
    }

    /// Whether it is of the registry, or of the way to it, so that other images fail alike as long as
    /// it lasts.
    pub fn is_of_the_registry(self) -> bool {
        matches!(self, Self::Unauthorized | Self::Throttled | Self::RegistryUnavailable)
    }

    /// Whether it is of what this process has, so that another one with more may do it.
    pub fn is_of_this_process(self) -> bool {
        matches!(self, Self::LayerMemory | Self::ImageMemory)
    }

    /// What a person can do about it, where the error does not say so.
    pub fn advice(self) -> Option<&'static str> {
        Some(match self {
            Self::ImageGone => {
                "it was deleted after the push, not all of it was pushed, or its registry, repository \
                 or tag is another one"
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
            Self::ReferrersMalformed => {
                "another program wrote what is under the tag of that list (the digest with - for :); delete the tag, \
                 or use V2"
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

impl IndexError {
    /// Why the image was not indexed.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Nothing { reason, .. } => of_skip(reason),
            Self::NotFound { .. } => Reason::ImageGone,
            Self::NotADocument { .. } => Reason::ImageMalformed,
            Self::Read { source, .. } | Self::Referrers { source, .. } => of_store(source),
            Self::Write { source, .. } => match of_store(source) {
                // The same statuses on a read say nothing about the image.
                Reason::RegistryUnavailable if is_refusal(source) => Reason::RegistryRefused,
                reason => reason,
            },
            Self::Image(error) => of_image(error),
            Self::Layer { source, .. } => of_layer(source),
            Self::OutputTag { .. } | Self::ReservedTag { .. } => Reason::OutputTag,
            Self::Superseded { .. } => Reason::Superseded,
            Self::TagGone { .. } => Reason::TagGone,
            // Another try goes on from here.
            Self::Overtaken { .. } => Reason::Overtaken,
            Self::NotStored { .. } | Self::Ztoc { .. } => Reason::NotStored,
            Self::Damaged { .. } => Reason::DigestMismatch,
            Self::SpanSize(_) | Self::PrefetchForOlder => Reason::Settings,
            Self::DocumentMemory { .. } => Reason::ImageMemory,
            Self::ReferrersList { .. } => Reason::ReferrersMalformed,
            Self::NoReferrers { .. } => Reason::NoReferrers,
        }
    }

    /// Whether the same call may succeed later with nobody changing anything. An error that is not
    /// transient may still pass when somebody does; [`Reason::is_permanent`] tells whether nothing
    /// but another image helps.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Read { source, .. }
            | Self::Write { source, .. }
            | Self::Referrers { source, .. }
            | Self::Layer { source: LayerError::Read(source), .. } => source.is_transient(),
            Self::Layer { source: LayerError::Interrupted, .. }
            | Self::Overtaken { .. }
            | Self::NotStored { .. } => true,
            _ => false,
        }
    }
}

impl CopyError {
    /// Why the image was not copied.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Image(error) => error.reason(),
            Self::NoSuchPlatform { .. } => Reason::PlatformNotFound,
            Self::Lacking { .. } => Reason::ImageGone,
            Self::TooDeep { .. } => Reason::ImageLimit,
        }
    }

    /// Whether the same call may succeed later with nobody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Image(error) if error.is_transient())
    }
}

fn of_skip(reason: &SkipReason) -> Reason {
    match reason {
        SkipReason::NothingToIndex { .. } => Reason::NothingToIndex,
        SkipReason::OtherPlatforms { .. } => Reason::OtherPlatforms,
        SkipReason::PrefetchKept { .. } => Reason::PrefetchKept,
        SkipReason::NotAnImage(NotAnImage::SociIndex) => Reason::SociIndex,
        SkipReason::NotAnImage(NotAnImage::Artifact { .. }) => Reason::Artifact,
        SkipReason::NotAnImage(NotAnImage::NoFileSystem { .. }) => Reason::NoFileSystem,
        SkipReason::NotAnImage(NotAnImage::NoPlatform) => Reason::NoPlatform,
        _ => Reason::NotAnImage,
    }
}

fn of_image(error: &ImageError) -> Reason {
    match error {
        ImageError::Limit { .. } | ImageError::TooLarge { .. } => Reason::ImageLimit,
        ImageError::PlatformNotFound { .. } => Reason::PlatformNotFound,
        ImageError::ManifestMissing { .. } | ImageError::ConfigMissing { .. } => Reason::ImageGone,
        ImageError::Nondistributable(_) => Reason::LayerRejected,
        ImageError::NotSupplied { .. }
        | ImageError::ZtocMissing { .. }
        | ImageError::NothingPlanned => Reason::Internal,
        _ => Reason::ImageMalformed,
    }
}

fn of_layer(error: &LayerError) -> Reason {
    match error {
        LayerError::Read(error) => of_store(error),
        LayerError::Build(error) if error.is_limit() => Reason::LayerLimit,
        LayerError::Memory { .. } | LayerError::Build(BuildError::OutOfMemory { .. }) => {
            Reason::LayerMemory
        }
        LayerError::Build(BuildError::SpanSize { .. }) => Reason::Settings,
        LayerError::Build(BuildError::Failed | BuildError::SpansNotHashed) => Reason::Internal,
        LayerError::Build(_) => Reason::LayerRejected,
        LayerError::WrongBytes { .. } => Reason::DigestMismatch,
        LayerError::Interrupted => Reason::Interrupted,
    }
}

fn of_store(error: &StoreError) -> Reason {
    match error {
        StoreError::Registry(error) => of_registry(error),
        StoreError::Own { transient: true, .. } => Reason::RegistryUnavailable,
        StoreError::Layout(_) | StoreError::Own { .. } => Reason::Layout,
        StoreError::Copy { source, .. } => of_store(source),
        StoreError::TooLarge { .. } => Reason::DigestMismatch,
    }
}

/// Whether the store gave other bytes than those of the digest that it was asked for.
pub(crate) fn is_of_wrong_bytes(error: &StoreError) -> bool {
    use LayoutError::{Mismatch, TooLarge};
    matches!(error, StoreError::Layout(Mismatch { .. } | TooLarge { .. }))
        || of_store(error) == Reason::DigestMismatch
}

fn of_registry(error: &soci_registry::Error) -> Reason {
    use soci_registry::Error;
    match error {
        // A retry that was used up has the reason of its last failure.
        Error::Exhausted { source, .. } => of_registry(source),
        Error::NotFound(_) => Reason::ImageGone,
        Error::TagImmutable { .. } => Reason::TagImmutable,
        Error::Unauthorized { .. } | Error::Credentials(_) => Reason::Unauthorized,
        // Bytes do change on their way, and a registry repairs what it holds. What has another size than the
        // image says is no sign that the registry does not work.
        Error::DigestMismatch { .. }
        | Error::LongBody { .. }
        | Error::TooLarge { .. }
        | Error::ContentRange { .. }
        | Error::UploadDamaged { .. } => Reason::DigestMismatch,
        Error::Status(status) if status.status == StatusCode::RANGE_NOT_SATISFIABLE => {
            Reason::DigestMismatch
        }
        Error::MissingContent { .. } => Reason::NotStored,
        Error::TagMoved { .. } => Reason::Overtaken,
        Error::Interrupted { .. } => Reason::Interrupted,
        Error::Status(status) if status.is_throttling() => Reason::Throttled,
        Error::Status(status)
            if matches!(status.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) =>
        {
            Reason::Unauthorized
        }
        _ => Reason::RegistryUnavailable,
    }
}

/// Whether the registry says that what was sent is not to its liking: invalid, too large, of a
/// media type that it does not take, or at the wrong address. A write also asks what is there, and that sends nothing.
fn is_refusal(error: &StoreError) -> bool {
    use soci_registry::Error;
    let status = match error {
        StoreError::Registry(Error::BodyRefused { .. } | Error::WriteRedirected { .. }) => {
            return true;
        }
        StoreError::Registry(Error::Status(status)) => status,
        _ => return false,
    };
    !status.request.method.is_safe() && matches!(status.status.as_u16(), 400 | 413 | 415 | 422)
}

#[cfg(test)]
mod tests;
