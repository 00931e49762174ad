//! Deletes what is of no use: what lists others first, and nothing that something else still lists.

use std::collections::HashSet;
use std::future::Future;

use soci_oci::Digest;

use super::leftover::Leftover;
use crate::remote::RemoteRepository;

/// Deletes manifests of a repository.
pub trait Deleter {
    /// Deletes them; for each in their order whether it was there, or why it was not deleted.
    fn delete(
        &self,
        leftovers: &[&Leftover],
    ) -> impl Future<Output = Vec<Result<bool, NotDeleted>>>;
}

/// Why something was not deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotDeleted {
    /// Why, in words.
    pub reason: String,
    /// Whether no other one would be deleted either.
    pub hopeless: bool,
}

/// What became of leftovers.
#[derive(Debug, Default)]
pub struct Deleted {
    /// Those that were deleted, or were gone already.
    pub deleted: Vec<Leftover>,
    /// Those that were not, and why.
    pub failed: Vec<(Leftover, NotDeleted)>,
    /// Those that were left alone, as something that failed lists them, or as it was hopeless.
    pub left: Vec<Leftover>,
}

/// Deletes leftovers in their order.
pub async fn delete_leftovers<D: Deleter>(deleter: &D, leftovers: &[Leftover]) -> Deleted {
    let mut result = Deleted::default();
    let mut needed: HashSet<Digest> = HashSet::new();
    let mut hopeless = false;
    let of_one_kind = leftovers.chunk_by(|a, b| a.kind == b.kind);
    for group in of_one_kind {
        let (left, now): (Vec<_>, Vec<_>) =
            group.iter().partition(|leftover| hopeless || needed.contains(&leftover.digest));
        for leftover in left {
            needed.extend(&leftover.parts);
            result.left.push(leftover.clone());
        }
        if now.is_empty() {
            continue;
        }
        let mut outcomes = deleter.delete(&now).await.into_iter();
        for leftover in now {
            match outcomes.next() {
                Some(Ok(_)) => result.deleted.push(leftover.clone()),
                Some(Err(error)) => {
                    hopeless |= error.hopeless;
                    needed.extend(&leftover.parts);
                    result.failed.push((leftover.clone(), error));
                }
                None => {
                    needed.extend(&leftover.parts);
                    result.left.push(leftover.clone());
                }
            }
        }
    }
    result
}

/// Deletes by the registry's own protocol.
#[derive(Clone, Debug)]
pub struct RegistryDeleter(pub RemoteRepository);

impl Deleter for RegistryDeleter {
    async fn delete(&self, leftovers: &[&Leftover]) -> Vec<Result<bool, NotDeleted>> {
        let mut outcomes = Vec::with_capacity(leftovers.len());
        for leftover in leftovers {
            let deleted = self.0.delete_manifest(&leftover.digest).await;
            let outcome = deleted.map_err(|error| {
                let hopeless = error.is_unsupported();
                let reason = if hopeless {
                    format!("the registry deletes nothing: {error}")
                } else {
                    error.to_string()
                };
                NotDeleted { reason, hopeless }
            });
            let hopeless = outcome.as_ref().is_err_and(|error| error.hopeless);
            outcomes.push(outcome);
            if hopeless {
                break;
            }
        }
        outcomes
    }
}
