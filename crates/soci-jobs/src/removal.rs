//! Removes the results of images that were deleted. Off unless whoever runs the service asks for it.
//!
//! What may go is `soci-indexer`'s to say ([`remove_result`]). That there was nothing to remove, or that something needs it,
//! ends the job as much as that it was removed: each is [`Outcome::Skipped`], as no image was indexed, with a reason of its own.

use std::sync::Arc;

use soci_indexer::{
    DeletedImage, Options, OutputTag, PruneError, RemoteRepository, Removed, remove_result,
};
use soci_push::Job;
use soci_registry::OwnApi;
use soci_text::{error_chain, truncate};

use crate::outcome::{MAX_DETAIL, Outcome, Why};
use crate::reasons;
use crate::repositories::{RegistryOpener, RepositoryOpener as _};

/// Removes results.
#[derive(Clone, Debug)]
pub struct Remover {
    opener: RegistryOpener,
    api: Arc<dyn OwnApi>,
}

impl Remover {
    /// In the repositories that `opener` opens, whose registry has `api`.
    pub fn new(opener: RegistryOpener, api: Arc<dyn OwnApi>) -> Self {
        Self { opener, api }
    }

    /// Removes the result that the image of `job` got with `options`.
    pub(crate) async fn remove(&self, job: &Job, options: &Options) -> Outcome {
        let suffix = match &options.output {
            OutputTag::Suffix(suffix) => suffix.as_str(),
            OutputTag::Tag(_) => "",
        };
        let store: RemoteRepository = self.opener.open(&job.repository);
        let image = DeletedImage { digest: job.digest, tag: job.tag.clone() };
        let of = (options.settings.version, suffix);
        // Its own API knows the repository by the name that the job has.
        let (named, api) = (&job.repository, &*self.api);
        match Box::pin(remove_result(&store, named, api, &image, of, options)).await {
            Ok(removed) => Outcome::Skipped(Why::new(reason(&removed), removed.to_string())),
            Err(error) => failed(&error),
        }
    }
}

fn reason(removed: &Removed) -> &'static str {
    match removed {
        Removed::ImageBack => reasons::IMAGE_BACK,
        Removed::NoResult => reasons::NO_RESULT,
        Removed::Deleted(deleted) if !deleted.deleted.is_empty() => reasons::RESULT_REMOVED,
        Removed::Kept(_) | Removed::Deleted(_) => reasons::RESULT_KEPT,
    }
}

fn failed(error: &PruneError) -> Outcome {
    let reason = error.reason();
    let mut detail = format!("its result was not removed: {}", error_chain(error));
    truncate(&mut detail, MAX_DETAIL);
    let why = Why::found(reason, detail);
    if reason.is_permanent() { Outcome::Rejected(why) } else { Outcome::Failed(why) }
}
