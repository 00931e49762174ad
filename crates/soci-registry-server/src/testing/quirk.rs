//! Quirks: which requests they hit, and what becomes of those.
//!
//! A quirk is data, so that a registry's habit is a row of a table and not a branch of the server.
//! [`When`] says which requests it hits; [`Effect`] says what happens to them, on the way in (the
//! request is changed, or not carried out at all) or on the way out (the answer is changed).
//!
//! `table.rs` has a row for each quirk of registries that has been seen; a test orders others itself.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use super::request::{Asked, RequestKind};

/// A way in which a registry differs from the specification, or fails.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Quirk {
    /// What the table calls it. Rows of one name are one habit.
    pub name: &'static str,
    /// Which requests it hits.
    pub when: When,
    /// What happens to them.
    pub effect: Effect,
}

/// Which requests a quirk hits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    /// The verb and what it is for.
    pub kind: RequestKind,
    /// Text that the path contains, such as a repository or a digest; empty for any path.
    pub path: String,
    /// What else must hold.
    pub condition: Condition,
    /// Matching requests that are left alone first.
    pub skip: usize,
    /// Matching requests that are hit after those; `usize::MAX` for all.
    pub times: usize,
}

/// What must hold of a request beside its kind and path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// Nothing.
    Any,
    /// It has a `Range` header.
    Ranged,
    /// Its `Range` header has this value.
    Range(String),
    /// Its query lacks this text.
    QueryLacks(&'static str),
    /// Its query has this text, as the scope of a token has a repository's name.
    QueryHas(String),
    /// The tag that it names exists.
    TagTaken,
    /// The blob that it names exists.
    BlobThere,
    /// It has no `Referer` header.
    NoReferer,
    /// Its body has more bytes than this.
    BodyOver(u64),
    /// Its path ends in this text, such as a tag that other tags begin with.
    PathEnds(String),
}

