//! The reference builder's layers: the same bytes, or an error where it has one.

use serde_json::Value;
use soci_ztoc::{BuildError, Compression, LayerLimits, Reader, Ztoc, ZtocHead, ZtocSettings};

use crate::support::{NEVER, build, build_ahead, golden};

struct Case {
    name: String,
    layer: Vec<u8>,
    settings: ZtocSettings,
    /// Digest, size, largest span number and number of entries, if there is a ztoc.
    expected: Option<(String, u64, i64, u64)>,
}

fn cases() -> Vec<Case> {
    let lines = std::fs::read_to_string(golden().join("layers.jsonl")).unwrap();
    let cases: Vec<Case> =
        lines.lines().map(|line| case(&serde_json::from_str(line).unwrap())).collect();
    assert!(cases.len() > 150, "only {} cases", cases.len());
    cases
}

fn case(value: &Value) -> Case {
    let text = |key: &str| value[key].as_str().unwrap().to_owned();
    let name = text("case");
    let layer = std::fs::read(golden().join("layers").join(format!("{name}.bin"))).unwrap();
    let compression: Compression = text("compression").parse().unwrap();
    let settings = ZtocSettings {
        span_size: value["span_size"].as_u64().unwrap(),
        ..ZtocSettings::new(compression, text("build_tool"))
    };
    let expected = (text("expect") == "ok").then(|| {
        (
            text("ztoc_digest"),
            value["ztoc_size"].as_u64().unwrap(),
            value["max_span_id"].as_i64().unwrap(),
            value["files"].as_u64().unwrap(),
        )
    });
    Case { name, layer, settings, expected }
}

/// Differences between the cases and what is built from pieces of `size` bytes.
fn differences(size: usize) -> Vec<String> {
    differences_of(|layer, settings| build(layer, settings, || size))
}

fn differences_of(build: impl Fn(&[u8], ZtocSettings) -> Result<Ztoc, BuildError>) -> Vec<String> {
    let mut differences = Vec::new();
    for case in cases() {
        let found = build(&case.layer, case.settings).map(|ztoc| {
            (
                format!("sha256:{}", hex::encode(ztoc.encoded.sha256())),
                ztoc.encoded.size(),
                ztoc.spans as i64 - 1,
                ztoc.files as u64,
            )
        });
        match (case.expected, found) {
            (Some(expected), Ok(found)) if expected == found => {}
            (None, Err(error)) => println!("{}: {error}", case.name),
            (expected, found) => {
                differences.push(format!("{}: expected {expected:?}, found {found:?}", case.name));
            }
        }
    }
    differences
}

#[test]
fn every_layer_gives_the_references_ztoc_or_an_error_where_it_has_one() {
    assert_eq!(differences(usize::MAX), Vec::<String>::new());
}

#[test]
fn every_layer_gives_the_same_in_pieces_of_seven_bytes() {
    assert_eq!(differences(7), Vec::<String>::new());
}

#[test]
fn every_layer_gives_the_same_when_chunks_are_decoded_ahead() {
    for size in [500, 64 << 10, 1 << 20] {
        let build = |layer: &[u8], settings| {
            build_ahead(layer, settings, || (size, NEVER), 16 << 20).map(|(ztoc, _)| ztoc)
        };
        assert_eq!(differences_of(build), Vec::<String>::new(), "{size}");
    }
}

#[test]
fn every_ztoc_can_be_opened_and_holds_what_was_counted() {
    for case in cases() {
        let Some((_, _, max_span_id, files)) = case.expected else { continue };
        let compressed = case.layer.len() as u64;
        let settings = case.settings.clone();
        let ztoc = build(&case.layer, case.settings, || 4096).unwrap();
        let reader = Reader::parse(ztoc.encoded.to_vec(), &LayerLimits::DEFAULT)
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(reader.span_count() as i64, max_span_id + 1, "{}", case.name);
        assert_eq!(reader.entries().count() as u64, files, "{}", case.name);
        assert_eq!(reader.span_size(), settings.span_size, "{}", case.name);
        assert_eq!(reader.compression(), settings.compression, "{}", case.name);
        assert_eq!(reader.build_tool_identifier(), settings.build_tool_identifier);
        assert_eq!(reader.compressed_size(), compressed, "{}", case.name);
    }
}

#[test]
fn the_span_size_is_found_with_the_first_bytes_of_every_ztoc() {
    for case in cases() {
        if case.expected.is_none() {
            continue;
        }
        let span_size = case.settings.span_size;
        let bytes = build(&case.layer, case.settings, || 4096).unwrap().encoded.to_vec();
        let place = ZtocHead::read(&bytes[..bytes.len().min(200)]).unwrap();
        let range = place.span_size_range();
        let end = bytes.len().min(range.end as usize);
        let found = place.span_size(&bytes[range.start as usize..end]).unwrap();
        assert_eq!(found, span_size, "{}", case.name);
    }
}
