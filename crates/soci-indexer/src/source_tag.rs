//! The tag that an image was pushed under, which may move while the image is being indexed.

use soci_manifest::Version;
use soci_oci::{Digest, Tag, TagOrDigest};

use crate::error::IndexError;
use crate::options::{ImageName, Options, OutputTag};
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
        if self.replaced { Ok(()) } else { self.look(store, None).await }
    }

    /// Looks when `result` is about to be written, or to be found there.
    pub(crate) async fn after<S: ImageStore>(
        self,
        store: &S,
        result: Digest,
    ) -> Result<(), IndexError> {
        self.look(store, Some(result).filter(|_| self.replaced)).await
    }

    async fn look<S: ImageStore>(
        self,
        store: &S,
        result: Option<Digest>,
    ) -> Result<(), IndexError> {
        let Self { tag, image, .. } = self;
        let target = || TagOrDigest::Tag(tag.clone());
        let now = store.tagged(tag).await;
        match now.map_err(|source| IndexError::Read { target: target(), source })? {
            Some(now) if now == image || Some(now) == result => Ok(()),
            Some(now) => Err(IndexError::Superseded { tag: tag.clone(), image, now }),
            None => Err(IndexError::TagGone { tag: tag.clone(), image }),
        }
    }

    /// Whether the result takes the image's place.
    pub(crate) fn is_replaced(self) -> bool {
        self.replaced
    }
}
