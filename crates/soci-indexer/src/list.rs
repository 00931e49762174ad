//! Tells which images a repository has, and whether they are indexed.
//!
//! An image is a tag here. Not images are: lists of referrers and what else is tagged after a digest (`sha256-HEX`), and
//! converted images under the tag that another image's gets with the suffix behind it, which are told beside that image;
//! each by its content where its name alone does not tell. A converted image whose image's tag is gone is told as such.
//!
//! A repository may have more tags than anybody wants to look at, and each takes some requests ([`crate::inspect_image`]
//! without the ztocs). So a part of them is looked at, in the order of their names, and it is said where to go on.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use soci_oci::{Digest, Document, Tag, TagOrDigest, referrers};
use soci_registry::MANIFEST_LIMIT;

use crate::error::{IndexError, StoreError};
use crate::inspect::{Inspection, look_at};
use crate::options::{ImageName, Options};
use crate::output_tag::OutputTag;
use crate::prune::is_converted_image;
use crate::remote::RemoteRepository;
use crate::store::ImageStore as _;

/// Images that are looked at at once.
const AT_ONCE: usize = 4;

/// Pages of tags that are read, of 1,000 each.
const PAGES_OF_TAGS: usize = 20;

/// Images of a repository.
#[derive(Debug)]
pub struct ImageList {
    /// The images, in the order of their tags.
    pub images: Vec<ListedImage>,
    /// The tag to go on after, if there are more.
    pub more_after: Option<Tag>,
    /// Whether the repository has more tags than were read.
    pub cut: bool,
}

/// An image of a repository.
#[derive(Debug)]
pub struct ListedImage {
    /// Its tag.
    pub tag: Tag,
    /// What is known of it.
    pub state: ListedState,
}

/// What is known of an image.
#[derive(Debug)]
pub enum ListedState {
    /// It was looked at.
    Image(Box<Inspection>),
    /// It is a converted image, and the tag of its image is gone.
    ImageGone {
        /// Its digest.
        digest: Digest,
    },
    /// It is no image that could be looked at, and why.
    Failed(IndexError),
    /// It could not be looked at, as with access that is refused, and why. What it is, is not known.
    Unknown(IndexError),
}

/// Why images are not listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// The tags cannot be listed.
    #[error("the tags cannot be listed")]
    Tags(#[source] StoreError),
    /// An image cannot be read just now.
    #[error("the image of tag {tag} cannot be looked at")]
    Image {
        /// The tag.
        tag: Tag,
        /// Why not.
        source: Box<IndexError>,
    },
}

/// Lists `most` images, those whose tags come behind `after`. Of `options` the suffix of results, the limits and the budget
/// count.
///
/// # Errors
/// If the tags cannot be listed, or the registry fails for what may pass.
pub async fn list_images(
    repository: &RemoteRepository,
    after: Option<&Tag>,
    most: usize,
    options: &Options,
) -> Result<ImageList, ListError> {
    let listed = repository.tag_list(PAGES_OF_TAGS).await;
    let listed = listed.map_err(ListError::Tags)?;
    let mut tags = listed.tags;
    tags.sort();
    tags.dedup();
    let suffix = match &options.output {
        OutputTag::Suffix(suffix) => suffix.as_str(),
        OutputTag::Tag(_) => "",
    };
    let is_there = |base: &str| tags.binary_search_by(|tag| tag.as_str().cmp(base)).is_ok();
    let wanted = tags.iter().filter(|tag| after.is_none_or(|after| *tag > after));
    let wanted = wanted.filter(|tag| !belongs_to_digest(tag.as_str()));
    let looked = stream::iter(wanted).map(|tag| async {
        let failed = |source| ListError::Image { tag: tag.clone(), source: Box::new(source) };
        let base = tag.as_str().strip_suffix(suffix).filter(|_| !suffix.is_empty());
        let base = base.filter(|base| !base.is_empty());
        if let Some(base) = base
            && let Some(digest) = converted(repository, tag).await.map_err(failed)?
        {
            let state = ListedState::ImageGone { digest };
            let alone = !is_there(base) && !belongs_to_digest(base);
            return Ok(alone.then(|| ListedImage { tag: tag.clone(), state }));
        }
        let looked = Box::pin(look_at(repository, &ImageName::from(tag.clone()), options, 0)).await;
        let state = match looked {
            Ok(inspection) => ListedState::Image(Box::new(inspection)),
            Err(error) if error.is_transient() => return Err(failed(error)),
            Err(error) if error.reason().is_permanent() => ListedState::Failed(error),
            Err(error) => ListedState::Unknown(error),
        };
        Ok(Some(ListedImage { tag: tag.clone(), state }))
    });
    let mut looked = looked.buffered(AT_ONCE);
    let (mut images, mut more_after): (Vec<ListedImage>, _) = (Vec::new(), None);
    while let Some(image) = looked.try_next().await? {
        let Some(image) = image else { continue };
        if images.len() >= most {
            more_after = images.last().map(|image| image.tag.clone());
            break;
        }
        images.push(image);
    }
    Ok(ImageList { images, more_after, cut: !listed.complete })
}

/// Whether a tag is made of a digest, as those of lists of referrers, signatures and the like.
fn belongs_to_digest(tag: &str) -> bool {
    referrers::is_tag(tag.split('.').next().unwrap_or(tag))
}

/// The digest of what a tag names, if that is a converted image.
async fn converted(repository: &RemoteRepository, tag: &Tag) -> Result<Option<Digest>, IndexError> {
    let target = || TagOrDigest::Tag(tag.clone());
    let found = match repository.manifest_within(&target(), MANIFEST_LIMIT).await {
        Err(error) if !error.is_transient() => return Ok(None),
        found => {
            found.map_err(|source: StoreError| IndexError::Read { target: target(), source })?
        }
    };
    let Some(found) = found else { return Ok(None) };
    let kind = soci_oci::root_media_type(&found.media_type, &found.bytes);
    let document = kind.and_then(|kind| Document::decode(&kind, &found.bytes));
    Ok(document.is_ok_and(|document| is_converted_image(&document)).then_some(found.digest))
}
