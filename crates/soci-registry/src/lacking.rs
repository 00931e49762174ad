//! What registries were seen to lack, so that it is not asked for anew with every image.
//!
//! One answer is not believed, as a wrong one would stay for as long as the process lives. A registry is known to
//! lack something once it has said so twice with nothing to the contrary in between. Until then it is asked each time, and
//! what it lacks is got in another way. What is believed is believed for [`BELIEF`]: nobody asks meanwhile, so nothing else
//! would show that it was only an outage.
//!
//! The names are those of registries and not those of the storages that they send to: whether it is worth asking
//! has to be known before it is known where the registry sends to.

use std::time::Duration;

use tokio::time::Instant;

use crate::registry_table::RegistryTable;

/// Answers that are believed.
const BELIEVED: u8 = 2;

/// How long they are.
const BELIEF: Duration = Duration::from_hours(1);

/// What registries lack.
#[derive(Debug, Default)]
pub(crate) struct Lacking {
    /// The referrers API.
    pub(crate) referrers: LackingRegistries,
    /// HEAD of blobs.
    pub(crate) blob_head: LackingRegistries,
    /// HEAD of manifests.
    pub(crate) manifest_head: LackingRegistries,
    /// Ranges of blobs: where one is asked for, the blob is refused.
    pub(crate) ranges: LackingRegistries,
}

/// Registries that lack one thing, and how often each has said so.
#[derive(Debug, Default)]
pub(crate) struct LackingRegistries(RegistryTable<Said>);

/// How often a registry has said that it lacks something, and when last.
#[derive(Clone, Copy, Debug)]
struct Said {
    times: u8,
    last: Instant,
}

impl LackingRegistries {
    pub(crate) fn contains(&self, registry: &str) -> bool {
        let now = Instant::now();
        self.0.of(registry).is_some_and(|said| {
            said.times >= BELIEVED && now.saturating_duration_since(said.last) < BELIEF
        })
    }

    /// Notes that the registry has said so.
    pub(crate) fn insert(&self, registry: &str) {
        let last = Instant::now();
        self.0.update(registry, |said| {
            // What was said long ago has to be said twice again.
            let before = said.filter(|said| last.saturating_duration_since(said.last) < BELIEF);
            Said { times: before.map_or(0, |said| said.times).saturating_add(1), last }
        });
    }

    /// Notes that the registry has shown the contrary.
    pub(crate) fn remove(&self, registry: &str) {
        self.0.forget(registry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_believed_is_asked_for_again_after_a_while() {
        let lacking = LackingRegistries::default();
        lacking.insert("a");
        lacking.insert("a");
        tokio::time::advance(BELIEF / 2).await;
        assert!(lacking.contains("a"));
        tokio::time::advance(BELIEF / 2).await;
        assert!(!lacking.contains("a"));
        lacking.insert("a");
        assert!(!lacking.contains("a"), "once is not enough");
        lacking.insert("a");
        assert!(lacking.contains("a"));
    }

    #[test]
    fn what_is_said_twice_is_believed_until_the_contrary_is_seen() {
        let lacking = LackingRegistries::default();
        lacking.insert("a");
        lacking.insert("b");
        assert!(!lacking.contains("a"));
        lacking.remove("b");
        lacking.insert("a");
        lacking.insert("b");
        assert!(lacking.contains("a") && !lacking.contains("b") && !lacking.contains("c"));
        lacking.remove("a");
        assert!(!lacking.contains("a"));
    }
}
