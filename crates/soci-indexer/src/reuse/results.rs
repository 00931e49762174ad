//! Looks through a repository for SOCI indexes that name ztocs of wanted layers.
//!
//! The tags are listed, and results under those that are near are read until every wanted layer has a ztoc, or
//! [`MOST_DOCUMENTS`] were asked for: what a job costs does not depend on how many tags there are. What was read is
//! remembered for [`REMEMBERED_FOR`], so that the next job of the repository reads what this one has not, and a list that
//! cannot be had is not asked for with every job. Meanwhile this process knows what it builds itself; what others push into the repository
//! is seen after that time.
//!
//! Everything here comes from whoever can push to the repository. So documents are read one after the other in the memory
//! that the budget has for that, none that is longer than a result of the image could be, and what is kept of them is
//! bounded by number.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use soci_manifest::format::{self, PREFETCH_MEDIA_TYPE};
use soci_manifest::{BuiltZtoc, SociIndexSettings, Version};
use soci_oci::{Digest, Document, Index, Manifest, Repository, Tag, TagOrDigest, media_type};
use tokio::time::Instant;

use super::neighbours::Near;
use crate::budget::Budget;
use crate::store::ImageStore;

/// Documents and lists of referrers that are asked for in one look, beside the list of tags.
const MOST_DOCUMENTS: usize = 32;

/// SOCI indexes that are read of one result: so many of its platforms.
const MOST_OF_ONE: usize = 8;

/// How long it is remembered what was read.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);

/// Repositories that are remembered, and what is remembered of each: layers, bytes of tags, documents. Together that is
/// some 6 MiB.
const MOST_REPOSITORIES: usize = 16;
const MOST_LAYERS: usize = 1000;
const MOST_TAG_BYTES: usize = 128 << 10;
const MOST_SEEN: usize = 1000;

/// What a tag takes beside its text.
const TAG: usize = 32;

/// Different ztocs of one layer that are remembered.
const MOST_OF_LAYER: usize = 2;

/// What a look is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LookKey {
    pub(super) repository: Repository,
    pub(super) version: Version,
    pub(super) build_tool_identifier: String,
    pub(super) span_size: u64,
}

/// Whoever looks holds it, so that two jobs of a repository do not read the same.
type SharedLook = Arc<tokio::sync::Mutex<Look>>;

/// The looks at repositories of late. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Looks(Arc<Mutex<HashMap<LookKey, (Instant, SharedLook)>>>);

impl Looks {
    /// The look at a repository, or a new one. Without a key it is of no use for anybody else.
    pub(super) fn of(&self, key: Option<LookKey>) -> SharedLook {
        let Some(key) = key else { return SharedLook::default() };
        let now = Instant::now();
        // Nothing here panics halfway through a change.
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looks.retain(|_, (begun, _)| now.saturating_duration_since(*begun) < REMEMBERED_FOR);
        if let Some((_, look)) = looks.get(&key) {
            return Arc::clone(look);
        }
        if looks.len() >= MOST_REPOSITORIES
            && let Some(oldest) =
                looks.iter().min_by_key(|(_, (begun, _))| *begun).map(|(key, _)| key.clone())
        {
            looks.remove(&oldest);
        }
        let look = SharedLook::default();
        looks.insert(key, (now, Arc::clone(&look)));
        look
    }
}

/// What was read of a repository.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Its tags, when they were listed; none if they cannot be.
    tags: Option<Vec<Tag>>,
    /// Tags and documents that were read.
    read: HashSet<Tag>,
    seen: HashSet<Digest>,
    /// What SOCI indexes name, by layer.
    ztocs: HashMap<Digest, Vec<BuiltZtoc>>,
}

/// One look of one job.
struct Looking<'a, S> {
    store: &'a S,
    settings: &'a SociIndexSettings,
    /// Layers that have no ztoc yet.
    missing: HashSet<Digest>,
    offered: &'a mut HashMap<Digest, Vec<BuiltZtoc>>,
    /// Bytes that a document may have.
    limit: usize,
    /// Documents that may still be asked for.
    left: usize,
}

