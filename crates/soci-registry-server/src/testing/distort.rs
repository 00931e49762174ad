//! What effects make of an answer.
//!
//! Heads are changed first. A body is read as a whole only if an effect is about it; otherwise it
//! goes through as it comes.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream, StreamExt as _};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION};
use http::response::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use super::quirk::Effect;

/// Bytes that leave the fake at once.
const PIECE: usize = 16 << 10;

const BOUNDARY: &str = "THIS_STRING_SEPARATES";

/// The answer with these effects on its head.
pub(super) fn head(
    response: Response,
    effects: &[Effect],
    registry: SocketAddr,
    storage: SocketAddr,
) -> Response {
    let (mut head, body) = response.into_parts();
    for effect in effects {
        match effect {
            Effect::Status(status) => head.status = status_of(*status),
            Effect::SetHeader(name, value) => {
                head.headers.insert(HeaderName::from_static(name), value_of(value));
            }
            Effect::DropHeader(name) => {
                head.headers.remove(*name);
            }
            Effect::ContentRange(value) => change(&mut head, CONTENT_RANGE, |_| value.clone()),
            Effect::UnknownTotal => change(&mut head, CONTENT_RANGE, |range| {
                range.split('/').next().unwrap_or_default().to_owned() + "/*"
            }),
            Effect::LocationQuery(query) => {
                change(&mut head, LOCATION, |path| format!("{path}?{query}"));
            }
            Effect::LocationAtRegistry => {
                change(&mut head, LOCATION, |location| at(registry, location));
            }
            Effect::LocationAtStorage => {
                change(&mut head, LOCATION, |location| at(storage, location));
            }
            _ => {}
        }
    }
    Response::from_parts(head, body)
}

/// The answer with these effects on its body.
pub(super) async fn body(response: Response, effects: &[Effect]) -> Response {
    if !effects.iter().any(is_of_body) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(mut bytes) = to_bytes(body, usize::MAX).await else {
        return Response::from_parts(head, Body::empty());
    };
    for effect in effects {
        match effect {
            Effect::Corrupt(offset) => bytes = corrupted(&head, &bytes, *offset),
            Effect::Json(pointer, value) => bytes = with_member(&bytes, pointer, value),
            Effect::Multipart => bytes = multipart(&mut head, bytes),
            Effect::ShortBody(length) => bytes = cut(&bytes, *length),
            Effect::LongBody(more) => {
                let mut long = BytesMut::from(&bytes[..]);
                long.resize(bytes.len() + usize::try_from(*more).unwrap_or(0), b'x');
                bytes = long.freeze();
            }
            _ => {}
        }
    }
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let ways = effects.iter().find_map(|effect| match effect {
        Effect::DropAfter(length) => {
            // The server sends what it has when the body makes it wait, and drops what it has when
            // the body fails.
            let end = stream::once(async {
                tokio::task::yield_now().await;
                Err(io::Error::other("the quirk breaks the connection"))
            });
            let begun = pieces(&cut(&bytes, *length)).map(|Ok(piece)| Ok(piece));
            Some(Body::from_stream(begun.chain(end)))
        }
        Effect::Stall(length) => {
            Some(Body::from_stream(pieces(&cut(&bytes, *length)).chain(stream::pending())))
        }
        Effect::Drip(pause) => Some(Body::from_stream(drip(bytes.clone(), *pause))),
        Effect::Chunked => {
            head.headers.remove(CONTENT_LENGTH);
            Some(Body::from_stream(pieces(&bytes)))
        }
        _ => None,
    });
    Response::from_parts(head, ways.unwrap_or_else(|| Body::from_stream(pieces(&bytes))))
}

/// A status as a quirk gives it.
pub(super) fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or_else(|_| panic!("{status} is no status"))
}

/// A header's value as a quirk gives it.
pub(super) fn value_of(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or_else(|_| panic!("{value:?} is no header's value"))
}

fn is_of_body(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Corrupt(_)
            | Effect::Json(..)
            | Effect::Multipart
            | Effect::ShortBody(_)
            | Effect::LongBody(_)
            | Effect::DropAfter(_)
            | Effect::Stall(_)
            | Effect::Drip(_)
            | Effect::Chunked
    )
}

/// Changes a header that is there.
fn change(head: &mut Parts, name: HeaderName, to: impl FnOnce(&str) -> String) {
    if let Some(value) = head.headers.get(&name).and_then(|value| value.to_str().ok()) {
        let value = value_of(&to(value));
        head.headers.insert(name, value);
    }
}

/// The path of a location, which may be absolute already, at this address.
fn at(address: SocketAddr, location: &str) -> String {
    let path = match location.strip_prefix("http://") {
        Some(rest) => rest.trim_start_matches(|c| c != '/'),
        None => location,
    };
    format!("http://{address}{path}")
}

fn cut(bytes: &Bytes, length: u64) -> Bytes {
    let end = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(..end)
}

/// The body with the byte at this offset of the content changed, if it is in there.
fn corrupted(head: &Parts, bytes: &Bytes, offset: u64) -> Bytes {
    let range = head.headers.get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let start =
        range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
    let mut changed = BytesMut::from(&bytes[..]);
    let inside = offset.checked_sub(start.unwrap_or(0)).and_then(|at| usize::try_from(at).ok());
    if let Some(byte) = inside.and_then(|at| changed.get_mut(at)) {
        *byte ^= 0xff;
    }
    changed.freeze()
}

/// The document with another value at this pointer. What is no such document stays as it is.
fn with_member(bytes: &Bytes, pointer: &str, value: &Value) -> Bytes {
    let Ok(mut document) = serde_json::from_slice::<Value>(bytes) else { return bytes.clone() };
    let Some(member) = document.pointer_mut(pointer) else { return bytes.clone() };
    *member = value.clone();
    document.to_string().into()
}

/// RFC 9110, section 14.6: the range moves from the head into that of the single part.
fn multipart(head: &mut Parts, bytes: Bytes) -> Bytes {
    let Some(range) = head.headers.remove(CONTENT_RANGE) else { return bytes };
    let kind = value_of(&format!("multipart/byteranges; boundary={BOUNDARY}"));
    head.headers.insert(CONTENT_TYPE, kind);
    let range = range.to_str().unwrap_or_default();
    let begin = format!("--{BOUNDARY}\r\ncontent-range: {range}\r\n\r\n");
    let end = format!("\r\n--{BOUNDARY}--\r\n");
    [begin.as_bytes(), &bytes, end.as_bytes()].concat().into()
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
