//! ECR's events about images that have come into a repository, as EventBridge delivers them.
//!
//! Sources: Amazon ECR user guide, "Amazon ECR events and EventBridge"; the checks are those of
//! AWS's SOCI index builder for CloudFormation, but of whole values and all at once.
//!
//! An event tells where an image is in four parts: account, region, repository and digest. Each is
//! checked against AWS's own grammar, since they become the host that credentials are sent to and
//! the path of a request. What is left is one of three: an image that has come, an event of something
//! else, with which nothing is wrong, or bytes that are no event, with all that is wrong with them.
//! An image is pushed, or comes without a push (`event/kind.rs`). What follows is the same for all.

use soci_oci::{Algorithm, Digest, Repository, Tag};
use soci_text::clip;

pub use fields::{FieldProblem, Problem};
pub use kind::{
    ACTION, DELETION, DETAIL_TYPE, EventKind, EventTypes, EventTypesError, Ignored, RESULT,
};
pub use names::{
    AccountId, AccountIdError, EventId, EventIdError, Region, RegionError, registry_host,
};
pub(crate) use skip::why_not_tag;
pub use skip::{Skip, why_not};
pub use time::{Timestamp, TimestampError};

pub(crate) mod fields;
mod kind;
mod names;
mod skip;
mod time;

use fields::{Fields, Listed, TextError, from_str, text_within};
pub(crate) use names::EVENT_ID;

/// `source` of the events that ECR sends.
pub const SOURCE: &str = "aws.ecr";

/// EventBridge's limit for an event: 256 KiB (EventBridge user guide, "`PutEvents`").
pub const MAX_EVENT_BYTES: usize = 256 << 10;

/// Longest media type: 127 characters on each side of the slash (RFC 6838, section 4.2).
const MAX_MEDIA_TYPE: usize = 255;

/// An image, or some other manifest, has come into a repository of ECR: by a push, or without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushEvent {
    /// How it has come.
    pub kind: EventKind,
    /// The event's identifier. EventBridge always gives one; a repeated delivery repeats it.
    pub id: Option<EventId>,
    /// When it happened. EventBridge always tells.
    pub time: Option<Timestamp>,
    /// The account that the registry belongs to.
    pub account: AccountId,
    /// The region that the registry is in.
    pub region: Region,
    /// The repository, at the host that [`registry_host`] gives.
    pub repository: Repository,
    /// SHA-256 digest of the manifest or image index.
    pub digest: Digest,
    /// The tag it has come under; `None` if only a digest names it.
    pub tag: Option<Tag>,
    /// Media type of the manifest, at most 255 printable ASCII characters. Not every event has it.
    pub manifest_media_type: Option<String>,
    /// Media type of the artifact, or of the manifest's config, at most 255 printable ASCII
    /// characters. Not every event has it.
    pub artifact_media_type: Option<String>,
}

/// An image was deleted from a repository of ECR, or a tag of one: by somebody, or by a lifecycle policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletionEvent {
    /// The event's identifier. EventBridge always gives one; a repeated delivery repeats it.
    pub id: Option<EventId>,
    /// When it happened. EventBridge always tells.
    pub time: Option<Timestamp>,
    /// The repository, at the host that [`registry_host`] gives.
    pub repository: Repository,
    /// SHA-256 digest of the manifest or image index.
    pub digest: Digest,
    /// The tag that went; `None` if only a digest named it.
    pub tag: Option<Tag>,
}

/// An event that has been understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EcrEvent {
    /// Something has come into a repository.
    Push(Box<PushEvent>),
    /// Something was deleted from one.
    Deletion(Box<DeletionEvent>),
    /// Something else happened.
    Ignored(Ignored),
}

/// Why bytes are no event. All of these are permanent: the same bytes stay wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// There are more bytes than an event has.
    #[error("the event has {size} bytes, more than {limit}")]
    TooLarge {
        /// How many there are.
        size: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The bytes are not a JSON object.
    #[error("the event is not a JSON object")]
    Json(#[source] serde_json::Error),
    /// Fields are missing, repeated or malformed; all of them are listed.
    #[error("the event is malformed: {}", Listed(.0))]
    Fields(Vec<FieldProblem>),
}

impl EventError {
    /// Whether another try with the same bytes is bound to fail again, which it always is.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::Json(_) | Self::Fields(_) => true,
        }
    }
}

