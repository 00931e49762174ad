//! Locks by key, for work that must not be done twice at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// Locks that exist as long as somebody holds or awaits them. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Locks<K> {
    held: Arc<Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>>,
}

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self { held: Arc::default() }
    }
}

impl<K: Eq + Hash> Locks<K> {
    /// The lock of `key`, not yet taken.
    pub(crate) fn of(&self, key: K) -> KeyLock {
        // Nothing here panics halfway through a change.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, lock| lock.strong_count() > 0);
        let known = held.get(&key).and_then(Weak::upgrade);
        KeyLock(known.unwrap_or_else(|| {
            let new = Arc::default();
            held.insert(key, Arc::downgrade(&new));
            new
        }))
    }
}

/// The lock of one key.
#[derive(Clone, Debug)]
pub(crate) struct KeyLock(Arc<tokio::sync::Mutex<()>>);

impl KeyLock {
    /// Takes the lock if nobody holds or awaits it. Dropping what is returned frees it.
    pub(crate) fn try_lock(&self) -> Option<OwnedMutexGuard<()>> {
        self.0.clone().try_lock_owned().ok()
    }

    /// Waits for the lock, first come first served. Dropping what is returned frees it.
    pub(crate) async fn lock(self) -> OwnedMutexGuard<()> {
        self.0.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_key_is_held_by_one_at_a_time_and_others_are_free() {
        let locks = Locks::default();
        let first = locks.of("a").lock().await;
        assert!(locks.of("b").lock().now_or_never().is_some());
        assert!(locks.clone().of("a").lock().now_or_never().is_none());
        assert!(locks.of("a").try_lock().is_none() && locks.of("b").try_lock().is_some());
        drop(first);
        assert!(locks.of("a").lock().now_or_never().is_some());
    }

    #[tokio::test]
    async fn locks_that_nobody_holds_are_forgotten() {
        let locks = Locks::default();
        for key in 0..100 {
            drop(locks.of(key).lock().await);
        }
        let _held = locks.of(100).lock().await;
        assert_eq!(locks.held.lock().unwrap().len(), 1);
    }
}
