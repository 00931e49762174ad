//! Which letters are meant.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use soci_oci::Digest;
use soci_push::filter::TagFilterError;
use soci_push::{JobMessage, TagFilter};

use super::letter::Letter;

/// Letters that have all of these properties; all letters if there is none.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// One of these identifiers, here or on the queue they come from; any if empty.
    pub ids: Vec<String>,
    /// An image that one of these names; any if empty.
    pub images: Vec<ImagePattern>,
    /// One of these reasons; any if empty.
    pub reasons: Vec<String>,
    /// Failed longer ago than this.
    pub older_than: Option<Duration>,
    /// Failed at most so long ago.
    pub newer_than: Option<Duration>,
}

impl Selection {
    /// Whether every letter is meant.
    pub fn is_everything(&self) -> bool {
        let Self { ids, images, reasons, older_than, newer_than } = self;
        ids.is_empty()
            && images.is_empty()
            && reasons.is_empty()
            && older_than.is_none()
            && newer_than.is_none()
    }

    /// Whether a letter is meant.
    pub fn matches(&self, letter: &Letter, now: SystemTime) -> bool {
        let age = letter.age(now);
        let any_id = |id: &String| *id == letter.id || *id == letter.failed_id;
        let any_image =
            |image: &ImagePattern| letter.job.as_ref().is_some_and(|job| image.matches(job));
        (self.ids.is_empty() || self.ids.iter().any(any_id))
            && (self.images.is_empty() || self.images.iter().any(any_image))
            && (self.reasons.is_empty() || self.reasons.contains(&letter.reason))
            && self.older_than.is_none_or(|least| age > least)
            && self.newer_than.is_none_or(|most| age <= most)
    }
}

/// Images as people name them: `app`, `team/*:1.*`, `registry.example/team/app:1`, or the digest alone.
#[derive(Clone, Debug)]
pub enum ImagePattern {
    /// The image with this digest, under any name.
    Digest(Digest),
    /// Images of a registry, or of any, whose repository and tag match.
    Named {
        /// The registry's host and port; any if `None`.
        registry: Option<String>,
        /// Repository and tag, with `*` for anything.
        filter: TagFilter,
    },
}

/// Why a text names no image.
#[derive(Debug, thiserror::Error)]
#[error("{0}; an image is named as REPO, REPO:TAG or sha256:..., where * stands for anything")]
pub struct ImagePatternError(#[from] TagFilterError);

impl ImagePattern {
    fn matches(&self, job: &JobMessage) -> bool {
        match self {
            Self::Digest(digest) => job.digest == *digest,
            Self::Named { registry, filter } => {
                registry.as_deref().is_none_or(|host| host == job.repository.registry())
                    && filter.matches(job.repository.name(), job.tag.as_ref())
            }
        }
    }
}

impl FromStr for ImagePattern {
    type Err = ImagePatternError;

    fn from_str(text: &str) -> Result<Self, ImagePatternError> {
        let text = text.trim();
        // What is copied from a page or a log may have the digest behind the name.
        let digest = text.rsplit_once('@').map_or(text, |(_, digest)| digest);
        if let Ok(digest) = digest.parse() {
            return Ok(Self::Digest(digest));
        }
        let host = |first: &&str| first.contains(['.', ':']) || *first == "localhost";
        let first = text.split_once('/').filter(|(first, _)| host(first));
        let (registry, rest) =
            first.map_or((None, text), |(host, rest)| (Some(host.to_owned()), rest));
        let any_tag = if rest.contains(':') { "" } else { ":*" };
        Ok(Self::Named { registry, filter: format!("{rest}{any_tag}").parse()? })
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(f),
            Self::Named { registry: Some(registry), filter } => write!(f, "{registry}/{filter}"),
            Self::Named { registry: None, filter } => filter.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use soci_queue::failure;

    use super::super::letter::tests::{body, message};
    use super::*;

    async fn letter(name: &str, tag: Option<&str>, reason: &str) -> Letter {
        Letter::of(&message(&body(name, tag), &[(failure::REASON, reason)]).await)
    }

    #[tokio::test]
    async fn images_are_named_as_people_write_them() {
        let tagged = letter("team/app", Some("1.2"), "x").await;
        let bare = letter("team/app", None, "x").await;
        let digest = Digest::sha256_of(b"team/app");
        let with_digest = format!("registry.example/team/app:1.2@{digest}");
        let both =
            ["team/app", "team/*", "registry.example/team/app", &digest.to_string(), &with_digest];
        let tagged_only = ["team/app:1.*", "registry.example/team/app:1.2", "*:1.2"];
        let neither = ["app", "team/app2", "other.example/team/app", "team/app:2"];
        for (patterns, wanted) in
            [(&both[..], (true, true)), (&tagged_only, (true, false)), (&neither, (false, false))]
        {
            for pattern in patterns {
                let images = vec![pattern.parse().unwrap()];
                let selection = Selection { images, ..Selection::default() };
                let now = SystemTime::now();
                let found = (selection.matches(&tagged, now), selection.matches(&bare, now));
                assert_eq!(found, wanted, "{pattern}");
            }
        }
        for wrong in ["", "Team/App", "team/app:a:b", "registry.example/"] {
            assert!(wrong.parse::<ImagePattern>().is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn all_that_is_asked_for_has_to_hold() {
        let letter = letter("app", Some("1"), "tag-immutable").await;
        let now = letter.failed_at + Duration::from_hours(3);
        let asked = |change: fn(&mut Selection)| {
            let mut selection = Selection::default();
            change(&mut selection);
            selection.matches(&letter, now)
        };
        assert!(asked(|_| {}));
        assert!(asked(|s| s.reasons = vec!["no".into(), "tag-immutable".into()]));
        assert!(asked(|s| s.older_than = Some(Duration::from_hours(2))));
        assert!(asked(|s| s.newer_than = Some(Duration::from_hours(3))));
        assert!(!asked(|s| s.older_than = Some(Duration::from_hours(3))));
        assert!(!asked(|s| s.newer_than = Some(Duration::from_hours(2))));
        assert!(!asked(|s| s.ids = vec!["other".into()]));
        assert!(!asked(|s| {
            s.reasons = vec!["tag-immutable".into()];
            s.images = vec!["app:2".parse().unwrap()];
        }));
        let ids = vec![letter.failed_id.clone()];
        assert!(Selection { ids, ..Selection::default() }.matches(&letter, now));
        assert!(Selection::default().is_everything());
    }
}
