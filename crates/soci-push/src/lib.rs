//! What a push to ECR means for this service: the events that tell of it, the filters that say which
//! pushes are wanted, the job messages that workers get, and the one decision whether a push is work.
//!
//! Pure: no I/O, no clock, no environment; small enough for the filter Lambda. It knows the version of
//! the SOCI index that is built, since results are told from images by it, and nothing else of the
//! format.

pub mod event;
pub mod filter;
pub mod job;

mod push_rules;

pub use event::{DeletionEvent, EcrEvent, EventError, EventTypes, PushEvent, Skip, why_not};
pub use filter::{TagFilter, TagFilters};
pub use job::{JobError, JobMessage};
pub use push_rules::{Job, PushRules, SkippedPush, Task, understand};
