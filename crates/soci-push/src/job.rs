//! Messages of the job queue: what a producer writes, and all that a consumer may meet there.
//!
//! A job is one JSON object, encoded always the same way, without spaces and in this order:
//!
//! ```json
//! {"v":1,"registry":"123456789012.dkr.ecr.eu-west-1.amazonaws.com","repository":"team/app",
//!  "digest":"sha256:…","tag":"1.0","event_id":"…","enqueued_at":"2026-08-01T12:34:56Z"}
//! ```
//!
//! | member | meaning |
//! | --- | --- |
//! | `v` | version of this format, 1; a consumer refuses others |
//! | `registry` | host with an optional port |
//! | `repository` | name of the repository in the registry |
//! | `digest` | digest of the manifest or image index to work on |
//! | `tag` | tag it was pushed under; absent if it has none |
//! | `event_id` | identifier of the event that led here; absent without an event |
//! | `enqueued_at` | when the producer wrote the job, UTC, whole seconds |
//!
//! Unknown members are ignored, so adding one needs no new version; changing the meaning of one
//! does. Names have limits of their own, so a job stays below 1,100 bytes.
//!
//! A message has been through the hands of anyone who may send to the queue, and stays there for
//! days, so releases meet each other's messages. Reading is therefore strict where it matters and
//! open where it does not: a member that is missing, repeated or malformed is an error that names
//! it, with all others that are wrong; a member that is not known is passed over. All errors are
//! permanent. The same bytes stay wrong, so such a message goes to the dead-letter queue at once.
//!
//! A queue also holds what others put there: EventBridge events, where a rule targets the queue or
//! an archive replays, and Lambda's records of failed invocations, with one of these inside.
//!
//! That the result of an image is to be removed has no job: the event of its deletion is the message, as EventBridge wrote
//! it. A release that does not know of removals takes it for what it always was, an event of something else than a push,
//! and is done with it. A job of another kind it would index, or have as a dead letter.

use serde_json::{Map, Value};
use soci_oci::{Digest, Repository, Tag};
use soci_text::clip;

use crate::event::fields::{Fields, Listed, TextError, from_str, text_within};
use crate::event::{
    DeletionEvent, EVENT_ID, EcrEvent, EventError, EventId, FieldProblem, Ignored, PushEvent,
    Timestamp,
};

/// The version of the format that is written and read.
pub const VERSION: u64 = 1;

/// The `condition` of Lambda's record of an invocation that succeeded.
const SUCCESS: &str = "Success";

/// What a message may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Bytes of a message.
    pub max_bytes: usize,
    /// Records of failed invocations inside of each other.
    pub max_envelopes: usize,
}

impl MessageLimits {
    /// The default limits: 1 MiB, as SQS has it, and two records, as after a replay that failed
    /// again.
    pub const DEFAULT: Self = Self { max_bytes: 1 << 20, max_envelopes: 2 };
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A job: index this image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobMessage {
    /// Where the image is.
    pub repository: Repository,
    /// Digest of its manifest or image index.
    pub digest: Digest,
    /// The tag it was pushed under.
    pub tag: Option<Tag>,
    /// The event that led to the job.
    pub event_id: Option<EventId>,
    /// When the producer wrote the job.
    pub enqueued_at: Timestamp,
}

/// A message that has been understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// What it says.
    pub content: MessageContent,
    /// The last invocation that failed on it, if it comes out of Lambda's record of one.
    pub failed: Option<FailedInvocation>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageContent {
    /// A job. Its producer has filtered it.
    Job(JobMessage),
    /// An event of a push. Nobody has filtered it.
    Push(Box<PushEvent>),
    /// An event of a deletion. Nobody has filtered it.
    Deletion(Box<DeletionEvent>),
    /// An event of something else.
    Ignored(Ignored),
}

/// An asynchronous invocation that Lambda gave up. Source: AWS Lambda developer guide, "Capturing
/// records of Lambda asynchronous invocations".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedInvocation {
    /// Why Lambda gave up, `RetriesExhausted` or `EventAgeExceeded`; other values are kept, cut
    /// to 160 characters.
    pub condition: String,
}

/// Why a message is not understood. All of these are permanent: the same bytes stay wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// There are more bytes than a message has.
    #[error("the message has {size} bytes, more than {limit}")]
    TooLarge {
        /// How many there are.
        size: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The bytes are not a JSON object.
    #[error("the message is not a JSON object")]
    Json(#[source] serde_json::Error),
    /// It is neither a job nor an event nor a record of an invocation.
    #[error(
        "the message is neither a job (no \"v\") nor an event (no \"detail-type\") nor a record of a failed invocation (no \"requestPayload\")"
    )]
    Unknown,
    /// A job of another version; a newer release wrote it.
    #[error("the job is of version {found}, and this release reads version {VERSION}")]
    Version {
        /// Its version as it is written.
        found: String,
    },
    /// Fields are missing, repeated or malformed; all of them are listed.
    #[error("the message is malformed: {}", Listed(.0))]
    Fields(Vec<FieldProblem>),
    /// It is, or holds, an event that cannot be read.
    #[error(transparent)]
    Event(#[from] EventError),
    /// Lambda's record of an invocation that succeeded, so there is nothing left to do. The queue
    /// should be the function's destination on failure only.
    #[error("the message records an invocation that succeeded")]
    Succeeded,
    /// Records are nested too deep.
    #[error("the message has more than {limit} records of failed invocations inside of each other")]
    Nested {
        /// How many there may be.
        limit: usize,
    },
}

