//! A registry in this process, for tests: it keeps state as a real one does, logs every request,
//! and fails on demand.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use soci_registry::testing::{Effect, FakeRegistry, Fault, Kind};
//!
//! let fake = FakeRegistry::start().await;
//! let digest = fake.put_blob("team/app", b"content".to_vec());
//! // The first download breaks after three bytes.
//! fake.fault(Fault::on(Kind::BlobGet, Effect::DropAfter(3)));
//! let mut blob = fake.client().blob(&fake.repository("team/app"), &digest, 7);
//! while let Some(bytes) = blob.next().await? { /* ... */ }
//! assert_eq!(fake.requests_of(Kind::BlobGet)[1].range.as_deref(), Some("bytes=3-6"));
//! # Ok(())
//! # }
//! ```
//!
//! The server runs on the tokio runtime that started it and ends when the last clone of the
//! [`FakeRegistry`] is dropped.

mod access;
mod fault;
mod log;
mod respond;
mod server;
mod state;
mod store;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use soci_oci::{Digest, Repository, TagOrDigest};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

pub use fault::{Effect, Fault};
pub use log::{Kind, Logged};
use state::{Shared, State};

use crate::client::{Client, ClientBuilder};
use crate::policy::{RetryPolicy, Timeouts};

/// How the fake behaves. Change a running one with [`FakeRegistry::configure`].
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each names an independent trait of a server")]
pub struct FakeOptions {
    /// How clients prove who they are.
    pub auth: FakeAuth,
    /// Whether `/v2/<name>/referrers/<digest>` exists and `OCI-Subject` is sent.
    pub referrers_api: bool,
    /// Referrers per page; `None` for all on one.
    pub referrers_page: Option<usize>,
    /// Whether blobs are redirected to the storage, a second server that answers 400 to a
    /// request with `Authorization`, and 403 to a URL that has expired.
    pub redirect_blobs: bool,
    /// Requests that one storage URL serves before it expires; `None` for any number.
    pub url_uses: Option<usize>,
    /// Whether `Range` is honoured. If not, every blob request gets the whole blob with 200.
    pub ranges: bool,
    /// Whether a tag that exists refuses every further PUT, of the same bytes too.
    pub immutable_tags: bool,
    /// Whether a manifest is refused while a blob or manifest that it names is missing.
    pub check_references: bool,
    /// Whether `mount` and `from` are honoured.
    pub mounts: bool,
    /// Whether HEAD and GET of a manifest send `Docker-Content-Digest`.
    pub digest_header: bool,
    /// Whether upload locations are absolute URLs; relative ones otherwise.
    pub absolute_locations: bool,
    /// Whether uploads are sent to the storage's host and port instead of the registry's.
    pub uploads_elsewhere: bool,
}

impl Default for FakeOptions {
    /// An open registry with all features, like those of the OCI 1.1 generation.
    fn default() -> Self {
        Self {
            auth: FakeAuth::None,
            referrers_api: true,
            referrers_page: None,
            redirect_blobs: false,
            url_uses: None,
            ranges: true,
            immutable_tags: false,
            check_references: true,
            mounts: true,
            digest_header: true,
            absolute_locations: false,
            uploads_elsewhere: false,
        }
    }
}

/// How clients of the fake prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FakeAuth {
    /// Not at all.
    None,
    /// By user name and password at the registry itself.
    Basic {
        /// The user's name.
        username: String,
        /// The password.
        password: String,
    },
    /// By a token of the fake's endpoint `/token`, for the scopes it was asked for.
    Bearer {
        /// Who gets tokens.
        user: TokenUser,
        /// Lifetime of a token; sent in whole seconds, enforced exactly.
        lifetime: Duration,
    },
}

/// Who gets tokens of the fake's token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenUser {
    /// Everybody.
    Anyone,
    /// A user with this name and password.
    Basic {
        /// The user's name.
        username: String,
        /// The password.
        password: String,
    },
    /// The holder of this refresh token.
    IdentityToken(String),
}

/// A running fake. Clones are the same registry.
#[derive(Clone, Debug)]
pub struct FakeRegistry {
    running: Arc<Running>,
}

#[derive(Debug)]
struct Running {
    shared: Shared,
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
    /// If no port can be had.
    pub async fn start() -> Self {
        Self::with(FakeOptions::default()).await
    }

    /// Starts a fake with these options.
    ///
    /// # Panics
    /// If no port can be had.
    pub async fn with(options: FakeOptions) -> Self {
        let (registry, address) = listen().await;
        let (storage, storage_address) = listen().await;
        let shared = Shared::new(State::new(options, address, storage_address));
        let tasks = [
            server::spawn(registry, shared.clone(), false),
            server::spawn(storage, shared.clone(), true),
        ];
        Self { running: Arc::new(Running { shared, tasks }) }
    }

    /// Host and port, as references name the registry.
    pub fn host(&self) -> String {
        self.state(|state| state.address.to_string())
    }

