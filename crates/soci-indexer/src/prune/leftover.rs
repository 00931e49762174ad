//! What is of no use, what stays nevertheless, and why.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use soci_manifest::Version;
use soci_oci::{Digest, Tag};

/// A result, or a part of one, that is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its digest.
    pub digest: Digest,
    /// Its tags, which go with it.
    pub tags: Vec<Tag>,
    /// What it is.
    pub kind: LeftoverKind,
    /// Why it is of no use.
    pub why: WhyLeftover,
    /// Bytes of it and of the ztocs and layers that nothing else in the repository names, as far as that is known.
    pub bytes: u64,
    /// How long ago it was pushed, if that is known.
    pub age: Option<Duration>,
    /// What it lists, which must not be deleted before it.
    pub(super) parts: Vec<Digest>,
}

/// What a leftover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftoverKind {
    /// A list of referrers that has only SOCI indexes V1 of an image that is gone.
    ReferrersList,
    /// The image index of a converted image.
    ConvertedImage,
    /// A manifest of a converted image.
    ConvertedManifest,
    /// A SOCI index.
    SociIndex(Version),
}

impl LeftoverKind {
    /// What lists others comes before what is listed.
    pub(super) fn order(self) -> u8 {
        match self {
            Self::ReferrersList => 0,
            Self::ConvertedImage => 1,
            Self::ConvertedManifest => 2,
            Self::SociIndex(Version::V2) => 3,
            Self::SociIndex(Version::V1) => 4,
        }
    }
}

impl fmt::Display for LeftoverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReferrersList => f.write_str("list of referrers"),
            Self::ConvertedImage => f.write_str("converted image"),
            Self::ConvertedManifest => f.write_str("converted manifest"),
            Self::SociIndex(version) => write!(f, "SOCI index {version}"),
        }
    }
}

/// Why something is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyLeftover {
    /// The tag of its image is gone.
    TagGone(Tag),
    /// The tag of its image names another image.
    TagMoved(Tag),
    /// Its image is gone.
    ImageGone(Digest),
    /// Its image is not in the repository by any name.
    NoImage,
    /// Nothing names it.
    NotNamed,
    /// It is a part of something that is of no use.
    PartOf(Digest),
}

impl fmt::Display for WhyLeftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TagGone(tag) => write!(f, "tag {tag} is gone"),
            Self::TagMoved(tag) => write!(f, "tag {tag} names another image"),
            Self::ImageGone(digest) => write!(f, "its image {} is gone", digest.short()),
            Self::NoImage => f.write_str("its image is gone"),
            Self::NotNamed => f.write_str("nothing names it"),
            Self::PartOf(digest) => write!(f, "part of {}", digest.short()),
        }
    }
}

/// A converted image that would be of no use, and what keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptResult {
    /// Its digest.
    pub digest: Digest,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// What keeps it.
    pub why: WhyKept,
}

/// What keeps a result that would be of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyKept {
    /// It, or the image that its image's tag names by now, is too young.
    Young,
    /// Nothing tells how old it is.
    UnknownAge,
    /// Something else needs it: a signature, an image index, another tag.
    Needed,
    /// Whether its image is there cannot be told.
    Unclear(String),
}

impl fmt::Display for WhyKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Young => f.write_str("it may be in use in a moment, as it is young"),
            Self::UnknownAge => f.write_str("nothing tells how old it is"),
            Self::Needed => f.write_str("something else needs it"),
            Self::Unclear(why) => write!(f, "it cannot be told: {why}"),
        }
    }
}

/// What was found in a repository.
#[derive(Clone, Debug, Default)]
pub struct Leftovers {
    /// What can be deleted, in the order in which it has to be.
    pub leftovers: Vec<Leftover>,
    /// What stays though it is of no use.
    pub kept: Vec<KeptResult>,
    /// Manifests that were looked at.
    pub looked_at: usize,
}

impl Leftovers {
    /// Only what another look has found as well.
    #[must_use]
    pub fn agreed(mut self, other: &Self) -> Self {
        let theirs: HashMap<Digest, &Leftover> =
            other.leftovers.iter().map(|leftover| (leftover.digest, leftover)).collect();
        self.leftovers.retain(|ours| {
            theirs
                .get(&ours.digest)
                .is_some_and(|theirs| (&theirs.tags, theirs.kind) == (&ours.tags, ours.kind))
        });
        self
    }

    /// All bytes that they free.
    pub fn bytes(&self) -> u64 {
        self.leftovers.iter().map(|leftover| leftover.bytes).fold(0, u64::saturating_add)
    }
}
