//! What a repository holds, as it is listed, and why it cannot be told.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use soci_oci::{Digest, DocumentError, Tag, TagOrDigest};
use soci_registry::OwnApiError;

use crate::error::{IndexError, StoreError};
use crate::remote::RemoteRepository;
use crate::store::ImageStore as _;

/// Tags that are asked for at once.
const AT_ONCE: usize = 8;

/// Pages of tags that are read, of 1,000 each.
const PAGES_OF_TAGS: usize = 20;

/// What a repository holds.
#[derive(Clone, Debug, Default)]
pub struct RepositoryListing {
    /// Its manifests and image indexes, each once.
    pub manifests: Vec<ListedManifest>,
    /// Whether those without a tag are among them.
    pub complete: bool,
}

/// A manifest or image index of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedManifest {
    /// Its digest.
    pub digest: Digest,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// How long ago it was pushed, if that is known.
    pub age: Option<Duration>,
}

impl RepositoryListing {
    /// What a repository's tags name: all that a registry tells. So it is not complete.
    pub async fn of_tags(repository: &RemoteRepository) -> Result<Self, PruneError> {
        let list = repository.tag_list(PAGES_OF_TAGS).await.map_err(PruneError::Tags)?;
        if !list.complete {
            return Err(PruneError::TooMany(list.tags.len()));
        }
        let named = stream::iter(list.tags).map(|tag| async move {
            let target = || TagOrDigest::Tag(tag.clone());
            let named = repository.tagged(&tag).await;
            let named = named.map_err(|source| PruneError::Read { target: target(), source })?;
            Ok::<_, PruneError>((tag, named))
        });
        let named: Vec<(Tag, Option<Digest>)> = named.buffered(AT_ONCE).try_collect().await?;
        let mut manifests: Vec<ListedManifest> = Vec::new();
        let mut place: HashMap<Digest, usize> = HashMap::new();
        for (tag, digest) in named {
            let Some(digest) = digest else { continue };
            let at = *place.entry(digest).or_insert(manifests.len());
            match manifests.get_mut(at) {
                Some(manifest) => manifest.tags.push(tag),
                None => manifests.push(ListedManifest { digest, tags: vec![tag], age: None }),
            }
        }
        Ok(Self { manifests, complete: false })
    }
}

/// Why it cannot be told what is of no use. Nothing is deleted then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// The tags cannot be listed.
    #[error("the tags cannot be listed")]
    Tags(#[source] StoreError),
    /// There are more tags than are looked at.
    #[error("there are more than {0} tags")]
    TooMany(usize),
    /// Something that may name others cannot be read.
    #[error("{target} cannot be read, and may need anything")]
    Read {
        /// What was asked for.
        target: TagOrDigest,
        /// Why not.
        source: StoreError,
    },
    /// What is listed is not there, or not in a form that is known. What it may need is not known either.
    #[error("{digest} is listed and cannot be had: if it was deleted just now, try again")]
    NotThere {
        /// The manifest.
        digest: Digest,
    },
    /// What may be an image index is none.
    #[error("{digest} cannot be understood, and may need anything")]
    Document {
        /// The document.
        digest: Digest,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// The registry's own API did not do what it was asked.
    #[error(transparent)]
    Api(#[from] OwnApiError),
    /// An image cannot be read just now.
    #[error("it cannot be told whether the image of {tag} is there")]
    Image {
        /// The tag of the result.
        tag: Tag,
        /// Why not.
        source: Box<IndexError>,
    },
}

/// The digest that a tag is made of, `sha256-HEX`.
pub(super) fn digest_in(tag: &str) -> Option<Digest> {
    let (algorithm, hex) = tag.split_once('-')?;
    format!("{algorithm}:{hex}").parse().ok()
}
