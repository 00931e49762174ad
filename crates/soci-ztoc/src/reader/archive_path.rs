//! Paths in archives, as they are looked for.

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|c| *c == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// A path that is looked for. It is taken apart once, so that comparing it with an entry costs no more than
/// the entry is long, whatever a link's target is padded with.
pub(super) struct ArchivePath<'a>(Vec<&'a [u8]>);

impl<'a> ArchivePath<'a> {
    pub(super) fn new(path: &'a [u8]) -> Self {
        Self(components(path).collect())
    }

    /// Whether an entry of this name lies at the path.
    pub(super) fn names(&self, name: &[u8]) -> bool {
        components(name).eq(self.0.iter().copied())
    }
}
