//! What the errors of those mean who only look: at an index, or at the images of a repository.

use super::{Reason, is_of_wrong_bytes, of_store};
use crate::error::LayerError;
use crate::inspect::Inspection;
use crate::list::ListError;
use crate::verify::VerifyError;
use crate::verify::error::CONVERTED_MANIFEST;

/// The image has no SOCI index, which is no reason of an indexer.
const NOT_INDEXED: &str = "not-indexed";

/// A SOCI index does not hold, which no indexer looks at.
const INDEX_BROKEN: &str = "index-broken";

/// What of an image that is not there, or has other bytes than its digest says, is the index's, and not the image's own.
const OF_THE_INDEX: [&str; 4] = ["SOCI index", "ztoc", "prefetch artifact", CONVERTED_MANIFEST];

impl VerifyError {
    /// Why the image does not verify: short and stable. One of [`Reason::code`], or `not-indexed` where there is no SOCI index,
    /// or `index-broken` where one, or a ztoc of it, is not what it should be.
    pub fn code(&self) -> &'static str {
        let reason = match self {
            Self::Read { what, source, .. }
                if OF_THE_INDEX.contains(what) && is_of_wrong_bytes(source) =>
            {
                return INDEX_BROKEN;
            }
            Self::Read { source, .. } => of_store(source),
            Self::NotFound { what, .. } if OF_THE_INDEX.contains(what) => return INDEX_BROKEN,
            Self::NotFound { .. } => Reason::ImageGone,
            Self::Document { .. } => Reason::ImageMalformed,
            Self::ReferrersList { .. } => Reason::ReferrersMalformed,
            Self::NoSuchPlatform { .. } => Reason::PlatformNotFound,
            Self::Memory { .. } => Reason::LayerMemory,
            Self::Interrupted => Reason::Interrupted,
            Self::NoIndex { .. } => return NOT_INDEXED,
            Self::Index { .. }
            | Self::Ztoc { .. }
            | Self::Mismatch { .. }
            | Self::Extract { .. } => return INDEX_BROKEN,
        };
        reason.code()
    }

    /// Whether it is not there, or not what it should be, what the index consists of, so that making it anew helps.
    pub fn is_of_the_index(&self) -> bool {
        self.code() == INDEX_BROKEN
    }

    /// Whether the same call may succeed later with nobody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Read { source, .. } | Self::Memory { source: LayerError::Read(source), .. } => {
                source.is_transient()
            }
            _ => false,
        }
    }
}

impl ListError {
    /// Why the images are not listed.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Tags(source) => of_store(source),
            Self::Image { source, .. } => source.reason(),
        }
    }
}

impl Inspection {
    /// Why an image that can be indexed does not have what it needs to be started with its index, if anything is missing or
    /// broken: a code as [`VerifyError::code`] has.
    pub fn broken(&self) -> Option<&'static str> {
        if self.lacks_layers() {
            return Some(Reason::ImageGone.code());
        }
        self.is_broken().then_some(INDEX_BROKEN)
    }
}
