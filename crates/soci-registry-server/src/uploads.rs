//! Uploads of blobs: in one request, in two, or in chunks.
//!
//! Source: OCI distribution specification 1.1, "Pushing Blobs".

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_RANGE, LOCATION, RANGE};
use http::request::Parts;
use http::{Method, StatusCode};
use soci_oci::Digest;

use crate::body::BlockReader;
use crate::context::{Context, blocking};
use crate::range::chunk;
use crate::reply::{ApiError, Code, digest_header, empty, with_header};
use crate::route::{Name, parameter, parse_digest};
use crate::store::{CommitError, Incoming};
use crate::upload_sessions::{Turn, unknown};

/// `POST /v2/<name>/blobs/uploads/`
pub(crate) async fn begin(
    context: Arc<Context>,
    head: Parts,
    body: Body,
    name: Name,
) -> Result<Response, ApiError> {
    let query = head.uri.query();
    if let Some(mounted) = mount(&context, query, &name).await? {
        return Ok(mounted);
    }
    let digest = parameter(query, "digest").map(|digest| parse_digest(&digest)).transpose()?;
    let limits = context.limits;
    let (id, name) = blocking(&context, move |context| {
        let incoming = context.store.receive().map_err(|error| ApiError::disk(&error))?;
        let id = context.sessions.begin(&name, incoming, limits.uploads, limits.upload_idle)?;
        Ok((id, name))
    })
    .await?;
    match digest {
        Some(digest) => finish(&context, &head, body, name, &id, digest).await,
        None => Ok(progress(StatusCode::ACCEPTED, &name, &id, 0)),
    }
}

/// All requests for an upload that has begun.
pub(crate) async fn go_on(
    context: Arc<Context>,
    head: Parts,
    body: Body,
    name: Name,
    id: String,
) -> Result<Response, ApiError> {
    match head.method {
        Method::PATCH => {
            let turn = context.sessions.turn(&name, &id)?;
            let turn = receive(&context, &head, body, &name, &id, turn).await?;
            let size = size(&turn)?;
            context.sessions.touch(&id);
            Ok(progress(StatusCode::ACCEPTED, &name, &id, size))
        }
        Method::PUT => {
            let digest = parameter(head.uri.query(), "digest").unwrap_or_default();
            let digest = parse_digest(&digest)?;
            finish(&context, &head, body, name, &id, digest).await
        }
        Method::GET => {
            let size = size(&context.sessions.turn(&name, &id)?)?;
            Ok(progress(StatusCode::NO_CONTENT, &name, &id, size))
        }
        Method::DELETE => {
            let mut turn = context.sessions.turn(&name, &id)?;
            context.sessions.end(&id);
            blocking(&context, move |_| {
                drop(turn.take());
                Ok(())
            })
            .await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        _ => Err(ApiError::new(Code::Unsupported, "uploads take GET, PATCH, PUT and DELETE")),
    }
}

/// Takes a blob over from another repository, if the request asks for that and it is there.
async fn mount(
    context: &Arc<Context>,
    query: Option<&str>,
    name: &Name,
) -> Result<Option<Response>, ApiError> {
    let (Some(digest), Some(from)) = (parameter(query, "mount"), parameter(query, "from")) else {
        return Ok(None);
    };
    let digest = parse_digest(&digest)?;
    let Some(from) = Name::parse(&from) else { return Ok(None) };
    let name = name.clone();
    blocking(context, move |context| {
        if !context.store.has_blob(&from, &digest) {
            return Ok(None);
        }
        context.store.link_blob(&name, digest).map_err(|error| ApiError::disk(&error))?;
        Ok(Some(created(&name, digest)))
    })
    .await
}

/// Receives the rest of a blob and makes it visible.
async fn finish(
    context: &Arc<Context>,
    head: &Parts,
    body: Body,
    name: Name,
    id: &str,
    digest: Digest,
) -> Result<Response, ApiError> {
    let turn = context.sessions.turn(&name, id)?;
    let mut turn = receive(context, head, body, &name, id, turn).await?;
    context.sessions.end(id);
    blocking(context, move |context| {
        let incoming = turn.take().ok_or_else(unknown)?;
        match context.store.commit(&name, incoming, digest) {
            Ok(()) => Ok(created(&name, digest)),
            Err(CommitError::Mismatch(found)) => {
                let message = format!("the content has digest {found}, not {digest}");
                Err(ApiError::new(Code::DigestInvalid, message))
            }
            Err(CommitError::Disk(error)) => Err(ApiError::disk(&error)),
        }
    })
    .await
}

/// Appends a request's body to an upload. What arrived before the body broke off stays.
async fn receive(
    context: &Arc<Context>,
    head: &Parts,
    body: Body,
    name: &Name,
    id: &str,
    mut turn: Turn,
) -> Result<Turn, ApiError> {
    let length = check_chunk(head, size(&turn)?)
        .map_err(|error| error.with_header("location", location(name, id)))?;
    let limits = context.limits;
    let mut body = BlockReader::new(body, limits.stall);
    let mut received = 0;
    while !body.ended() {
        let (pieces, broken) = body.block().await;
        received += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        if length.is_some_and(|length| received > length || (body.ended() && received < length)) {
            let message = "the body is not as long as its Content-Range says";
            return Err(ApiError::new(Code::BlobUploadInvalid, message));
        }
        turn = blocking(context, move |_| append(turn, &pieces, limits.blob)).await?;
        if let Some(broken) = broken {
            return Err(broken);
        }
    }
    Ok(turn)
}

/// Writes and hashes. An upload that this fails for is over.
fn append(mut turn: Turn, pieces: &[Bytes], limit: u64) -> Result<Turn, ApiError> {
    let mut incoming = turn.take().ok_or_else(unknown)?;
    for piece in pieces {
        if incoming.size() + piece.len() as u64 > limit {
            let message = format!("a blob has at most {limit} bytes here");
            return Err(ApiError::new(Code::SizeInvalid, message));
        }
        incoming.append(piece).map_err(|error| ApiError::disk(&error))?;
    }
    *turn = Some(incoming);
    Ok(turn)
}

/// The length that a chunk's `Content-Range` states, after seeing that the chunk begins where the
/// upload is.
fn check_chunk(head: &Parts, size: u64) -> Result<Option<u64>, ApiError> {
    let Some(header) = head.headers.get(CONTENT_RANGE) else { return Ok(None) };
    let invalid = || ApiError::new(Code::BlobUploadInvalid, "the Content-Range is malformed");
    let (start, length) = header.to_str().ok().and_then(chunk).ok_or_else(invalid)?;
    if start != size {
        let message = format!("the chunk begins at byte {start}, the upload goes on at {size}");
        return Err(ApiError::new(Code::OutOfOrder, message).with_header("range", range(size)));
    }
    Ok(Some(length))
}

fn size(turn: &Turn) -> Result<u64, ApiError> {
    turn.as_ref().map(Incoming::size).ok_or_else(unknown)
}

fn location(name: &Name, id: &str) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

/// The bytes received, as the specification has it: `0-0` also stands for none.
fn range(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

fn progress(status: StatusCode, name: &Name, id: &str, size: u64) -> Response {
    let response = with_header(empty(status), LOCATION.as_str(), location(name, id));
    let response = with_header(response, RANGE.as_str(), range(size));
    with_header(response, "docker-upload-uuid", id)
}

fn created(name: &Name, digest: Digest) -> Response {
    let location = format!("/v2/{name}/blobs/{digest}");
    digest_header(with_header(empty(StatusCode::CREATED), LOCATION.as_str(), location), &digest)
}
