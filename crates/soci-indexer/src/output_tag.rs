//! The tag that a result gets.

use soci_oci::Tag;

/// What tags of converted images end with unless somebody says otherwise.
pub(crate) const USUAL_SUFFIX: &str = "-soci";

/// The tag of the converted image (V2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputTag {
    /// The image's tag with this behind it. Empty replaces the image itself, which needs a tag.
    Suffix(String),
    /// This one.
    Tag(Tag),
}

impl OutputTag {
    /// What tags of results end with, which may be nothing. None for a result that has a name of its own.
    pub(crate) fn suffix(&self) -> Option<&str> {
        match self {
            Self::Suffix(suffix) => Some(suffix),
            Self::Tag(_) => None,
        }
    }

    /// Whether an image's own tag ends as tags of results do.
    pub(crate) fn is_of_result(&self, tag: Option<&Tag>) -> bool {
        match (self, tag) {
            (Self::Suffix(suffix), Some(tag)) => tag.as_str().ends_with(suffix.as_str()),
            _ => false,
        }
    }
}
