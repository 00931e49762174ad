//! Memory that a build asks for before it takes it.
//!
//! How large a ztoc becomes is known only when its layer has been read, and a layer of a hundred
//! mebibytes can have a ztoc of a gibibyte. So what is kept is counted as it comes, in the size that
//! it has when the ztoc is written, and asked for in steps before it is kept. If no more is
//! given, the build keeps nothing any longer and gives back what it had, but goes on counting: in the end
//! it says how much it would have needed, so that whoever has so much can build the ztoc again.

use std::fmt;

/// Where a build gets its memory from.
pub trait MemoryGrant: fmt::Debug + Send {
    /// Asks for `bytes` more and says whether they are given. Must not wait: whoever waits while
    /// holding memory keeps others waiting for it.
    fn grow(&mut self, bytes: u64) -> bool;

    /// All that was given is free again.
    fn release(&mut self);
}

/// Gives everything that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Unbounded;

impl MemoryGrant for Unbounded {
    fn grow(&mut self, _: u64) -> bool {
        true
    }

    fn release(&mut self) {}
}

/// Least memory that is asked for at once, in bytes.
const STEP: u64 = 1 << 20;

/// Counts what a build keeps, and asks for it.
#[derive(Debug)]
pub(crate) struct Meter {
    grant: Box<dyn MemoryGrant>,
    given: u64,
    needed: u64,
    refused: bool,
}

impl Meter {
    pub(crate) fn new(grant: Box<dyn MemoryGrant>) -> Self {
        Self { grant, given: 0, needed: 0, refused: false }
    }

    /// Counts `bytes` more; true if they may be kept. Once it says no it does so for good.
    #[must_use]
    pub(crate) fn take(&mut self, bytes: u64) -> bool {
        self.needed = self.needed.saturating_add(bytes);
        if !self.refused && self.needed > self.given {
            let step = (self.needed - self.given).max(STEP);
            if self.grant.grow(step) {
                self.given += step;
            } else {
                self.refused = true;
            }
        }
        !self.refused
    }

    /// Gives back everything that was given.
    pub(crate) fn release(&mut self) {
        self.given = 0;
        self.grant.release();
    }

    /// With how many bytes nothing would have been refused, if something was.
    pub(crate) fn refused(&self) -> Option<u64> {
        // The last step may reach beyond what is needed.
        self.refused.then_some(self.needed + STEP)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Debug)]
    struct UpTo(u64, Arc<AtomicU64>);

    impl MemoryGrant for UpTo {
        fn grow(&mut self, bytes: u64) -> bool {
            let given = self.1.load(Ordering::Relaxed) + bytes;
            let fits = given <= self.0;
            if fits {
                self.1.store(given, Ordering::Relaxed);
            }
            fits
        }

        fn release(&mut self) {
            self.1.store(0, Ordering::Relaxed);
        }
    }

    #[test]
    fn memory_is_asked_for_in_steps_and_counted_when_there_is_no_more() {
        let given = Arc::new(AtomicU64::new(0));
        let mut meter = Meter::new(Box::new(UpTo(5 * STEP, Arc::clone(&given))));
        assert!(meter.take(1) && meter.take(STEP - 1));
        assert_eq!(given.load(Ordering::Relaxed), STEP);
        assert!(meter.take(3 * STEP) && meter.take(STEP));
        assert_eq!((given.load(Ordering::Relaxed), meter.refused()), (5 * STEP, None));
        assert!(!meter.take(1) && !meter.take(9));
        meter.release();
        assert!(!meter.take(0), "what was dropped once is not complete any more");
        assert_eq!((given.load(Ordering::Relaxed), meter.refused()), (0, Some(6 * STEP + 10)));
    }
}
