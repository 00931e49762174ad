//! What a message asks for.

use std::fmt;

use crate::event::{EventId, Ignored, PushEvent, Timestamp};
use crate::filter::TagFilters;
use crate::job::{Content, JobError, JobMessage, Limits};
use crate::{Skip, why_not};
use soci_manifest::Version;
use soci_oci::{Digest, Repository, Tag};

/// Which pushes are work. A job that was put on the queue by this project has been chosen already;
/// an event that got there by itself is held against these rules.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Version of the SOCI indexes that are built.
    pub version: Version,
    /// What the tags of converted images end in.
    pub output_suffix: String,
    /// Which images are wanted; `None` for all of them.
    pub filters: Option<TagFilters>,
    /// What a message may ask for.
    pub limits: Limits,
}

/// An image to index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Where it is.
    pub repository: Repository,
    /// Digest of its manifest or image index.
    pub digest: Digest,
    /// The tag it was pushed under.
    pub tag: Option<Tag>,
    /// The event that led here.
    pub event_id: Option<EventId>,
    /// When the image was pushed, or the job was written.
    pub since: Option<Timestamp>,
}

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// To index an image.
    Index(Job),
    /// Nothing that would be work.
    Nothing {
        /// Why there is none.
        why: Nothing,
        /// What was pushed, if it is about a push.
        pushed: Option<Job>,
    },
}

/// Why there is no work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Nothing {
    /// An event of something else than a push.
    Ignored(Ignored),
    /// A push of something that is no image, or of a result.
    Skip(Skip),
    /// A push that no filter matches.
    Unmatched {
        /// The repository's name.
        repository: String,
        /// The tag.
        tag: Option<Tag>,
    },
}

impl Nothing {
    /// Short stable name for counters: lower case, words joined by hyphens.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Ignored(_) => "other-event",
            Self::Skip(skip) => skip.label(),
            Self::Unmatched { .. } => "no-filter-matches",
        }
    }
}

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ignored(ignored) => ignored.fmt(f),
            Self::Skip(skip) => skip.fmt(f),
            Self::Unmatched { repository, tag: Some(tag) } => {
                write!(f, "no filter matches {repository}:{tag}")
            }
            Self::Unmatched { repository, tag: None } => {
                write!(f, "no filter matches {repository} without a tag")
            }
        }
    }
}

/// Reads a message. Errors are permanent: the same bytes stay wrong.
pub fn understand(body: &[u8], rules: &Rules) -> Result<Task, JobError> {
    Ok(match JobMessage::parse(body, rules.limits)?.content {
        Content::Job(job) => Task::Index(job.into()),
        Content::Push(push) => judge(&push, rules),
        Content::Ignored(ignored) => Task::Nothing { why: Nothing::Ignored(ignored), pushed: None },
    })
}

/// Whether a push is work.
pub fn judge(push: &PushEvent, rules: &Rules) -> Task {
    match why_nothing(push, rules) {
        Some(why) => Task::Nothing { why, pushed: Some(push.into()) },
        None => Task::Index(push.into()),
    }
}

fn why_nothing(push: &PushEvent, rules: &Rules) -> Option<Nothing> {
    if let Some(skip) = why_not(push, rules.version, &rules.output_suffix) {
        return Some(Nothing::Skip(skip));
    }
    let (name, tag) = (push.repository.name(), push.tag.as_ref());
    let filters = rules.filters.as_ref()?;
    let matches = filters.matching(name, tag).is_some();
    (!matches).then(|| Nothing::Unmatched { repository: name.to_owned(), tag: tag.cloned() })
}

impl From<JobMessage> for Job {
    fn from(message: JobMessage) -> Self {
        let JobMessage { repository, digest, tag, event_id, enqueued_at } = message;
        Self { repository, digest, tag, event_id, since: Some(enqueued_at) }
    }
}

impl From<&PushEvent> for Job {
    fn from(push: &PushEvent) -> Self {
        Self {
            repository: push.repository.clone(),
            digest: push.digest,
            tag: push.tag.clone(),
            event_id: push.id.clone(),
            since: push.time,
        }
    }
}
