//! Waits until the index of an image is there, for pipelines that deploy when it is. Only reads, and no layers.
//!
//! 1. The image is resolved once, and its documents are gathered and planned as for indexing. What needs no index ends
//!    here. From now on the digest counts, whatever its tag names.
//! 2. The store is looked at, again and again with growing pauses. V2: what the tag of the result names, if that is another
//!    digest than before; it has to be what this very image is converted to ([`soci_manifest::Plan::found_in`]). V1: the
//!    lists of what refers to the image's manifests.
//! 3. When every manifest that is to be indexed has a SOCI index, that is all. What it was built with, span size and tool,
//!    is not asked. Where only some have one, the others may be left out for what is in their layers, or come later. That
//!    is believed when it has not changed for [`WaitSettings::settle`], and never where platforms were asked for by name.
//!
//! A failure that may pass does not end it. The tag of the image is looked at as well: when it moves, that is told, as a
//! service then makes the index of the later image and not of this one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use soci_manifest::{IndexPlan, Plan, Planned, Platforms, SociIndex, Version};
use soci_oci::{Digest, Index, Manifest, Platform, Tag, TagOrDigest};
use soci_retry::Backoff;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::{IndexError, StoreError};
use crate::existing::usable;
use crate::gather::{Gathered, gather};
use crate::index::{output_tag, within};
use crate::options::{ImageName, Options};
use crate::output_tag::OutputTag;
use crate::referrers_lists;
use crate::store::ImageStore;

/// Most SOCI indexes of one manifest that are looked at (V1).
const MAX_CANDIDATES: usize = 64;

/// How long, and how often, a store is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitSettings {
    /// Time until it is given up.
    pub timeout: Duration,
    /// Pauses between looks.
    pub pauses: Backoff,
    /// Time for which a result that lacks some platforms must not change to be believed.
    pub settle: Duration,
}

impl Default for WaitSettings {
    /// A quarter of an hour, with pauses from two seconds to half a minute.
    fn default() -> Self {
        let pauses = Backoff { first: Duration::from_secs(2), max: Duration::from_secs(30) };
        let timeout = Duration::from_mins(15);
        Self { timeout, pauses, settle: Duration::from_secs(30) }
    }
}

/// What happens while an index is waited for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum WaitEvent<'a> {
    /// The image is resolved, and has something to index.
    Resolved {
        /// Its digest.
        image: Digest,
    },
    /// The image's tag names something else than at the last look.
    TagMoved {
        /// The tag.
        tag: &'a Tag,
        /// What it names now, if it is there.
        now: Option<Digest>,
    },
    /// It was looked, and the index is not there yet, or not believed.
    Looked {
        /// What there is.
        seen: &'a LastSeen,
    },
    /// A look failed for what may pass, the first one since one that did not.
    Failed {
        /// Why.
        error: &'a IndexError,
    },
}

/// Told what happens.
pub type OnWaitEvent = Arc<dyn Fn(&WaitEvent<'_>) + Send + Sync>;

/// An index that is there.
#[derive(Clone, Debug)]
pub struct IndexThere {
    /// Digest of the image.
    pub image: Digest,
    /// What is to be deployed: V2 the converted image, V1 the image itself.
    pub deploy: Digest,
    /// Version of the SOCI indexes.
    pub version: Version,
    /// The tag of the converted image (V2).
    pub tag: Option<Tag>,
    /// The SOCI indexes.
    pub indexes: Vec<SociIndex>,
    /// The platforms that have layers to index and no SOCI index.
    pub without_index: Vec<Option<Platform>>,
    /// How often it was looked.
    pub looks: u32,
    /// How long it took.
    pub elapsed: Duration,
}

/// Why an index was not waited for to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The image needs no index, or cannot be read.
    #[error(transparent)]
    Image(#[from] IndexError),
    /// The index did not come in time.
    #[error("the index of {what} did not come within {} s: {}", timeout.as_secs(), seen)]
    TimedOut {
        /// Digest of the image, or what was to be resolved.
        what: TagOrDigest,
        /// How long was waited.
        timeout: Duration,
        /// What there was at the last look.
        seen: Box<LastSeen>,
    },
}

/// What there was when it was given up.
#[derive(Debug, Default)]
pub struct LastSeen {
    /// Whether the image itself was read. If not, its registry did not answer as long as was waited.
    pub image_read: bool,
    /// How often it was looked.
    pub looks: u32,
    /// The tag that was looked at (V2).
    pub tag: Option<Tag>,
    /// What the tag named (V2).
    pub named: Option<Digest>,
    /// The manifests that had no SOCI index, where others had one.
    pub lacking: usize,
    /// What the image's own tag names by now, if it has moved; nothing in it if that tag is gone.
    pub moved: Option<Option<Digest>>,
    /// Why the last look failed, if it did.
    pub failure: Option<IndexError>,
}

impl fmt::Display for LastSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image_read, looks: _, tag, named, lacking, moved, failure } = self;
        if !image_read {
            return f.write_str("the image itself could not be read");
        }
        match (tag, named) {
            _ if *lacking > 0 => write!(f, "{lacking} of its manifests have no SOCI index")?,
            (Some(tag), Some(named)) => {
                write!(f, "tag {tag} names {named}, which is not what it is converted to")?;
            }
            (Some(tag), None) => write!(f, "there is no tag {tag}")?,
            (None, _) => f.write_str("no SOCI index refers to it")?,
        }
        match moved {
            Some(Some(now)) => write!(
                f,
                "; its tag names {now} by now, so a service indexes that image and not this one"
            )?,
            Some(None) => f.write_str("; its tag is gone, so no service indexes it")?,
            None => {}
        }
        match failure {
            Some(_) => f.write_str("; the last look failed"),
            None => Ok(()),
        }
    }
}

