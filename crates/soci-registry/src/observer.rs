//! A hook for counters: what the client asks and repeats.

use std::time::Duration;

use http::StatusCode;

use crate::error::Error;
use crate::redact::RequestLine;

/// Told about every request and retry. Called on the request's task: keep it short.
pub trait Observer: Send + Sync {
    /// A response head arrived, or the request failed before one did.
    fn request(&self, done: &RequestDone<'_>) {
        let _ = done;
    }

    /// An operation failed in passing and will be tried again.
    fn retry(&self, retry: &RetryScheduled<'_>) {
        let _ = retry;
    }
}

/// One finished HTTP exchange, up to the head of the response.
#[derive(Debug)]
pub struct RequestDone<'a> {
    /// What was asked of whom.
    pub request: &'a RequestLine,
    /// The response's status; `None` if the request failed before one arrived.
    pub status: Option<StatusCode>,
    /// Time from sending to the head of the response.
    pub elapsed: Duration,
}

/// A retry that is about to be waited for.
#[derive(Debug)]
pub struct RetryScheduled<'a> {
    /// Why the try failed.
    pub error: &'a Error,
    /// Tries that failed in a row, this one included.
    pub failed: u32,
    /// Wait before the next try.
    pub wait: Duration,
}
