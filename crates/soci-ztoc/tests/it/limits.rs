//! Every limit has an error of its own.

use soci_ztoc::testing::gzip;
use soci_ztoc::{BuildError, Compression, LayerLimits, ReadError, Reader, TarError, ZtocSettings};
use tar::{Builder, Header};

use crate::support::{build, settings};

fn archive(name: &str, files: usize, size: usize) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for _ in 0..files {
        let mut header = Header::new_gnu();
        header.set_size(size as u64);
        header.set_cksum();
        builder.append_data(&mut header, name, &vec![b'x'; size][..]).unwrap();
    }
    builder.into_inner().unwrap()
}

fn plain(layer: &[u8], limits: LayerLimits) -> Result<(), BuildError> {
    let settings = ZtocSettings { limits, ..settings(Compression::Uncompressed, 512) };
    build(layer, settings, || 1000).map(|_| ())
}

fn tar_error(result: Result<(), BuildError>) -> TarError {
    match result {
        Err(BuildError::Tar { source, .. }) => {
            assert!(source.is_limit());
            source
        }
        other => panic!("{other:?}"),
    }
}

const DEFAULT: LayerLimits = LayerLimits::DEFAULT;

#[test]
fn entries_are_limited() {
    let layer = archive("a", 5, 0);
    assert_eq!(plain(&layer, LayerLimits { entries: 5, ..DEFAULT }), Ok(()));
    let error = tar_error(plain(&layer, LayerLimits { entries: 4, ..DEFAULT }));
    assert_eq!(error, TarError::TooManyEntries { limit: 4 });
}

#[test]
fn names_are_limited() {
    let layer = archive(&"n".repeat(50), 1, 0);
    assert_eq!(plain(&layer, LayerLimits { name: 50, ..DEFAULT }), Ok(()));
    let error = tar_error(plain(&layer, LayerLimits { name: 49, ..DEFAULT }));
    assert_eq!(error, TarError::NameTooLong { size: 50, limit: 49 });
}

#[test]
fn extended_headers_are_limited_by_what_they_claim() {
    let layer = archive(&"n".repeat(5000), 1, 0);
    assert_eq!(plain(&layer, DEFAULT), Ok(()));
    let error = tar_error(plain(&layer, LayerLimits { extended_header: 5000, ..DEFAULT }));
    assert_eq!(error, TarError::ExtendedHeaderTooLarge { size: 5001, limit: 5000 });

    let mut header = Header::new_gnu();
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_size(1 << 50);
    header.set_cksum();
    let error = tar_error(plain(header.as_bytes(), DEFAULT));
    assert_eq!(error, TarError::ExtendedHeaderTooLarge { size: 1 << 50, limit: 1 << 20 });
}

#[test]
fn the_uncompressed_size_is_limited() {
    let layer = gzip(&archive("a", 1, 1 << 20));
    let size = |uncompressed_size| {
        let limits = LayerLimits { uncompressed_size, ..DEFAULT };
        let settings = ZtocSettings { limits, ..settings(Compression::Gzip, 1000) };
        build(&layer, settings, || 10).map(|_| ())
    };
    assert_eq!(size(2 << 20), Ok(()));
    assert_eq!(size(1 << 20), Err(BuildError::TooLarge { limit: 1 << 20 }));
    let layer = archive("a", 1, 1000);
    let limits = LayerLimits { uncompressed_size: 1000, ..DEFAULT };
    assert_eq!(plain(&layer, limits), Err(BuildError::TooLarge { limit: 1000 }));
}

#[test]
fn spans_are_limited() {
    let layer = archive("a", 1, 3000);
    let spans = layer.len() / 512;
    assert_eq!(plain(&layer, LayerLimits { spans, ..DEFAULT }), Ok(()));
    let limit = spans - 1;
    let error = plain(&layer, LayerLimits { spans: limit, ..DEFAULT });
    assert_eq!(error, Err(BuildError::TooManySpans { limit }));
}

#[test]
fn checkpoints_are_limited_against_layers_of_empty_blocks() {
    // A gzip header, then empty stored blocks: each would be a checkpoint of 32 KiB for 5 bytes.
    let mut layer = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    for _ in 0..1000 {
        layer.extend([0, 0, 0, 0xff, 0xff]);
    }
    let limits = LayerLimits { checkpoints: 100, ..DEFAULT };
    let settings = ZtocSettings { limits, ..settings(Compression::Gzip, 1 << 20) };
    let error = build(&layer, settings, || 3).map(|_| ());
    assert_eq!(error, Err(BuildError::TooManySpans { limit: 100 }));
}

