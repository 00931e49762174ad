//! What whoever starts the registry decides.

use std::path::PathBuf;
use std::time::Duration;

/// Where the registry keeps its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RegistryStorage {
    /// In a folder among the system's temporary files, which is removed when the registry stops.
    #[default]
    Temporary,
    /// In this folder, which is made if it does not exist and opened again at the next start.
    Folder(PathBuf),
}

/// How a registry is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryServerSettings {
    /// Where content is kept.
    pub storage: RegistryStorage,
    /// What clients may ask for.
    pub limits: RegistryServerLimits,
}

/// What clients may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryServerLimits {
    /// Bytes of a manifest or image index.
    pub manifest: usize,
    /// Bytes of a blob.
    pub blob: u64,
    /// Uploads that have begun and not ended.
    pub uploads: usize,
    /// How long an upload is kept without a request for it.
    pub upload_idle: Duration,
    /// How long a request's body may send nothing.
    pub stall: Duration,
    /// Connections at once; further ones wait.
    pub connections: usize,
    /// Entries in one answer that lists tags, repositories or referrers.
    pub page: usize,
    /// Pushes that nobody has received yet; the answers to further ones wait.
    pub pending_pushes: usize,
}

impl Default for RegistryServerLimits {
    /// Those of ECR where it has one: manifests of 4 MiB and blobs of 52,000 MiB (Amazon ECR user
    /// guide, "Service quotas"). Otherwise 256 uploads, kept for an hour, 30 seconds of silence, 512
    /// connections, 1,000 entries a page and 1,024 pushes.
    fn default() -> Self {
        Self {
            manifest: 4 << 20,
            blob: 52_000 << 20,
            uploads: 256,
            upload_idle: Duration::from_hours(1),
            stall: Duration::from_secs(30),
            connections: 512,
            page: 1000,
            pending_pushes: 1024,
        }
    }
}
