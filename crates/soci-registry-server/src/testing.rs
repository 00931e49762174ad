//! A registry in this process, for tests: the registry of this crate behind a layer that logs
//! requests, asks who is there, and misbehaves as real registries do.
//!
//! ```no_run
//! # async fn example() {
//! use soci_registry_server::testing::{Effect, FakeRegistry, RequestKind, Quirk};
//!
//! let fake = FakeRegistry::start().await;
//! let digest = fake.put_blob("team/app", b"content".to_vec());
//! // The first download breaks after three bytes.
//! fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::DropAfter(3)));
//! /* a client downloads the blob */
//! assert_eq!(fake.requests_of(RequestKind::BlobGet)[1].range.as_deref(), Some("bytes=3-6"));
//! # }
//! ```
//!
//! The server runs on the tokio runtime that started it and ends when the last clone of the
//! [`FakeRegistry`] is dropped.

mod access;
mod distort;
mod layer;
mod options;
mod quirk;
mod request;
mod state;
mod table;

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use bytes::Bytes;
use serde_json::Value;
use soci_oci::{Digest, Repository, TagOrDigest};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

pub use options::{FakeAuth, FakeOptions, TokenUser};
pub use quirk::{Condition, Effect, Quirk, When};
pub use request::{LoggedRequest, RequestKind};
pub use table::{habits, shows_at_storage};

use crate::catalogue::ManifestRecord;
use crate::context::Context;
use crate::listen::Limited;
use crate::route::Name;
use crate::settings::RegistryServerLimits;
use crate::store::Store;
use crate::upload_sessions::UploadSessions;
use request::Host;
use state::Fake;

/// An ordered quirk, as the fake that it was ordered of knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuirkOrder(usize);

/// A running fake. Clones are the same registry.
#[derive(Clone, Debug)]
pub struct FakeRegistry {
    running: Arc<Running>,
}

#[derive(Debug)]
struct Running {
    fake: Arc<Fake>,
    tasks: [AbortHandle; 2],
}

impl Drop for Running {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl FakeRegistry {
    /// Starts a fake with the default options on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// If no port or no temporary folder can be had.
    pub async fn start() -> Self {
        Self::with(FakeOptions::default()).await
    }

    /// Starts a fake with these options.
    ///
    /// # Panics
    /// If no port or no temporary folder can be had.
    pub async fn with(options: FakeOptions) -> Self {
        let (registry, address) = listen().await;
        let (storage, storage_address) = listen().await;
        let folder = done(tempfile::tempdir());
        let mut limits = RegistryServerLimits::default();
        limits.page = options.referrers_page.unwrap_or(limits.page);
        limits.connections = options.connections.unwrap_or(limits.connections);
        let context = Context {
            // Nothing of it outlives the process, so nothing needs to reach the disk.
            store: done(Store::open(folder.path(), false)),
            sessions: UploadSessions::default(),
            limits,
            check_references: options.check_references,
            // Nobody listens.
            pushes: mpsc::channel(1).0,
        };
        let (addresses, habits) = ([address, storage_address], options.rows());
        let fake = Arc::new(Fake::new(context, options.auth, habits, addresses, folder));
        let tasks = [
            serve(registry, Arc::clone(&fake), Host::Registry),
            serve(storage, Arc::clone(&fake), Host::Storage),
        ];
        Self { running: Arc::new(Running { fake, tasks }) }
    }

    /// Host and port, as references name the registry.
    pub fn host(&self) -> String {
        self.fake().address.to_string()
    }

    /// The repository `name` of this registry.
    ///
    /// # Panics
    /// If `name` is not a repository's name.
    pub fn repository(&self, name: &str) -> Repository {
        done(Repository::new(&self.host(), name))
    }

    /// Orders a quirk. Of several ordered ones that hit a request, the one ordered first acts.
    pub fn quirk(&self, quirk: Quirk) -> QuirkOrder {
        let mut state = self.fake().state();
        state.ordered.push((quirk, 0));
        QuirkOrder(state.ordered.len() - 1)
    }

    /// How often an ordered quirk has acted.
    pub fn acted(&self, order: QuirkOrder) -> usize {
        self.fake().state().ordered.get(order.0).map_or(0, |(_, acted)| *acted)
    }

    /// Ends an ordered quirk, however often it was to act.
    pub fn lift(&self, order: QuirkOrder) {
        if let Some((quirk, _)) = self.fake().state().ordered.get_mut(order.0) {
            quirk.when.times = 0;
        }
    }

    /// Gives the registry a habit: the rows of this name in the table of quirks.
    ///
    /// # Panics
    /// If the table has none of this name.
    pub fn behave(&self, name: &str) {
        self.fake().state().habits.extend(table::named(name));
    }

    /// Whether a request has met this habit.
    pub fn has_shown(&self, habit: &str) -> bool {
        self.fake().state().shown.contains(habit)
    }