#[test]
fn the_ztoc_is_limited_when_it_is_written_and_when_it_is_read() {
    let layer = archive("a", 10, 0);
    let settings = settings(Compression::Uncompressed, 512);
    let ztoc = build(&layer, settings, || 1000).unwrap().encoded.to_vec();
    let size = ztoc.len();
    assert_eq!(plain(&layer, LayerLimits { ztoc_size: size, ..DEFAULT }), Ok(()));
    let limit = size - 1;
    let error = plain(&layer, LayerLimits { ztoc_size: limit, ..DEFAULT });
    let Err(error @ BuildError::ZtocTooLarge { size: found, limit: at, checkpoints }) = error
    else {
        panic!("{error:?}")
    };
    assert_eq!((found, at), (size, limit));
    assert!(checkpoints < 100 && error.to_string().ends_with("helps"), "{checkpoints} {error}");
    let tiny = plain(&layer, LayerLimits { ztoc_size: size / 10, ..DEFAULT }).unwrap_err();
    assert!(tiny.is_limit() && !tiny.to_string().contains("helps"), "{tiny}");
    let read = |limits| Reader::parse(ztoc.clone(), &limits).map(|_| ());
    assert_eq!(read(DEFAULT), Ok(()));
    let limited = |what, limit| Err(ReadError::Limit { what, limit });
    assert_eq!(read(LayerLimits { ztoc_size: limit, ..DEFAULT }), limited("bytes", limit));
    assert_eq!(read(LayerLimits { entries: 9, ..DEFAULT }), limited("entries", 9));
    assert_eq!(read(LayerLimits { spans: 3, ..DEFAULT }), limited("spans", 3));
}

#[test]
fn span_sizes_that_cannot_be_used_are_refused_at_once() {
    for (compression, size) in [
        (Compression::Uncompressed, 0),
        (Compression::Gzip, 1 << 63),
        (Compression::Gzip, u64::MAX),
    ] {
        let error = soci_ztoc::Builder::new(settings(compression, size)).map(|_| ());
        assert!(matches!(error, Err(BuildError::SpanSize { .. })), "{compression} {size}");
    }
}

#[test]
fn a_ztoc_that_would_be_too_large_is_not_gathered() {
    // Records of 60 KiB of the same letter, which a layer holds in no space at all.
    let mut builder = Builder::new(Vec::new());
    let record = vec![b'r'; 60 << 10];
    for _ in 0..100 {
        builder.append_pax_extensions([("comment", &record[..])]).unwrap();
        let mut header = Header::new_ustar();
        header.set_size(0);
        header.set_cksum();
        builder.append_data(&mut header, "a", &[][..]).unwrap();
    }
    let layer = builder.into_inner().unwrap();
    let limit = 1 << 20;
    let mut scanned = 0;
    let limits = LayerLimits { ztoc_size: limit, ..DEFAULT };
    let settings = ZtocSettings { limits, ..settings(Compression::Uncompressed, 1 << 20) };
    let mut builder = soci_ztoc::Builder::new(settings).unwrap();
    let error = layer.chunks(1000).find_map(|piece| {
        scanned += piece.len();
        builder.push(piece).err()
    });
    assert_eq!(tar_error(error.map_or(Ok(()), Err)), TarError::TooLarge { limit });
    assert!(scanned < 3 * limit, "{scanned} bytes were taken");
    assert_eq!(builder.push(b"x"), Err(BuildError::Failed));
    assert!(matches!(builder.finish(), Err(BuildError::Failed)));
}

#[test]
fn checkpoints_stop_where_the_ztoc_would_be_too_large() {
    let mut layer = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    for _ in 0..1000 {
        layer.extend([0, 0, 0, 0xff, 0xff]);
    }
    let limits = LayerLimits { ztoc_size: 1 << 20, ..DEFAULT };
    let settings = ZtocSettings { limits, ..settings(Compression::Gzip, 1 << 20) };
    let error = build(&layer, settings, || 3).map(|_| ());
    assert!(matches!(error, Err(BuildError::ZtocTooLarge { limit: 0x10_0000, .. })), "{error:?}");
}

/// Something done with a piece of a layer and its cuts.
type Hash<'a> = &'a dyn Fn(&mut soci_ztoc::SpanHasher, &[u8], &[soci_ztoc::Cut]);

#[test]
fn spans_hashed_from_something_else_are_refused() {
    let layer = archive("a", 3, 5000);
    let scan = |hashed: Hash<'_>| {
        let settings = settings(Compression::Uncompressed, 4096);
        let mut scanner = soci_ztoc::Scanner::new(settings).unwrap();
        let mut hasher = soci_ztoc::SpanHasher::new();
        for piece in layer.chunks(1000) {
            let cuts = scanner.push(piece).unwrap();
            hashed(&mut hasher, piece, cuts);
        }
        scanner.finish(hasher).map(|_| ())
    };
    assert_eq!(scan(&|hasher, piece, cuts| hasher.push(piece, cuts)), Ok(()));
    let other: [Hash<'_>; 3] =
        [&|_, _, _| {}, &|hasher, piece, _| hasher.push(piece, &[]), &|hasher, piece, cuts| {
            hasher.push(&piece[..piece.len() / 2], cuts);
        }];
    for hashed in other {
        assert_eq!(scan(hashed), Err(BuildError::SpansNotHashed));
    }
}
