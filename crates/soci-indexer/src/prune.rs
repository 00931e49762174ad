//! Finds the results that are of no use any more, as their image is gone, and deletes them.
//!
//! What is one:
//!
//! - a converted image (V2) all of whose tags are an image's tag with the suffix behind it, where that tag is gone, or names
//!   an image that has nothing to do with it: neither is it what that is converted to, nor has it some of its manifests, as
//!   others were not there;
//! - a converted image without a tag, of none of whose manifests the original is in the repository; SOCI indexes and
//!   converted manifests that no image index lists, as a failed publish leaves them, or as they were part of one of these;
//! - a SOCI index V1 whose subject is gone, and the list of referrers (tag schema) that has nothing but such ones.
//!
//! What keeps it from being deleted:
//!
//! - its content: only what this program or the reference made is looked at (`content.rs`), whatever the tag says;
//! - who needs it (`graph.rs`): another tag, also one like `sha256-HEX.sig` that refers to it by name; an image index that
//!   lists it; a signature or anything else that refers to it. All that is tagged, and all without a tag that is not made
//!   here, may be deployed by somebody and counts;
//! - its age. Who publishes writes the tag last, so what nothing names may be named in a moment. Nothing younger than
//!   [`PruneSettings::older_than`] is deleted, nor the result of a tag that has moved to an image so young, whose own
//!   result may be under way. Only ECR tells ages. What has none stays unless that was asked for;
//! - doubt. If a document cannot be read, nothing of the repository is deleted: it may name anything.
//!
//! A registry lists tags and not what has none, so [`RepositoryListing::complete`] says which it is. Without the rest it is
//! not known what else needs the parts of a converted image: that alone is deleted then, and its parts are left to the
//! registry's garbage collection.
//!
//! Between a look and the deletion the repository goes on. So whoever deletes looks twice, the second time directly before,
//! and only what both looks found is deleted ([`Leftovers::agreed`]); by digest, so that a tag that has moved since takes
//! nothing with it; and what lists others before what is listed ([`delete_leftovers`]). What remains is a publish that finds
//! a part in the moment before that is deleted, and lists it in the moment after. Registries that check what an image index
//! lists refuse it, and for others the next time that the image is indexed mends it.
//!
//! Who is told that one image was deleted asks for its result alone (`of_image.rs`).

mod content;
mod delete;
mod graph;
mod leftover;
mod listing;
mod look;
mod of_image;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use soci_manifest::Version;
use soci_oci::{Digest, Document, Tag, referrers};

use crate::options::{ImageName, Options};
use crate::outlook::{MadeOf, made_of};
use crate::output_tag::USUAL_SUFFIX;
use crate::remote::RemoteRepository;
use content::Content;
pub use delete::{Deleted, Deleter, NotDeleted, RegistryDeleter, delete_leftovers};
use graph::{Facts, Known, freed, needed};
pub use leftover::{KeptResult, Leftover, LeftoverKind, Leftovers, WhyKept, WhyLeftover};
use listing::digest_in;
pub use listing::{ListedManifest, PruneError, RepositoryListing};
use look::Look;
pub use of_image::{DeletedImage, Removed, remove_result};

/// What may be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PruneSettings {
    /// What the tags of converted images end with.
    pub suffix: String,
    /// Nothing younger is deleted.
    pub older_than: Duration,
    /// Whether what has no known age is.
    pub unknown_age: bool,
}

impl Default for PruneSettings {
    /// What is older than a day: no job takes so long.
    fn default() -> Self {
        let older_than = Duration::from_hours(24);
        Self { suffix: USUAL_SUFFIX.to_owned(), older_than, unknown_age: false }
    }
}

/// Whether a document is a converted image (V2), by its content.
pub(crate) fn is_converted_image(document: &Document) -> bool {
    matches!(Content::of(document), Content::ConvertedImage { .. })
}

