//! What has lately been made of which image.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use soci_oci::{Digest, Repository};

/// Images that are remembered: some 200 bytes each. A pushed image mostly comes again, under
/// another tag or by a repeated delivery, within minutes.
const CAPACITY: usize = 1024;

/// The results of the latest images. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memo {
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    results: HashMap<(Repository, Digest), Digest>,
    /// The images in the order in which they came.
    order: VecDeque<(Repository, Digest)>,
}

impl Memo {
    /// Digest of what was made of an image.
    pub(crate) fn get(&self, repository: &Repository, image: Digest) -> Option<Digest> {
        self.with(|known| known.results.get(&(repository.clone(), image)).copied())
    }

    /// Remembers it, and forgets the oldest for it.
    pub(crate) fn put(&self, repository: &Repository, image: Digest, result: Digest) {
        self.with(|known| {
            let image = (repository.clone(), image);
            if known.results.insert(image.clone(), result).is_none() {
                known.order.push_back(image);
            }
            if known.order.len() > CAPACITY
                && let Some(oldest) = known.order.pop_front()
            {
                known.results.remove(&oldest);
            }
        });
    }

    fn with<T>(&self, what: impl FnOnce(&mut Known) -> T) -> T {
        // A panic in between leaves an entry that is not forgotten, which does no harm.
        what(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_and_the_latest_result_counts() {
        let memo = Memo::default();
        let repository = Repository::new("r.example", "app").unwrap();
        let digest = |number: usize| Digest::sha256_of(number.to_string().as_bytes());
        for number in 0..=CAPACITY {
            memo.put(&repository, digest(number), digest(number));
        }
        memo.put(&repository, digest(7), digest(8));
        assert_eq!(memo.get(&repository, digest(0)), None);
        assert_eq!(memo.get(&repository, digest(7)), Some(digest(8)));
        assert_eq!(memo.get(&repository, digest(CAPACITY)), Some(digest(CAPACITY)));
        let other = Repository::new("r.example", "other").unwrap();
        assert_eq!(memo.get(&other, digest(7)), None);
        assert_eq!(memo.known.lock().unwrap().order.len(), CAPACITY);
    }
}
