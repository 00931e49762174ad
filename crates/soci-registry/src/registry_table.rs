//! What a process has found out of registries, by the names that users give those. The names come from others, so there
//! are only so many: what is beyond that has all forgotten, and each is found out once more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Registries that are remembered before all are forgotten.
const MAX_REMEMBERED: usize = 1024;

/// One thing of each registry.
#[derive(Debug)]
pub(crate) struct RegistryTable<V>(Mutex<HashMap<String, V>>);

impl<V> Default for RegistryTable<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V: Copy> RegistryTable<V> {
    fn known(&self) -> MutexGuard<'_, HashMap<String, V>> {
        // Nothing that holds the lock panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a registry.
    pub(crate) fn of(&self, registry: &str) -> Option<V> {
        self.known().get(registry).copied()
    }

    /// Keeps what was found out.
    pub(crate) fn learn(&self, registry: &str, value: V) {
        self.update(registry, |_| value);
    }

    /// Keeps what follows from what was known before.
    pub(crate) fn update(&self, registry: &str, next: impl FnOnce(Option<V>) -> V) {
        let mut known = self.known();
        let next = next(known.get(registry).copied());
        if known.len() >= MAX_REMEMBERED && !known.contains_key(registry) {
            known.clear();
        }
        known.insert(registry.to_owned(), next);
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
    fn each_registry_has_its_own_until_it_is_forgotten() {
        let table = RegistryTable::default();
        assert_eq!(table.of("a"), None);
        table.learn("a", 1);
        table.update("a", |known| known.unwrap() + 1);
        table.update("b", |known: Option<i32>| known.map_or(7, |_| 0));
        assert_eq!((table.of("a"), table.of("b")), (Some(2), Some(7)));
        table.forget("a");
        assert_eq!((table.of("a"), table.of("b")), (None, Some(7)));
    }

    #[test]
    fn the_table_does_not_grow_for_ever() {
        let table = RegistryTable::default();
        for number in 0..3 * MAX_REMEMBERED {
            table.learn(&number.to_string(), number);
            assert!(table.known().len() <= MAX_REMEMBERED);
        }
        // What is there is no newcomer.
        let last = (3 * MAX_REMEMBERED - 1).to_string();
        let before = table.known().len();
        table.learn(&last, 0);
        assert_eq!(table.known().len(), before);
        assert_eq!(table.of(&last), Some(0));
    }
}
