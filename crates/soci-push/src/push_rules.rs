//! What a message asks for, and whether a push is work.
//!
//! Events reach this service on several ways: the filter Lambda judges them as they happen, a queue
//! may hold them as EventBridge wrote them, and an operator replays them or asks for what they
//! missed. [`PushRules::judge`] is the one decision for all of them, so that no way lets through
//! what another refuses. It looks at the event alone: what the image itself has to say is found out
//! by whoever indexes it.
//!
//! A job on a queue has been judged by whoever wrote it, and is not judged again: it may come from
//! an operator who wants just what the filters leave out.

use std::fmt;

use soci_manifest::Version;
use soci_oci::{Digest, Repository, Tag};

use crate::event::{
    DELETION, DeletionEvent, EventId, EventTypes, Ignored, PushEvent, Timestamp, why_not_tag,
};
use crate::filter::{TagFilter, TagFilters};
use crate::job::{JobError, JobMessage, MessageContent, MessageLimits};
use crate::{Skip, why_not};

/// Which pushes are work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushRules {
    /// Version of the SOCI indexes that are built.
    pub version: Version,
    /// What the tags of converted images end in.
    pub output_suffix: String,
    /// Which images are wanted.
    pub filters: TagFilters,
    /// Of which events. Those of other kinds tell of no work, whatever the filters say.
    pub event_types: EventTypes,
    /// Whether the result of an image goes when the image does. Otherwise a deletion tells of no work.
    pub remove_results: bool,
}

impl PushRules {
    /// The first filter that wants the push, or why it is no work.
    pub fn judge(&self, push: &PushEvent) -> Result<&TagFilter, SkippedPush> {
        if !self.event_types.has(push.kind) {
            let other = push.kind.detail_type().to_owned();
            return Err(SkippedPush::Ignored(Ignored::DetailType(other)));
        }
        // Before the filters: with `*:*` the service would convert what it has just pushed itself.
        if let Some(skip) = why_not(push, self.version, &self.output_suffix) {
            return Err(SkippedPush::Skip(skip));
        }
        let (name, tag) = (push.repository.name(), push.tag.as_ref());
        self.filters.matching(name, tag).ok_or_else(|| SkippedPush::Unmatched {
            repository: name.to_owned(),
            tag: tag.cloned(),
        })
    }

    /// The first filter that wants the image whose deletion it is, or why it is no work. Its own results are among what is
    /// deleted, and what belongs to an image: these have no result.
    pub fn judge_deletion(&self, deletion: &DeletionEvent) -> Result<&TagFilter, SkippedPush> {
        if !self.remove_results {
            return Err(SkippedPush::deletion());
        }
        let (name, tag) = (deletion.repository.name(), deletion.tag.as_ref());
        if let Some(skip) = why_not_tag(tag, self.version, &self.output_suffix) {
            return Err(SkippedPush::Skip(skip));
        }
        self.filters.matching(name, tag).ok_or_else(|| SkippedPush::Unmatched {
            repository: name.to_owned(),
            tag: tag.cloned(),
        })
    }
}

/// An image to index, or whose result is to be removed.
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
    /// To remove the result of an image that was deleted.
    Remove(Job),
    /// Nothing that would be work.
    Skip {
        /// Why it is none.
        why: SkippedPush,
        /// What was pushed, or deleted, if it is about that.
        pushed: Option<Job>,
    },
}

/// Why an event is no work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkippedPush {
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

impl SkippedPush {
    /// A deletion, where results are not removed.
    pub fn deletion() -> Self {
        Self::Ignored(Ignored::Action(DELETION.to_owned()))
    }

    /// Short stable name for counters: lower case, words joined by hyphens.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Ignored(_) => "other-event",
            Self::Skip(skip) => skip.label(),
            Self::Unmatched { .. } => "no-filter-matches",
        }
    }
}

impl fmt::Display for SkippedPush {
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

/// Reads a message, within [`MessageLimits::DEFAULT`]. Errors are permanent: the same bytes stay wrong.
pub fn understand(body: &[u8], rules: &PushRules) -> Result<Task, JobError> {
    Ok(match JobMessage::parse(body, MessageLimits::DEFAULT)?.content {
        MessageContent::Job(job) => Task::Index(job.into()),
        MessageContent::Push(push) => match rules.judge(&push) {
            Ok(_) => Task::Index((&*push).into()),
            Err(why) => Task::Skip { why, pushed: Some((&*push).into()) },
        },
        MessageContent::Deletion(deletion) => match rules.judge_deletion(&deletion) {
            Ok(_) => Task::Remove((*deletion).into()),
            // Where results are not removed it is an event like any other of something else.
            Err(why @ SkippedPush::Ignored(_)) => Task::Skip { why, pushed: None },
            Err(why) => Task::Skip { why, pushed: Some((*deletion).into()) },
        },
        MessageContent::Ignored(ignored) => {
            Task::Skip { why: SkippedPush::Ignored(ignored), pushed: None }
        }
    })
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

impl From<DeletionEvent> for Job {
    fn from(deletion: DeletionEvent) -> Self {
        let DeletionEvent { id, time, repository, digest, tag } = deletion;
        Self { repository, digest, tag, event_id: id, since: time }
    }
}
