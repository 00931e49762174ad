//! Finds the ztoc of a layer before it is built. Most layers of most images were indexed before, for another tag.
//!
//! # Where
//!
//! Cheapest first, and the first that can be taken is:
//!
//! 1. What this process has built itself ([`OwnWork`]), if the image's repository has the ztoc: two HEADs.
//! 2. The same if another repository of the registry has it: it is mounted from there, or copied where the registry does
//!    not mount. A ztoc is a hundredth of its layer.
//! 3. What SOCI indexes in the image's own repository name: the former result of the tag, which was read in any case
//!    (`existing.rs`), then a few results whose tags are near (`reuse/results.rs`). The ztoc is read.
//!
//! Whatever fails on the way, for good or in passing, is no failure: the layer is built.
//!
//! # Whom to believe
//!
//! Of own work everything is known. The layer was read to its end and had its digest, and the ztoc follows from it and
//! from the settings, which are the key. So nothing of it is looked into. It is taken only for a layer that the image's own
//! repository has: a manifest may name any digest, and what is in a layer is nobody's business who does not have it.
//!
//! Of a ztoc in the repository nobody knows but whoever pushed it. Only the whole layer could prove it, and that is what
//! is not read. So it is a question of who could have put it there:
//!
//! - Whoever can push to the repository. They can also push the result's tag, and the image's, so nothing is theirs that was
//!   not before; but it lasts longer: what they named for a base layer while they could is taken for images that others
//!   push later. Where that matters, [`ReuseScope::Process`] takes nothing of the kind, and `verify` finds it.
//! - Nobody else. Another repository's SOCI indexes are never looked at for this one: whoever can push there may have no
//!   right here.
//!
//! What remains is to find what is there by mistake, or was built by other rules. Of each ztoc:
//!
//! - the SOCI index names the wanted tool, and the wanted span size if it names one; and the layer's digest;
//! - the store has a blob of its digest and size, and gives bytes of that digest. It takes no more memory than one that is
//!   built, and has its turn like it;
//! - it is one that could have been built with the settings, of a layer of this size ([`Reader::unlike_built`]): with none
//!   of the entries for which a layer is left out, within the limits, with checkpoints where they would be taken;
//! - the layer is there, and the length that its last gzip member tells of itself is the archive's. So a layer of several
//!   members, or with bytes behind the last one, is built: releases of soci-snapshotter differ in these, under the same
//!   name.
//!
//! What does not pass is not taken. A ztoc that passes and was honestly built is the one that a build gives, so the digests
//! are those of a full build. Layers that get no ztoc have none to be found, and are read, as why they get none is told.
//! What the index says beside its ztocs (files to prefetch, extended attributes) is read out of ztocs when all are there
//! (`prefetch.rs`), whoever built them.
//!
//! What was taken from the repository is no own work: it is looked for and checked again the next time.
//!
//! Nor is a layer read twice because two images with it come at once: the second waits for the first (`reuse/claims.rs`).

mod claims;
mod neighbours;
mod own_work;
mod results;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use soci_manifest::{BuiltZtoc, Compression, LayerKey, LayerToBuild, Plan, ReuseScope, format};
use soci_oci::{Descriptor, Digest, Repository, Tag};
use soci_ztoc::{Reader, ZtocSettings};
use tokio::sync::Semaphore;

use crate::budget::Budget;
use crate::error::StoreError;
use crate::last_member::fits_last_member;
use crate::output::blob_copy::BlobCopy;
use crate::report::{ReusedLayer, ZtocSource};
use crate::store::ImageStore;
use crate::stored::ZTOC_FACTOR;
use claims::{Claim, Claims};
use neighbours::Near;
use own_work::OwnWork;
pub(crate) use own_work::OwnZtoc;
use results::{LookKey, Looks};

/// Longest time that is spent on looking through a repository. What was found by then counts.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Layers of all images for which the store is asked at once whether it has what it was seen to have.
const ASKED_AT_ONCE: usize = 16;

/// Zeros behind an archive at most, in bytes: tar pads to 10 KiB. A layer with more is built.
const MOST_BEHIND_ARCHIVE: u32 = 16 << 10;

/// Ztocs that are tried for one layer, which several SOCI indexes may name differently.
const MOST_TRIED: usize = 2;

/// Which ztocs of layers that were indexed before are taken over, and what this process knows of such. Clones share it.
#[derive(Clone, Debug)]
pub struct Reuse {
    scope: ReuseScope,
    own_work: OwnWork,
    claims: Claims,
    looks: Looks,
    turns: Arc<Semaphore>,
}

impl Default for Reuse {
    fn default() -> Self {
        Self::new(ReuseScope::default())
    }
}

impl Reuse {
    /// Nothing is known yet.
    pub fn new(scope: ReuseScope) -> Self {
        let (own_work, looks) = (OwnWork::default(), Looks::default());
        let turns = Arc::new(Semaphore::new(ASKED_AT_ONCE));
        Self { scope, own_work, claims: Claims::default(), looks, turns }
    }

