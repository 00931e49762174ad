//! Uploads of blobs: in one request, in two, or in chunks.
//!
//! Source: OCI distribution specification 1.1, "Pushing Blobs".

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{CONTENT_RANGE, LOCATION, RANGE};
use http::request::Parts;
use http::{Method, StatusCode};
use soci_oci::Digest;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout};

use crate::range::chunk;
use crate::reply::{ApiError, Code, empty, with_header};
use crate::route::{Name, parameter, parse_digest};
use crate::server::{Shared, blocking, digest_header};
use crate::store::{CommitError, Incoming};

/// Bytes that are gathered before they are written and hashed.
const BLOCK: usize = 1 << 20;

/// The uploads that have begun and not ended.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    sessions: Mutex<HashMap<String, Session>>,
}

#[derive(Debug)]
struct Session {
    name: Name,
    /// When the last request for it came.
    touched: Instant,
    data: Data,
}

/// What an upload has received; nothing once it has ended or failed.
type Data = Arc<tokio::sync::Mutex<Option<Incoming>>>;

/// The right to write to an upload, which one request has at a time.
type Turn = OwnedMutexGuard<Option<Incoming>>;

impl Uploads {
    /// Begins an upload, unless there are `max` already. Blocks.
    fn begin(
        &self,
        name: &Name,
        incoming: Incoming,
        max: usize,
        idle: Duration,
    ) -> Result<String, ApiError> {
        let id = format!("{:032x}", fastrand::u128(..));
        let data = Arc::new(tokio::sync::Mutex::new(Some(incoming)));
        let session = Session { name: name.clone(), touched: Instant::now(), data };
        let mut sessions = self.lock();
        sessions.retain(|_, old| match old.data.try_lock() {
            Ok(data) => data.is_some() && old.touched.elapsed() < idle,
            // One that a request holds is not idle, however long ago the request came.
            Err(_) => true,
        });
        if sessions.len() >= max {
            return Err(ApiError::new(Code::TooManyRequests, "too many uploads have begun"));
        }
        sessions.insert(id.clone(), session);
        Ok(id)
    }

    /// Takes the turn to write to an upload.
    fn turn(&self, name: &Name, id: &str) -> Result<Turn, ApiError> {
        let mut sessions = self.lock();
        let session = sessions.get_mut(id).filter(|session| session.name == *name);
        let session = session.ok_or_else(unknown)?;
        session.touched = Instant::now();
        Arc::clone(&session.data)
            .try_lock_owned()
            .map_err(|_| ApiError::new(Code::Busy, "another request writes to this upload"))
    }

    /// Notes that a request for an upload has ended.
    fn touch(&self, id: &str) {
        if let Some(session) = self.lock().get_mut(id) {
            session.touched = Instant::now();
        }
    }

