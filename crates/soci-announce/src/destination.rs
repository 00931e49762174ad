//! Where announcements go.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::announcement::Announcement;

/// A delivery that is under way.
pub type Delivering<'a> = Pin<Box<dyn Future<Output = Result<(), DeliveryError>> + Send + 'a>>;

/// Where announcements go: an event bus, a server.
pub trait Destination: Send + Sync + 'static {
    /// Short stable name, for logs and metrics.
    fn name(&self) -> &'static str;

    /// Hands an announcement over, once. Dropping the future stops it, and it may arrive nevertheless.
    fn deliver<'a>(&'a self, announcement: &'a Announcement) -> Delivering<'a>;
}

/// Why an announcement was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct DeliveryError {
    /// Why, for people: one line without secrets.
    pub reason: String,
    /// Whether the same announcement may be taken later.
    pub transient: bool,
    /// How long the destination wants to be left alone.
    pub retry_after: Option<Duration>,
}

impl DeliveryError {
    /// One that may pass.
    pub fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), transient: true, retry_after: None }
    }

    /// One that the same announcement meets again.
    pub fn lasting(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), transient: false, retry_after: None }
    }
}