/// Waits for the index that [`index_image`](crate::index_image) with these options, or a service with such settings, makes
/// of an image. Of `options` the platforms, the version, the smallest layer and the tag of the result count.
pub async fn wait_for_index<S: ImageStore>(
    store: &S,
    name: &ImageName,
    options: &Options,
    settings: &WaitSettings,
    on_event: &OnWaitEvent,
) -> Result<IndexThere, WaitError> {
    let begun = Instant::now();
    let until = begun + settings.timeout;
    let mut watch = Watch { settings, on_event, until, seen: LastSeen::default(), failing: false };
    let mut looker = loop {
        let resolved = watch.attempt(Box::pin(Looker::resolve(store, name, options))).await?;
        if let Some(looker) = resolved {
            break looker;
        }
        watch.pause(&name.target).await?;
    };
    let image = looker.image;
    on_event(&WaitEvent::Resolved { image });
    watch.seen.image_read = true;
    watch.seen.tag.clone_from(&looker.tag);
    loop {
        if let Some(found) = watch.attempt(Box::pin(looker.look(options))).await? {
            watch.seen.named = found.named;
            watch.seen.lacking = found.lacking();
            if let Some(found) = looker.believed(&found, settings.settle, &options.platforms) {
                return Ok(IndexThere {
                    looks: watch.seen.looks,
                    elapsed: begun.elapsed(),
                    ..found
                });
            }
        }
        if let (Some(tag), Some(Some(now))) =
            (&name.tag, watch.attempt(looker.tag_moved(name)).await?)
        {
            watch.seen.moved = (now != Some(image)).then_some(now);
            on_event(&WaitEvent::TagMoved { tag, now });
        }
        watch.pause(&TagOrDigest::Digest(image)).await?;
    }
}

/// The waiting itself: what may pass, how long, and what is told.
struct Watch<'a> {
    settings: &'a WaitSettings,
    on_event: &'a OnWaitEvent,
    until: Instant,
    seen: LastSeen,
    failing: bool,
}

