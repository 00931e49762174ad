//! Who of this process builds the ztoc of a layer just now. Images that are pushed together often share a layer that is
//! new; the first one to come builds it, and the others wait and take it over.
//!
//! Whoever waits holds no slot and no memory of layers, and whoever builds waits for nobody here, so everyone gets on. A build
//! that fails or is stopped gives its claim up, and the next one who waits builds. Layers of another registry are other
//! layers here: nothing could be taken over from there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use soci_oci::{Digest, Repository};
use soci_ztoc::ZtocSettings;
use tokio::sync::OwnedMutexGuard;

/// A layer of a registry, and all else that goes into the bytes of its ztoc.
type Key = (String, Digest, ZtocSettings);

type Turn = Arc<tokio::sync::Mutex<()>>;

/// The layers that somebody builds or waits for. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims(Arc<Mutex<HashMap<Key, Turn>>>);

/// The right to build a ztoc, until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    claims: Claims,
    key: Key,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Claims {
    fn table(&self) -> MutexGuard<'_, HashMap<Key, Turn>> {
        // Nothing here panics halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else builds the ztoc of this layer. Says whether somebody did.
    pub(super) async fn claim(
        &self,
        repository: &Repository,
        layer: Digest,
        settings: &ZtocSettings,
    ) -> (Claim, bool) {
        let key = (repository.registry().to_string(), layer, settings.clone());
        let turn = Arc::clone(self.table().entry(key.clone()).or_default());
        // Made before it is waited for, so that it is cleared away however that ends.
        let mut claim = Claim { claims: self.clone(), key, guard: None };
        let (guard, waited) = match Arc::clone(&turn).try_lock_owned() {
            Ok(guard) => (guard, false),
            Err(_) => (turn.lock_owned().await, true),
        };
        claim.guard = Some(guard);
        (claim, waited)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut table = self.claims.table();
        self.guard = None;
        // Those who wait have a share in it each.
        if table.get(&self.key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            table.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use soci_ztoc::Compression;

    use super::*;

    fn settings(tool: &str) -> ZtocSettings {
        ZtocSettings::new(Compression::Gzip, tool)
    }

    #[tokio::test]
    async fn one_builds_at_a_time_and_nothing_is_left_behind() {
        let claims = Claims::default();
        let repository = |registry, name| Repository::new(registry, name).unwrap();
        let here = repository("registry.example", "app");
        let layer = Digest::sha256_of(b"layer");
        let (first, waited) = claims.claim(&here, layer, &settings("a")).await;
        assert!(!waited);
        // Another tool, another layer and another registry wait for nobody.
        let others = [
            claims.claim(&here, layer, &settings("b")).now_or_never(),
            claims.claim(&here, Digest::sha256_of(b"other"), &settings("a")).now_or_never(),
            claims.claim(&repository("other.example", "app"), layer, &settings("a")).now_or_never(),
        ];
        assert!(others.iter().flatten().filter(|(_, waited)| !waited).count() == 3);
        drop(others);
        assert_eq!(claims.table().len(), 1);
        // Another repository does, and one that gives up changes nothing.
        let there = repository("registry.example", "other");
        let given_up = settings("a");
        assert!(claims.claim(&there, layer, &given_up).now_or_never().is_none());
        let of_second = settings("a");
        let second = claims.claim(&there, layer, &of_second);
        tokio::pin!(second);
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        let (second, waited) = second.await;
        assert!(waited);
        drop(second);
        assert!(claims.table().is_empty());
    }
}
