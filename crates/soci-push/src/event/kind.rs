//! The kinds of events that tell of an image which has come into a repository, and which of them are wanted.
//!
//! A push is one way into a repository, and ECR has two more that no client takes part in: it copies images from another
//! region or account, and it fetches from another registry what somebody pulls. Each has a type of its own and says in its
//! own words that it has succeeded:
//!
//! | `detail-type` | an image has come if | without a digest |
//! | --- | --- | --- |
//! | `ECR Image Action` | `action-type` is `PUSH` and `result` is `SUCCESS` | it is malformed |
//! | `ECR Replication Action` | `action-type` is `REPLICATE` or missing, and `result` is `SUCCESS` | it is malformed |
//! | `ECR Pull Through Cache Action` | `sync-status` is `SUCCESS` | it tells of no image |
//!
//! Sources: Amazon ECR user guide, "Amazon ECR events and EventBridge"; the schemas of EventBridge's registry
//! (`aws.ecr@ECRReplicationAction`, `aws.ecr@ECRPullThroughCacheAction`), in which the cache's events need no tag and no
//! digest. What else these have tells where an image comes from (`source-account`, `upstream-registry-url`), and is not
//! read: an image is worth an index where it is, wherever it was before.
//!
//! By default only pushes are wanted, as others cost something: a replica of an image that has a SOCI index gets that by
//! replication as well, and the cache tells of each attempt to bring a tag up to date.

use std::fmt;
use std::str::FromStr;

use soci_text::clip;

use super::fields::Listed;

/// `detail-type` of the events about pushed and deleted images.
pub const DETAIL_TYPE: &str = "ECR Image Action";

/// `detail.action-type` of a push.
pub const ACTION: &str = "PUSH";

/// `detail.action-type` of a deletion, of an image or of a tag of one.
pub const DELETION: &str = "DELETE";

/// `detail.result` of an action that was carried out.
pub const RESULT: &str = "SUCCESS";

/// How an image has come into its repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// Somebody pushed it.
    Push,
    /// ECR copied it from another region or account.
    Replication,
    /// ECR fetched it from another registry, as somebody pulled it.
    PullThroughCache,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Push, Self::Replication, Self::PullThroughCache];

    /// The `detail-type` of its events.
    pub const fn detail_type(self) -> &'static str {
        self.rules().detail_type
    }

    pub(super) fn of_detail_type(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.detail_type() == text)
    }

    pub(super) const fn rules(self) -> &'static KindRules {
        match self {
            Self::Push => &PUSH,
            Self::Replication => &REPLICATION,
            Self::PullThroughCache => &PULL_THROUGH_CACHE,
        }
    }
}

/// A row of the table above.
pub(super) struct KindRules {
    detail_type: &'static str,
    /// What `detail` says if an image has come.
    pub(super) successes: &'static [Success],
    /// Members of `detail` without which the event is malformed.
    pub(super) required: &'static [&'static str],
    /// Whether an event without a digest tells of no image, and is not malformed.
    pub(super) may_lack_digest: bool,
}

/// A member of `detail` that tells whether an image has come.
pub(super) struct Success {
    pub(super) member: &'static str,
    /// Its value if one has.
    pub(super) value: &'static str,
    /// What the event is with another.
    pub(super) otherwise: fn(String) -> Ignored,
}

const fn success(
    member: &'static str,
    value: &'static str,
    otherwise: fn(String) -> Ignored,
) -> Success {
    Success { member, value, otherwise }
}

const PUSH: KindRules = KindRules {
    detail_type: DETAIL_TYPE,
    successes: &[
        success("action-type", ACTION, Ignored::Action),
        success("result", RESULT, Ignored::Result),
    ],
    required: &["action-type", "result", "repository-name", "image-digest"],
    may_lack_digest: false,
};

const REPLICATION: KindRules = KindRules {
    detail_type: "ECR Replication Action",
    successes: &[
        success("action-type", "REPLICATE", Ignored::Replication),
        success("result", RESULT, Ignored::Result),
    ],
    required: &["result", "repository-name", "image-digest"],
    may_lack_digest: false,
};

const PULL_THROUGH_CACHE: KindRules = KindRules {
    detail_type: "ECR Pull Through Cache Action",
    successes: &[success("sync-status", RESULT, Ignored::Sync)],
    required: &["sync-status", "repository-name"],
    may_lack_digest: true,
};