impl EcrEvent {
    /// Reads the event that is `bytes`, JSON of at most `max_bytes` ([`MAX_EVENT_BYTES`] is what
    /// EventBridge allows).
    ///
    /// Required are `source`, `detail-type`, `account`, `region`, and of `detail` what the kind of
    /// event asks for ([`EventKind`]). `null` counts as missing, an empty `image-tag` as none.
    /// Unknown fields are ignored.
    ///
    /// An event of another source or type, or of what did not succeed, is [`Ignored`], whatever else
    /// it holds. So is a deletion that does not say of what: nothing is lost by it but a result that stays.
    pub fn parse(bytes: &[u8], max_bytes: usize) -> Result<Self, EventError> {
        let text = text_within(bytes, max_bytes)?;
        let mut event = Fields::read(text, "", &FIELDS).map_err(EventError::Json)?;
        // Before anything else is looked at: other events have other members.
        if let Some(other) = event.text("source").filter(|found| found != SOURCE) {
            return Ok(Self::Ignored(Ignored::Source(clip(&other))));
        }
        let kind = match event.text("detail-type") {
            Some(text) => match EventKind::of_detail_type(&text) {
                Some(kind) => kind,
                None => return Ok(Self::Ignored(Ignored::DetailType(clip(&text)))),
            },
            // That it is missing is told with the rest, which is what the commonest kind has.
            None => EventKind::Push,
        };
        let rules = kind.rules();
        let object = event.of_kind("detail", "an object");
        let mut detail = Fields::read(object.unwrap_or("{}"), "detail.", &DETAIL_FIELDS)
            .map_err(EventError::Json)?;
        for success in rules.successes {
            let found = detail.text(success.member);
            if let Some(other) = found.filter(|found| found != success.value) {
                let is_deletion =
                    kind == EventKind::Push && success.member == "action-type" && other == DELETION;
                let ignored = Self::Ignored((success.otherwise)(clip(&other)));
                if is_deletion && detail.text("result").as_deref() == Some(RESULT) {
                    let deletion = DeletionEvent::read(event, detail);
                    return Ok(
                        deletion.map_or(ignored, |deletion| Self::Deletion(Box::new(deletion)))
                    );
                }
                return Ok(ignored);
            }
        }
        if rules.may_lack_digest && object.is_some() && !detail.is_given("image-digest") {
            return Ok(Self::Ignored(Ignored::NoImage));
        }
        // Only now: an event that says what it is, and is something else, may lack these.
        for name in ["source", "detail-type", "account", "region", "detail"] {
            event.require(name);
        }
        // Without a detail its members need no mention.
        if object.is_some() {
            for name in rules.required {
                detail.require(name);
            }
        }
        PushEvent::read(kind, event, detail).map(|push| Self::Push(Box::new(push)))
    }
}

impl From<TextError> for EventError {
    fn from(error: TextError) -> Self {
        match error {
            TextError::TooLarge { size, limit } => Self::TooLarge { size, limit },
            TextError::Json(error) => Self::Json(error),
        }
    }
}

/// The members of an event that are read. `version` is `"0"` in all events so far and says nothing
/// about `detail`; `resources` is empty in ECR's, or has the repository, which `detail` names as well.
const FIELDS: [&str; 9] =
    ["version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"];

const DETAIL_FIELDS: [&str; 8] = [
    "action-type",
    "result",
    "sync-status",
    "repository-name",
    "image-digest",
    "image-tag",
    "manifest-media-type",
    "artifact-media-type",
];

impl PushEvent {
    /// Reads what is left once source, type, action and result are known to be none but those of an
    /// image that has come, and what is missing has been noted.
    fn read(
        kind: EventKind,
        mut event: Fields<'_>,
        mut detail: Fields<'_>,
    ) -> Result<Self, EventError> {
        event.text("version");
        event.of_kind("resources", "a list");
        let id = event.parsed("id", EVENT_ID, from_str);
        let time = event.parsed("time", "a time like 2026-08-01T12:34:56Z", from_str);
        let account = event.parsed("account", "twelve digits", from_str);
        let region = event.parsed("region", "the name of an AWS region", from_str);
        let name = detail.parsed("repository-name", "an ECR repository name", repository_name);
        let digest = detail.parsed("image-digest", "sha256: and 64 lower-case hex digits", sha256);
        let tag = detail.parsed("image-tag", "empty or a tag", tag);
        let manifest_media_type = detail.parsed("manifest-media-type", "a media type", media_type);
        let artifact_media_type = detail.parsed("artifact-media-type", "a media type", media_type);

        let repository = match (&account, &region, &name) {
            (Some(account), Some(region), Some(name)) => {
                let repository = Repository::new(&registry_host(account, region), name).ok();
                if repository.is_none() {
                    detail.wrong("repository-name", name, "at most 255 characters long");
                }
                repository
            }
            _ => None,
        };
        let mut problems = event.into_problems();
        problems.extend(detail.into_problems());
        match (account, region, repository, digest) {
            (Some(account), Some(region), Some(repository), Some(digest))
                if problems.is_empty() =>
            {
                Ok(Self {
                    kind,
                    id,
                    time,
                    account,
                    region,
                    repository,
                    digest,
                    tag: tag.flatten(),
                    manifest_media_type: manifest_media_type.flatten(),
                    artifact_media_type: artifact_media_type.flatten(),
                })
            }
            _ => Err(EventError::Fields(problems)),
        }
    }
}

impl DeletionEvent {
    /// Reads what has the members of a push; `None` if one is missing or wrong.
    fn read(event: Fields<'_>, detail: Fields<'_>) -> Option<Self> {
        let PushEvent { id, time, repository, digest, tag, .. } =
            PushEvent::read(EventKind::Push, event, detail).ok()?;
        Some(Self { id, time, repository, digest, tag })
    }
}

/// ECR's grammar for repository names (Amazon ECR API reference, `CreateRepository`): words of
/// `[a-z0-9]+` joined by single `.`, `_` or `-`, then by `/`. Stricter than the OCI's.
fn repository_name(text: &str) -> Option<String> {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    text.split(['/', '.', '_', '-']).all(word).then(|| text.to_owned())
}

fn sha256(text: &str) -> Option<Digest> {
    from_str(text).filter(|digest: &Digest| digest.algorithm() == Algorithm::Sha256)
}

/// The outer `None` is for what is no tag, the inner one for no tag.
#[expect(clippy::option_option, reason = "no tag and a malformed tag are different answers")]
fn tag(text: &str) -> Option<Option<Tag>> {
    if text.is_empty() { Some(None) } else { from_str(text).map(Some) }
}

/// The outer `None` is for what is no media type, the inner one for the empty string.
#[expect(clippy::option_option, reason = "none and a malformed one are different answers")]
fn media_type(text: &str) -> Option<Option<String>> {
    let ok = text.len() <= MAX_MEDIA_TYPE && text.bytes().all(|c| matches!(c, b' '..=b'~'));
    ok.then(|| (!text.is_empty()).then(|| text.to_owned()))
}

#[cfg(test)]
mod tests;
