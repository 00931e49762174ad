//! What several tests need.

use std::path::PathBuf;

use soci_ztoc::{BuildError, Builder, Compression, LayerLimits, Reader, Ztoc, ZtocSettings};

/// The folder of the reference's layers and expected digests.
pub(crate) fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

pub(crate) fn settings(compression: Compression, span_size: u64) -> ZtocSettings {
    ZtocSettings { span_size, ..ZtocSettings::new(compression, "test") }
}

/// Builds a ztoc from `layer` given in pieces whose sizes `piece` tells.
pub(crate) fn build(
    layer: &[u8],
    settings: ZtocSettings,
    mut piece: impl FnMut() -> usize,
) -> Result<Ztoc, BuildError> {
    let mut builder = Builder::new(settings)?;
    let mut rest = layer;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(piece().clamp(1, rest.len()));
        builder.push(head)?;
        rest = tail;
    }
    builder.finish()
}

/// Opens a ztoc that must be valid.
pub(crate) fn open(ztoc: Vec<u8>) -> Reader<Vec<u8>> {
    Reader::parse(ztoc, &LayerLimits::DEFAULT).unwrap()
}
