//! How many gzip members a layer may have.

/// Whether a gzip layer may have several members, as mgzip, bgzip and eStargz write them.
///
/// Releases of soci-snapshotter before 0.14 inflate no further than to the end of the first member: with the
/// ztoc of such a layer they give wrong bytes, in part without an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GzipMembers {
    /// However many it has, all of them are read.
    #[default]
    Any,
    /// [`SeveralMembers`](crate::BuildError::SeveralMembers) as soon as a second one begins.
    One,
}

/// Whether a layer may have entries that soci-snapshotter misreads, though it writes ztocs of them.
///
/// Its reader finds the next header where the entry before it ends by its logical size. That is wrong where fewer
/// bytes are stored than this size: of a sparse file in PAX format, and of a link or a folder that claims a size. With
/// another entry behind, no release loads the ztoc, and the layer is pulled whole after a failed mount; without one
/// the file comes back as its stored pieces, or as an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MisreadEntries {
    /// They are listed as the reference lists them.
    #[default]
    Listed,
    /// [`TarError::SparseFile`](crate::TarError::SparseFile) or
    /// [`TarError::SizeOverNext`](crate::TarError::SizeOverNext).
    Refused,
}