    /// Whose ztocs are taken.
    pub fn scope(&self) -> ReuseScope {
        self.scope
    }

    /// Remembers a ztoc that was built from a layer whose digest was verified, and stored.
    pub(crate) fn remember<S: ImageStore>(
        &self,
        store: &S,
        layer: Digest,
        settings: &ZtocSettings,
        ztoc: OwnZtoc,
    ) {
        if self.scope != ReuseScope::Never {
            self.own_work.put(layer, settings, ztoc, store.repository());
        }
    }
}

/// What is looked for.
pub(crate) struct Wanted<'a> {
    pub(crate) plan: &'a Plan,
    /// Layers that have no ztoc yet.
    pub(crate) layers: &'a [LayerToBuild],
    /// The tag whose neighbours are looked at: the result's (V2), or the image's (V1).
    pub(crate) near: Option<&'a Tag>,
    /// What tags of results end with; none if this result has a name of its own.
    pub(crate) suffix: Option<&'a str>,
    /// Bytes of the image's own documents.
    pub(crate) documents: u64,
}

/// What may be taken for the layers of one image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offers {
    /// None where everything is built.
    reuse: Option<Reuse>,
    /// What SOCI indexes in the image's repository name, by layer.
    named: Arc<HashMap<Digest, Vec<BuiltZtoc>>>,
}

impl Offers {
    /// Everything is built.
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    /// What there is for the layers that are wanted. `named` are ztocs that SOCI indexes of the image itself name.
    pub(crate) async fn find<S: ImageStore>(
        store: &S,
        wanted: Wanted<'_>,
        named: HashMap<Digest, BuiltZtoc>,
        reuse: &Reuse,
        settings_of: impl Fn(Compression) -> ZtocSettings,
        budget: &Budget,
    ) -> Self {
        if reuse.scope == ReuseScope::Never {
            return Self::nothing();
        }
        let mut offered = HashMap::new();
        if reuse.scope == ReuseScope::Repository {
            offered.extend(named.into_iter().map(|(layer, ztoc)| (layer, vec![ztoc])));
            let known = |layer: &LayerToBuild| {
                let LayerKey { digest, compression } = layer.key;
                offered.contains_key(&digest)
                    || reuse.own_work.get(digest, &settings_of(compression)).is_some()
            };
            let missing: Vec<Digest> =
                wanted.layers.iter().filter(|layer| !known(layer)).map(|l| l.key.digest).collect();
            if !missing.is_empty() {
                let look = look(store, &wanted, &missing, &mut offered, reuse, budget);
                if tokio::time::timeout(LOOK_TIMEOUT, look).await.is_err() {
                    tracing::debug!("looking for layers that were indexed before took too long");
                }
            }
        }
        Self { reuse: Some(reuse.clone()), named: Arc::new(offered) }
    }

    /// The ztoc of a layer, if this process has built it and the store has it. Takes no memory.
    pub(crate) async fn own<S: ImageStore>(
        &self,
        store: &S,
        layer: &LayerToBuild,
        settings: &ZtocSettings,
    ) -> Option<ReusedLayer> {
        let (reuse, known) = self.known(layer, settings)?;
        // Never closed, so there is a turn in the end.
        let _turn = reuse.turns.acquire().await.ok()?;
        let started = Instant::now();
        let there = async {
            Ok::<_, StoreError>(
                store.has_blob(&known.digest, known.size).await?
                    && store.has_image_blob(&layer.key.digest, layer.size).await?,
            )
        };
        let there = taken(there.await, &layer.key.digest)?;
        there.then(|| known.report(layer, started.elapsed()))
    }

    /// The ztoc of a layer, if it can be brought from another repository or the image's own has one to read, and whether
    /// it had to be written. Takes as much memory as one that is built, so the caller has a layer's slot and none of its memory.
    pub(crate) async fn other<S: ImageStore>(
        &self,
        store: &S,
        layer: &LayerToBuild,
        settings: &ZtocSettings,
        budget: &Budget,
    ) -> Option<(ReusedLayer, bool)> {
        let digest = layer.key.digest;
        if let Some((reuse, known)) = self.known(layer, settings) {
            let started = Instant::now();
            for place in &known.places {
                let brought = bring(store, layer, &known, place, budget).await;
                if taken(brought, &digest).unwrap_or(false) {
                    reuse.own_work.put(digest, settings, known.clone(), store.repository());
                    return Some((known.report(layer, started.elapsed()), true));
                }
            }
        }
        for ztoc in self.named.get(&digest)?.iter().take(MOST_TRIED) {
            let read = read_named(store, layer, *ztoc, settings, budget).await;
            if let Some(reused) = taken(read, &digest).flatten() {
                return Some((reused, false));
            }
        }
        None
    }

