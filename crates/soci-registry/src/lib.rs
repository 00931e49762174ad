//! An OCI distribution client: manifests, blobs, uploads and referrers of any registry that
//! follows the OCI distribution specification 1.1 or docker's HTTP API V2.
//!
//! The client streams. A large blob is fetched by several ranged requests at once, handed out in
//! order within a memory window of its own ([`Transfer`]) or one that it shares with others
//! ([`MemoryPool`]), and verified against its digest. Requests that fail in passing are repeated, blob
//! downloads at the byte reached ([`RetryPolicy`]). Every body that is held in memory has a size
//! limit.
//!
//! Invariants:
//! - `Authorization` goes to the registry's own scheme, host and port and to the token endpoint
//!   that the registry names (or https on the same host, if that one leads there), nowhere else.
//! - [`BlobReader::next`] returns `None` only after size and digest of all bytes were verified.
//! - Bytes buffered by a [`BlobReader`] never exceed [`Transfer::window`], and neither does the
//!   memory that is allocated for them. On top come the read buffer of each connection (up to
//!   400 KiB, and a slice of one on its way) and what the caller keeps.
//! - Where a server leads to is looked at before it is asked (`reach`): a redirect, a token endpoint,
//!   the place of an upload.
//! - A client certificate is shown to the registry that it is for, nowhere else.
//! - URLs in errors and logs carry neither query strings nor user information.

mod algorithms;
mod auth;
mod blob;
mod cause;
mod certificate;
mod client;
mod clients;
mod connection_error;
mod error;
mod exchange;
mod immutable_tag;
mod lacking;
mod loopback;
mod memory;
mod observer;
mod own_api;
mod pace;
mod policy;
mod proxy;
mod put_limit;
mod reach;
mod redact;
mod redirect;
mod registry_table;
mod resolve;
mod retry;
mod setup;
mod source;
mod status;
mod streamed;
mod tls;
mod transport;
mod upload_habits;
mod verdict;

pub use algorithms::install_tls_provider;
pub use auth::auth_files::AuthFiles;
pub use auth::credentials::{
    Anonymous, CredentialChain, CredentialProvider, Credentials, CredentialsError,
    CredentialsFuture, Granted, StaticCredentials,
};
pub use auth::docker_config::DockerConfig;
pub use blob::{BlobReader, MAX_PIECE};
pub use client::manifest::{ManifestHead, PutManifest, TagNames, VerifiedManifest};
pub use client::push::PushedBlob;
pub use client::referrers::{Referrers, ReferrersSource};
pub use client::tags::TagList;
pub use client::{Client, ClientBuilder, MANIFEST_LIMIT};
pub use clients::http_client;
pub use error::Error;
pub use memory::{MemoryHold, MemoryLease, MemoryPool};
pub use observer::{Observer, RequestDone, RetryScheduled};
pub use own_api::{OwnApi, OwnApiError, OwnApiFuture};
pub use policy::{RetryPolicy, Timeouts, Transfer};
pub use proxy::{ProxyFault, ProxyRules, ProxyServer};
pub use put_limit::{PutLimit, PutLimitFuture};
pub use redact::{RedactedUrl, RequestLine, Secret};
pub use setup::SetupError;
pub use source::BlobSource;
pub use status::{RegistryMessage, StatusError};
pub use streamed::{BlobPieces, StreamedBlob};
pub use tls::{TlsOptions, default_certs_dirs};
