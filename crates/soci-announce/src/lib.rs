//! Tells others how images end: pipelines that deploy when an index is there, and people who want to know of failures.
//!
//! [`Announcement`] is what is told, the same wherever it goes; `docs/events/image-ended.v1.json` is its schema. A
//! [`Destination`] is where it goes. [`Outboxes`] stand between jobs and destinations, so that no destination can fail or
//! hold up a job.
//!
//! This crate knows no destination and no job. It waits, and opens no sockets.

mod announcement;
mod destination;
mod losses;
mod outbox;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use announcement::{Announcement, DETAIL_TYPE, ImageStatus, SCHEMA, SOURCE};
pub use destination::{Delivering, DeliveryError, Destination};
pub use losses::LossLines;
pub use outbox::{DeliveryEnd, OutboxLimits, OutboxObserver, Outboxes};
