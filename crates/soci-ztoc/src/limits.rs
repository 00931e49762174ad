//! Bounds on what a layer or a ztoc may claim.

/// Largest ztoc in bytes: Go's FlatBuffers builder cannot grow its buffer beyond 1 GiB, so the
/// reference writes none that is larger. With spans of 4 MiB that is a layer of 128 GiB.
pub(crate) const MAX_ZTOC_SIZE: usize = 1 << 30;

/// Bounds that hold while a layer is read, and as far as they fit while a ztoc is parsed. Passing one is an error with a
/// variant of its own, never a truncated result.
///
/// The defaults accept every layer of up to 1 TiB whose ztoc the reference can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerLimits {
    /// Most entries in the table of contents.
    pub entries: usize,
    /// Longest name, link target, user or group name in bytes.
    pub name: usize,
    /// Largest extended header (PAX records, GNU long name or link) in bytes. Go's `archive/tar`
    /// ends at 1 MiB (`maxSpecialFileSize`), so a larger value has no effect.
    pub extended_header: usize,
    /// Most checkpoints of a gzip layer, 32,785 bytes each.
    pub checkpoints: usize,
    /// Most spans of an uncompressed layer, some 80 bytes each.
    pub spans: usize,
    /// Most uncompressed bytes of one layer.
    pub uncompressed_size: u64,
    /// Largest ztoc in bytes.
    pub ztoc_size: usize,
}

impl LayerLimits {
    /// The bounds that apply when nothing else is asked for.
    pub const DEFAULT: Self = Self {
        // No entry takes less than 96 bytes.
        entries: MAX_ZTOC_SIZE / 96,
        name: 1 << 20,
        extended_header: 1 << 20,
        checkpoints: 1 << 15,
        spans: 1 << 24,
        uncompressed_size: 1 << 40,
        ztoc_size: MAX_ZTOC_SIZE,
    };
}

impl Default for LayerLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
