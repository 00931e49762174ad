//! Runs jobs.

use std::sync::Arc;

use soci_indexer::{ImageName, IndexError, Options, Outcome, Progress, Report, index_image};
use soci_manifest::{NotAnImage, SkipReason, Version};
use soci_oci::{Digest, Repository, Tag, TagOrDigest};

use crate::failure::Failure;
use crate::locks::Locks;
use crate::memo::Memo;
use crate::stores::Stores;
use soci_push::Job;

/// How a job ended.
#[derive(Clone, Debug)]
pub enum Done {
    /// The index was built and pushed.
    Indexed(Report),
    /// The same index was there.
    AlreadyIndexed(Report),
    /// There is nothing to do.
    ///
    /// | label | meaning |
    /// | --- | --- |
    /// | `superseded` | the tag names another image by now (V2), whose push is an event of its own |
    /// | `tag-gone` | the tag does not exist any more (V2), so nobody can deploy its result |
    /// | `nothing-to-index` | every layer is too small, or compressed in a way that no ztoc describes |
    /// | `soci-index` | it is a SOCI index |
    /// | `artifact` | it is something else than an image: a chart, a module |
    /// | `no-file-system` | its layers are no file systems, as of signatures and attestations |
    /// | `no-platform` | it is an image index without an image |
    /// | `not-an-image` | it is neither a manifest nor an image index |
    Skipped {
        /// Short stable name for counters: lower case, words joined by hyphens.
        label: &'static str,
        /// The same for people.
        detail: String,
    },
}

/// Runs jobs, all with the same settings and one budget. Clones are the same runner.
///
/// Two jobs for the same image, or for the same tag, do not run at once: the second one waits, and
/// finds what the first one has made. What was made of an image is remembered, so that another
/// tag of it costs a manifest and no build.
#[derive(Clone, Debug)]
pub struct Runner<S> {
    stores: S,
    options: Options,
    tags: Locks<(Repository, Tag)>,
    images: Locks<(Repository, Digest)>,
    memo: Memo,
}

impl<S: Stores> Runner<S> {
    /// A runner on `stores`. The budget in `options` is shared by all jobs; its progress, and
    /// what it says about the image's tag and about known results, are not used.
    pub fn new(stores: S, options: Options) -> Self {
        let (tags, images, memo) = (Locks::default(), Locks::default(), Memo::default());
        Self { stores, options, tags, images, memo }
    }

    /// Runs a job, telling `progress` of its layers. Dropping the future stops it; nothing of what
    /// it has written so far is wrong.
    ///
    /// In version V2 the result goes by the tag. A tag that names another image by now belongs to
    /// that image's job, and a tag that is gone to nobody; both are skipped. V1 needs no tag: its
    /// SOCI indexes refer to the digest.
    pub async fn run(&self, job: &Job, progress: Arc<dyn Progress>) -> Result<Done, Failure> {
        let repository = &job.repository;
        // Always in this order, so that no two jobs wait for each other.
        let _tag = match &job.tag {
            Some(tag) => Some(self.tags.lock((repository.clone(), tag.clone())).await),
            None => None,
        };
        let _image = self.images.lock((repository.clone(), job.digest)).await;
        let store = self.stores.open(repository);
        let name = ImageName { target: TagOrDigest::Digest(job.digest), tag: job.tag.clone() };
        let options = Options {
            progress,
            follow_tag: true,
            known_result: self.memo.get(repository, job.digest),
            ..self.options.clone()
        };
        match index_image(&store, &name, &options).await {
            Ok(Outcome::Indexed(report)) => Ok(Done::Indexed(self.noted(job, report))),
            Ok(Outcome::AlreadyIndexed(report)) => {
                Ok(Done::AlreadyIndexed(self.noted(job, report)))
            }
            Ok(Outcome::Skipped { reason, .. }) => {
                Ok(Done::Skipped { label: label(&reason), detail: reason.to_string() })
            }
            Err(error @ (IndexError::Superseded { .. } | IndexError::TagGone { .. })) => {
                let failure = Failure::from(error);
                Ok(Done::Skipped { label: failure.label(), detail: failure.detail() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Remembers a result of version V2; those of V1 are found through the image.
    fn noted(&self, job: &Job, report: Report) -> Report {
        if report.version == Version::V2 {
            self.memo.put(&job.repository, job.digest, report.index);
        }
        report
    }
}

fn label(reason: &SkipReason) -> &'static str {
    match reason {
        SkipReason::NothingToIndex { .. } => "nothing-to-index",
        SkipReason::NotAnImage(NotAnImage::SociIndex) => "soci-index",
        SkipReason::NotAnImage(NotAnImage::Artifact { .. }) => "artifact",
        SkipReason::NotAnImage(NotAnImage::NoFileSystem { .. }) => "no-file-system",
        SkipReason::NotAnImage(NotAnImage::NoPlatform) => "no-platform",
        _ => "not-an-image",
    }
}
