//! What was asked of the fake.

use http::Method;

/// The kinds of requests that faults and tests tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// HEAD of a blob.
    BlobHead,
    /// GET of a blob at the registry: its bytes, or the redirect to the storage.
    BlobGet,
    /// GET of a blob at the storage.
    StorageGet,
    /// POST that begins an upload or mounts.
    UploadPost,
    /// PUT that ends an upload.
    UploadPut,
    /// HEAD of a manifest.
    ManifestHead,
    /// GET of a manifest.
    ManifestGet,
    /// PUT of a manifest.
    ManifestPut,
    /// GET of a list of referrers.
    Referrers,
    /// GET or POST of a token.
    Token,
    /// Anything else.
    Other,
}

/// A request and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The kind.
    pub kind: Kind,
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The query as sent, without `?`; empty if there was none.
    pub query: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// The `Authorization` header, in full.
    pub authorization: Option<String>,
    /// Size of the request's body in bytes.
    pub body_size: usize,
    /// Status of the answer.
    pub status: u16,
}
