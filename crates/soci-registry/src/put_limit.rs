//! A hook that holds manifest PUTs back.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// The future of [`PutLimit::wait`].
pub type PutLimitFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Holds manifest PUTs back, for registries that allow an account only so many in a second. Every
/// PUT waits, repeated ones too, since these count against a quota as well; a manifest that turns
/// out to be there is not put and does not wait.
pub trait PutLimit: Send + Sync + fmt::Debug {
    /// Ready when one PUT may go out. Dropping the future gives the turn up.
    fn wait(&self) -> PutLimitFuture<'_>;
}