    /// Whether ordered quirks are left that have not acted as often as they should.
    pub fn quirks_left(&self) -> bool {
        self.fake().state().ordered.iter().any(|(quirk, _)| quirk.is_left())
    }

    /// Makes every token that was given out invalid.
    pub fn revoke_tokens(&self) {
        self.fake().state().tokens.clear();
    }

    /// Stores a blob.
    ///
    /// # Panics
    /// If `name` is not a repository's name, or the disk fails.
    pub fn put_blob(&self, name: &str, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::sha256_of(&bytes);
        let store = &self.fake().context.store;
        let mut incoming = done(store.receive());
        done(incoming.append(&bytes));
        match store.commit(&parsed(name), incoming, digest) {
            Ok(()) => digest,
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Stores a manifest, under a tag if one is given. Neither it nor what it names is checked.
    ///
    /// # Panics
    /// If `name` or `tag` is none, or the disk fails.
    pub fn put_manifest(
        &self,
        name: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::sha256_of(&bytes);
        let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let subject = document["subject"]["digest"].as_str().and_then(|digest| digest.parse().ok());
        let record = ManifestRecord { media_type: media_type.to_owned(), subject };
        let tag = tag.map(|tag| done(tag.parse()));
        let store = &self.fake().context.store;
        done(store.put_manifest(&parsed(name), digest, record, &bytes, tag.as_ref()));
        digest
    }

    /// Removes a blob from a repository, as a garbage collection would.
    pub fn remove_blob(&self, name: &str, digest: &Digest) {
        self.fake().context.store.catalogue().content(&parsed(name)).blobs.remove(digest);
    }

    /// Removes a tag; what it names stays.
    pub fn remove_tag(&self, name: &str, tag: &str) {
        self.fake().context.store.catalogue().content(&parsed(name)).tags.remove(tag);
    }

    /// Removes a manifest, and the tags that name it.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn remove_manifest(&self, name: &str, digest: &Digest) {
        let target = TagOrDigest::Digest(*digest);
        done(self.fake().context.store.remove_manifest(&parsed(name), &target));
    }

    /// A stored blob.
    pub fn blob(&self, name: &str, digest: &Digest) -> Option<Bytes> {
        let store = &self.fake().context.store;
        let there = store.catalogue().has_blob(&parsed(name), digest);
        there.then(|| done(store.read(digest)).into())
    }

    /// A stored manifest: its media type and bytes.
    pub fn manifest(&self, name: &str, target: &TagOrDigest) -> Option<(String, Bytes)> {
        let store = &self.fake().context.store;
        let found = store
            .catalogue()
            .manifest(&parsed(name), target)
            .map(|(digest, record)| (digest, record.media_type.clone()));
        found.map(|(digest, media_type)| (media_type, done(store.read(&digest)).into()))
    }

    /// The digests of all blobs of a repository, sorted.
    pub fn blobs(&self, name: &str) -> Vec<Digest> {
        let mut catalogue = self.fake().context.store.catalogue();
        let mut digests: Vec<Digest> =
            catalogue.content(&parsed(name)).blobs.iter().copied().collect();
        digests.sort();
        digests
    }

    /// The digests of all manifests of a repository, sorted.
    pub fn manifests(&self, name: &str) -> Vec<Digest> {
        let mut catalogue = self.fake().context.store.catalogue();
        let mut digests: Vec<Digest> =
            catalogue.content(&parsed(name)).manifests.keys().copied().collect();
        digests.sort();
        digests
    }

    /// The tags of a repository and what they name, sorted.
    pub fn tags(&self, name: &str) -> Vec<(String, Digest)> {
        let mut catalogue = self.fake().context.store.catalogue();
        let tags = catalogue.content(&parsed(name)).tags.iter();
        tags.map(|(tag, digest)| (tag.clone(), *digest)).collect()
    }

    /// All requests so far, in the order in which their answers were begun.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.fake().state().log.clone()
    }

    /// The requests of one kind.
    pub fn requests_of(&self, kind: RequestKind) -> Vec<LoggedRequest> {
        let mut requests = self.requests();
        requests.retain(|request| request.kind == kind);
        requests
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.fake().state().log.clear();
    }

    fn fake(&self) -> &Fake {
        &self.running.fake
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = done(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await);
    let address = done(listener.local_addr());
    (listener, address)
}

fn serve(listener: TcpListener, fake: Arc<Fake>, host: Host) -> AbortHandle {
    let connections = fake.context.limits.connections;
    let answer = async move |request: Request| layer::answer(fake, request, host).await;
    let router = Router::new().fallback(answer);
    let server = async move {
        // Ends when the task is aborted.
        let _ = axum::serve(Limited::new(listener, connections), router).await;
    };
    tokio::spawn(server).abort_handle()
}

fn parsed(name: &str) -> Name {
    Name::parse(name).unwrap_or_else(|| panic!("{name:?} is no repository's name"))
}

/// What a test cannot go on without.
fn done<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}
