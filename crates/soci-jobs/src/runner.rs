//! Runs jobs.

use soci_indexer::{ImageName, OnImageEvent, Options, index_image};
use soci_manifest::Version;
use soci_oci::{Digest, Repository, Tag, TagOrDigest};
use soci_push::Job;

use crate::locks::Locks;
use crate::memo::Memo;
use crate::outcome::Outcome;
use crate::repositories::RepositoryOpener;

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
}

impl<S: RepositoryOpener> Runner<S> {
    /// A runner on what `opener` opens. The budget in `options` is shared by all jobs; whom it tells
    /// of events, and what it says about the image's tag and about known results, are not used.
    pub fn new(opener: S, options: Options) -> Self {
        let (tags, images, memo) = (Locks::default(), Locks::default(), Memo::default());
        Self { opener, options, tags, images, memo }
    }

    /// Runs a job, telling `on_event` what happens. Dropping the future stops it; nothing of what
    /// it has written so far is wrong.
    ///
    /// In version V2 the result goes by the tag. A tag that names another image by now belongs to
    /// that image's job, and a tag that is gone to nobody; both are skipped. V1 needs no tag: its
    /// SOCI indexes refer to the digest.
    pub async fn run(&self, job: &Job, on_event: OnImageEvent) -> Outcome {
        let repository = &job.repository;
        // Always in this order, so that no two jobs wait for each other.
        let _tag = match &job.tag {
            Some(tag) => Some(self.tags.lock((repository.clone(), tag.clone())).await),
            None => None,
        };
        let _image = self.images.lock((repository.clone(), job.digest)).await;
        let store = self.opener.open(repository);
        let name = ImageName { target: TagOrDigest::Digest(job.digest), tag: job.tag.clone() };
        let options = Options {
            on_event,
            follow_tag: true,
            known_result: self.memo.get(repository, job.digest),
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
}