impl Look {
    /// Adds to `offered` what the repository names for the layers in `missing`, as far as it is found.
    #[expect(clippy::too_many_arguments, reason = "each is something else, and all are used once")]
    pub(super) async fn find<S: ImageStore>(
        &mut self,
        store: &S,
        near: &Near<'_>,
        settings: &SociIndexSettings,
        missing: &[Digest],
        offered: &mut HashMap<Digest, Vec<BuiltZtoc>>,
        documents: u64,
        budget: &Budget,
    ) {
        let mut missing: HashSet<Digest> = missing.iter().copied().collect();
        for (layer, ztocs) in &self.ztocs {
            if missing.remove(layer) {
                offered.insert(*layer, ztocs.clone());
            }
        }
        if missing.is_empty() {
            return;
        }
        let tags = match &self.tags {
            Some(tags) => tags,
            None => self.tags.insert(listed(store).await),
        };
        let near: Vec<Tag> = near.of(tags).into_iter().cloned().collect();
        let (_memory, limit) = budget.result_documents(documents).await;
        let mut looking =
            Looking { store, settings, missing, offered, limit, left: MOST_DOCUMENTS };
        for tag in near {
            if looking.missing.is_empty() || looking.left == 0 {
                return;
            }
            if self.read.len() < MOST_SEEN && !self.read.insert(tag.clone()) {
                continue;
            }
            self.read_result(&mut looking, tag.into()).await;
        }
    }

    /// Reads what a tag names.
    async fn read_result<S: ImageStore>(&mut self, looking: &mut Looking<'_, S>, tag: TagOrDigest) {
        let Some((digest, document)) = looking.read(&tag).await else { return };
        if !self.is_new(digest) {
            return;
        }
        let indexes = match (looking.settings.version, &document) {
            (Version::V2, Document::Index(index)) => soci_entries(index, Version::V2),
            (Version::V2, Document::Manifest(_)) => return,
            (Version::V1, Document::Manifest(_)) => looking.referrers(digest).await,
            (Version::V1, Document::Index(index)) => {
                let entries = index.manifests().iter().filter(|e| e.artifact_type.is_empty());
                let images: Vec<Digest> =
                    entries.map(|entry| entry.digest).take(MOST_OF_ONE).collect();
                let mut found = Vec::new();
                for image in images {
                    found.extend(looking.referrers(image).await);
                }
                found
            }
        };
        drop(document);
        for index in indexes.into_iter().take(MOST_OF_ONE) {
            if looking.missing.is_empty() || !self.is_new(index) {
                continue;
            }
            let Some((_, Document::Manifest(manifest))) = looking.read(&index.into()).await else {
                continue;
            };
            self.collect(looking, &manifest);
        }
    }

    /// Whether a document was not read before.
    fn is_new(&mut self, digest: Digest) -> bool {
        if self.seen.len() >= MOST_SEEN {
            return !self.seen.contains(&digest);
        }
        self.seen.insert(digest)
    }

    /// Takes what a SOCI index names, if it is of the wanted kind: for the job, and as far as there is room for others.
    fn collect<S>(&mut self, looking: &mut Looking<'_, S>, manifest: &Manifest) {
        let settings = looking.settings;
        let tool = manifest.annotations.get(format::BUILD_TOOL_IDENTIFIER);
        if tool != Some(&settings.build_tool_identifier)
            || manifest.config.media_type != settings.version.artifact_type()
        {
            return;
        }
        for entry in manifest.layers() {
            let span_size = entry.annotations.get(format::SPAN_SIZE);
            let layer = entry.annotations.get(format::IMAGE_LAYER_DIGEST);
            let Some(layer) = layer.and_then(|layer| layer.parse::<Digest>().ok()) else {
                continue;
            };
            if entry.media_type == PREFETCH_MEDIA_TYPE
                || span_size.is_some_and(|text| text.parse() != Ok(settings.span_size))
            {
                continue;
            }
            let ztoc = BuiltZtoc { digest: entry.digest, size: entry.size, without_xattrs: false };
            if looking.missing.remove(&layer) {
                looking.offered.insert(layer, vec![ztoc]);
            }
            if self.ztocs.len() < MOST_LAYERS || self.ztocs.contains_key(&layer) {
                let known = self.ztocs.entry(layer).or_default();
                if known.len() < MOST_OF_LAYER && !known.contains(&ztoc) {
                    known.push(ztoc);
                }
            }
        }
    }
}

