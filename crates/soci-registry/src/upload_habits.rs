//! How each registry takes blobs, as far as that was found out.
//!
//! Nothing is known of a registry at first, and a blob is sent by one PUT: that is what ECR takes best.
//! What a refusal has shown is kept for the process, so that only the first blob meets it.

use crate::registry_table::RegistryTable;

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

/// The habits of registries.
pub(crate) type UploadHabits = RegistryTable<UploadHabit>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_goes_by_one_put_as_long_as_one_is_taken() {
        assert!(UploadHabit::default().takes_whole(u64::MAX));
        let limited = UploadHabit { whole: true, largest: Some(10) };
        assert!(limited.takes_whole(10) && !limited.takes_whole(11));
        assert!(!UploadHabit { whole: false, largest: None }.takes_whole(0));
    }
}
