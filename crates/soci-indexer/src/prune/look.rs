//! Reads what a repository holds, each document once.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use soci_oci::{Digest, Document, Index, Tag, TagOrDigest, media_type};
use soci_registry::{MANIFEST_LIMIT, ReferrersSource};

use super::content::Content;
use super::graph::{Facts, Known};
use super::listing::{PruneError, RepositoryListing, digest_in};
use crate::options::Options;
use crate::referrers_lists::{ListProblem, list_problem};
use crate::remote::RemoteRepository;
use crate::store::ImageStore as _;

/// Documents that are asked for at once.
const AT_ONCE: usize = 8;

/// What cosign and others put behind `sha256-HEX` for what belongs to a manifest, beside lists of referrers.
const BEHIND_DIGEST: char = '.';

/// What is known of a repository.
pub(super) struct Look<'a> {
    pub(super) repository: &'a RemoteRepository,
    pub(super) options: &'a Options,
    pub(super) known: Known,
    pub(super) ages: HashMap<Digest, Option<Duration>>,
    /// Config and layers of each manifest that was not made here.
    pub(super) originals: HashSet<Vec<Digest>>,
    listing: &'a RepositoryListing,
    tags: HashMap<&'a Tag, Digest>,
}

impl<'a> Look<'a> {
    pub(super) fn new(
        repository: &'a RemoteRepository,
        listing: &'a RepositoryListing,
        options: &'a Options,
    ) -> Self {
        let manifests = listing.manifests.iter();
        let tags = manifests
            .clone()
            .flat_map(|manifest| manifest.tags.iter().map(|tag| (tag, manifest.digest)));
        Self {
            repository,
            options,
            known: Known::new(),
            ages: manifests.map(|manifest| (manifest.digest, manifest.age)).collect(),
            originals: HashSet::new(),
            listing,
            tags: tags.collect(),
        }
    }

    /// Reads everything that is listed.
    pub(super) async fn read_listed(&mut self) -> Result<(), PruneError> {
        let repository = self.repository;
        // Owned, as a closure on what is borrowed makes a future that cannot be handed to another thread.
        let listed = self.listing.manifests.clone();
        let documents = stream::iter(listed).map(|listed| async move {
            let facts = read(repository, listed.digest, &listed.tags).await?;
            Ok::<_, PruneError>((listed.digest, facts))
        });
        let mut documents = documents.buffered(AT_ONCE);
        while let Some((digest, facts)) = documents.try_next().await? {
            // Some registries do not give what is of a kind that was not asked for. So it need not be gone.
            let facts = facts.ok_or(PruneError::NotThere { digest })?;
            if facts.content == Content::Other && !facts.blobs.is_empty() {
                self.originals.insert(facts.content_digests());
            }
            self.known.insert(digest, facts);
        }
        Ok(())
    }

    /// What is listed and was read.
    pub(super) fn listed(&self) -> impl Iterator<Item = (&Digest, &Facts)> {
        let digests = self.listing.manifests.iter().map(|manifest| &manifest.digest);
        digests.filter_map(|digest| Some((digest, self.known.get(digest)?)))
    }

    /// What a manifest says, listed or not.
    pub(super) async fn facts(&mut self, digest: Digest) -> Result<Option<Facts>, PruneError> {
        if let Some(known) = self.known.get(&digest) {
            return Ok(Some(known.clone()));
        }
        if self.listing.complete {
            return Ok(None);
        }
        let facts = read(self.repository, digest, &[]).await?;
        if let Some(facts) = &facts {
            self.known.insert(digest, facts.clone());
        }
        Ok(facts)
    }

    /// Whether a manifest is there.
    pub(super) async fn there(&mut self, digest: Digest) -> Result<bool, PruneError> {
        Ok(self.facts(digest).await?.is_some())
    }

