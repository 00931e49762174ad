//! The registry as a process sees it, and the way of a request through it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, IF_RANGE, ORIGIN, RANGE,
};
use http::request::Parts;
use http::{Method, StatusCode};
use soci_oci::{Digest, Tag};
use tempfile::TempDir;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom, Take};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::error::OpenError;
use crate::listen::Limited;
use crate::range::{Part, part};
use crate::reply::{ApiError, Code, json_response, with_header};
use crate::route::{Name, Route};
use crate::settings::{Limits, Settings, Storage};
use crate::store::Store;
use crate::uploads::Uploads;
use crate::{manifests, uploads};

/// Bytes of a blob that leave at once.
const PIECE: usize = 256 << 10;

/// What is said at the root, where only people look.
const WELCOME: &str = "This is an OCI registry. Its API begins at /v2/.\n";

/// A manifest or image index has been pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The repository's name, without the registry.
    pub repository: String,
    /// Digest of the manifest.
    pub digest: Digest,
    /// The tag it was pushed under; `None` for a push by digest.
    pub tag: Option<Tag>,
    /// Media type of the manifest.
    pub manifest_media_type: String,
    /// Its artifact type, or the media type of its config; `None` if it has neither.
    pub artifact_media_type: Option<String>,
}

/// A running registry. It goes on for as long as this is held.
#[derive(Debug)]
pub struct LocalRegistry {
    address: SocketAddr,
    server: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
    temporary: Option<TempDir>,
}

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) uploads: Uploads,
    pub(crate) limits: Limits,
    pub(crate) pushes: mpsc::Sender<Push>,
}

impl LocalRegistry {
    /// Opens the storage and serves it on `listener`, on the current tokio runtime.
    ///
    /// Every manifest that is pushed from then on is told to the receiver, in the order in which
    /// pushes of the same tag took effect. A push is answered once there is room for the news;
    /// after the receiver was dropped nothing is told any more.
    pub async fn start(
        listener: TcpListener,
        settings: Settings,
    ) -> Result<(Self, mpsc::Receiver<Push>), OpenError> {
        let address = listener.local_addr().map_err(OpenError::Address)?;
        let limits = settings.limits;
        let opened = tokio::task::spawn_blocking(|| open(settings.storage));
        let (store, temporary) = opened.await.unwrap_or_else(|failed| {
            // A blocking task that has begun is never cancelled, and one that has not only as the
            // runtime ends, when this is not polled any more.
            std::panic::resume_unwind(failed.into_panic())
        })?;
        let (pushes, news) = mpsc::channel(limits.pending_pushes.max(1));
        let shared = Arc::new(Shared { store, uploads: Uploads::default(), limits, pushes });
        let (stop, stopped) = oneshot::channel::<()>();
        let router = Router::new().fallback(answer).with_state(shared);
        let server = axum::serve(Limited::new(listener, limits.connections), router)
            .with_graceful_shutdown(async {
                // Told, or dropped with the handle.
                let _ = stopped.await;
            });
        let server = tokio::spawn(async move {
            // It has no way to fail.
            let _ = server.await;
        });
        Ok((Self { address, server, stop: Some(stop), temporary }, news))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, lets those that run end within `grace`, and removes the storage if
    /// it is temporary.
    pub async fn stop(mut self, grace: Duration) {
        if let Some(stop) = self.stop.take() {
            // The server may have ended by itself.
            let _ = stop.send(());
        }
        if tokio::time::timeout(grace, &mut self.server).await.is_err() {
            self.server.abort();
        }
        if let Some(temporary) = self.temporary.take() {
            let path = temporary.path().to_owned();
            let removed = tokio::task::spawn_blocking(|| temporary.close()).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(%error, path = %path.display(), "the temporary folder is left behind");
            }
        }
    }
}

fn open(storage: Storage) -> Result<(Store, Option<TempDir>), OpenError> {
    match storage {
        Storage::Folder(folder) => Ok((Store::open(&folder, true)?, None)),
        Storage::Temporary => {
            let folder = tempfile::Builder::new().prefix("soci-index-builder-").tempdir();
            let path = std::env::temp_dir();
            let folder = folder.map_err(|source| OpenError::File { path, source })?;
            // Nothing of it outlives the process, so nothing needs to reach the disk.
            Ok((Store::open(folder.path(), false)?, Some(folder)))
        }
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let (method, path) = (head.method.clone(), head.uri.path().to_owned());
    let response = route(shared, head, body).await.unwrap_or_else(ApiError::into_response);
    tracing::debug!(%method, path, status = response.status().as_u16(), "registry request");
    with_header(response, "docker-distribution-api-version", "registry/2.0")
}

async fn route(shared: Arc<Shared>, head: Parts, body: Body) -> Result<Response, ApiError> {
    // Browsers name the page that a request comes from, registry clients do not. Without this, any
    // page that is open could push to an address of this machine.
    if head.headers.contains_key(ORIGIN) {
        return Err(ApiError::new(Code::Denied, "web pages have no access to this registry"));
    }
    let route = Route::parse(head.uri.path())?;
    let read = matches!(head.method, Method::GET | Method::HEAD);
    match route {
        Route::Root if read => {
            let welcome = Response::new(Body::from(WELCOME));
            Ok(with_header(welcome, CONTENT_TYPE.as_str(), "text/plain; charset=utf-8"))
        }
        Route::Version if read => {
            Ok(json_response(StatusCode::OK, "application/json", &serde_json::json!({})))
        }
        Route::Catalog if read => manifests::catalogue(&shared, &head),
        Route::Tags(name) if read => manifests::tags(&shared, &head, &name),
        Route::Manifest(name, target) if read => manifests::get(&shared, name, target).await,
        Route::Manifest(name, target) if head.method == Method::PUT => {
            manifests::put(shared, head, body, name, target).await
        }
        Route::Referrers(name, subject) if read => {
            manifests::referrers(&shared, &head, name, subject).await
        }
        Route::Blob(name, digest) if read => blob(&shared, &head, &name, digest).await,
        Route::Uploads(name) if head.method == Method::POST => {
            uploads::begin(shared, head, body, name).await
        }
        Route::Upload(name, id) => uploads::go_on(shared, head, body, name, id).await,
        _ => Err(ApiError::new(Code::Unsupported, "this registry does not do that here")),
    }
}

/// `GET` and `HEAD /v2/<name>/blobs/<digest>`
async fn blob(
    shared: &Shared,
    head: &Parts,
    name: &Name,
    digest: Digest,
) -> Result<Response, ApiError> {
    if !shared.store.catalogue().has_blob(name, &digest) {
        return Err(ApiError::new(Code::BlobUnknown, format!("{name} has no {digest}")));
    }
    let disk = |error| ApiError::disk(&error);
    let mut file = File::open(shared.store.path_of(&digest)).await.map_err(disk)?;
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

/// The answer with the digest of what it is about.
pub(crate) fn digest_header(response: Response, digest: &Digest) -> Response {
    with_header(response, "docker-content-digest", digest)
}

/// Does what blocks where that is allowed. It is not cut off when the client goes away.
pub(crate) async fn blocking<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Shared) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let shared = Arc::clone(shared);
    let done = tokio::task::spawn_blocking(move || work(&shared)).await;
    done.unwrap_or_else(|failed| Err(ApiError::disk(&io::Error::other(failed))))
}
