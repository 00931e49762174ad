//! Removes the result of one image that was deleted, as [`find_leftovers`](super::find_leftovers) would find it in the whole
//! repository, with a few requests.
//!
//! What may go:
//!
//! - V2: the converted image under the image's tag with the suffix behind it, if the tag names nothing. If it names anything,
//!   the push that made it so has a job of its own, which replaces the result;
//! - the parts of that converted image, if they have no tag and were made here;
//! - V1: the SOCI indexes that refer to the image, if its digest is not there.
//!
//! All that keeps a result there keeps it here as well, but for its age: that the image was deleted is known. Not everything in
//! the repository is looked at, so a registry's own API has to know the rest ([`OwnApi`]): which other tags a manifest has,
//! and whether an image index lists it, which it must refuse to delete.
//!
//! The latest push wins: directly before the deletion it is looked again whether tag and digest are still gone. An image that
//! comes back after that is indexed again, as its push says so.
//!
//! Parts that are left because a deletion failed between a converted image and them are found by a whole look only.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use soci_manifest::Version;
use soci_oci::{Digest, Index, Repository, Tag, TagOrDigest};
use soci_registry::{MANIFEST_LIMIT, OwnApi};

use super::content::Content;
use super::delete::{Deleted, NotDeleted};
use super::graph::Facts;
use super::leftover::{Leftover, LeftoverKind, Leftovers, WhyKept, WhyLeftover};
use super::listing::{ListedManifest, PruneError, RepositoryListing};
use super::look::Look;
use super::{Finding, PruneSettings};
use crate::options::Options;
use crate::remote::RemoteRepository;
use crate::store::ImageStore as _;

/// Manifests whose tags are asked for at once ([`OwnApi::tags_of`]).
const AT_ONCE: usize = 100;

/// What cosign puts behind `sha256-HEX` for a signature, an attestation, an SBOM. There is no list of tags to look for others.
const SIGNED: [&str; 3] = [".sig", ".att", ".sbom"];

/// An image that was deleted, or a tag of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedImage {
    /// Its digest.
    pub digest: Digest,
    /// The tag that went.
    pub tag: Option<Tag>,
}

/// What became of an image's result.
#[derive(Debug)]
pub enum Removed {
    /// The tag or the digest names an image by now, so that the result is of use or will be replaced.
    ImageBack,
    /// There is no result of it.
    NoResult,
    /// It stays.
    Kept(WhyKept),
    /// It was deleted, or some of it.
    Deleted(Deleted),
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ImageBack => f.write_str("the tag or the digest names an image again"),
            Self::NoResult => f.write_str("there is no result of it"),
            Self::Kept(why) => write!(f, "its result stays: {why}"),
            Self::Deleted(Deleted { deleted, failed, left }) => {
                let others = failed.len() + left.len();
                write!(f, "{} manifests of its result were deleted", deleted.len())?;
                if others > 0 {
                    write!(f, ", {others} were not, as something lists them")?;
                }
                Ok(())
            }
        }
    }
}

/// Removes the result of an image in `version` and with `suffix`, which `api` deletes in the repository that it knows as `named`.
/// Of `options` the limits and the budget count.
pub async fn remove_result(
    repository: &RemoteRepository,
    named: &Repository,
    api: &dyn OwnApi,
    image: &DeletedImage,
    (version, suffix): (Version, &str),
    options: &Options,
) -> Result<Removed, PruneError> {
    let removal = Removal { repository, named, api, image, options };
    let found = match Box::pin(removal.find(version, suffix)).await? {
        Ok(found) => found,
        Err(nothing) => return Ok(nothing),
    };
    let found = match Box::pin(removal.find(version, suffix)).await? {
        Ok(second) => found.agreed(&second),
        Err(nothing) => return Ok(nothing),
    };
    if found.leftovers.is_empty() {
        // It has changed in between.
        return Ok(Removed::Kept(WhyKept::Needed));
    }
    Ok(Removed::Deleted(delete(&removal, found).await?))
}