/// What a quirk does to the request that it hits.
///
/// Offsets count bytes of the response's body unless stated otherwise; the first byte has
/// offset 0. Effects on bodies act on every body but those of answers to HEAD.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// The request is not carried out; the answer has this status, these headers and this body.
    /// In headers and body `{name}` and `{reference}` stand for what the path names, `{path}` for
    /// the path, `{query}` for the query, `{storage}` for the storage's host and port. Without a `content-type` the body is called JSON.
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
    /// The request is carried out after this time.
    Late(Duration),
    /// The request is not carried out, and nothing is ever answered. The connection stays open.
    Silence,
    /// The request is not carried out, and the connection is closed without an answer.
    HangUp,
    /// The request is carried out, and the connection is closed without an answer.
    HangUpAfter,
    /// The client is sent to the same path at the storage, with this status. There the request is
    /// carried out.
    RedirectToStorage(u16),
    /// The client is sent to a URL of the storage that is good for one blob, with this status.
    Presigned {
        /// The status.
        status: u16,
        /// Requests that the URL serves before it expires; `None` for any number.
        uses: Option<usize>,
    },
    /// `Range` is ignored.
    IgnoreRange,
    /// At most so many bytes of a range are given.
    NarrowRange(u64),
    /// The query is ignored.
    IgnoreQuery,
    /// A tag like `sha256-<hex>` is taken for the digest that it is made of.
    TagIsDigest,
    /// The answer is the real one, but for this status.
    Status(u16),
    /// The answer has this header, whatever the real value is.
    SetHeader(&'static str, String),
    /// The answer lacks this header.
    DropHeader(&'static str),
    /// A `Content-Range` that the answer has gets this value.
    ContentRange(String),
    /// A `Content-Range` that the answer has does not state the size of the whole.
    UnknownTotal,
    /// A `Location` that the answer has gets this query.
    LocationQuery(&'static str),
    /// A `Location` that the answer has becomes an absolute URL of the registry.
    LocationAtRegistry,
    /// A `Location` that the answer has becomes an absolute URL of the storage.
    LocationAtStorage,
    /// The member at this JSON pointer of the answer's document has this value.
    Json(&'static str, Value),
    /// A partial answer is of type `multipart/byteranges`, with a single part.
    Multipart,
    /// The byte at this offset of the content, not of the body, is changed.
    Corrupt(u64),
    /// The connection breaks after so many bytes of the body.
    DropAfter(u64),
    /// The body ends after so many bytes, and its `Content-Length` says no more.
    ShortBody(u64),
    /// So many bytes follow what was asked for.
    LongBody(u64),
    /// Nothing more is sent after so many bytes, and the connection stays open.
    Stall(u64),
    /// The body goes out by single bytes, so far apart.
    Drip(Duration),
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

    /// An answer with this status and a body of this media type.
    pub fn page(status: u16, media_type: &str, body: &str) -> Self {
        let headers = vec![("content-type".to_owned(), media_type.to_owned())];
        Self::Answer { status, headers, body: body.to_owned() }
    }

    /// An answer with this status and an error of the OCI distribution specification.
    pub fn error(status: StatusCode, code: &str, message: &str) -> Self {
        let list = serde_json::json!({ "errors": [{ "code": code, "message": message }] });
        Self::Answer { status: status.as_u16(), headers: Vec::new(), body: list.to_string() }
    }
}

impl Quirk {
    /// `effect` on the next request of this kind.
    pub fn on(kind: RequestKind, effect: Effect) -> Self {
        let path = String::new();
        let when = When { kind, path, condition: Condition::Any, skip: 0, times: 1 };
        Self { name: "of a test", when, effect }
    }

    /// A row of a table: `effect` on every request of this kind.
    pub fn every(name: &'static str, kind: RequestKind, effect: Effect) -> Self {
        Self { name, ..Self::on(kind, effect).always() }
    }

    /// Leaves so many matching requests alone first.
    pub fn after(mut self, requests: usize) -> Self {
        self.when.skip = requests;
        self
    }

    /// Hits so many matching requests instead of one.
    pub fn times(mut self, requests: usize) -> Self {
        self.when.times = requests;
        self
    }

    /// Hits every matching request.
    pub fn always(self) -> Self {
        self.times(usize::MAX)
    }

    /// Matches only requests whose path contains `text`, such as a repository or a digest.
    pub fn path(mut self, text: impl Into<String>) -> Self {
        self.when.path = text.into();
        self
    }

    /// Matches only requests whose `Range` header is `range`.
    pub fn range(self, range: impl Into<String>) -> Self {
        self.when(Condition::Range(range.into()))
    }

    /// Matches only requests of which this holds.
    pub fn when(mut self, condition: Condition) -> Self {
        self.when.condition = condition;
        self
    }

    /// The effect on this request, if the quirk hits it.
    pub(super) fn hit(&mut self, asked: &Asked) -> Option<&Effect> {
        self.when.hits(asked).then_some(&self.effect)
    }

    /// Whether requests are left that it should hit and has not.
    pub(super) fn is_left(&self) -> bool {
        self.when.times > 0 && self.when.times != usize::MAX
    }
}

impl When {
    /// Whether this request is hit, which counts it.
    fn hits(&mut self, asked: &Asked) -> bool {
        let holds = match &self.condition {
            Condition::Any => true,
            Condition::Ranged => asked.range.is_some(),
            Condition::Range(range) => asked.range.as_ref() == Some(range),
            Condition::QueryLacks(text) => !asked.query.contains(text),
            Condition::QueryHas(text) => asked.query.contains(text),
            Condition::TagTaken => asked.tag_taken,
            Condition::BlobThere => asked.blob_there,
            Condition::NoReferer => asked.referer.is_none(),
            Condition::BodyOver(size) => asked.content_length > *size,
            Condition::PathEnds(end) => asked.path.ends_with(end),
        };
        if self.kind != asked.kind || self.times == 0 || !asked.path.contains(&self.path) || !holds
        {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.times != usize::MAX {
            self.times -= 1;
        }
        true
    }
}