    /// Waits until no other image of this process builds the ztoc of this layer. The caller holds no slot and no memory of
    /// layers, and keeps what is returned until the ztoc is stored. Says whether it may be had now from who built it.
    pub(crate) async fn claim<S: ImageStore>(
        &self,
        store: &S,
        layer: &LayerToBuild,
        settings: &ZtocSettings,
    ) -> Option<(Claim, bool)> {
        let (reuse, repository) = (self.reuse.as_ref()?, store.repository()?);
        Some(reuse.claims.claim(repository, layer.key.digest, settings).await)
    }

    fn known(&self, layer: &LayerToBuild, settings: &ZtocSettings) -> Option<(&Reuse, OwnZtoc)> {
        let reuse = self.reuse.as_ref()?;
        Some((reuse, reuse.own_work.get(layer.key.digest, settings)?))
    }
}

/// What came of looking for a ztoc: a failure is none.
fn taken<T>(result: Result<T, StoreError>, layer: &Digest) -> Option<T> {
    result
        .inspect_err(
            |error| tracing::debug!(%layer, %error, "no ztoc is taken over, so one is built"),
        )
        .ok()
}

/// Looks through the repository for the layers in `missing`, and adds what it names for them to `offered`.
async fn look<S: ImageStore>(
    store: &S,
    wanted: &Wanted<'_>,
    missing: &[Digest],
    offered: &mut HashMap<Digest, Vec<BuiltZtoc>>,
    reuse: &Reuse,
    budget: &Budget,
) {
    let settings = wanted.plan.settings();
    let key = store.repository().map(|repository| LookKey {
        repository: repository.clone(),
        version: settings.version,
        build_tool_identifier: settings.build_tool_identifier.clone(),
        span_size: settings.span_size,
    });
    let look = reuse.looks.of(key);
    let mut look = look.lock().await;
    let near = Near { tag: wanted.near, suffix: wanted.suffix };
    look.find(store, &near, settings, missing, offered, wanted.documents, budget).await;
}

/// Has the store take over from `place` a ztoc of this process. False if it cannot.
async fn bring<S: ImageStore>(
    store: &S,
    layer: &LayerToBuild,
    known: &OwnZtoc,
    place: &Repository,
    budget: &Budget,
) -> Result<bool, StoreError> {
    let Some(there) = store.in_repository(place) else { return Ok(false) };
    if !store.has_image_blob(&layer.key.digest, layer.size).await?
        || !there.has_blob(&known.digest, known.size).await?
    {
        return Ok(false);
    }
    let blob = Descriptor::new(format::ZTOC_MEDIA_TYPE, known.digest, known.size);
    let copy = BlobCopy::new(there, &blob, budget, Arc::new(|_| {})).await;
    store.push_blob_from(&known.digest, &copy.content(), Some(place)).await?;
    Ok(true)
}

/// A ztoc that the repository names for a layer, if it is what would be built as far as that can be told.
async fn read_named<S: ImageStore>(
    store: &S,
    layer: &LayerToBuild,
    ztoc: BuiltZtoc,
    settings: &ZtocSettings,
    budget: &Budget,
) -> Result<Option<ReusedLayer>, StoreError> {
    let started = Instant::now();
    let needed = ztoc.size.saturating_mul(ZTOC_FACTOR);
    let limit = usize::try_from(ztoc.size).unwrap_or(usize::MAX);
    if ztoc.size == 0
        || needed > budget.largest_ztoc()
        || limit > settings.limits.ztoc_size
        || !store.has_blob(&ztoc.digest, ztoc.size).await?
    {
        return Ok(None);
    }
    let _memory = budget.to_look_into(needed).await;
    let bytes = store.blob_bytes(&ztoc.digest, limit).await?;
    let (limits, wanted, size) = (settings.limits, settings.clone(), layer.size);
    // It may have a great many entries.
    let read = tokio::task::spawn_blocking(move || {
        let reader = Reader::parse(bytes, &limits).map_err(|error| error.to_string())?;
        match reader.unlike_built(&wanted, size) {
            Some(unlike) => Err(unlike.to_owned()),
            None => Ok((reader.uncompressed_size(), reader.entry_count(), reader.span_count())),
        }
    });
    let digest = layer.key.digest;
    let (archive, files, spans) = match read.await {
        Ok(Ok(read)) => read,
        Ok(Err(unlike)) => {
            tracing::debug!(layer = %digest, ztoc = %ztoc.digest, unlike, "no ztoc to take over");
            return Ok(None);
        }
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        // Only the end of the runtime cancels it.
        Err(_) => return Ok(None),
    };
    let there = match layer.key.compression {
        Compression::Gzip => {
            fits_last_member(store, &digest, size, archive, MOST_BEHIND_ARCHIVE).await?
        }
        // Uncompressed: its length is the archive's.
        _ => store.has_image_blob(&digest, size).await?,
    };
    Ok(there.then(|| ReusedLayer {
        digest,
        size,
        ztoc: ztoc.digest,
        ztoc_size: ztoc.size,
        files,
        spans,
        from: ZtocSource::Repository,
        elapsed: started.elapsed(),
    }))
}
