//! What a request is for, read from its path and query.
//!
//! Source: OCI distribution specification 1.1, "Endpoints", and docker's `_catalog`.

use std::fmt;

use soci_oci::{Digest, Repository, TagOrDigest};

use crate::reply::{ApiError, Code};

/// The name of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name(String);

impl Name {
    /// The name, if it is one by the OCI's grammar: at most 255 characters, of which each component
    /// begins with a lower-case letter or a digit. So every name is also a path below a folder.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // The registry's grammar needs a host to go with it, whose value does not matter.
        Repository::new("localhost", text).ok().map(|_| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/`
    Root,
    /// `/v2/`
    Version,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags(Name),
    /// `/v2/<name>/manifests/<reference>`
    Manifest(Name, TagOrDigest),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(Name, Digest),
    /// `/v2/<name>/blobs/<digest>`
    Blob(Name, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(Name),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(Name, String),
}

impl Route {
    /// Reads a path. The end of it decides, as names may hold the words that paths are made of.
    pub(crate) fn parse(path: &str) -> Result<Self, ApiError> {
        if path == "/" {
            return Ok(Self::Root);
        }
        let unknown = || ApiError::new(Code::NotFound, "there is nothing at this path");
        let rest = path.strip_prefix("/v2").ok_or_else(unknown)?;
        let parts: Vec<&str> = match rest {
            "" | "/" => return Ok(Self::Version),
            "/_catalog" => return Ok(Self::Catalog),
            rest => rest.strip_prefix('/').ok_or_else(unknown)?.split('/').collect(),
        };
        match parts.as_slice() {
            [name @ .., "tags", "list"] => Ok(Self::Tags(parse_name(name)?)),
            [name @ .., "manifests", target] => {
                Ok(Self::Manifest(parse_name(name)?, parse_target(target)?))
            }
            [name @ .., "referrers", digest] => {
                Ok(Self::Referrers(parse_name(name)?, parse_digest(digest)?))
            }
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
                Ok(Self::Uploads(parse_name(name)?))
            }
            [name @ .., "blobs", "uploads", id] => {
                Ok(Self::Upload(parse_name(name)?, (*id).to_owned()))
            }
            [name @ .., "blobs", digest] => {
                Ok(Self::Blob(parse_name(name)?, parse_digest(digest)?))
            }
            _ => Err(unknown()),
        }
    }
}

/// A digest of a path or query.
pub(crate) fn parse_digest(text: &str) -> Result<Digest, ApiError> {
    text.parse().map_err(|error| ApiError::new(Code::DigestInvalid, error))
}

/// The value of a parameter of a query, decoded.
pub(crate) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn parse_name(parts: &[&str]) -> Result<Name, ApiError> {
    let text = parts.join("/");
    Name::parse(&text)
        .ok_or_else(|| ApiError::new(Code::NameInvalid, "the path has no repository name"))
}

fn parse_target(text: &str) -> Result<TagOrDigest, ApiError> {
    if text.contains(':') {
        return parse_digest(text).map(TagOrDigest::Digest);
    }
    text.parse().map(TagOrDigest::Tag).map_err(|error| ApiError::new(Code::TagInvalid, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn paths_are_read_from_their_end() {
        let digest = Digest::sha256_of(b"");
        for (path, route) in [
            ("/v2/".to_owned(), Route::Version),
            ("/v2".to_owned(), Route::Version),
            ("/v2/_catalog".to_owned(), Route::Catalog),
            ("/v2/a/b/tags/list".to_owned(), Route::Tags(name("a/b"))),
            (
                "/v2/a/blobs/b/manifests/1.0".to_owned(),
                Route::Manifest(name("a/blobs/b"), TagOrDigest::Tag("1.0".parse().unwrap())),
            ),
            (
                format!("/v2/a/manifests/{digest}"),
                Route::Manifest(name("a"), TagOrDigest::Digest(digest)),
            ),
            (format!("/v2/a/referrers/{digest}"), Route::Referrers(name("a"), digest)),
            (format!("/v2/a/blobs/{digest}"), Route::Blob(name("a"), digest)),
            ("/v2/a/blobs/uploads/".to_owned(), Route::Uploads(name("a"))),
            ("/v2/a/blobs/uploads/12".to_owned(), Route::Upload(name("a"), "12".to_owned())),
        ] {
            assert_eq!(Route::parse(&path).unwrap(), route, "{path}");
        }
    }

    #[test]
    fn names_that_would_leave_the_folder_are_refused() {
        for path in [
            "/v2/../tags/list",
            "/v2/a/../../b/tags/list",
            "/v2//tags/list",
            "/v2/a//b/tags/list",
            "/v2/a\\b/tags/list",
            "/v2/%2e%2e/tags/list",
            "/v2/A/tags/list",
            "/v2/_tags/tags/list",
            "/v2/tags/list",
        ] {
            let error = Route::parse(path).unwrap_err();
            assert_eq!(error.code, Code::NameInvalid, "{path}");
        }
    }

    #[test]
    fn tags_and_digests_are_parsed() {
        for (path, code) in [
            ("/v2/a/manifests/-", Code::TagInvalid),
            ("/v2/a/manifests/..", Code::TagInvalid),
            ("/v2/a/manifests/sha256:00", Code::DigestInvalid),
            ("/v2/a/blobs/..", Code::DigestInvalid),
            ("/v2/a/referrers/x", Code::DigestInvalid),
            ("/v2/a/nothing", Code::NotFound),
            ("/v1/a", Code::NotFound),
            ("/v2x/a/tags/list", Code::NotFound),
        ] {
            assert_eq!(Route::parse(path).unwrap_err().code, code, "{path}");
        }
    }

    #[test]
    fn parameters_are_decoded() {
        let query = Some("digest=sha256%3A00&from=a%2Fb&from=c");
        assert_eq!(parameter(query, "digest").as_deref(), Some("sha256:00"));
        assert_eq!(parameter(query, "from").as_deref(), Some("a/b"));
        assert_eq!(parameter(query, "mount"), None);
        assert_eq!(parameter(None, "mount"), None);
    }
}
