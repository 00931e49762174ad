//! What this process has built itself: by the layer and everything else that goes into a ztoc's bytes, its digest and
//! where it is. The bytes are not kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use soci_manifest::LayerToBuild;
use soci_oci::{Digest, Repository};
use soci_ztoc::ZtocSettings;

use crate::report::{ReusedLayer, ZtocSource};

/// Ztocs that are remembered at most, before the one is forgotten that was wanted least lately.
const MOST_ZTOCS: usize = 8192;

/// Bytes that they take at most, counted by [`cost`]: some 4,000 with names of ordinary length.
const MOST_BYTES: usize = 2 << 20;

/// Repositories that are remembered of each, the latest: any will do to take it over from.
const MOST_PLACES: usize = 3;

/// Bytes of an entry beside its texts: two digests, the settings, some numbers, and its place in the table.
const ENTRY: usize = 400;

/// A ztoc that this process has built and stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnZtoc {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) files: usize,
    pub(crate) spans: usize,
    /// Repositories that have it, the latest first.
    pub(crate) places: Vec<Repository>,
}

impl OwnZtoc {
    pub(super) fn report(&self, layer: &LayerToBuild, elapsed: Duration) -> ReusedLayer {
        ReusedLayer {
            digest: layer.key.digest,
            size: layer.size,
            ztoc: self.digest,
            ztoc_size: self.size,
            files: self.files,
            spans: self.spans,
            from: ZtocSource::Process,
            elapsed,
        }
    }
}

/// What this process has built. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnWork(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    ztocs: HashMap<(Digest, ZtocSettings), Remembered>,
    bytes: usize,
    /// Counts what is asked for and put, so that it can be told what was last.
    clock: u64,
}

#[derive(Debug)]
struct Remembered {
    ztoc: OwnZtoc,
    bytes: usize,
    wanted_at: u64,
}

impl OwnWork {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing here panics halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, layer: Digest, settings: &ZtocSettings) -> Option<OwnZtoc> {
        let mut table = self.table();
        table.clock += 1;
        let now = table.clock;
        let known = table.ztocs.get_mut(&(layer, settings.clone()))?;
        known.wanted_at = now;
        Some(known.ztoc.clone())
    }

    /// Remembers a ztoc, which `place` has by now if it is a repository.
    pub(super) fn put(
        &self,
        layer: Digest,
        settings: &ZtocSettings,
        mut ztoc: OwnZtoc,
        place: Option<&Repository>,
    ) {
        let mut table = self.table();
        let key = (layer, settings.clone());
        if let Some(known) = table.ztocs.remove(&key) {
            table.bytes -= known.bytes;
            let others = known.ztoc.places.into_iter();
            let others: Vec<_> = others.filter(|other| !ztoc.places.contains(other)).collect();
            ztoc.places.extend(others);
        }
        if let Some(place) = place {
            ztoc.places.retain(|other| other != place);
            ztoc.places.insert(0, place.clone());
        }
        ztoc.places.truncate(MOST_PLACES);
        let bytes = cost(settings, &ztoc);
        while table.ztocs.len() >= MOST_ZTOCS || table.bytes + bytes > MOST_BYTES {
            let Some(least) = table
                .ztocs
                .iter()
                .min_by_key(|(_, known)| known.wanted_at)
                .map(|(key, _)| key.clone())
            else {
                // It alone is more than there is room for.
                return;
            };
            if let Some(forgotten) = table.ztocs.remove(&least) {
                table.bytes -= forgotten.bytes;
            }
        }
        table.clock += 1;
        table.bytes += bytes;
        let wanted_at = table.clock;
        table.ztocs.insert(key, Remembered { ztoc, bytes, wanted_at });
    }
}

/// Bytes that an entry takes.
fn cost(settings: &ZtocSettings, ztoc: &OwnZtoc) -> usize {
    let places = ztoc.places.iter().map(|place| place.registry().len() + place.name().len() + 48);
    ENTRY + settings.build_tool_identifier.len() + places.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use soci_ztoc::{Compression, GzipMembers, LayerLimits, MisreadEntries};

    use super::*;

    fn digest(number: usize) -> Digest {
        Digest::sha256_of(number.to_string().as_bytes())
    }

    fn ztoc(number: usize) -> OwnZtoc {
        OwnZtoc { digest: digest(number), size: 7, files: 1, spans: 1, places: Vec::new() }
    }

    fn settings() -> ZtocSettings {
        ZtocSettings::new(Compression::Gzip, "tool")
    }

    fn place(name: &str) -> Repository {
        Repository::new("r.example", name).unwrap()
    }

    #[test]
    fn everything_that_goes_into_a_ztoc_is_a_part_of_the_key() {
        let own = OwnWork::default();
        let base = settings();
        own.put(digest(1), &base, ztoc(2), None);
        assert_eq!(own.get(digest(1), &base), Some(ztoc(2)));
        assert_eq!(own.get(digest(2), &base), None);
        for other in [
            ZtocSettings { compression: Compression::Uncompressed, ..base.clone() },
            ZtocSettings { span_size: 1, ..base.clone() },
            ZtocSettings { build_tool_identifier: "other".to_owned(), ..base.clone() },
            ZtocSettings { members: GzipMembers::One, ..base.clone() },
            ZtocSettings { misread: MisreadEntries::Refused, ..base.clone() },
            ZtocSettings {
                limits: LayerLimits { entries: 5, ..LayerLimits::DEFAULT },
                ..base.clone()
            },
        ] {
            assert_eq!(own.get(digest(1), &other), None, "{other:?}");
        }
    }

    #[test]
    fn the_least_wanted_are_forgotten_and_the_size_stays_bounded() {
        let own = OwnWork::default();
        own.put(digest(0), &settings(), ztoc(0), Some(&place("base")));
        for number in 1..=MOST_ZTOCS {
            own.put(digest(number), &settings(), ztoc(number), Some(&place("app")));
            assert!(own.get(digest(0), &settings()).is_some(), "it is wanted all the time");
        }
        assert_eq!(own.get(digest(1), &settings()), None);
        assert!(own.get(digest(MOST_ZTOCS), &settings()).is_some());
        let table = own.table();
        assert!(table.ztocs.len() <= MOST_ZTOCS && table.bytes <= MOST_BYTES);
        assert_eq!(table.bytes, table.ztocs.values().map(|known| known.bytes).sum::<usize>());
    }

    #[test]
    fn what_is_larger_than_all_the_room_is_not_remembered() {
        let own = OwnWork::default();
        let build_tool_identifier = "x".repeat(MOST_BYTES);
        let long = ZtocSettings { build_tool_identifier, ..settings() };
        own.put(digest(1), &long, ztoc(1), None);
        assert!(own.get(digest(1), &long).is_none() && own.table().bytes == 0);
    }

    #[test]
    fn the_latest_places_of_a_ztoc_are_known() {
        let own = OwnWork::default();
        for name in ["a", "b", "c", "a", "d"] {
            own.put(digest(1), &settings(), ztoc(1), Some(&place(name)));
        }
        let known = own.get(digest(1), &settings()).unwrap();
        assert_eq!(known.places, ["d", "a", "c"].map(place));
    }
}
