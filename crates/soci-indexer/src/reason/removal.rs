//! What an error of a removal means.

use super::{Reason, of_store};
use crate::prune::PruneError;

impl PruneError {
    /// Why it cannot be told what is of no use, or be deleted.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Tags(source) | Self::Read { source, .. } => of_store(source),
            Self::Image { source, .. } => source.reason(),
            Self::Api(error) if error.transient => Reason::RegistryUnavailable,
            // A call that does not pass by itself is one that is not allowed.
            Self::Api(_) => Reason::Unauthorized,
            Self::NotThere { .. } => Reason::NotStored,
            Self::Document { .. } => Reason::ImageMalformed,
            Self::TooMany(_) => Reason::ImageLimit,
        }
    }
}