/// Deletes what lists others first, and nothing that something lists or names which was refused.
async fn delete(removal: &Removal<'_>, found: Leftovers) -> Result<Deleted, PruneError> {
    let mut result = Deleted::default();
    let mut needed: HashSet<Digest> = HashSet::new();
    for group in found.leftovers.chunk_by(|a, b| a.kind == b.kind) {
        let (left, now): (Vec<_>, Vec<_>) =
            group.iter().cloned().partition(|leftover| needed.contains(&leftover.digest));
        needed.extend(left.iter().flat_map(|leftover| &leftover.parts));
        result.left.extend(left);
        let images: Vec<_> =
            now.iter().map(|leftover| (leftover.digest, leftover.tags.clone())).collect();
        if images.is_empty() {
            continue;
        }
        let refused = removal.api.delete(removal.named, &images).await?;
        let refused: HashMap<Digest, String> = refused.into_iter().collect();
        for leftover in now {
            let Some(code) = refused.get(&leftover.digest) else {
                result.deleted.push(leftover);
                continue;
            };
            needed.extend(&leftover.parts);
            let reason = format!("the registry does not delete it: {code}");
            result.failed.push((leftover, NotDeleted { reason, hopeless: false }));
        }
    }
    Ok(result)
}

/// What is removed from where.
struct Removal<'a> {
    repository: &'a RemoteRepository,
    named: &'a Repository,
    api: &'a dyn OwnApi,
    image: &'a DeletedImage,
    options: &'a Options,
}

