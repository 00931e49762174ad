//! What holds for every layer.

use std::convert::Infallible;

use proptest::prelude::*;
use soci_ztoc::testing::{Layer, random_layer};
use soci_ztoc::{Entry, FetchError, FileType, LayerLimits, Reader, Span};

use crate::support::{build, open, settings};

fn build_random(layer: &Layer, piece: impl FnMut() -> usize) -> Vec<u8> {
    let settings = settings(layer.compression, layer.span_size);
    build(&layer.bytes, settings, piece).unwrap().encoded.to_vec()
}

fn extract(
    reader: &Reader<Vec<u8>>,
    entry: &Entry<'_>,
    layer: &[u8],
    mut on_fetch: impl FnMut(&Span),
) -> Result<Vec<u8>, FetchError<Infallible>> {
    let mut data = Vec::new();
    let fetch = |span: &Span| {
        on_fetch(span);
        Ok(&layer[span.start as usize..span.end as usize])
    };
    let sink = |piece: &[u8]| {
        data.extend_from_slice(piece);
        Ok(())
    };
    reader.extract(entry, fetch, sink)?;
    Ok(data)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_pieces_in_which_a_layer_comes_do_not_matter(
        seed: u64,
        sizes in proptest::collection::vec(1usize..70_000, 1..20),
    ) {
        let layer = random_layer(seed);
        let whole = build_random(&layer, || usize::MAX);
        let mut sizes = sizes.into_iter().cycle();
        let pieces = build_random(&layer, || sizes.next().unwrap());
        prop_assert!(whole == pieces);
    }

    #[test]
    fn every_file_can_be_extracted_from_its_spans_alone(seed: u64) {
        let layer = random_layer(seed);
        let reader = open(build_random(&layer, || 10_000));
        let regular = reader.entries().filter(|entry| entry.kind == FileType::Regular);
        let mut files = layer.files.iter();
        for entry in regular {
            let (path, content) = files.next().unwrap();
            prop_assert_eq!(entry.name, &path[..]);
            let mut fetched = Vec::new();
            let data = extract(&reader, &entry, &layer.bytes, |span| fetched.push(*span)).unwrap();
            prop_assert!(&data == content, "{}", String::from_utf8_lossy(path));
            let end = entry.offset + content.len() as u64;
            for span in &fetched {
                prop_assert!(span.uncompressed_start < end, "a span behind the file");
            }
            for pair in fetched.windows(2) {
                prop_assert_eq!(pair[0].index + 1, pair[1].index);
                prop_assert!(pair[1].uncompressed_start > entry.offset, "a span before the file");
            }
        }
        prop_assert_eq!(files.next(), None);
    }

    #[test]
    fn a_ztoc_tells_what_the_archive_holds(seed: u64) {
        let layer = random_layer(seed);
        let ztoc = build(&layer.bytes, settings(layer.compression, layer.span_size), || 4096).unwrap();
        let reader = open(ztoc.encoded.to_vec());
        prop_assert_eq!(reader.entry_count(), ztoc.files);
        prop_assert_eq!(reader.span_count(), ztoc.spans);
        prop_assert_eq!(reader.compressed_size(), layer.bytes.len() as u64);
        prop_assert_eq!(reader.uncompressed_size(), ztoc.uncompressed_size);
        prop_assert!(ztoc.uncompressed_size <= layer.archive.len() as u64);
        let mut archive = tar::Archive::new(&layer.archive[..]);
        let mut entries = reader.entries();
        for expected in archive.entries().unwrap() {
            let expected = expected.unwrap();
            let found = entries.next().unwrap();
            prop_assert_eq!(found.name, &*expected.path_bytes());
            prop_assert_eq!(found.offset, expected.raw_file_position());
            prop_assert_eq!(found.size.cast_unsigned(), expected.size());
            prop_assert_eq!(found.linkname, &*expected.link_name_bytes().unwrap_or_default());
            prop_assert_eq!(found.mode, i64::from(expected.header().mode().unwrap()));
            prop_assert_eq!(u64::from(found.uid), expected.header().uid().unwrap());
        }
        prop_assert!(entries.next().is_none());
    }
}

#[test]
fn a_changed_span_is_not_passed_on() {
    let layer = random_layer(7);
    let reader = open(build_random(&layer, || 10_000));
    let entry = reader
        .entries()
        .find(|entry| entry.kind == FileType::Regular && entry.size > 0)
        .expect("the layer has a file");
    let mut passed = 0;
    let result = reader.extract(
        &entry,
        |span| {
            let mut bytes = layer.bytes[span.start as usize..span.end as usize].to_vec();
            bytes[0] ^= 1;
            Ok::<_, Infallible>(bytes)
        },
        |piece| {
            passed += piece.len();
            Ok(())
        },
    );
    assert!(matches!(result, Err(FetchError::Extract(soci_ztoc::ExtractError::SpanDigest { .. }))));
    assert_eq!(passed, 0);
}

#[test]
fn a_path_is_found_however_it_is_written_and_the_last_entry_wins() {
    let mut builder = tar::Builder::new(Vec::new());
    for content in ["old", "new", "last"] {
        if content == "last" {
            let mut link = tar::Header::new_gnu();
            link.set_entry_type(tar::EntryType::Link);
            link.set_size(0);
            builder.append_link(&mut link, "etc/link", "etc/motd").unwrap();
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append_data(&mut header, "./etc/motd", content.as_bytes()).unwrap();
    }
    let archive = builder.into_inner().unwrap();
    let plain = soci_ztoc::Compression::Uncompressed;
    let ztoc = build(&archive, settings(plain, 512), || 100).unwrap();
    let reader = Reader::parse(ztoc.encoded.to_vec(), &LayerLimits::DEFAULT).unwrap();
    for (path, content) in [
        ("etc/motd", "last"),
        ("/etc/motd", "last"),
        ("./etc//motd", "last"),
        // A link means what was there when the archive came to it.
        ("etc/link", "new"),
    ] {
        let entry = reader.find(path.as_bytes()).unwrap_or_else(|| panic!("{path}"));
        let data = extract(&reader, &entry, &archive, |_| {}).unwrap();
        assert_eq!(data, content.as_bytes(), "{path}");
    }
    assert!(reader.find(b"etc").is_none());
}
