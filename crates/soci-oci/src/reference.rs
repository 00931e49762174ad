//! Image references as docker writes them: `[registry/]repository[:tag][@digest]`.
//!
//! Source: the grammar of the `distribution/reference` library and the OCI distribution
//! specification 1.1, "Pulling manifests" (`<name>` and `<reference>`).

use std::fmt;
use std::str::FromStr;

use soci_text::clip;

use crate::digest::{Digest, DigestError};

/// The registry that a reference without one means.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// The tag that a reference with neither tag nor digest means.
pub const DEFAULT_TAG: &str = "latest";

/// Longest repository name in characters, `distribution/reference`.
const MAX_REPOSITORY: usize = 255;

/// Longest tag in characters, OCI distribution specification.
const MAX_TAG: usize = 128;

/// Why a string is not an image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("the image reference is empty")]
    Empty,
    /// The host part is not a host name or address with an optional port.
    #[error("{0:?} is not a registry host")]
    Registry(String),
    /// The repository breaks the grammar: lower case, digits, and single separators.
    #[error(
        "{0:?} is not a repository name (lower-case letters, digits, and '.', '_', '-' or '/' between them)"
    )]
    Repository(String),
    /// The tag breaks the grammar.
    #[error(
        "{0:?} is not a tag (up to 128 letters, digits, '_', '.', '-', the first a letter, digit or '_')"
    )]
    Tag(String),
    /// The part behind `@` is not a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

/// A tag, `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// The tag's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        let bytes = text.as_bytes();
        let ok = bytes.first().is_some_and(|&c| word(c))
            && bytes.len() <= MAX_TAG
            && bytes.iter().all(|&c| word(c) || c == b'.' || c == b'-');
        if ok { Ok(Self(text.to_owned())) } else { Err(ReferenceError::Tag(clip(text))) }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What stands behind `/manifests/` in a request: a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TagOrDigest {
    /// A movable name.
    Tag(Tag),
    /// Fixed content.
    Digest(Digest),
}

impl fmt::Display for TagOrDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl From<Tag> for TagOrDigest {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

impl From<Digest> for TagOrDigest {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

/// A repository in a registry, with docker's defaults applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    registry: String,
    name: String,
}

impl Repository {
    /// A repository `name` at `registry` (host with an optional port), both checked.
    pub fn new(registry: &str, name: &str) -> Result<Self, ReferenceError> {
        if !is_host(registry) {
            return Err(ReferenceError::Registry(clip(registry)));
        }
        if !is_repository(name) {
            return Err(ReferenceError::Repository(clip(name)));
        }
        Ok(Self { registry: registry.to_owned(), name: name.to_owned() })
    }

    /// The registry as the user names it, for example `docker.io` or `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The host and port that serve the registry's API: Docker Hub's differs from its name.
    pub fn api_host(&self) -> &str {
        if self.registry == DEFAULT_REGISTRY { "registry-1.docker.io" } else { &self.registry }
    }

    /// The repository of the same name in the registry that `other` is in.
    #[must_use]
    pub fn in_registry_of(&self, other: &Self) -> Self {
        Self { registry: other.registry.clone(), name: self.name.clone() }
    }

    /// The repository's name in the registry, for example `library/debian`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.name)
    }
}

/// A parsed image reference. With a digest, the digest decides what is read; the tag, if given
/// as well, stays the name that derived tags are made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Where the image is.
    pub repository: Repository,
    /// The tag; `latest` if the text had neither tag nor digest.
    pub tag: Option<Tag>,
    /// The digest behind `@`.
    pub digest: Option<Digest>,
}

