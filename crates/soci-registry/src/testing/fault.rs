//! Faults: which request they hit, and what happens to it.

use std::time::Duration;

use http::StatusCode;

use super::log::Kind;

/// A rule that makes the fake misbehave.
#[derive(Clone, Debug)]
#[must_use]
pub struct Fault {
    kind: Kind,
    path: Option<String>,
    range: Option<String>,
    skip: usize,
    left: usize,
    effect: Effect,
}

/// What a fault does to the request that it hits.
///
/// Offsets count bytes of the response's body unless stated otherwise; the first byte has
/// offset 0. Effects on bodies act on blobs and manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// The request is not carried out; the answer has this status, these headers and this body.
    Answer {
        /// The status.
        status: u16,
        /// Header names and values.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// The request is carried out, and the answer has this status all the same, as if the real
    /// one were lost on the way.
    LoseAnswer(u16),
    /// The connection breaks after so many bytes of the body.
    DropAfter(u64),
    /// The body ends after so many bytes, and its `Content-Length` says no more.
    ShortBody(u64),
    /// Nothing more is sent after so many bytes, and the connection stays open.
    Stall(u64),
    /// The body goes out by single bytes, so far apart.
    Drip(Duration),
    /// So many bytes follow what was asked for.
    LongBody(u64),
    /// The byte at this offset of the content, not of the body, is changed.
    Corrupt(u64),
    /// `Range` is ignored.
    IgnoreRange,
    /// The bytes are those asked for, but `Content-Range` has this value.
    ContentRange(String),
    /// The body goes out without `Content-Length`, in chunked encoding.
    Chunked,
}

impl Effect {
    /// An answer with this status, no headers and no body.
    pub fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: String::new() }
    }

    /// An answer with this status and one header.
    pub fn status_with(status: u16, name: &str, value: &str) -> Self {
        let headers = vec![(name.to_owned(), value.to_owned())];
        Self::Answer { status, headers, body: String::new() }
    }

    /// An answer with this status and an error of the OCI distribution specification.
    pub fn error(status: StatusCode, code: &str, message: &str) -> Self {
        let list = serde_json::json!({ "errors": [{ "code": code, "message": message }] });
        Self::Answer { status: status.as_u16(), headers: Vec::new(), body: list.to_string() }
    }
}

impl Fault {
    /// `effect` on the next request of this kind.
    pub fn on(kind: Kind, effect: Effect) -> Self {
        Self { kind, path: None, range: None, skip: 0, left: 1, effect }
    }

    /// Leaves so many matching requests alone first.
    pub fn after(mut self, requests: usize) -> Self {
        self.skip = requests;
        self
    }

    /// Hits so many matching requests instead of one.
    pub fn times(mut self, requests: usize) -> Self {
        self.left = requests;
        self
    }

    /// Hits every matching request.
    pub fn always(self) -> Self {
        self.times(usize::MAX)
    }

    /// Matches only requests whose path contains `text`, such as a repository or a digest.
    pub fn path(mut self, text: impl Into<String>) -> Self {
        self.path = Some(text.into());
        self
    }

    /// Matches only requests whose `Range` header is `range`.
    pub fn range(mut self, range: impl Into<String>) -> Self {
        self.range = Some(range.into());
        self
    }

    /// The effect on this request, if the fault hits it.
    pub(super) fn hit(&mut self, kind: Kind, path: &str, range: Option<&str>) -> Option<Effect> {
        let matches = self.kind == kind
            && self.left > 0
            && self.path.as_ref().is_none_or(|text| path.contains(text))
            && (self.range.is_none() || self.range.as_deref() == range);
        if !matches {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        if self.left != usize::MAX {
            self.left -= 1;
        }
        Some(self.effect.clone())
    }

    pub(super) fn is_left(&self) -> bool {
        self.left > 0 && self.left != usize::MAX
    }
}
