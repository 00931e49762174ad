//! Blobs, and ranges of them.
//!
//! Source: OCI distribution specification 1.1, "Pulling blobs".

use std::io;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, IF_RANGE, RANGE};
use http::request::Parts;
use http::{Method, StatusCode};
use soci_oci::Digest;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom, Take};

use crate::context::Context;
use crate::range::{Part, part};
use crate::reply::{ApiError, Code, digest_header, with_header};
use crate::route::Name;

/// Bytes of a blob that leave at once.
const PIECE: usize = 256 << 10;

/// `GET` and `HEAD /v2/<name>/blobs/<digest>`
pub(crate) async fn get(
    context: &Context,
    head: &Parts,
    name: &Name,
    digest: Digest,
) -> Result<Response, ApiError> {
    let unknown = || ApiError::new(Code::BlobUnknown, format!("{name} has no {digest}"));
    if !context.store.catalogue().has_blob(name, &digest) {
        return Err(unknown());
    }
    let disk = |error| ApiError::disk(&error);
    let opened = File::open(context.store.path_of(&digest)).await;
    let mut file = opened.map_err(|error| ApiError::unread(&error, unknown()))?;
    let size = file.metadata().await.map_err(disk)?.len();
    // A condition on the range cannot hold, as no validators are given out (RFC 9110, 13.1.5).
    let asked = head.headers.get(RANGE).filter(|_| !head.headers.contains_key(IF_RANGE));
    let (status, bytes) = match part(asked.and_then(|range| range.to_str().ok()), size) {
        Part::Whole => (StatusCode::OK, 0..size),
        Part::Bytes(bytes) => (StatusCode::PARTIAL_CONTENT, bytes),
        Part::Outside => {
            let message = format!("the blob has {size} bytes");
            let error = ApiError::new(Code::OutOfOrder, message);
            return Err(error.with_header("content-range", format!("bytes */{size}")));
        }
    };
    let body = if head.method == Method::HEAD {
        Body::empty()
    } else {
        file.seek(SeekFrom::Start(bytes.start)).await.map_err(disk)?;
        file.set_max_buf_size(PIECE);
        Body::from_stream(pieces(file.take(bytes.end - bytes.start)))
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {}-{}/{size}", bytes.start, bytes.end - 1);
        response = with_header(response, CONTENT_RANGE.as_str(), range);
    }
    let response = with_header(response, CONTENT_LENGTH.as_str(), bytes.end - bytes.start);
    let response = with_header(response, CONTENT_TYPE.as_str(), "application/octet-stream");
    Ok(digest_header(with_header(response, ACCEPT_RANGES.as_str(), "bytes"), &digest))
}

fn pieces(file: Take<File>) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(file, async |mut file| {
        let mut piece = Vec::with_capacity(PIECE);
        let count = file.read_buf(&mut piece).await?;
        Ok((count > 0).then(|| (Bytes::from(piece), file)))
    })
}
