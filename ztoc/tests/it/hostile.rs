//! Inputs that somebody made to do harm.

use proptest::prelude::*;
use ztoc::testing::random_layer;
use ztoc::{Compression, FileType, Limits, Reader};

use crate::support::{build, golden, settings};

/// Small limits, so that what passes them is found soon.
const LIMITS: Limits = Limits {
    entries: 10_000,
    name: 1 << 16,
    extended_header: 1 << 16,
    checkpoints: 200,
    spans: 10_000,
    uncompressed_size: 1 << 24,
    ztoc_size: 1 << 24,
};

/// Builds from bytes that may be anything, and uses what comes of it.
fn exercise_builder(layer: &[u8], compression: Compression) {
    let settings = ztoc::Settings { limits: LIMITS, ..settings(compression, 1000) };
    if let Ok(ztoc) = build(layer, settings, || 4096) {
        exercise_reader(ztoc.encoded.to_vec(), layer);
    }
}

/// Opens bytes that may be anything, and extracts all there is.
fn exercise_reader(ztoc: Vec<u8>, layer: &[u8]) {
    let Ok(reader) = Reader::parse(ztoc, &LIMITS) else { return };
    for entry in reader.entries().filter(|entry| entry.kind == FileType::Regular) {
        let _ = reader.find(entry.name);
        let mut extracted = 0;
        let _ = reader.extract(
            &entry,
            |span| layer.get(span.start as usize..span.end as usize).ok_or(()),
            |piece| {
                extracted += piece.len() as u64;
                Ok(())
            },
        );
        assert!(extracted <= entry.size.cast_unsigned(), "more than the file");
    }
}

/// Changes a few bytes of `bytes`.
fn mutate(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    for (index, value) in changes {
        if !bytes.is_empty() {
            let at = index.index(bytes.len());
            bytes[at] = *value;
        }
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        exercise_builder(&bytes, Compression::Gzip);
        exercise_builder(&bytes, Compression::Uncompressed);
        exercise_reader(bytes, &[]);
    }

    #[test]
    fn a_damaged_archive_never_panics(seed: u64, changes in changes()) {
        let archive = mutate(random_layer(seed).archive, &changes);
        exercise_builder(&archive, Compression::Uncompressed);
        exercise_builder(&ztoc::testing::gzip(&archive), Compression::Gzip);
    }

    #[test]
    fn a_damaged_layer_never_panics(seed: u64, changes in changes()) {
        let layer = random_layer(seed);
        exercise_builder(&mutate(layer.bytes, &changes), layer.compression);
    }

    #[test]
    fn a_damaged_ztoc_never_panics(seed: u64, changes in changes()) {
        let layer = random_layer(seed);
        let settings = settings(layer.compression, 60_000);
        let ztoc = build(&layer.bytes, settings, || 9999).unwrap().encoded.to_vec();
        // Damage in the windows is found by zlib at best; the structure around them is small, so
        // that most of the changes are made there.
        let head = ztoc.len().min(600);
        let mut damaged = mutate(ztoc[..head].to_vec(), &changes);
        damaged.extend_from_slice(&ztoc[head..]);
        exercise_reader(damaged, &layer.bytes);
        exercise_reader(mutate(ztoc, &changes), &layer.bytes);
    }

    #[test]
    fn a_ztoc_cut_short_is_refused(seed: u64, at: prop::sample::Index) {
        let layer = random_layer(seed);
        let settings = settings(layer.compression, 60_000);
        let mut ztoc = build(&layer.bytes, settings, || 9999).unwrap().encoded.to_vec();
        ztoc.truncate(at.index(ztoc.len()));
        prop_assert!(Reader::parse(ztoc, &LIMITS).is_err());
    }
}

#[test]
fn every_prefix_of_a_small_layer_is_refused_or_built() {
    for name in ["gz-fname", "tar-pax-path", "tar-sparse-10", "mm-cat"] {
        let layer = std::fs::read(golden().join(format!("layers/{name}.bin"))).unwrap();
        for end in (0..layer.len()).step_by(97) {
            exercise_builder(&layer[..end], Compression::Gzip);
            exercise_builder(&layer[..end], Compression::Uncompressed);
        }
    }
}
