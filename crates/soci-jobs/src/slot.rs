//! The slot that a job works in, and what it does with it while it waits.
//!
//! A service runs a few jobs at once. One that waits for another job of the same image does nothing, and
//! that may take hours; four such would fill a worker that has four slots. So a job gives its slot back
//! before it waits and takes one again before it goes on.

use std::future::Future;
use std::pin::Pin;

/// Another job that a job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// A job for the same tag.
    SameTag,
    /// A job for the same image, under another tag or from a repeated delivery.
    SameImage,
}

impl WaitsFor {
    /// Short stable name: `same-tag`, `same-image`.
    pub fn label(self) -> &'static str {
        match self {
            Self::SameTag => "same-tag",
            Self::SameImage => "same-image",
        }
    }
}

/// What [`JobSlot::take_again`] gives.
pub type SlotFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// The slot of one job.
pub trait JobSlot: Send + Sync {
    /// The job is about to wait. `false` if it must not, because too many jobs wait already: then it
    /// keeps its slot and ends.
    fn leave(&self, waits_for: WaitsFor) -> bool;

    /// The job has waited. Ready once it has a slot again.
    fn take_again(&self) -> SlotFuture<'_>;
}

/// The slot of those who have no slots: nobody needs what a waiting job holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unlimited;

impl JobSlot for Unlimited {
    fn leave(&self, _: WaitsFor) -> bool {
        true
    }

    fn take_again(&self) -> SlotFuture<'_> {
        Box::pin(std::future::ready(()))
    }
}
