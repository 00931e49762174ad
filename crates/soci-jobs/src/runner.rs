//! Runs jobs, and keeps those apart that would do the same work or write the same tag.
//!
//! A job takes the lock of its tag, if it has one, and then the lock of its image. All jobs take them in
//! this order, so that no two wait for each other. Jobs of one tag write its result one after the other;
//! of jobs of one image the second finds what the first has made, and reads no layer.
//!
//! Whoever waits for a lock has left its slot before, so those who hold locks get slots and come to an end.
//! A job waits for [`MAX_WAIT`] at most, and not at all where too many wait already. Then it is postponed:
//! nothing has failed, and its message goes back to the queue.
//!
//! The locks are of this process. Workers side by side may do a job twice, which gives the same result.

use std::time::Duration;

use soci_indexer::{ImageName, OnImageEvent, Options, index_image};
use soci_manifest::Version;
use soci_oci::{Digest, Repository, Tag, TagOrDigest};
use soci_push::Job;
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use crate::locks::{KeyLock, Locks};
use crate::memo::Memo;
use crate::outcome::{Outcome, Why};
use crate::reasons;
use crate::removal::Remover;
use crate::repositories::RepositoryOpener;
use crate::slot::{JobSlot, Unlimited, WaitsFor};

/// Longest time that a job waits for another one of its image or tag. Whoever waits longer goes back to
/// the queue, as the time for which its message can be kept is for work.
pub const MAX_WAIT: Duration = Duration::from_mins(15);

/// Time until a registry is asked again for a manifest or layer that it does not have, before its platform is left
/// out. No later job would find what is missing now, and a whole second look at the image is for what ends a job.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Runs jobs, all with the same settings and one budget. Clones are the same runner.
///
/// Two jobs for the same image, or for the same tag, do not run at once: the second one waits, and
/// finds what the first one has made. What was made of an image is remembered, so that another
/// tag of it costs a manifest and no build.
#[derive(Clone, Debug)]
pub struct Runner<S> {
    opener: S,
    options: Options,
    tags: Locks<(Repository, Tag)>,
    images: Locks<(Repository, Digest)>,
    memo: Memo,
    remover: Option<Remover>,
}

impl<S: RepositoryOpener> Runner<S> {
    /// A runner on what `opener` opens. The budget in `options` is shared by all jobs; whom it tells
    /// of events, and what it says about the image's tag and about known results, are not used.
    pub fn new(opener: S, options: Options) -> Self {
        let (tags, images, memo) = (Locks::default(), Locks::default(), Memo::default());
        Self { opener, options, tags, images, memo, remover: None }
    }

    /// One that also removes the results of images that were deleted.
    #[must_use]
    pub fn with_remover(self, remover: Remover) -> Self {
        Self { remover: Some(remover), ..self }
    }

    /// Runs a job for somebody who has no slots; see [`Runner::run_in`].
    pub async fn run(&self, job: &Job, on_event: OnImageEvent) -> Outcome {
        self.run_in(&Unlimited, job, on_event).await
    }

    /// Runs a job, telling `on_event` what happens. Dropping the future stops it; nothing of what
    /// it has written so far is wrong. While it waits for another job, `slot` is free.
    ///
    /// In version V2 the result goes by the tag. A tag that names another image by now belongs to
    /// that image's job, and a tag that is gone to nobody; both are skipped. V1 needs no tag: its
    /// SOCI indexes refer to the digest.
    pub async fn run_in(&self, slot: &dyn JobSlot, job: &Job, on_event: OnImageEvent) -> Outcome {
        let repository = &job.repository;
        let _locks = match self.hold_both(slot, job).await {
            Ok(held) => held,
            Err(postponed) => return postponed,
        };
        let store = self.opener.open(repository);
        let name = ImageName { target: TagOrDigest::Digest(job.digest), tag: job.tag.clone() };
        let options = Options {
            on_event,
            follow_tag: true,
            // The result that an earlier tag got. The tag of this job does not lead to it yet.
            known_result: self.memo.get(repository, job.digest),
            ask_again_after: Some(ASK_AGAIN_AFTER),
            ..self.options.clone()
        };
        match index_image(&store, &name, &options).await {
            Ok(report) => {
                // Results of version V1 are found through the image, so they need not be known.
                if report.version == Version::V2 {
                    // The tag may have moved on to another image meanwhile.
                    self.memo.put(repository, report.image, report.index);
                }
                report.into()
            }
            Err(error) => Outcome::from(&error),
        }
    }

    /// Removes the result of an image that was deleted, while no job of its tag or of the image runs here.
    pub async fn remove_in(&self, slot: &dyn JobSlot, job: &Job) -> Outcome {
        let Some(remover) = &self.remover else {
            let detail = "the image was deleted, and results are not removed here";
            return Outcome::Skipped(Why::new(reasons::RESULT_KEPT, detail));
        };
        let _locks = match self.hold_both(slot, job).await {
            Ok(held) => held,
            Err(postponed) => return postponed,
        };
        remover.remove(job, &self.options).await
    }

    /// The locks of a job's tag, if it has one, and image.
    async fn hold_both(
        &self,
        slot: &dyn JobSlot,
        job: &Job,
    ) -> Result<(Option<OwnedMutexGuard<()>>, OwnedMutexGuard<()>), Outcome> {
        let repository = &job.repository;
        // Always in this order, so that no two jobs wait for each other.
        let tag = job.tag.as_ref().map(|tag| self.tags.of((repository.clone(), tag.clone())));
        let tag = match tag {
            Some(tag) => Some(hold(tag, slot, WaitsFor::SameTag).await?),
            None => None,
        };
        let image = self.images.of((repository.clone(), job.digest));
        Ok((tag, hold(image, slot, WaitsFor::SameImage).await?))
    }
}

/// Takes a lock, and waits for it without the slot if somebody else has it. Whoever waits for a slot
/// here may hold locks, but nobody waits for a lock while holding a slot, so this comes to an end.
async fn hold(
    lock: KeyLock,
    slot: &dyn JobSlot,
    waits_for: WaitsFor,
) -> Result<OwnedMutexGuard<()>, Outcome> {
    // Nobody has it, as nearly always: the slot is not given up for nothing.
    if let Some(held) = lock.try_lock() {
        return Ok(held);
    }
    let what = match waits_for {
        WaitsFor::SameTag => "another job for the same tag is under way",
        WaitsFor::SameImage => "another job for the same image is under way",
    };
    if !slot.leave(waits_for) {
        let detail = format!("{what}, and as many jobs wait as may");
        return Err(Outcome::Postponed(Why::new(waits_for.label(), detail)));
    }
    let Ok(held) = timeout(MAX_WAIT, lock.lock()).await else {
        // It ends without a slot, as nothing is left to do in one.
        let detail = format!("{what}, and was not done within {MAX_WAIT:?}");
        return Err(Outcome::Postponed(Why::new(waits_for.label(), detail)));
    };
    slot.take_again().await;
    Ok(held)
}
