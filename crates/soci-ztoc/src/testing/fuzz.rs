//! The bodies of the fuzz targets: what may be done with bytes that somebody else made up, and
//! what must hold then. Ordinary tests run them on the golden layers and on damaged ones.

use crate::{Builder, Compression, FileType, LayerLimits, Reader, ZtocSettings};

/// Small limits, so that what passes them is found soon.
pub const LIMITS: LayerLimits = LayerLimits {
    entries: 10_000,
    name: 1 << 16,
    extended_header: 1 << 16,
    checkpoints: 200,
    spans: 10_000,
    uncompressed_size: 1 << 24,
    ztoc_size: 1 << 24,
};

/// Builds a ztoc from a layer, in one piece and in small ones, and uses what comes of it.
///
/// # Panics
/// If the pieces make a difference, or a ztoc that was built cannot be opened.
pub fn layer(layer: &[u8], compression: Compression) {
    let build = |size: usize| {
        let settings = ZtocSettings {
            span_size: 1000,
            limits: LIMITS,
            ..ZtocSettings::new(compression, "fuzz")
        };
        let mut builder = Builder::new(settings)?;
        for piece in layer.chunks(size) {
            builder.push(piece)?;
        }
        builder.finish()
    };
    match (build(usize::MAX), build(13)) {
        (Ok(whole), Ok(pieces)) => {
            assert_eq!(whole.encoded.sha256(), pieces.encoded.sha256(), "pieces matter");
            let bytes = whole.encoded.to_vec();
            assert!(Reader::parse(&bytes, &LIMITS).is_ok(), "built, but cannot be opened");
            ztoc(&bytes, layer);
        }
        (Err(_), Err(_)) => {}
        (whole, pieces) => panic!("{whole:?} in one piece, {pieces:?} in small ones"),
    }
}

/// Opens a ztoc and extracts every file of a layer that may not be its own.
///
/// # Panics
/// If more comes out than the file holds.
pub fn ztoc(ztoc: &[u8], layer: &[u8]) {
    let Ok(reader) = Reader::parse(ztoc, &LIMITS) else { return };
    for entry in reader.entries().filter(|entry| entry.kind == FileType::Regular).take(200) {
        let _ = reader.find(entry.name);
        let mut extracted = 0;
        let result = reader.extract(
            &entry,
            |span| slice(layer, span.start, span.end).ok_or(()),
            |piece| {
                extracted += piece.len() as u64;
                Ok(())
            },
        );
        let size = entry.size.unsigned_abs();
        assert!(if result.is_ok() { extracted == size } else { extracted <= size });
    }
}

fn slice(layer: &[u8], start: u64, end: u64) -> Option<&[u8]> {
    layer.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}