/// An event that tells of no image that has come. Nothing is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ignored {
    /// Some other service sent it.
    #[error("the event comes from {0:?}, not from \"aws.ecr\"")]
    Source(String),
    /// It tells of something else, such as a scan, or of what is not wanted ([`EventTypes`]).
    #[error("the event is of type {0:?}, which is none of those that are wanted")]
    DetailType(String),
    /// It tells of something else done to an image, such as `DELETE`.
    #[error("the event's action is {0:?}, not \"PUSH\"")]
    Action(String),
    /// The push, or the replication, failed.
    #[error("the event's result is {0:?}, not \"SUCCESS\"")]
    Result(String),
    /// It tells of something else done by replication than that an image was copied.
    #[error("the event's action is {0:?}, not \"REPLICATE\"")]
    Replication(String),
    /// The pull-through cache did not get the image.
    #[error("the event's sync-status is {0:?}, not \"SUCCESS\"")]
    Sync(String),
    /// The pull-through cache tells of no image.
    #[error("the event names no image, as it has no image-digest")]
    NoImage,
}

/// Which kinds of events are wanted, at least one. Written as their types, with commas between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTypes(Vec<EventKind>);

impl EventTypes {
    /// Events of every kind.
    pub fn all() -> Self {
        Self(EventKind::ALL.to_vec())
    }

    /// Whether events of this kind are wanted.
    pub fn has(&self, kind: EventKind) -> bool {
        self.0.contains(&kind)
    }
}

impl Default for EventTypes {
    /// Pushes only.
    fn default() -> Self {
        Self(vec![EventKind::Push])
    }
}

/// Why a string is no list of types.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventTypesError {
    /// There is none.
    #[error("the list of event types is empty; by default it is \"ECR Image Action\"")]
    Empty,
    /// These are none; all are listed, cut short.
    #[error(
        "{} where one of these is expected: {}",
        Listed(.0),
        Listed(&EventKind::ALL.map(EventKind::detail_type))
    )]
    Unknown(Vec<String>),
}

impl FromStr for EventTypes {
    type Err = EventTypesError;

    /// Takes types separated by commas; blanks around them are dropped, and repetitions.
    fn from_str(list: &str) -> Result<Self, EventTypesError> {
        if list.trim().is_empty() {
            return Err(EventTypesError::Empty);
        }
        let (mut kinds, mut unknown) = (Vec::new(), Vec::new());
        for text in list.split(',').map(str::trim) {
            match EventKind::of_detail_type(text) {
                Some(kind) => kinds.push(kind),
                None => unknown.push(format!("{:?}", clip(text))),
            }
        }
        kinds.sort_unstable();
        kinds.dedup();
        if unknown.is_empty() { Ok(Self(kinds)) } else { Err(EventTypesError::Unknown(unknown)) }
    }
}

impl fmt::Display for EventTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, kind) in self.0.iter().enumerate() {
            let comma = if position > 0 { "," } else { "" };
            write!(f, "{comma}{}", kind.detail_type())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_types_in_any_order_and_number() {
        assert_eq!(EventTypes::default().to_string(), "ECR Image Action");
        let all = "ECR Image Action,ECR Replication Action,ECR Pull Through Cache Action";
        assert_eq!(all.parse(), Ok(EventTypes::all()));
        assert_eq!(EventTypes::all().to_string(), all);
        let some = "ECR Pull Through Cache Action , ECR Replication Action,ECR Replication Action";
        let some: EventTypes = some.parse().unwrap();
        let had = EventKind::ALL.map(|kind| some.has(kind));
        assert_eq!(had, [false, true, true]);
    }

    #[test]
    fn all_that_are_no_types_are_named_at_once() {
        for empty in ["", "  "] {
            assert_eq!(empty.parse::<EventTypes>(), Err(EventTypesError::Empty));
        }
        let error = "push,ECR Image Action,ecr image action,".parse::<EventTypes>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"push\"; \"ecr image action\"; \"\" where one of these is expected: ECR Image Action; ECR Replication \
             Action; ECR Pull Through Cache Action"
        );
        let long = "x".repeat(10_000).parse::<EventTypes>().unwrap_err();
        assert!(long.to_string().len() < 400);
    }
}