impl JobError {
    /// Whether another try with the same message is bound to fail again, which it always is. That
    /// includes a newer version: only another release reads it.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::TooLarge { .. }
            | Self::Json(_)
            | Self::Unknown
            | Self::Version { .. }
            | Self::Fields(_)
            | Self::Succeeded
            | Self::Nested { .. } => true,
            Self::Event(error) => error.is_permanent(),
        }
    }
}

impl From<TextError> for JobError {
    fn from(error: TextError) -> Self {
        match error {
            TextError::TooLarge { size, limit } => Self::TooLarge { size, limit },
            TextError::Json(error) => Self::Json(error),
        }
    }
}

impl JobMessage {
    /// The job that a push leads to, written at `now`.
    pub fn from_push(push: &PushEvent, now: Timestamp) -> Self {
        Self {
            repository: push.repository.clone(),
            digest: push.digest,
            tag: push.tag.clone(),
            event_id: push.id.clone(),
            enqueued_at: now,
        }
    }

    /// The job as a message; equal jobs give equal bytes.
    pub fn encode(&self) -> String {
        let text = |value: &dyn ToString| Value::String(value.to_string());
        let mut members = Map::new();
        let mut add = |name: &str, value| members.insert(name.to_owned(), value);
        add("v", VERSION.into());
        add("registry", self.repository.registry().into());
        add("repository", self.repository.name().into());
        add("digest", text(&self.digest));
        if let Some(tag) = &self.tag {
            add("tag", text(tag));
        }
        if let Some(id) = &self.event_id {
            add("event_id", text(id));
        }
        add("enqueued_at", text(&self.enqueued_at));
        Value::Object(members).to_string()
    }

    /// Reads a message: a job, an EventBridge event, or Lambda's record of a failed invocation
    /// with one of these as its `requestPayload`.
    pub fn parse(bytes: &[u8], limits: MessageLimits) -> Result<Received, JobError> {
        let mut text = text_within(bytes, limits.max_bytes)?;
        let mut failed = None;
        for _ in 0..=limits.max_envelopes {
            let message = Fields::read(text, "", &FIELDS).map_err(JobError::Json)?;
            // An event that the filter Lambda failed on comes wrapped in Lambda's record. A replay
            // that failed again is a record in a record.
            if message.has("requestPayload") {
                let (payload, invocation) = open(message)?;
                failed = failed.or(Some(invocation));
                text = payload;
                continue;
            }
            let content = if message.has("v") {
                MessageContent::Job(read(message)?)
            } else if message.has("detail-type") {
                match EcrEvent::parse(text.as_bytes(), limits.max_bytes)? {
                    EcrEvent::Push(push) => MessageContent::Push(push),
                    EcrEvent::Deletion(deletion) => MessageContent::Deletion(deletion),
                    EcrEvent::Ignored(ignored) => MessageContent::Ignored(ignored),
                }
            } else {
                return Err(JobError::Unknown);
            };
            return Ok(Received { content, failed });
        }
        Err(JobError::Nested { limit: limits.max_envelopes })
    }
}

/// The members of a message that are read, those of an event aside.
const FIELDS: [&str; 10] = [
    "v",
    "registry",
    "repository",
    "digest",
    "tag",
    "event_id",
    "enqueued_at",
    "requestPayload",
    "requestContext",
    "detail-type",
];

/// The payload of a record of a failed invocation.
fn open(mut record: Fields<'_>) -> Result<(&str, FailedInvocation), JobError> {
    record.require("requestPayload");
    record.require("requestContext");
    let payload = record.of_kind("requestPayload", "an object");
    let object = record.of_kind("requestContext", "an object");
    let mut context = Fields::read(object.unwrap_or("{}"), "requestContext.", &["condition"])
        .map_err(JobError::Json)?;
    if object.is_some() {
        context.require("condition");
    }
    let condition = context.text("condition");
    // Such a record may hold anything: nobody needs its payload any more.
    if condition.as_deref() == Some(SUCCESS) {
        return Err(JobError::Succeeded);
    }
    let mut problems = record.into_problems();
    problems.extend(context.into_problems());
    match (payload, condition) {
        (Some(payload), Some(condition)) if problems.is_empty() => {
            Ok((payload, FailedInvocation { condition: clip(&condition) }))
        }
        _ => Err(JobError::Fields(problems)),
    }
}

/// The job that has these members.
fn read(mut job: Fields<'_>) -> Result<JobMessage, JobError> {
    // First of all: in another version the other members may mean something else.
    if let Some(found) = job.of_kind("v", "a number")
        && found != VERSION.to_string()
    {
        return Err(JobError::Version { found: clip(found) });
    }
    for name in ["v", "registry", "repository", "digest", "enqueued_at"] {
        job.require(name);
    }
    let registry = job.parsed("registry", "a host with an optional port", |host| {
        // Any repository name does to have the host checked.
        Repository::new(host, "a").ok()
    });
    let repository = job.parsed("repository", "a repository name", |name| {
        let host =
            registry.as_ref().map_or(soci_oci::reference::DEFAULT_REGISTRY, Repository::registry);
        Repository::new(host, name).ok()
    });
    let digest = job.parsed("digest", "a digest", from_str);
    let tag = job.parsed("tag", "a tag", from_str);
    let event_id = job.parsed("event_id", EVENT_ID, from_str);
    let enqueued_at = job.parsed("enqueued_at", "a time like 2026-08-01T12:34:56Z", from_str);
    let problems = job.into_problems();
    match (repository, digest, enqueued_at) {
        (Some(repository), Some(digest), Some(enqueued_at)) if problems.is_empty() => {
            Ok(JobMessage { repository, digest, tag, event_id, enqueued_at })
        }
        _ => Err(JobError::Fields(problems)),
    }
}

#[cfg(test)]
mod tests;