/// Finds what is of no use in a repository. Of `options` the limits and the budget count.
pub async fn find_leftovers(
    repository: &RemoteRepository,
    listing: &RepositoryListing,
    settings: &PruneSettings,
    options: &Options,
) -> Result<Leftovers, PruneError> {
    let mut look = Look::new(repository, listing, options);
    look.read_listed().await?;
    let mut found = Finding { listing, settings, look, gone: HashMap::new(), kept: Vec::new() };
    found.tagged().await?;
    Ok(found.finish())
}

/// What is found of one repository.
struct Finding<'a> {
    listing: &'a RepositoryListing,
    settings: &'a PruneSettings,
    look: Look<'a>,
    /// Tagged ones that are of no use by themselves.
    gone: HashMap<Digest, WhyLeftover>,
    kept: Vec<KeptResult>,
}

impl Finding<'_> {
    /// Decides on everything with a tag.
    async fn tagged(&mut self) -> Result<(), PruneError> {
        let mut tagged: Vec<(Digest, Facts)> = self
            .look
            .known
            .iter()
            .filter(|(_, facts)| !facts.tags.is_empty())
            .map(|(digest, facts)| (*digest, facts.clone()))
            .collect();
        tagged.sort_by_key(|(digest, _)| *digest);
        for (digest, facts) in tagged {
            let (why, moved_to) = match &facts.content {
                Content::ConvertedImage { pairs } => {
                    match self.image_gone(digest, &facts, pairs).await? {
                        Some(found) => found,
                        None => continue,
                    }
                }
                Content::Other => match self.list_of_gone(&facts).await? {
                    Some(subject) => (WhyLeftover::ImageGone(subject), None),
                    None => continue,
                },
                Content::SociIndex(_) | Content::ConvertedManifest { .. } => continue,
            };
            let kept = match self.too_young(digest).or_else(|| self.too_young(moved_to?)) {
                None if self.look.is_referred_to(&digest).await? => Some(WhyKept::Needed),
                kept => kept,
            };
            match kept {
                Some(why) => self.keep(digest, &facts, why),
                None => {
                    self.gone.insert(digest, why);
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, digest: Digest, facts: &Facts, why: WhyKept) {
        self.kept.push(KeptResult { digest, tags: facts.tags.clone(), why });
    }

    /// Why it is too young to be deleted, if it is.
    fn too_young(&self, digest: Digest) -> Option<WhyKept> {
        match self.look.ages.get(&digest).copied().flatten() {
            Some(age) if age >= self.settings.older_than => None,
            Some(_) => Some(WhyKept::Young),
            None if self.settings.unknown_age => None,
            None => Some(WhyKept::UnknownAge),
        }
    }

    /// Why a tagged converted image is of no use, if it is, and what the tag of its image names by now.
    async fn image_gone(
        &mut self,
        digest: Digest,
        facts: &Facts,
        pairs: &[(Digest, Digest)],
    ) -> Result<Option<(WhyLeftover, Option<Digest>)>, PruneError> {
        let mut found = None;
        for tag in &facts.tags {
            let base = tag.as_str().strip_suffix(self.settings.suffix.as_str());
            let base = base.filter(|base| !base.is_empty() && !self.settings.suffix.is_empty());
            let Some(base) = base else { return Ok(None) };
            let (image, why) = match (digest_in(base), base.parse::<Tag>()) {
                (Some(image), _) => {
                    (self.look.there(image).await?.then_some(image), WhyLeftover::ImageGone(image))
                }
                (None, Ok(base)) => (self.look.tag_names(&base).await?, WhyLeftover::TagGone(base)),
                (None, Err(_)) => return Ok(None),
            };
            let Some(image) = image else {
                found.get_or_insert((why, None));
                continue;
            };
            if image == digest {
                return Ok(None);
            }
            let Some(root) = self.look.index(digest).await? else { return Ok(None) };
            let name = ImageName::from(image);
            let made_of = made_of(self.look.repository, &name, &root, self.look.options);
            match Box::pin(made_of).await {
                Ok(MadeOf::All) => return Ok(None),
                Ok(MadeOf::None) => {
                    let moved = match base.parse() {
                        Ok(base) => WhyLeftover::TagMoved(base),
                        Err(_) => WhyLeftover::ImageGone(image),
                    };
                    found.get_or_insert((moved, Some(image)));
                }
                Ok(part) => {
                    let why = match part {
                        MadeOf::Some => "some manifests of the image are in it",
                        _ => "a manifest of the image is not there",
                    };
                    self.keep(digest, facts, WhyKept::Unclear(why.to_owned()));
                    return Ok(None);
                }
                Err(source) if source.is_transient() => {
                    let source = Box::new(source);
                    return Err(PruneError::Image { tag: tag.clone(), source });
                }
                Err(error) => {
                    self.keep(digest, facts, WhyKept::Unclear(error.to_string()));
                    return Ok(None);
                }
            }
        }
        if found.is_some() && !self.look.is_whole(pairs).await? {
            return Ok(None);
        }
        Ok(found)
    }

    /// The subject of a list of referrers, if it is gone and the list has nothing but its SOCI indexes.
    async fn list_of_gone(&mut self, facts: &Facts) -> Result<Option<Digest>, PruneError> {
        let [tag] = facts.tags.as_slice() else { return Ok(None) };
        if facts.children.is_empty() || !referrers::is_tag(tag.as_str()) {
            return Ok(None);
        }
        let Some(subject) = digest_in(tag.as_str()) else { return Ok(None) };
        if self.look.there(subject).await? {
            return Ok(None);
        }
        let mut any = false;
        for child in &facts.children {
            match self.look.facts(*child).await? {
                Some(Facts {
                    content: Content::SociIndex(Version::V1), subject: of, tags, ..
                }) if of == Some(subject) && tags.is_empty() => {
                    any = true;
                }
                None => {}
                Some(_) => return Ok(None),
            }
        }
        Ok(any.then_some(subject))
    }

    /// What is deleted, with all that nothing needs then.
    fn finish(mut self) -> Leftovers {
        let mut extra: HashSet<Digest> = self.look.referred_by_name();
        let (gone, needed) = loop {
            let needed = needed(&self.look.known, self.roots().chain(extra.iter().copied()));
            let mut gone: Vec<Digest> = self.candidates().filter(|d| !needed.contains(d)).collect();
            gone.sort_by_key(|digest| (self.kind(digest).order(), *digest));
            // What stays for its age needs its parts, as they are.
            let young = gone.iter().copied().filter(|d| self.too_young(*d).is_some());
            let before = extra.len();
            extra.extend(young);
            if extra.len() == before {
                break (gone, needed);
            }
        };
        for digest in self.gone.keys().filter(|digest| needed.contains(*digest)) {
            let tags = self.look.known.get(digest).map(|facts| facts.tags.clone());
            let tags = tags.unwrap_or_default();
            self.kept.push(KeptResult { digest: *digest, tags, why: WhyKept::Needed });
        }
        self.kept.sort_by(|a, b| a.tags.cmp(&b.tags));
        let parent_of = |part: &Digest| {
            gone.iter().find(|d| self.look.known.get(*d).is_some_and(|f| f.children.contains(part)))
        };
        let bytes = self.freed(&gone, &needed);
        let leftovers = gone.iter().zip(bytes).filter_map(|(digest, bytes)| {
            let facts = self.look.known.get(digest)?;
            let why = self.gone.get(digest).cloned().unwrap_or_else(|| match facts.content {
                Content::SociIndex(Version::V1) => match facts.subject {
                    Some(subject) => WhyLeftover::ImageGone(subject),
                    None => WhyLeftover::NotNamed,
                },
                _ if let Some(parent) = parent_of(digest) => WhyLeftover::PartOf(*parent),
                Content::ConvertedImage { .. } => WhyLeftover::NoImage,
                _ => WhyLeftover::NotNamed,
            });
            Some(Leftover {
                digest: *digest,
                tags: facts.tags.clone(),
                kind: self.kind(digest),
                why,
                bytes,
                age: self.look.ages.get(digest).copied().flatten(),
                parts: facts.children.clone(),
            })
        });
        let leftovers = leftovers.collect();
        Leftovers { leftovers, kept: self.kept, looked_at: self.listing.manifests.len() }
    }

    /// The bytes that deleting each frees. Where parts are left to the registry, their SOCI indexes count for what listed
    /// them.
    fn freed(&self, gone: &[Digest], needed: &HashSet<Digest>) -> Vec<u64> {
        let known = &self.look.known;
        if self.listing.complete {
            return freed(known, gone);
        }
        let is_index = |part: &Digest| {
            let facts = known.get(part);
            facts.is_some_and(|facts| matches!(facts.content, Content::SociIndex(_)))
        };
        let mut seen: HashSet<Digest> = gone.iter().copied().collect();
        let (mut all, mut owner): (Vec<Digest>, Vec<usize>) = (Vec::new(), Vec::new());
        for (place, digest) in gone.iter().enumerate() {
            let parts = known.get(digest).map_or(&[][..], |facts| &facts.children);
            let parts = parts.iter().filter(|part| is_index(part) && !needed.contains(part));
            all.push(*digest);
            all.extend(parts.filter(|part| seen.insert(**part)));
            owner.resize(all.len(), place);
        }
        let mut bytes = vec![0u64; gone.len()];
        for (place, freed) in owner.into_iter().zip(freed(known, &all)) {
            bytes[place] = bytes[place].saturating_add(freed);
        }
        bytes
    }

    fn kind(&self, digest: &Digest) -> LeftoverKind {
        match self.look.known.get(digest).map(|facts| &facts.content) {
            Some(Content::ConvertedImage { .. }) => LeftoverKind::ConvertedImage,
            Some(Content::ConvertedManifest { .. }) => LeftoverKind::ConvertedManifest,
            Some(Content::SociIndex(version)) => LeftoverKind::SociIndex(*version),
            Some(Content::Other) | None => LeftoverKind::ReferrersList,
        }
    }

    /// What stands by itself.
    fn roots(&self) -> impl Iterator<Item = Digest> {
        let stands = |(digest, facts): (&Digest, &Facts)| {
            let by_itself = match &facts.content {
                _ if !facts.tags.is_empty() => !self.gone.contains_key(digest),
                Content::Other => true,
                Content::ConvertedImage { .. } => self.has_original(facts),
                Content::ConvertedManifest { .. } | Content::SociIndex(_) => false,
            };
            by_itself.then_some(*digest)
        };
        self.look.listed().filter_map(stands)
    }

    /// What may be deleted if nothing needs it.
    fn candidates(&self) -> impl Iterator<Item = Digest> {
        let complete = self.listing.complete;
        self.look.known.iter().filter_map(move |(digest, facts)| {
            let may = self.gone.contains_key(digest)
                || facts.tags.is_empty()
                    && facts.content.is_made_here()
                    && (complete || self.is_attached_to_gone(digest));
            may.then_some(*digest)
        })
    }

    /// Whether it is in a list of referrers of an image that is gone.
    fn is_attached_to_gone(&self, digest: &Digest) -> bool {
        let lists = self.gone.keys().filter_map(|list| self.look.known.get(list));
        let mut lists = lists.filter(|facts| facts.content == Content::Other);
        lists.any(|list| list.children.contains(digest))
    }

    /// Whether the original of one of its manifests is in the repository. Converting a manifest keeps its config and
    /// layers.
    fn has_original(&self, converted: &Facts) -> bool {
        let known: &Known = &self.look.known;
        let children = converted.children.iter().filter_map(|child| known.get(child));
        let made =
            children.filter(|facts| matches!(facts.content, Content::ConvertedManifest { .. }));
        made.map(Facts::content_digests).any(|content| self.look.originals.contains(&content))
    }
}
