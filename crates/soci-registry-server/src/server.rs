//! The registry as a process sees it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::api;
use crate::context::Context;
use crate::error::OpenError;
use crate::listen::Limited;
use crate::push::Push;
use crate::settings::{RegistryServerSettings, RegistryStorage};
use crate::store::Store;
use crate::temporary::TemporaryFolder;
use crate::upload_sessions::UploadSessions;

/// A running registry. It goes on for as long as this is held.
#[derive(Debug)]
pub struct LocalRegistry {
    address: SocketAddr,
    server: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
    temporary: Option<TemporaryFolder>,
}

impl LocalRegistry {
    /// Opens the storage and serves it on `listener`, on the current tokio runtime.
    ///
    /// Every manifest that is pushed from then on is told to the receiver, once it is there. Two pushes
    /// of a tag at the same time may be told in either order, so whoever acts on one looks at what the
    /// tag names. A push is answered once there is room for the news; after the receiver was dropped
    /// nothing is told any more.
    pub async fn start(
        listener: TcpListener,
        settings: RegistryServerSettings,
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
        let sessions = UploadSessions::default();
        let context = Context { store, sessions, limits, check_references: true, pushes };
        let (stop, stopped) = oneshot::channel::<()>();
        let router = Router::new().fallback(answer).with_state(Arc::new(context));
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
            let removed = tokio::task::spawn_blocking(move || temporary.remove()).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(%error, path = %path.display(), "the temporary folder is left behind");
            }
        }
    }
}

async fn answer(State(context): State<Arc<Context>>, request: Request) -> Response {
    api::answer(context, request).await
}

fn open(storage: RegistryStorage) -> Result<(Store, Option<TemporaryFolder>), OpenError> {
    match storage {
        RegistryStorage::Folder(folder) => {
            std::fs::create_dir_all(&folder)
                .map_err(|source| OpenError::File { path: folder.clone(), source })?;
            Ok((Store::open(&folder, true)?, None))
        }
        RegistryStorage::Temporary => {
            let path = std::env::temp_dir();
            let folder =
                TemporaryFolder::new().map_err(|source| OpenError::File { path, source })?;
            // Nothing of it outlives the process, so nothing needs to reach the disk.
            Ok((Store::open(folder.path(), false)?, Some(folder)))
        }
    }
}
