//! How each registry takes blobs, as far as that was found out.
//!
//! Nothing is known of a registry at first, and a blob is sent by one PUT: that is what ECR takes best.
//! What a refusal has shown is kept for the process, so that only the first blob meets it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Registries that are remembered before all are forgotten, which costs each of them one refusal more.
const MAX_REMEMBERED: usize = 1024;

/// What a registry, or a proxy in front of it, takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UploadHabit {
    /// Whether a PUT may carry a blob.
    pub(crate) whole: bool,
    /// Most bytes of a body; none if there seems to be no such limit.
    pub(crate) largest: Option<u64>,
}

impl UploadHabit {
    /// Whether a blob of this size goes by one PUT.
    pub(crate) fn takes_whole(self, size: u64) -> bool {
        self.whole && self.largest.is_none_or(|largest| size <= largest)
    }
}

impl Default for UploadHabit {
    fn default() -> Self {
        Self { whole: true, largest: None }
    }
}

/// The habits of registries, by the names that users give those.
#[derive(Debug, Default)]
pub(crate) struct UploadHabits(Mutex<HashMap<String, UploadHabit>>);

impl UploadHabits {
    fn known(&self) -> MutexGuard<'_, HashMap<String, UploadHabit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a registry.
    pub(crate) fn of(&self, registry: &str) -> UploadHabit {
        self.known().get(registry).copied().unwrap_or_default()
    }

    /// Keeps what has worked with a registry.
    pub(crate) fn learn(&self, registry: &str, habit: UploadHabit) {
        let mut known = self.known();
        if known.len() >= MAX_REMEMBERED && !known.contains_key(registry) {
            known.clear();
        }
        known.insert(registry.to_owned(), habit);
    }

    /// Goes back to knowing nothing.
    pub(crate) fn forget(&self, registry: &str) {
        self.known().remove(registry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_goes_by_one_put_as_long_as_one_is_taken() {
        let habits = UploadHabits::default();
        assert!(habits.of("r").takes_whole(u64::MAX));
        habits.learn("r", UploadHabit { whole: true, largest: Some(10) });
        assert!(habits.of("r").takes_whole(10) && !habits.of("r").takes_whole(11));
        assert!(habits.of("s").takes_whole(11));
        habits.learn("r", UploadHabit { whole: false, largest: None });
        assert!(!habits.of("r").takes_whole(0));
        habits.forget("r");
        assert_eq!(habits.of("r"), UploadHabit::default());
    }

    #[test]
    fn the_table_does_not_grow_for_ever() {
        let habits = UploadHabits::default();
        for number in 0..3 * MAX_REMEMBERED {
            habits.learn(&number.to_string(), UploadHabit { whole: false, largest: None });
        }
        assert!(habits.known().len() <= MAX_REMEMBERED);
    }
}
