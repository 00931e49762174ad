//! Which registries have no referrers API.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Registries that are remembered before all are forgotten, which costs each of them one question more.
const MAX_REMEMBERED: usize = 1024;

/// Registries that have said twice in a row that they have no referrers API. One wrong answer is not
/// believed, and the question is not asked twice for every image.
#[derive(Debug, Default)]
pub(crate) struct LackingRegistries(Mutex<HashSet<String>>);

impl LackingRegistries {
    fn names(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn contains(&self, registry: &str) -> bool {
        self.names().contains(registry)
    }

    pub(crate) fn insert(&self, registry: &str) {
        let mut names = self.names();
        if names.len() >= MAX_REMEMBERED && !names.contains(registry) {
            names.clear();
        }
        names.insert(registry.to_owned());
    }

    pub(crate) fn remove(&self, registry: &str) {
        self.names().remove(registry);
    }
}
