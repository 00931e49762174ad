//! The tag that an image was pushed under, which may move while the image is being indexed.
//!
//! The latest push wins: when all jobs of a tag are done, the tag of the result names the result of what the tag
//! names. A job keeps to that by looking three times:
//!
//! 1. Before anything is known of the image. A tag that names another one belongs to that one's job.
//! 2. When the result is built, so that nothing of an old one is written; and directly before the tag of the
//!    result is written, however long that had to wait for its turn.
//! 3. After it was written. Between 2 and the write another push may have come, and its job may have been
//!    done already; then what was written is old, and nobody else will notice. Whoever
//!    sees that goes on with what the tag names now.
//!
//! A process that ends between the write and 3 leaves its message. Whoever gets that sees in 1 that the
//! tag has moved, and looks whether the tag of the result names the result of the older image: then it
//! goes on likewise.

use soci_manifest::Version;
use soci_oci::{Digest, Tag, TagOrDigest};
use soci_registry::TagNames;

use crate::error::IndexError;
use crate::options::{ImageName, Options};
use crate::output_tag::OutputTag;
use crate::store::ImageStore;

/// A tag that has to name the image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SourceTag<'a> {
    tag: &'a Tag,
    image: Digest,
    /// Whether the result takes the image's place under this very tag.
    replaced: bool,
}

impl<'a> SourceTag<'a> {
    /// The tag that `options` want looked after, if they do. SOCI indexes of version V1 belong to a
    /// digest, whatever the tags are.
    pub(crate) fn of(name: &'a ImageName, options: &Options) -> Option<Self> {
        let (TagOrDigest::Digest(image), Some(tag)) = (&name.target, &name.tag) else {
            return None;
        };
        let replaced = match &options.output {
            OutputTag::Suffix(suffix) => suffix.is_empty(),
            OutputTag::Tag(output) => output == tag,
        };
        let wanted = options.follow_tag && options.settings.version == Version::V2;
        wanted.then_some(Self { tag, image: *image, replaced })
    }

    /// Looks before anything is known of the image. A tag that the result would replace may name
    /// the result already, so another digest says nothing yet.
    pub(crate) async fn before<S: ImageStore>(self, store: &S) -> Result<(), IndexError> {
        if self.replaced {
            return Ok(());
        }
        match self.now(store).await? {
            Some(now) if now == self.image => Ok(()),
            now => Err(self.moved(now)),
        }
    }

    /// Looks when `result` is about to be written.
    pub(crate) async fn built<S: ImageStore>(
        self,
        store: &S,
        result: Digest,
    ) -> Result<(), IndexError> {
        match self.now(store).await? {
            now if self.condition(result).one_of.contains(&now) => Ok(()),
            now => Err(self.moved(now)),
        }
    }

    /// What the tag has to name when `result` is written.
    pub(crate) fn condition(self, result: Digest) -> TagNames {
        let mut one_of = vec![Some(self.image)];
        one_of.extend(self.replaced.then_some(Some(result)));
        TagNames { tag: self.tag.clone(), one_of }
    }

    /// Looks after `result` was written or found. A tag that is gone takes its result with it, and needs nothing.
    pub(crate) async fn after<S: ImageStore>(
        self,
        store: &S,
        result: Digest,
    ) -> Result<(), IndexError> {
        match self.now(store).await? {
            Some(now) if now != self.image && now != result => {
                Err(IndexError::Overtaken { tag: self.tag.clone(), image: self.image, now })
            }
            _ => Ok(()),
        }
    }

    /// The error of a tag that names something else.
    pub(crate) fn moved(self, now: Option<Digest>) -> IndexError {
        let (tag, image) = (self.tag.clone(), self.image);
        match now {
            Some(now) => IndexError::Superseded { tag, image, now },
            None => IndexError::TagGone { tag, image },
        }
    }

    async fn now<S: ImageStore>(self, store: &S) -> Result<Option<Digest>, IndexError> {
        let target = || TagOrDigest::Tag(self.tag.clone());
        let now = store.tagged(self.tag).await;
        now.map_err(|source| IndexError::Read { target: target(), source })
    }

    /// Whether the result takes the image's place.
    pub(crate) fn is_replaced(self) -> bool {
        self.replaced
    }
}