    /// What a tag names. One that is not listed is asked for: a list may be older than what it lists.
    pub(super) async fn tag_names(&self, tag: &Tag) -> Result<Option<Digest>, PruneError> {
        if let Some(named) = self.tags.get(tag) {
            return Ok(Some(*named));
        }
        let target = || TagOrDigest::Tag(tag.clone());
        let named = self.repository.tagged(tag).await;
        named.map_err(|source| PruneError::Read { target: target(), source })
    }

    /// An image index as it is.
    pub(super) async fn index(&self, digest: Digest) -> Result<Option<Index>, PruneError> {
        let target = TagOrDigest::Digest(digest);
        let found = self.repository.manifest_within(&target, MANIFEST_LIMIT).await;
        let found = found.map_err(|source| PruneError::Read { target, source })?;
        Ok(found.and_then(|found| Index::decode(&found.bytes).ok()))
    }

    /// Whether the parts of a converted image are what they should be, as far as they are there.
    pub(super) async fn is_whole(
        &mut self,
        pairs: &[(Digest, Digest)],
    ) -> Result<bool, PruneError> {
        for (soci, image) in pairs {
            let soci_index = self.facts(*soci).await?.map(|facts| facts.content);
            let manifest = self.facts(*image).await?.map(|facts| facts.content);
            let version = soci_manifest::Version::V2;
            let soci_index = soci_index.is_none_or(|found| found == Content::SociIndex(version));
            let manifest = manifest
                .is_none_or(|found| found == Content::ConvertedManifest { soci_index: *soci });
            if !(soci_index && manifest) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether anything refers to a manifest. Where everything is listed, that is known from there.
    pub(super) async fn is_referred_to(&self, digest: &Digest) -> Result<bool, PruneError> {
        if self.listing.complete {
            return Ok(false);
        }
        let failed = |source| PruneError::Read { target: TagOrDigest::Digest(*digest), source };
        let referrers = self.repository.all_referrers(digest).await.map_err(failed)?;
        let by_tag = referrers.source == ReferrersSource::TagSchema;
        let lists = |page: &bytes::Bytes| {
            // Where tags like those of lists are taken for digests, the manifest itself comes.
            let own =
                by_tag && matches!(list_problem(*digest, page), Some(ListProblem::IsSubject(_)));
            // What is no list does not say that nothing refers to it.
            !own && Index::decode(page).map_or(true, |page| !page.manifests().is_empty())
        };
        Ok(referrers.pages.iter().any(lists))
    }

    /// Manifests that tags like `sha256-HEX.sig` belong to.
    pub(super) fn referred_by_name(&self) -> HashSet<Digest> {
        let behind = |tag: &&Tag| {
            let (name, _) = tag.as_str().split_once(BEHIND_DIGEST)?;
            digest_in(name)
        };
        self.tags.keys().filter_map(behind).collect()
    }
}

/// Reads a manifest; none if it is not there.
async fn read(
    repository: &RemoteRepository,
    digest: Digest,
    tags: &[Tag],
) -> Result<Option<Facts>, PruneError> {
    let target = || TagOrDigest::Digest(digest);
    let found = repository.manifest_within(&target(), MANIFEST_LIMIT).await;
    let found = found.map_err(|source| PruneError::Read { target: target(), source })?;
    let Some(found) = found else { return Ok(None) };
    let size = found.bytes.len() as u64;
    let decoded = soci_oci::root_media_type(&found.media_type, &found.bytes)
        .and_then(|kind| Document::decode(&kind, &found.bytes));
    match decoded {
        Ok(document) => Ok(Some(Facts::of(&document, tags.to_vec(), size))),
        // An image index of a kind that is not known would be one; what says that it is something else names no manifests.
        Err(_) if !found.media_type.is_empty() && !may_list(&found.media_type) => {
            Ok(Some(Facts::opaque(tags.to_vec(), size)))
        }
        Err(source) => Err(PruneError::Document { digest, source }),
    }
}

/// Whether a document of this type may list manifests.
fn may_list(kind: &str) -> bool {
    media_type::is_index(kind) || kind.contains("index") || kind.contains("list")
}
