//! What is told of an image that has ended, as JSON.
//!
//! Others build on these names, so within a version of the schema members are only added: none is renamed, removed or
//! given another meaning, and a status keeps its members. `docs/events/image-ended.v1.json` says the same to programs, and
//! the tests of `soci-jobs` hold everything that is announced against it.

use serde::{Deserialize, Serialize};

/// The version of the schema that is written.
pub const SCHEMA: u32 = 1;

/// Who says so, where an event names its source (EventBridge: `source`).
pub const SOURCE: &str = "soci-index-builder";

/// What an event is about, where it says so (EventBridge: `detail-type`).
pub const DETAIL_TYPE: &str = "SOCI Image Ended";

/// How an image ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageStatus {
    /// Its index was built and pushed.
    Indexed,
    /// The same index was there.
    AlreadyIndexed,
    /// It gets no index, and that is no failure.
    Skipped,
    /// It has no index and will not be tried again: its job is on the dead-letter queue.
    Failed,
}

/// How an image ended, and what there is to deploy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Announcement {
    /// Version of the schema, [`SCHEMA`].
    pub schema: u32,
    /// Identifies this announcement: 32 hexadecimal digits, the same however often it is delivered.
    pub id: String,
    /// When the image ended: UTC, RFC 3339.
    pub time: String,
    /// How it ended.
    pub status: ImageStatus,
    /// Host of the registry, with its port if it names one.
    pub registry: String,
    /// Name of the repository in the registry.
    pub repository: String,
    /// The tag that the image was pushed under, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Digest of the image's manifest or image index, as it was pushed.
    pub image_digest: String,
    /// The tag of the converted image (V2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tag: Option<String>,
    /// What the index is known by: V2 the digest of the converted image, V1 that of the first SOCI index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_digest: Option<String>,
    /// What to deploy for lazy loading, as `registry/repository@digest`: V2 the converted image, V1 the image itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<String>,
    /// Version of the SOCI index: `V1` or `V2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soci_index_version: Option<String>,
    /// Why it was skipped or has failed: a stable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people, in one line and without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Bytes of layers that this try has read, repeated ones included.
    pub bytes_read: u64,
    /// Seconds that this try took, from when its message was taken off the queue.
    pub seconds: f64,
}

impl Announcement {
    /// A new identifier. It tells announcements apart and is no secret.
    pub fn new_id() -> String {
        format!("{:032x}", fastrand::u128(..))
    }

    /// The announcement as JSON, in one line.
    pub fn json(&self) -> String {
        // Strings, numbers and nothing else: JSON takes them all, and makes `null` of a number that is none.
        serde_json::to_string(self).unwrap_or_default()
    }
}
