//! An OCI registry on this machine: images are pushed to it as to any other, and every manifest
//! that arrives is told to whoever asked, as ECR tells EventBridge.
//!
//! It serves the OCI distribution specification 1.1: pull with ranges, push in one request or in
//! many, mounts, tags, the referrers API, and docker's catalogue of repositories. Deleting is left
//! out. There is no authentication: it is meant for addresses that only this machine reaches.
//!
//! Content is kept in a folder, by default a temporary one that [`LocalRegistry::stop`] removes, and
//! [`remove_temporary_storage`] in a process that ends before that.
//!
//! Invariants:
//! - A blob becomes visible once all of it is on disk and its digest has been verified. It is
//!   hashed while it arrives and never in memory as a whole.
//! - A manifest becomes visible once everything it names is in its repository, its subject and
//!   layers that are not distributable excepted.
//! - No name that a client sends becomes part of a path before it has been parsed.
//! - What the clients of a moment can take up is bounded by [`RegistryServerLimits`].
//!
//! The feature `testing` adds a registry for tests: the same one, behind a layer that logs in, logs
//! requests, and misbehaves as registries do.

mod api;
mod blobs;
mod body;
mod catalogue;
mod context;
mod error;
mod listen;
mod lists;
mod manifests;
mod push;
mod range;
mod reply;
mod route;
mod server;
mod settings;
mod store;
mod temporary;
#[cfg(feature = "testing")]
pub mod testing;
mod upload_sessions;
mod uploads;

pub use error::OpenError;
pub use push::Push;
pub use server::LocalRegistry;
pub use settings::{RegistryServerLimits, RegistryServerSettings, RegistryStorage};
pub use temporary::remove_temporary_storage;
