//! What all requests share.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::push::Push;
use crate::reply::ApiError;
use crate::settings::RegistryServerLimits;
use crate::store::Store;
use crate::upload_sessions::UploadSessions;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) sessions: UploadSessions,
    pub(crate) limits: RegistryServerLimits,
    /// Whether a manifest is refused while something that it names is missing.
    pub(crate) check_references: bool,
    /// Where pushes are told.
    pub(crate) pushes: mpsc::Sender<Push>,
}

/// Does what blocks where that is allowed. It is not cut off when the client goes away.
pub(crate) async fn blocking<T: Send + 'static>(
    context: &Arc<Context>,
    work: impl FnOnce(&Context) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let context = Arc::clone(context);
    let done = tokio::task::spawn_blocking(move || work(&context)).await;
    done.unwrap_or_else(|failed| Err(ApiError::disk(&io::Error::other(failed))))
}
