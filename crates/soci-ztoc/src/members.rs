//! How many gzip members a layer may have.

/// Whether a gzip layer may have several members, as mgzip, bgzip and eStargz write them.
///
/// Releases of soci-snapshotter before 0.14 inflate no further than to the end of the first member: with the
/// ztoc of such a layer they give wrong bytes, in part without an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GzipMembers {
    /// However many it has, all of them are read.
    #[default]
    Any,
    /// [`SeveralMembers`](crate::BuildError::SeveralMembers) as soon as a second one begins.
    One,
}
