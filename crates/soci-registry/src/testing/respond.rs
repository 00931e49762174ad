//! Answers, and what faults make of their bodies.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream, StreamExt as _};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::fault::Effect;
use super::server::Asked;

/// Bytes that leave the fake at once.
const PIECE: usize = 16 << 10;

/// An answer that is not cut to a range yet.
pub(super) struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    /// Whether `Range` applies to the body.
    ranged: bool,
}

/// An answer without a body.
pub(super) fn plain(status: u16) -> Reply {
    Reply { status, headers: HeaderMap::new(), body: Bytes::new(), ranged: false }
}

/// An error of the OCI distribution specification.
pub(super) fn error(status: u16, code: &str, message: &str) -> Reply {
    let list = serde_json::json!({ "errors": [{ "code": code, "message": message }] });
    plain(status).with_body("application/json", list.to_string())
}

/// The bytes of a blob, or the range of them that is asked for.
pub(super) fn blob(bytes: Bytes) -> Reply {
    let reply = plain(200).with_body("application/octet-stream", bytes);
    Reply { ranged: true, ..reply }
}

impl Reply {
    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => {
                self.headers.insert(name, value);
            }
            _ => panic!("{name}: {value} is not a header"),
        }
        self
    }

    pub(super) fn with_body(mut self, media_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header(CONTENT_TYPE.as_str(), media_type)
    }

    pub(super) fn without_ranges(self) -> Self {
        Self { ranged: false, ..self }
    }

    /// The answer as it goes out, changed by a fault.
    pub(super) fn into_response(mut self, asked: &Asked, effect: Option<&Effect>) -> Response {
        if let Some(Effect::Corrupt(offset)) = effect {
            self.corrupt(*offset);
        }
        if self.ranged
            && let Some((start, end)) = range(asked, self.body.len())
        {
            if start >= end {
                return plain(416).into_response(asked, None);
            }
            let value = match effect {
                Some(Effect::ContentRange(value)) => value.clone(),
                _ => format!("bytes {start}-{}/{}", end - 1, self.body.len()),
            };
            self = self.header(CONTENT_RANGE.as_str(), &value);
            self.body = self.body.slice(start..end);
            self.status = 206;
        }
        let length = self.body.len();
        let (body, length) = match effect {
            Some(Effect::DropAfter(bytes)) => {
                let broken = io::Error::other("the fault breaks the connection");
                // The server sends what it has when the body makes it wait, and drops what it has
                // when the body fails.
                let end = stream::once(async {
                    tokio::task::yield_now().await;
                    Err(broken)
                });
                (Body::from_stream(pieces(&self.cut(*bytes)).map(io_ok).chain(end)), Some(length))
            }
            Some(Effect::ShortBody(bytes)) => {
                let short = self.cut(*bytes);
                (Body::from(short.clone()), Some(short.len()))
            }
            Some(Effect::Stall(bytes)) => {
                let body = pieces(&self.cut(*bytes)).chain(stream::pending());
                (Body::from_stream(body), Some(length))
            }
            Some(Effect::Drip(pause)) => (Body::from_stream(drip(self.body, *pause)), Some(length)),
            Some(Effect::LongBody(bytes)) => {
                let mut long = BytesMut::from(&self.body[..]);
                long.resize(length + usize::try_from(*bytes).unwrap_or(0), b'x');
                let length = long.len();
                (Body::from_stream(pieces(&long.freeze())), Some(length))
            }
            Some(Effect::Chunked) => (Body::from_stream(pieces(&self.body)), None),
            _ if asked.method == Method::HEAD => (Body::empty(), Some(length)),
            _ => (Body::from_stream(pieces(&self.body)), Some(length)),
        };
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = self.headers;
        if let Some(length) = length {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        response
    }

    fn cut(&self, bytes: u64) -> Bytes {
        let end = usize::try_from(bytes).unwrap_or(usize::MAX).min(self.body.len());
        self.body.slice(..end)
    }

    fn corrupt(&mut self, offset: u64) {
        let mut changed = BytesMut::from(&self.body[..]);
        if let Some(byte) = usize::try_from(offset).ok().and_then(|offset| changed.get_mut(offset))
        {
            *byte ^= 0xff;
        }
        self.body = changed.freeze();
    }
}

/// The asked range of a body of `length` bytes, with its end cut to the body.
fn range(asked: &Asked, length: usize) -> Option<(usize, usize)> {
    let (first, last) = asked.header(RANGE)?.strip_prefix("bytes=")?.split_once('-')?;
    let end = if last.is_empty() { length } else { last.parse::<usize>().ok()? + 1 };
    Some((first.parse().ok()?, end.min(length)))
}

fn pieces(bytes: &Bytes) -> stream::Iter<impl Iterator<Item = Result<Bytes, Infallible>> + use<>> {
    let bytes = bytes.clone();
    let starts = (0..bytes.len()).step_by(PIECE);
    stream::iter(starts.map(move |start| {
        let end = bytes.len().min(start + PIECE);
        Ok(bytes.slice(start..end))
    }))
}

fn drip(bytes: Bytes, pause: Duration) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
    stream::iter(bytes).then(move |byte| async move {
        tokio::time::sleep(pause).await;
        Ok(Bytes::copy_from_slice(&[byte]))
    })
}

fn io_ok(piece: Result<Bytes, Infallible>) -> io::Result<Bytes> {
    piece.map_err(|never| match never {})
}
