//! Layers that only a ztoc cannot describe, and whether they are broken besides.

use soci_ztoc::testing::{archive_entry as entry, gzip, pax_header, plain_archive};
use soci_ztoc::{
    BuildError, Compression, MisreadEntries, Scanner, SpanHasher, TarError, ZtocSettings,
};

use crate::support::{build, settings};

/// A file of 10,000 bytes of which the first 1,000 are stored.
fn sparse() -> Vec<u8> {
    let records = [
        ("GNU.sparse.major", "0"),
        ("GNU.sparse.minor", "1"),
        ("GNU.sparse.name", "sparse"),
        ("GNU.sparse.size", "10000"),
        ("GNU.sparse.numblocks", "1"),
        ("GNU.sparse.map", "0,1000"),
    ];
    [pax_header(b'x', &records), entry("s", b'0', 1000, &[7; 1000])].concat()
}

fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), vec![0; 1024]].concat()
}

fn plain() -> Vec<u8> {
    entry("plain", b'0', 5, b"hello")
}

/// Layers that no ztoc describes, or none that is read rightly.
fn undescribed() -> Vec<(&'static str, Vec<u8>, TarError)> {
    let unsupported = |kind| TarError::UnsupportedType(kind);
    let global = pax_header(b'g', &[("comment", "0123")]);
    let link = entry("link", b'1', 4096, b"");
    vec![
        ("a global header first", archive(&[global.clone(), plain()]), unsupported(b'g')),
        ("a global header last", archive(&[plain(), global]), unsupported(b'g')),
        ("a contiguous file", archive(&[plain(), entry("c", b'7', 0, b"")]), unsupported(b'7')),
        ("an old sparse file", archive(&[entry("s", b'S', 0, b"")]), unsupported(b'S')),
        ("an unknown type", archive(&[entry("u", b'Z', 0, b"")]), unsupported(b'Z')),
        ("a sparse file first", archive(&[sparse(), plain()]), TarError::SparseFile),
        ("a sparse file last", archive(&[plain(), sparse()]), TarError::SparseFile),
        ("a link with a size", archive(&[link, plain()]), TarError::SizeOverNext),
    ]
}

fn refusing(compression: Compression) -> ZtocSettings {
    ZtocSettings { misread: MisreadEntries::Refused, ..settings(compression, 10_000) }
}

fn tar_error(error: BuildError) -> TarError {
    assert!(error.is_of_the_ztoc(), "{error:?}");
    match error {
        BuildError::Tar { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_no_ztoc_describes_is_told_however_the_layer_is_cut() {
    for (name, archive, expected) in undescribed() {
        // Something behind the archive, which is read on.
        let archive = [archive, vec![0; 100_000]].concat();
        for piece in [1, 511, usize::MAX] {
            let layer = gzip(&archive);
            let error = build(&layer, refusing(Compression::Gzip), || piece).unwrap_err();
            assert_eq!(tar_error(error), expected, "{name}");
            let error = build(&archive, refusing(Compression::Uncompressed), || piece).unwrap_err();
            assert_eq!(tar_error(error), expected, "{name}");
        }
    }
}

#[test]
fn a_layer_that_is_broken_besides_is_told_as_broken() {
    for (name, archive, _) in undescribed() {
        let layer = gzip(&[archive, plain_archive(3, 100_000)].concat());
        let mut wrong_checksum = layer.clone();
        let checksum = wrong_checksum.len() - 8;
        wrong_checksum[checksum] ^= 1;
        let cut_short = &layer[..layer.len() - 3];
        for broken in [&wrong_checksum[..], cut_short] {
            let error = build(broken, refusing(Compression::Gzip), || 999).unwrap_err();
            assert!(!error.is_of_the_ztoc(), "{name}: {error:?}");
        }
    }
}

#[test]
fn bytes_behind_a_stream_that_is_cut_short_do_not_make_it_whole() {
    let archive = entry("file", b'0', 4096, &[1; 4096]);
    let layer = [gzip(&archive[..1024]), b"more".to_vec()].concat();
    let error = build(&layer, settings(Compression::Gzip, 10_000), || 100).unwrap_err();
    assert!(matches!(error, BuildError::Tar { source: TarError::Truncated(_), .. }), "{error:?}");
    let layer = [gzip(&archive), b"more".to_vec()].concat();
    let error = build(&layer, settings(Compression::Gzip, 10_000), || 100).unwrap_err();
    assert!(error.is_of_the_ztoc(), "{error:?}");
}

#[test]
fn whoever_reads_no_further_learns_it_at_once() {
    let layer = gzip(&[archive(&[pax_header(b'g', &[("a", "b")])]), vec![0; 1 << 20]].concat());
    let mut scanner = Scanner::new(refusing(Compression::Gzip)).unwrap();
    let mut hasher = SpanHasher::new();
    for piece in layer.chunks(100) {
        let cuts = scanner.push(piece).unwrap().to_vec();
        hasher.push(piece, &cuts);
        if let Some(error) = scanner.set_aside() {
            assert_eq!(tar_error(error.clone()), TarError::UnsupportedType(b'g'));
            let known = error.clone();
            assert!(scanner.push(&layer[..0]).is_ok());
            assert_eq!(scanner.set_aside(), Some(&known));
            return;
        }
    }
    panic!("it was not told");
}

#[test]
fn what_is_misread_is_listed_where_it_is_not_refused() {
    for archive in [archive(&[sparse(), plain()]), archive(&[entry("l", b'1', 99, b""), plain()])] {
        let listed = settings(Compression::Gzip, 10_000);
        assert_eq!(build(&gzip(&archive), listed, || 100).unwrap().files, 2);
    }
    // With nothing behind, the size of a link reaches over nothing.
    let last = archive(&[plain(), entry("l", b'1', 99, b"")]);
    assert_eq!(build(&gzip(&last), refusing(Compression::Gzip), || 100).unwrap().files, 2);
}
