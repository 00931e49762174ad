//! Inputs that somebody made to do harm.

use proptest::prelude::*;
use soci_ztoc::testing::{fuzz, random_layer};
use soci_ztoc::{Compression, Reader};

use tar::{EntryType, Header};

use crate::support::{build, golden, open, settings};

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
        fuzz::layer(&bytes, Compression::Gzip);
        fuzz::layer(&bytes, Compression::Uncompressed);
        fuzz::ztoc(&bytes, &[]);
    }

    #[test]
    fn a_damaged_archive_never_panics(seed: u64, changes in changes()) {
        let archive = mutate(random_layer(seed).archive, &changes);
        fuzz::layer(&archive, Compression::Uncompressed);
        fuzz::layer(&soci_ztoc::testing::gzip(&archive), Compression::Gzip);
    }

    #[test]
    fn a_damaged_layer_never_panics(seed: u64, changes in changes()) {
        let layer = random_layer(seed);
        fuzz::layer(&mutate(layer.bytes, &changes), layer.compression);
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
        fuzz::ztoc(&damaged, &layer.bytes);
        fuzz::ztoc(&mutate(ztoc, &changes), &layer.bytes);
    }

    #[test]
    fn a_ztoc_cut_short_is_refused(seed: u64, at: prop::sample::Index) {
        let layer = random_layer(seed);
        let settings = settings(layer.compression, 60_000);
        let mut ztoc = build(&layer.bytes, settings, || 9999).unwrap().encoded.to_vec();
        ztoc.truncate(at.index(ztoc.len()));
        prop_assert!(Reader::parse(ztoc, &fuzz::LIMITS).is_err());
    }
}

#[test]
fn the_golden_layers_read_in_either_way_never_panic() {
    let mut layers = 0;
    for file in std::fs::read_dir(golden().join("layers")).unwrap() {
        let layer = std::fs::read(file.unwrap().path()).unwrap();
        fuzz::layer(&layer, Compression::Gzip);
        fuzz::layer(&layer, Compression::Uncompressed);
        layers += 1;
    }
    assert!(layers > 150);
}

#[test]
fn every_prefix_of_a_small_layer_is_refused_or_built() {
    for name in ["gz-fname", "tar-pax-path", "tar-sparse-10", "mm-cat"] {
        let layer = std::fs::read(golden().join(format!("layers/{name}.bin"))).unwrap();
        for end in (0..layer.len()).step_by(97) {
            fuzz::layer(&layer[..end], Compression::Gzip);
            fuzz::layer(&layer[..end], Compression::Uncompressed);
        }
    }
}

/// A layer of `entries` empty files, and behind them a hard link to each of `targets`.
fn links(entries: usize, targets: &[String]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for number in 0..entries {
        let mut header = Header::new_ustar();
        header.set_size(0);
        archive.append_data(&mut header, format!("{number}"), &[][..]).unwrap();
    }
    for (number, target) in targets.iter().enumerate() {
        let record = |text: String| (text.len() + 8).to_string().len() + 1 + text.len() + 1;
        let text = format!("linkpath={target}");
        let length = record(text.clone());
        let records = format!("{length} {text}\n");
        assert_eq!(records.len(), length);
        let mut extended = Header::new_ustar();
        extended.set_entry_type(EntryType::XHeader);
        extended.set_size(records.len() as u64);
        extended.set_cksum();
        archive.append(&extended, records.as_bytes()).unwrap();
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Link);
        header.set_size(0);
        archive.append_data(&mut header, format!("link{number}"), &[][..]).unwrap();
    }
    archive.into_inner().unwrap()
}

/// Either way would take minutes if it cost the number of entries times the length of a target, or of a chain.
#[test]
fn hard_links_are_followed_in_linear_time_however_long_their_targets_and_chains_are() {
    const ENTRIES: usize = 60_000;
    let settings = || settings(Compression::Uncompressed, 1 << 20);
    let padded = format!("{}0", "/".repeat(1_000_000));
    let ztoc = build(&links(ENTRIES, &[padded]), settings(), || 1 << 20).unwrap();
    let reader = open(ztoc.encoded.to_vec());
    let link = reader.entry(ENTRIES).unwrap();
    assert_eq!(link.linkname.len(), 1_000_001);
    reader.extraction(&link).unwrap();

    let chain: Vec<String> = (0..ENTRIES)
        .map(|number| if number == 0 { "0".to_owned() } else { format!("link{}", number - 1) })
        .collect();
    let ztoc = build(&links(1, &chain), settings(), || 1 << 20).unwrap();
    let reader = open(ztoc.encoded.to_vec());
    reader.extraction(&reader.entry(ENTRIES).unwrap()).unwrap();
}