impl Removal<'_> {
    /// What is deleted, or why nothing is.
    async fn find(
        &self,
        version: Version,
        suffix: &str,
    ) -> Result<Result<Leftovers, Removed>, PruneError> {
        match version {
            Version::V1 => self.attached().await,
            Version::V2 => self.converted(suffix).await,
        }
    }

    /// The converted image of the tag that went, and its parts.
    async fn converted(&self, suffix: &str) -> Result<Result<Leftovers, Removed>, PruneError> {
        let nothing = Ok(Err(Removed::NoResult));
        // With an empty suffix the result had the image's tag, and went with it.
        let Some(tag) = self.image.tag.as_ref().filter(|_| !suffix.is_empty()) else {
            return nothing;
        };
        let Ok(output) = format!("{tag}{suffix}").parse::<Tag>() else { return nothing };
        if self.names(tag).await?.is_some() {
            return Ok(Err(Removed::ImageBack));
        }
        let Some(root) = self.names(&output).await? else { return nothing };
        let Some(tags) = self.tags_of(&[root]).await?.remove(&root) else { return nothing };
        let listing = RepositoryListing {
            manifests: vec![ListedManifest { digest: root, tags, age: None }],
            complete: false,
        };
        let settings = PruneSettings {
            suffix: suffix.to_owned(),
            older_than: Duration::ZERO,
            unknown_age: true,
        };
        let mut look = Look::new(self.repository, &listing, self.options);
        look.read_listed().await?;
        let children = look.facts(root).await?.map(|facts| facts.children).unwrap_or_default();
        let (gone, kept) = (HashMap::new(), Vec::new());
        let mut finding = Finding { listing: &listing, settings: &settings, look, gone, kept };
        finding.tagged().await?;
        if !finding.gone.contains_key(&root) {
            return Ok(Err(match finding.kept.pop() {
                Some(kept) => Removed::Kept(kept.why),
                // Something else under this name, or a result with another tag beside.
                None => Removed::Kept(WhyKept::Needed),
            }));
        }
        if self.is_signed(root).await? || self.has_image(&listing, suffix).await? {
            return Ok(Err(Removed::Kept(WhyKept::Needed)));
        }
        let mut parts = Vec::new();
        let tags = self.tags_of(&children).await?;
        for child in children {
            let untagged = tags.get(&child).is_some_and(Vec::is_empty);
            let Some(facts) = finding.look.facts(child).await? else { continue };
            let (kind, names) = match facts.content {
                Content::ConvertedManifest { soci_index } => {
                    (LeftoverKind::ConvertedManifest, vec![soci_index])
                }
                Content::SociIndex(Version::V2) => {
                    (LeftoverKind::SociIndex(Version::V2), Vec::new())
                }
                _ => continue,
            };
            if untagged
                && !finding.look.is_referred_to(&child).await?
                && !self.is_signed(child).await?
            {
                let why = WhyLeftover::PartOf(root);
                parts.push(Leftover { parts: names, ..leftover(child, kind, why, 0) });
            }
        }
        let mut found = finding.finish();
        // Its bytes count its parts as well.
        found.leftovers.extend(parts);
        found.leftovers.sort_by_key(|leftover| leftover.kind.order());
        Ok(Ok(found))
    }

    /// The SOCI indexes that refer to the image.
    async fn attached(&self) -> Result<Result<Leftovers, Removed>, PruneError> {
        let subject = self.image.digest;
        let target = || TagOrDigest::Digest(subject);
        let there = self.repository.manifest_within(&target(), MANIFEST_LIMIT).await;
        let there = there.map_err(|source| PruneError::Read { target: target(), source })?;
        if there.is_some() {
            return Ok(Err(Removed::ImageBack));
        }
        let referrers = self.repository.all_referrers(&subject).await;
        let referrers =
            referrers.map_err(|source| PruneError::Read { target: target(), source })?;
        let pages = referrers.pages.iter().filter_map(|page| Index::decode(page).ok());
        let listed: Vec<Digest> = pages
            .flat_map(|page| page.manifests().iter().map(|entry| entry.digest).collect::<Vec<_>>())
            .collect();
        let tags = self.tags_of(&listed).await?;
        let listing = RepositoryListing::default();
        let mut look = Look::new(self.repository, &listing, self.options);
        let (mut leftovers, mut kept) = (Vec::new(), None);
        for digest in listed {
            let Some(facts) = look.facts(digest).await? else { continue };
            let Facts { content: Content::SociIndex(Version::V1), subject: Some(of), .. } = facts
            else {
                continue;
            };
            if of != subject {
                continue;
            }
            let untagged = tags.get(&digest).is_some_and(Vec::is_empty);
            if !untagged || look.is_referred_to(&digest).await? || self.is_signed(digest).await? {
                kept = Some(WhyKept::Needed);
                continue;
            }
            let bytes =
                facts.blobs.iter().fold(facts.size, |sum, (_, size)| sum.saturating_add(*size));
            let kind = LeftoverKind::SociIndex(Version::V1);
            leftovers.push(leftover(digest, kind, WhyLeftover::ImageGone(subject), bytes));
        }
        Ok(match (leftovers.is_empty(), kept) {
            (true, Some(why)) => Err(Removed::Kept(why)),
            (true, None) => Err(Removed::NoResult),
            (false, _) => Ok(Leftovers { leftovers, ..Leftovers::default() }),
        })
    }

    /// Whether any of the tags that a result has is that of an image. A result whose other tag has moved is replaced by the
    /// job of that push, which may be under way.
    async fn has_image(
        &self,
        listing: &RepositoryListing,
        suffix: &str,
    ) -> Result<bool, PruneError> {
        for output in listing.manifests.iter().flat_map(|listed| &listed.tags) {
            if let Some(Ok(image)) = output.as_str().strip_suffix(suffix).map(str::parse)
                && self.names(&image).await?.is_some()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn names(&self, tag: &Tag) -> Result<Option<Digest>, PruneError> {
        let named = self.repository.tagged(tag).await;
        named.map_err(|source| PruneError::Read { target: TagOrDigest::Tag(tag.clone()), source })
    }

    /// Whether a tag says that something belongs to a manifest.
    async fn is_signed(&self, digest: Digest) -> Result<bool, PruneError> {
        for behind in SIGNED {
            let tag = format!("{}-{}{behind}", digest.algorithm().as_str(), digest.hex());
            if let Ok(tag) = tag.parse()
                && self.names(&tag).await?.is_some()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn tags_of(&self, digests: &[Digest]) -> Result<HashMap<Digest, Vec<Tag>>, PruneError> {
        let mut tags = HashMap::new();
        for digests in digests.chunks(AT_ONCE) {
            tags.extend(self.api.tags_of(self.named, digests).await?);
        }
        Ok(tags)
    }
}

fn leftover(digest: Digest, kind: LeftoverKind, why: WhyLeftover, bytes: u64) -> Leftover {
    Leftover { digest, tags: Vec::new(), kind, why, bytes, age: None, parts: Vec::new() }
}