    fn end(&self, id: &str) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `POST /v2/<name>/blobs/uploads/`
pub(crate) async fn begin(
    shared: Arc<Shared>,
    head: Parts,
    body: Body,
    name: Name,
) -> Result<Response, ApiError> {
    let query = head.uri.query();
    if let Some(mounted) = mount(&shared, query, &name).await? {
        return Ok(mounted);
    }
    let digest = parameter(query, "digest").map(|digest| parse_digest(&digest)).transpose()?;
    let limits = shared.limits;
    let (id, name) = blocking(&shared, move |shared| {
        let incoming = shared.store.receive().map_err(|error| ApiError::disk(&error))?;
        let id = shared.uploads.begin(&name, incoming, limits.uploads, limits.upload_idle)?;
        Ok((id, name))
    })
    .await?;
    match digest {
        Some(digest) => finish(&shared, &head, body, name, &id, digest).await,
        None => Ok(progress(StatusCode::ACCEPTED, &name, &id, 0)),
    }
}

/// All requests for an upload that has begun.
pub(crate) async fn go_on(
    shared: Arc<Shared>,
    head: Parts,
    body: Body,
    name: Name,
    id: String,
) -> Result<Response, ApiError> {
    match head.method {
        Method::PATCH => {
            let turn = shared.uploads.turn(&name, &id)?;
            let turn = receive(&shared, &head, body, &name, &id, turn).await?;
            let size = size(&turn)?;
            shared.uploads.touch(&id);
            Ok(progress(StatusCode::ACCEPTED, &name, &id, size))
        }
        Method::PUT => {
            let digest = parameter(head.uri.query(), "digest").unwrap_or_default();
            let digest = parse_digest(&digest)?;
            finish(&shared, &head, body, name, &id, digest).await
        }
        Method::GET => {
            let size = size(&shared.uploads.turn(&name, &id)?)?;
            Ok(progress(StatusCode::NO_CONTENT, &name, &id, size))
        }
        Method::DELETE => {
            let mut turn = shared.uploads.turn(&name, &id)?;
            shared.uploads.end(&id);
            blocking(&shared, move |_| {
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
    shared: &Arc<Shared>,
    query: Option<&str>,
    name: &Name,
) -> Result<Option<Response>, ApiError> {
    let (Some(digest), Some(from)) = (parameter(query, "mount"), parameter(query, "from")) else {
        return Ok(None);
    };
    let digest = parse_digest(&digest)?;
    let Some(from) = Name::parse(&from) else { return Ok(None) };
    if !shared.store.catalogue().has_blob(&from, &digest) {
        return Ok(None);
    }
    let name = name.clone();
    blocking(shared, move |shared| {
        shared.store.link_blob(&name, digest).map_err(|error| ApiError::disk(&error))?;
        Ok(Some(created(&name, digest)))
    })
    .await
}

/// Receives the rest of a blob and makes it visible.
async fn finish(
    shared: &Arc<Shared>,
    head: &Parts,
    body: Body,
    name: Name,
    id: &str,
    digest: Digest,
) -> Result<Response, ApiError> {
    let turn = shared.uploads.turn(&name, id)?;
    let mut turn = receive(shared, head, body, &name, id, turn).await?;
    shared.uploads.end(id);
    blocking(shared, move |shared| {
        let incoming = turn.take().ok_or_else(unknown)?;
        match shared.store.commit(&name, incoming, digest) {
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
    shared: &Arc<Shared>,
    head: &Parts,
    body: Body,
    name: &Name,
    id: &str,
    mut turn: Turn,
) -> Result<Turn, ApiError> {
    let length = check_chunk(head, size(&turn)?)
        .map_err(|error| error.with_header("location", location(name, id)))?;
    let limits = shared.limits;
    let mut body =
        Incremental { stream: body.into_data_stream(), stall: limits.stall, ended: false };
    let mut received = 0;
    while !body.ended {
        let (pieces, broken) = body.block().await;
        received += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        if length.is_some_and(|length| received > length || (body.ended && received < length)) {
            let message = "the body is not as long as its Content-Range says";
            return Err(ApiError::new(Code::BlobUploadInvalid, message));
        }
        turn = blocking(shared, move |_| append(turn, &pieces, limits.blob)).await?;
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

/// A body that is read in blocks.
struct Incremental {
    stream: BodyDataStream,
    stall: Duration,
    ended: bool,
}

impl Incremental {
    /// The next pieces, of about [`BLOCK`] bytes together, and why the body broke off, if it did.
    async fn block(&mut self) -> (Vec<Bytes>, Option<ApiError>) {
        let (mut pieces, mut size) = (Vec::new(), 0);
        while size < BLOCK {
            match next(&mut self.stream, self.stall).await {
                Ok(Some(piece)) => {
                    size += piece.len();
                    pieces.push(piece);
                }
                Ok(None) => {
                    self.ended = true;
                    break;
                }
                Err(broken) => return (pieces, Some(broken)),
            }
        }
        (pieces, None)
    }
}

/// The next piece of a request's body.
pub(crate) async fn next(
    stream: &mut BodyDataStream,
    stall: Duration,
) -> Result<Option<Bytes>, ApiError> {
    match timeout(stall, stream.next()).await {
        Ok(Some(Ok(piece))) => Ok(Some(piece)),
        Ok(Some(Err(_))) => Err(ApiError::new(Code::Broken, "the body broke off")),
        Ok(None) => Ok(None),
        Err(_) => Err(ApiError::new(Code::Broken, "the body sent nothing for too long")),
    }
}

fn size(turn: &Turn) -> Result<u64, ApiError> {
    turn.as_ref().map(Incoming::size).ok_or_else(unknown)
}

fn unknown() -> ApiError {
    ApiError::new(
        Code::BlobUploadUnknown,
        "there is no such upload; it may have been idle too long",
    )
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    const IDLE: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn an_idle_upload_makes_room_for_others_and_its_file_goes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), false).unwrap();
        let files = || std::fs::read_dir(folder.path().join("uploads")).unwrap().count();
        let (uploads, name) = (Uploads::default(), Name::parse("app").unwrap());
        let begin = || uploads.begin(&name, store.receive().unwrap(), 2, IDLE);
        let (idle, used) = (begin().unwrap(), begin().unwrap());
        assert_eq!(begin().unwrap_err().code, Code::TooManyRequests);
        let turn = uploads.turn(&name, &used).unwrap();

        tokio::time::advance(IDLE).await;
        begin().unwrap();
        assert_eq!(uploads.turn(&name, &idle).unwrap_err().code, Code::BlobUploadUnknown);
        assert_eq!(uploads.turn(&name, &used).unwrap_err().code, Code::Busy);
        drop(turn);
        assert!(uploads.turn(&name, &used).is_ok());
        assert_eq!(files(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_sends_nothing_is_given_up() {
        let piece = futures_util::stream::once(async { Ok::<_, std::io::Error>("0123") });
        let body = Body::from_stream(piece.chain(futures_util::stream::pending()));
        let mut body = Incremental { stream: body.into_data_stream(), stall: IDLE, ended: false };
        let begun = Instant::now();
        let (pieces, broken) = body.block().await;
        assert_eq!(pieces, ["0123"]);
        assert_eq!(broken.unwrap().code, Code::Broken);
        assert_eq!(begun.elapsed(), IDLE);
    }

    #[tokio::test]
    async fn an_upload_belongs_to_its_repository() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), false).unwrap();
        let (uploads, name) = (Uploads::default(), Name::parse("app").unwrap());
        let id = uploads.begin(&name, store.receive().unwrap(), 1, IDLE).unwrap();
        let other = Name::parse("other").unwrap();
        assert_eq!(uploads.turn(&other, &id).unwrap_err().code, Code::BlobUploadUnknown);
    }
}