impl Watch<'_> {
    /// Tries once, as long as there is time. Nothing if that failed for what may pass.
    async fn attempt<T>(
        &mut self,
        work: impl Future<Output = Result<T, IndexError>>,
    ) -> Result<Option<T>, IndexError> {
        match timeout_at(self.until, work).await {
            Ok(Ok(value)) => {
                (self.failing, self.seen.failure) = (false, None);
                Ok(Some(value))
            }
            Ok(Err(error)) if error.is_transient() => {
                if !std::mem::replace(&mut self.failing, true) {
                    (self.on_event)(&WaitEvent::Failed { error: &error });
                }
                self.seen.failure = Some(error);
                Ok(None)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Waits until the next look, the last of which is when the time is over.
    async fn pause(&mut self, what: &TagOrDigest) -> Result<(), WaitError> {
        if Instant::now() >= self.until {
            let (what, timeout) = (what.clone(), self.settings.timeout);
            return Err(WaitError::TimedOut {
                what,
                timeout,
                seen: Box::new(std::mem::take(&mut self.seen)),
            });
        }
        self.seen.looks += 1;
        (self.on_event)(&WaitEvent::Looked { seen: &self.seen });
        let pause = self.settings.pauses.delay(self.seen.looks, fastrand::f64());
        sleep_until(self.until.min(Instant::now() + pause)).await;
        Ok(())
    }
}

/// Looks for the index of one image.
struct Looker<'a, S> {
    store: &'a S,
    image: Digest,
    plan: Box<Plan>,
    /// Bytes of the image's documents.
    documents: u64,
    /// The tag of the result (V2).
    tag: Option<Tag>,
    /// Whether the result goes by the image's own tag.
    replaces: bool,
    /// What was found at the last look that read anything, and by which digests.
    last: Option<(Vec<Digest>, Found)>,
    /// Since when what was found is so.
    since: Instant,
    /// What the image's tag named at the last look.
    tagged: Option<Digest>,
}

/// What there is of an index.
#[derive(Clone, Debug, Default)]
struct Found {
    /// What the tag of the result names (V2).
    named: Option<Digest>,
    /// The SOCI index of each manifest that is to be indexed.
    indexes: Vec<Option<Digest>>,
    /// Whether one is named and was not there, as replicas of a registry lag behind each other.
    late: bool,
}

impl Found {
    fn is_partial(&self) -> bool {
        self.lacking() > 0
    }

    /// The manifests without a SOCI index, if others have one.
    fn lacking(&self) -> usize {
        let lacking = self.indexes.iter().filter(|index| index.is_none()).count();
        if lacking == self.indexes.len() { 0 } else { lacking }
    }

    fn is_nothing(&self) -> bool {
        self.indexes.iter().all(Option::is_none)
    }
}

impl<'a, S: ImageStore> Looker<'a, S> {
    async fn resolve(
        store: &'a S,
        name: &ImageName,
        options: &Options,
    ) -> Result<Self, IndexError> {
        let Gathered { root, image, memory: _memory } = gather(store, name, None, options).await?;
        let plan = match image.plan(&options.settings, &options.platforms)? {
            Planned::Build(plan) => plan,
            Planned::Skip(reason) => {
                return Err(IndexError::Nothing { image: root.digest, reason });
            }
        };
        // The result of an earlier run may be given as the image.
        let tag = match plan.version() {
            Version::V1 => None,
            Version::V2 if options.output.is_of_result(name.tag.as_ref()) => name.tag.clone(),
            Version::V2 => Some(output_tag(name, root.digest, &options.output)?),
        };
        let replaces = match &options.output {
            OutputTag::Suffix(suffix) => suffix.is_empty(),
            OutputTag::Tag(output) => Some(output) == name.tag.as_ref(),
        };
        Ok(Self {
            store,
            image: root.digest,
            plan,
            documents: image.supplied_bytes(),
            tag,
            replaces,
            last: None,
            since: Instant::now(),
            tagged: Some(root.digest),
        })
    }

    /// What there is now. Where nothing has changed, it costs one request for each list or tag.
    async fn look(&mut self, options: &Options) -> Result<Found, IndexError> {
        match self.tag.clone() {
            Some(tag) => self.look_v2(&tag, options).await,
            None => self.look_v1(options).await,
        }
    }

    async fn look_v2(&mut self, tag: &Tag, options: &Options) -> Result<Found, IndexError> {
        let failed = |source| IndexError::Read { target: TagOrDigest::Tag(tag.clone()), source };
        let Some(named) = self.store.tagged(tag).await.map_err(failed)? else {
            return Ok(self.note(Vec::new(), Found::default()));
        };
        if let Some(found) = self.known(&[named]) {
            return Ok(found);
        }
        let (_memory, limit) = options.budget.result_documents(self.documents).await;
        let target = TagOrDigest::Digest(named);
        let root = within(self.store.manifest_within(&target, limit).await).map_err(failed)?;
        let root = root.and_then(|root| Index::decode(&root.bytes).ok());
        let indexes = root.and_then(|root| self.plan.found_in(&root)).unwrap_or_default();
        let mut found = Found { named: Some(named), ..Found::default() };
        for index in indexes {
            let there = match index {
                Some(index) => self.soci_index(index, None, limit).await.map_err(failed)?,
                None => false,
            };
            found.late |= index.is_some() && !there;
            found.indexes.push(index.filter(|_| there));
        }
        Ok(self.note(vec![named], found))
    }

    async fn look_v1(&mut self, options: &Options) -> Result<Found, IndexError> {
        let subjects: Vec<Digest> =
            self.plan.indexes().iter().map(|index| index.image.digest).collect();
        let mut listed = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let referrers = referrers_lists::referrers(self.store, subject).await?;
            let pages = referrers.pages.iter().filter_map(|page| Index::decode(page).ok());
            let entries = pages.flat_map(|page| page.manifests().to_vec());
            let soci = entries.filter(|entry| entry.artifact_type == Version::V1.artifact_type());
            let digests: Vec<Digest> =
                soci.map(|entry| entry.digest).take(MAX_CANDIDATES).collect();
            listed.push((subject, digests));
        }
        let seen: Vec<Digest> = listed.iter().flat_map(|(_, digests)| digests.clone()).collect();
        if let Some(found) = self.known(&seen) {
            return Ok(found);
        }
        let (_memory, limit) = options.budget.result_documents(self.documents).await;
        let mut found = Found::default();
        for (subject, digests) in listed {
            let mut there = None;
            found.late |= !digests.is_empty();
            for digest in digests {
                let index = self.soci_index(digest, Some(subject), limit).await;
                if index.map_err(|source| IndexError::Referrers { subject, source })? {
                    (there, found.late) = (Some(digest), false);
                    break;
                }
            }
            found.indexes.push(there);
        }
        Ok(self.note(seen, found))
    }

    /// Whether a SOCI index is there, of `subject` (V1).
    async fn soci_index(
        &self,
        digest: Digest,
        subject: Option<Digest>,
        limit: usize,
    ) -> Result<bool, StoreError> {
        let manifest = self.store.manifest_within(&TagOrDigest::Digest(digest), limit).await;
        let manifest = usable(manifest)?.flatten();
        let manifest = manifest.and_then(|manifest| Manifest::decode(&manifest.bytes).ok());
        Ok(manifest.is_some_and(|manifest| {
            let of = manifest.subject.as_ref().map(|subject| subject.digest);
            !manifest.layers().is_empty() && (subject.is_none() || of == subject)
        }))
    }

    /// What was found the last time, if it was by the same digests.
    fn known(&self, digests: &[Digest]) -> Option<Found> {
        let (seen, found) = self.last.as_ref()?;
        (seen == digests && !found.late).then(|| found.clone())
    }

    fn note(&mut self, digests: Vec<Digest>, found: Found) -> Found {
        let changed = self.last.as_ref().is_none_or(|(_, last)| last.indexes != found.indexes);
        if changed {
            self.since = Instant::now();
        }
        self.last = Some((digests, found.clone()));
        found
    }

    /// The index, if what was found is one.
    fn believed(
        &self,
        found: &Found,
        settle: Duration,
        platforms: &Platforms,
    ) -> Option<IndexThere> {
        let by_name = matches!(platforms, Platforms::Only(_));
        let settled = self.since.elapsed() >= settle;
        if found.is_nothing() || found.is_partial() && (by_name || !settled) {
            return None;
        }
        let planned = || self.plan.indexes().iter().zip(&found.indexes);
        let there = |(plan, index): (&IndexPlan, &Option<Digest>)| {
            let digest = (*index)?;
            let image_manifest = match self.plan.version() {
                Version::V1 => plan.image.digest,
                Version::V2 => plan.converted_digest(&digest),
            };
            Some(SociIndex { platform: plan.platform.clone(), image_manifest, digest })
        };
        let lacking = planned().filter(|(_, index)| index.is_none());
        Some(IndexThere {
            image: self.image,
            deploy: found.named.unwrap_or(self.image),
            version: self.plan.version(),
            tag: self.tag.clone(),
            indexes: planned().filter_map(there).collect(),
            without_index: lacking.map(|(plan, _)| plan.platform.clone()).collect(),
            looks: 0,
            elapsed: Duration::ZERO,
        })
    }

    /// What the image's tag names, if that has changed since the last look.
    async fn tag_moved(&mut self, name: &ImageName) -> Result<Option<Option<Digest>>, IndexError> {
        let Some(tag) = name.tag.as_ref().filter(|_| !self.replaces) else { return Ok(None) };
        let target = || TagOrDigest::Tag(tag.clone());
        let now = self.store.tagged(tag).await;
        let now = now.map_err(|source| IndexError::Read { target: target(), source })?;
        Ok((std::mem::replace(&mut self.tagged, now) != now).then_some(now))
    }
}
