//! Who of this process builds the ztoc of a layer just now. Images that are pushed together often share a layer that is
//! new; the first one to come builds it, and the others wait and take it over.
//!
//! Whoever waits holds no slot and no memory of layers, and whoever builds waits for nobody here, so everyone gets on. Where no
//! ztoc comes of a claim, as the layer gets none, its build fails or is stopped, all who wait build at once. Layers of another
//! registry are other layers here: nothing could be taken over from there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use soci_oci::{Digest, Repository};
use soci_ztoc::ZtocSettings;
use tokio::sync::OwnedMutexGuard;

/// A layer of a registry, and all else that goes into the bytes of its ztoc.
type Key = (String, Digest, ZtocSettings);

/// Held by whoever builds. True once no ztoc came of it.
type Turn = Arc<tokio::sync::Mutex<bool>>;

/// The layers that somebody builds or waits for. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims(Arc<Mutex<HashMap<Key, Turn>>>);

/// The right to build a ztoc, until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    claims: Claims,
    key: Key,
    guard: Option<OwnedMutexGuard<bool>>,
    built: bool,
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
        let mut claim = Claim { claims: self.clone(), key, guard: None, built: false };
        let (guard, waited) = match Arc::clone(&turn).try_lock_owned() {
            Ok(guard) => (guard, false),
            Err(_) => (turn.lock_owned().await, true),
        };
        // Where nothing came of it, the next one need not wait until this one has tried.
        claim.guard = Some(guard).filter(|nothing_came| !**nothing_came);
        (claim, waited)
    }
}

impl Claim {
    /// The ztoc is there for those who wait.
    pub(crate) fn fulfil(mut self) {
        self.built = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut table = self.claims.table();
        if let Some(mut nothing_came) = self.guard.take() {
            *nothing_came = !self.built;
        }
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
        first.fulfil();
        let (second, waited) = second.await;
        assert!(waited);
        drop(second);
        assert!(claims.table().is_empty());
    }

    #[tokio::test]
    async fn where_no_ztoc_comes_of_it_all_who_wait_build_at_once() {
        let claims = Claims::default();
        let here = Repository::new("registry.example", "app").unwrap();
        let (layer, settings) = (Digest::sha256_of(b"layer"), settings("a"));
        let claim = || Box::pin(claims.claim(&here, layer, &settings));
        let (first, _) = claim().await;
        let mut waiting = [claim(), claim(), claim()];
        assert!(waiting.iter_mut().all(|waiting| waiting.as_mut().now_or_never().is_none()));
        drop(first);
        let building: Vec<_> =
            waiting.iter_mut().map(|waiting| waiting.as_mut().now_or_never().unwrap()).collect();
        assert!(building.iter().all(|(_, waited)| *waited));
        // One that comes now does as they do.
        assert!(claim().now_or_never().is_some());
        drop(building);
        assert!(claims.table().is_empty());
        let (again, waited) = claim().await;
        assert!(!waited && claim().now_or_never().is_none(), "it is forgotten");
        drop(again);
    }
}