impl Reference {
    /// What to ask the registry for: the digest if there is one, else the tag.
    pub fn target(&self) -> TagOrDigest {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => TagOrDigest::Digest(*digest),
            (None, Some(tag)) => TagOrDigest::Tag(tag.clone()),
            (None, None) => TagOrDigest::Tag(Tag(DEFAULT_TAG.to_owned())),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // The host first: its port has a colon as a tag has one.
        let (host, path) = split_host(rest);
        let (path, tag) = match path.split_once(':') {
            Some((path, tag)) => (path, Some(tag.parse()?)),
            None => (path, None),
        };
        let tag = if tag.is_none() && digest.is_none() { Some(DEFAULT_TAG.parse()?) } else { tag };
        let registry = match host {
            None | Some("index.docker.io") => DEFAULT_REGISTRY,
            Some(host) => host,
        };
        // Docker Hub keeps its official images under a name that nobody writes.
        let official = registry == DEFAULT_REGISTRY && !path.contains('/');
        let repository = if official {
            Repository::new(registry, &format!("library/{path}"))?
        } else {
            Repository::new(registry, path)?
        };
        Ok(Self { repository, tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The first component is a host if it could not be a repository: it has a dot, a colon or an
/// upper-case letter, or it is `localhost`.
fn split_host(text: &str) -> (Option<&str>, &str) {
    match text.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.bytes().any(|c| c.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, text),
    }
}

fn is_host(text: &str) -> bool {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else { return false };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        match (rest.is_empty(), rest.strip_prefix(':')) {
            (true, _) => return true,
            (false, Some(port)) => return is_port(port),
            (false, None) => return false,
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let label = |label: &str| {
        let bytes = label.as_bytes();
        !bytes.is_empty()
            && bytes.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-')
            && bytes.first() != Some(&b'-')
            && bytes.last() != Some(&b'-')
    };
    host.len() <= 253 && host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Components of `[a-z0-9]+` joined by `.`, `_`, `__` or any number of `-`, then by `/`.
fn is_repository(text: &str) -> bool {
    text.len() <= MAX_REPOSITORY && text.split('/').all(is_component)
}

fn is_component(text: &str) -> bool {
    let alphanumeric = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    alphanumeric(first)
        && alphanumeric(last)
        && bytes
            .split(alphanumeric)
            .filter(|separator| !separator.is_empty())
            .all(|s| matches!(s, b"." | b"_" | b"__") || s.iter().all(|c| *c == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> String {
        text.parse::<Reference>().map_or_else(|error| format!("error: {error}"), |r| r.to_string())
    }

    #[test]
    fn defaults_are_dockers() {
        assert_eq!(full("debian"), "docker.io/library/debian:latest");
        assert_eq!(full("debian:12"), "docker.io/library/debian:12");
        assert_eq!(full("index.docker.io/debian"), "docker.io/library/debian:latest");
        assert_eq!(full("team/app"), "docker.io/team/app:latest");
        assert_eq!(full("localhost/app"), "localhost/app:latest");
        assert_eq!(full("localhost:5000/a/b:T-1"), "localhost:5000/a/b:T-1");
        assert_eq!(full("[::1]:5000/a"), "[::1]:5000/a:latest");
        assert_eq!(full("HOST/a"), "HOST/a:latest");
        let hub: Reference = "debian".parse().unwrap();
        assert_eq!(hub.repository.api_host(), "registry-1.docker.io");
    }

    #[test]
    fn a_repository_keeps_its_name_in_another_registry() {
        let here = Repository::new("r.example", "team/app").unwrap();
        let there = Repository::new("127.0.0.1:5000", "x").unwrap();
        assert_eq!(here.in_registry_of(&there).to_string(), "127.0.0.1:5000/team/app");
    }

    #[test]
    fn a_digest_decides_and_the_tag_stays() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let both: Reference = format!("r.example/app:1@{digest}").parse().unwrap();
        assert_eq!(both.target().to_string(), digest);
        assert_eq!(both.tag.unwrap().as_str(), "1");
        let only: Reference = format!("r.example/app@{digest}").parse().unwrap();
        assert_eq!(only.tag, None);
    }

    #[test]
    fn separators_follow_the_grammar() {
        for good in ["a.b", "a_b", "a__b", "a---b", "a/b.c/d-e", "0/1"] {
            assert!(is_repository(good), "{good}");
        }
        for bad in ["", "a..b", "a___b", "a._b", "-a", "a-", "a//b", "/a", "a/", "A", "a b", "ä"] {
            assert!(!is_repository(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(full("").contains("empty"));
        assert!(full("r.example/App").contains("not a repository name"));
        assert!(full("r.example/app:-x").contains("not a tag"));
        assert!(full(&format!("app:{}", "x".repeat(129))).contains("not a tag"));
        assert!(full("app@sha256:zz").contains("malformed hash"));
        assert!(full("r..example/app").contains("not a registry host"));
        assert!(full("r.example:99999/app").contains("not a registry host"));
    }
}
