//! What the fake remembers.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use soci_oci::{Digest, TagOrDigest};
use tokio::time::Instant;

use super::FakeOptions;
use super::fault::Fault;
use super::log::Logged;

/// The state behind its lock.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<State>>);

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) options: FakeOptions,
    pub(super) address: SocketAddr,
    pub(super) storage: SocketAddr,
    pub(super) faults: Vec<Fault>,
    pub(super) log: Vec<Logged>,
    repositories: BTreeMap<String, Content>,
    /// Repositories by upload.
    pub(super) uploads: HashMap<String, String>,
    /// Scopes and ends by token.
    pub(super) tokens: HashMap<String, (String, Instant)>,
    /// Uses left by signature.
    pub(super) signatures: HashMap<String, Option<usize>>,
    counter: u64,
}

/// A repository.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) blobs: BTreeMap<Digest, Bytes>,
    pub(super) manifests: BTreeMap<Digest, (String, Bytes)>,
    pub(super) tags: BTreeMap<String, Digest>,
}

impl Content {
    pub(super) fn manifest(&self, target: &TagOrDigest) -> Option<(Digest, (String, Bytes))> {
        let digest = match target {
            TagOrDigest::Tag(tag) => *self.tags.get(tag.as_str())?,
            TagOrDigest::Digest(digest) => *digest,
        };
        Some((digest, self.manifests.get(&digest)?.clone()))
    }
}

impl State {
    pub(super) fn new(options: FakeOptions, address: SocketAddr, storage: SocketAddr) -> Self {
        Self {
            options,
            address,
            storage,
            faults: Vec::new(),
            log: Vec::new(),
            repositories: BTreeMap::new(),
            uploads: HashMap::new(),
            tokens: HashMap::new(),
            signatures: HashMap::new(),
            counter: 0,
        }
    }

    pub(super) fn repository(&mut self, name: &str) -> &mut Content {
        self.repositories.entry(name.to_owned()).or_default()
    }

    /// A name that was not given before.
    pub(super) fn fresh(&mut self, prefix: &str) -> String {
        self.counter += 1;
        format!("{prefix}{}", self.counter)
    }

    /// A blob in any repository, as the storage finds it.
    pub(super) fn stored(&self, digest: &Digest) -> Option<Bytes> {
        self.repositories.values().find_map(|content| content.blobs.get(digest).cloned())
    }
}
