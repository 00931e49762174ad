//! What some registries know and do by an API of their own, beside the distribution protocol.
//!
//! The protocol does not tell which tags a manifest has, nor does every registry delete by it: ECR does neither. Whoever
//! calls such an API implements [`OwnApi`], so that what needs it knows of no cloud.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use soci_oci::{Digest, Repository, Tag};

/// What the functions of [`OwnApi`] give.
pub type OwnApiFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, OwnApiError>> + Send + 'a>>;

/// A registry's own API.
pub trait OwnApi: fmt::Debug + Send + Sync {
    /// Manifests with all of their tags, at most 100. Those that are not there are left out.
    fn tags_of<'a>(
        &'a self,
        repository: &'a Repository,
        digests: &'a [Digest],
    ) -> OwnApiFuture<'a, Vec<(Digest, Vec<Tag>)>>;

    /// Deletes manifests: one with tags by each of these, as long as they name it, and one without by its digest. What is
    /// not there any more counts as deleted. What is refused comes back with the registry's code; what an image index in
    /// the repository lists has to be among that.
    fn delete<'a>(
        &'a self,
        repository: &'a Repository,
        images: &'a [(Digest, Vec<Tag>)],
    ) -> OwnApiFuture<'a, Vec<(Digest, String)>>;
}

/// A registry's own API did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct OwnApiError {
    /// What it did not do, in words.
    pub what: String,
    /// Whether the same call may succeed later with nobody changing anything. If not, the call is not allowed, or cannot
    /// be made.
    pub transient: bool,
    /// What happened.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}