impl<S: ImageStore> Looking<'_, S> {
    /// A document, if it can be had and read.
    async fn read(&mut self, target: &TagOrDigest) -> Option<(Digest, Document)> {
        self.left = self.left.checked_sub(1)?;
        let found = self.store.manifest_within(target, self.limit).await;
        let found = found.inspect_err(|error| tracing::debug!(%target, %error, "not looked into"));
        let found = found.ok().flatten()?;
        let media_type = soci_oci::root_media_type(&found.media_type, &found.bytes).ok()?;
        Some((found.digest, Document::decode(&media_type, &found.bytes).ok()?))
    }

    /// The SOCI indexes that refer to a manifest.
    async fn referrers(&mut self, image: Digest) -> Vec<Digest> {
        let Some(left) = self.left.checked_sub(1) else { return Vec::new() };
        self.left = left;
        let found = self.store.referrers(&image, Version::V1.artifact_type()).await;
        let pages = found.map(|found| found.pages).unwrap_or_default();
        let pages = pages.iter().filter_map(|page| Index::decode(page).ok());
        pages.flat_map(|page| soci_entries(&page, Version::V1)).take(MOST_OF_ONE).collect()
    }
}

/// The SOCI indexes that an image index lists.
fn soci_entries(index: &Index, version: Version) -> Vec<Digest> {
    let entries = index.manifests().iter();
    let soci = entries.filter(|entry| {
        entry.artifact_type == version.artifact_type() && !media_type::is_index(&entry.media_type)
    });
    soci.map(|entry| entry.digest).take(MOST_OF_ONE).collect()
}

/// The tags of the repository, as many as are kept; none if they cannot be listed.
async fn listed<S: ImageStore>(store: &S) -> Vec<Tag> {
    let mut tags = store.tags().await.unwrap_or_else(|error| {
        tracing::debug!(%error, "the tags of the repository are not listed");
        Vec::new()
    });
    let mut bytes = 0;
    tags.retain(|tag| {
        bytes += tag.as_str().len() + TAG;
        bytes <= MOST_TAG_BYTES
    });
    tags.shrink_to_fit();
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> LookKey {
        LookKey {
            repository: Repository::new("r.example", name).unwrap(),
            version: Version::V2,
            build_tool_identifier: String::new(),
            span_size: 1,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_is_shared_for_a_while_and_old_ones_make_room() {
        let looks = Looks::default();
        let first = looks.of(Some(key("a")));
        assert!(Arc::ptr_eq(&first, &looks.clone().of(Some(key("a")))));
        assert!(!Arc::ptr_eq(&first, &looks.of(Some(key("b")))));
        assert!(!Arc::ptr_eq(&looks.of(None), &looks.of(None)));
        tokio::time::advance(REMEMBERED_FOR).await;
        let second = looks.of(Some(key("a")));
        assert!(!Arc::ptr_eq(&first, &second), "it is too old");
        for number in 0..2 * MOST_REPOSITORIES {
            tokio::time::advance(Duration::from_millis(1)).await;
            looks.of(Some(key(&format!("n{number}"))));
        }
        assert!(!Arc::ptr_eq(&second, &looks.of(Some(key("a")))), "others came later");
        assert!(looks.0.lock().unwrap().len() <= MOST_REPOSITORIES);
    }
}