    /// Host and port of the storage.
    pub fn storage_host(&self) -> String {
        self.state(|state| state.storage.to_string())
    }

    /// The repository `name` of this registry.
    ///
    /// # Panics
    /// If `name` is not a repository's name.
    pub fn repository(&self, name: &str) -> Repository {
        match Repository::new(&self.host(), name) {
            Ok(repository) => repository,
            Err(error) => panic!("{error}"),
        }
    }

    /// A client builder for this registry: plain http without proxies, retries a few milliseconds
    /// apart, a stall of a second is an error.
    pub fn client_builder(&self) -> ClientBuilder {
        let retry = RetryPolicy {
            base: Duration::from_millis(1),
            cap: Duration::from_millis(5),
            retry_after_cap: Duration::from_millis(20),
            ..RetryPolicy::default()
        };
        let second = Duration::from_secs(1);
        let timeouts = Timeouts { stall: second, ..Timeouts::default() };
        Client::builder().plain_http(true).proxies(false).retry(retry).timeouts(timeouts)
    }

    /// An anonymous client of this registry.
    ///
    /// # Panics
    /// If the client cannot be set up.
    pub fn client(&self) -> Client {
        match self.client_builder().build() {
            Ok(client) => client,
            Err(error) => panic!("{error}"),
        }
    }

    /// Changes options while the fake runs.
    pub fn configure(&self, change: impl FnOnce(&mut FakeOptions)) {
        self.state(|state| change(&mut state.options));
    }

    /// Adds a fault. Of several that match a request, the one added first acts.
    pub fn fault(&self, fault: Fault) {
        self.state(|state| state.faults.push(fault));
    }

    /// Whether faults are left that have not acted as often as they should.
    pub fn faults_left(&self) -> bool {
        self.state(|state| state.faults.iter().any(Fault::is_left))
    }

    /// Makes every token that was given out invalid.
    pub fn revoke_tokens(&self) {
        self.state(|state| state.tokens.clear());
    }

    /// Makes every storage URL that was given out invalid.
    pub fn expire_urls(&self) {
        self.state(|state| state.signatures.clear());
    }

    /// Stores a blob.
    pub fn put_blob(&self, name: &str, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::sha256_of(&bytes);
        self.state(|state| state.repository(name).blobs.insert(digest, bytes));
        digest
    }

    /// Stores a manifest, under a tag if one is given. What it names is not checked.
    pub fn put_manifest(
        &self,
        name: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::sha256_of(&bytes);
        self.state(|state| {
            let repository = state.repository(name);
            repository.manifests.insert(digest, (media_type.to_owned(), bytes));
            if let Some(tag) = tag {
                repository.tags.insert(tag.to_owned(), digest);
            }
        });
        digest
    }

    /// Removes a blob, as a garbage collection would.
    pub fn remove_blob(&self, name: &str, digest: &Digest) {
        self.state(|state| state.repository(name).blobs.remove(digest));
    }

    /// Removes a tag; what it names stays.
    pub fn remove_tag(&self, name: &str, tag: &str) {
        self.state(|state| state.repository(name).tags.remove(tag));
    }

    /// A stored blob.
    pub fn blob(&self, name: &str, digest: &Digest) -> Option<Bytes> {
        self.state(|state| state.repository(name).blobs.get(digest).cloned())
    }

    /// A stored manifest: its media type and bytes.
    pub fn manifest(&self, name: &str, target: &TagOrDigest) -> Option<(String, Bytes)> {
        self.state(|state| state.repository(name).manifest(target).map(|(_, stored)| stored))
    }

    /// The digests of all blobs of a repository, sorted.
    pub fn blobs(&self, name: &str) -> Vec<Digest> {
        self.state(|state| state.repository(name).blobs.keys().copied().collect())
    }

    /// The digests of all manifests of a repository, sorted.
    pub fn manifests(&self, name: &str) -> Vec<Digest> {
        self.state(|state| state.repository(name).manifests.keys().copied().collect())
    }

    /// The tags of a repository and what they name, sorted.
    pub fn tags(&self, name: &str) -> Vec<(String, Digest)> {
        let pair = |(tag, digest): (&String, &Digest)| (tag.clone(), *digest);
        self.state(|state| state.repository(name).tags.iter().map(pair).collect())
    }

    /// All requests so far, in the order in which their answers were begun.
    pub fn requests(&self) -> Vec<Logged> {
        self.state(|state| state.log.clone())
    }

    /// The requests of one kind.
    pub fn requests_of(&self, kind: Kind) -> Vec<Logged> {
        let mut requests = self.requests();
        requests.retain(|request| request.kind == kind);
        requests
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.state(|state| state.log.clear());
    }

    fn state<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.running.shared.lock())
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    match listener.and_then(|listener| listener.local_addr().map(|address| (listener, address))) {
        Ok(pair) => pair,
        Err(error) => panic!("no port on 127.0.0.1 can be had: {error}"),
    }
}
