//! Whether a ztoc can be what a build gives, told from the ztoc alone.
//!
//! Whoever takes over a ztoc that somebody else has stored wants the bytes that a build would give. Only the layer can
//! prove them. What can be told without it is everything that settings decide: the tool, the span size, how the layer is
//! read, what is refused; and that the numbers agree with each other and with the layer's size. That finds every
//! ztoc of other settings, of another layer by mistake, or of a program with other rules, and no forged one.

use super::{Entry, Reader};
use crate::build::ZtocSettings;
use crate::members::MisreadEntries;
use crate::{BLOCK_SIZE, Compression};

impl<B: AsRef<[u8]>> Reader<B> {
    /// Why this is not the ztoc that `settings` give of a layer of `layer_size` bytes; `None` if nothing in it says so.
    ///
    /// [`ZtocSettings::members`] and [`LayerLimits::extended_header`](crate::LayerLimits) leave no trace in a ztoc, so
    /// they are not looked at. Takes time in proportion to the number of entries and spans.
    pub fn unlike_built(&self, settings: &ZtocSettings, layer_size: u64) -> Option<&'static str> {
        let limits = &settings.limits;
        if self.build_tool_identifier != settings.build_tool_identifier {
            return Some("another tool has built it");
        }
        if self.compression != settings.compression {
            return Some("it is of a layer that is compressed in another way");
        }
        if self.compressed_size != layer_size {
            return Some("it is of a layer of another size");
        }
        if self.span_size != settings.span_size {
            return Some("it has another span size");
        }
        if self.uncompressed_size > limits.uncompressed_size
            || self.bytes.as_ref().len() > limits.ztoc_size
            || self.entries > limits.entries
            || self.entries().any(|entry| longest_name(&entry) > limits.name)
        {
            return Some("it is beyond a limit");
        }
        if !self.has_spans_as_built() {
            return Some("its checkpoints are not where they would be taken");
        }
        if self.entries().any(|entry| !self.holds(&entry)) {
            return Some("an entry lies outside of the archive");
        }
        if settings.misread == MisreadEntries::Refused && self.has_misread_entries() {
            return Some("it has entries that are misread");
        }
        None
    }

    /// Whether soci-snapshotter misreads an entry: see [`MisreadEntries`].
    pub fn has_misread_entries(&self) -> bool {
        let mut end = 0;
        self.entries().any(|entry| {
            let over = entry.offset < end;
            end = entry.offset.saturating_add(entry.size.unsigned_abs());
            over || entry.is_sparse()
        })
    }

    /// Whether each checkpoint is further than the span size behind the one before, as far as there is output.
    fn has_spans_as_built(&self) -> bool {
        let gzip = self.compression == Compression::Gzip;
        let windows = self.starts.iter().all(|start| !gzip || start.window.is_some());
        let pairs = self.starts.iter().zip(self.starts.iter().skip(1));
        // The last one may stand behind the archive's end, where zeros are.
        let apart = pairs.filter(|_| gzip).all(|(before, start)| {
            start.out == 0 || start.out.saturating_sub(before.out) > self.span_size
        });
        windows && apart && !self.starts.is_empty()
    }

    /// Whether the archive holds the data of an entry.
    fn holds(&self, entry: &Entry<'_>) -> bool {
        // A sparse file stores less than its size.
        let stored = if entry.kind.has_data() && !entry.is_sparse() { entry.size } else { 0 };
        let end = u64::try_from(stored).ok().and_then(|stored| entry.offset.checked_add(stored));
        end.is_some_and(|end| end <= self.uncompressed_size && entry.offset >= BLOCK_SIZE as u64)
    }
}

fn longest_name(entry: &Entry<'_>) -> usize {
    let names = [entry.name, entry.linkname, entry.uname, entry.gname];
    names.into_iter().map(<[u8]>::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::{LayerLimits, Ztoc};

    fn archive(files: usize) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for file in 0..files {
            let mut header = tar::Header::new_gnu();
            header.set_size(3000);
            header.set_cksum();
            let bytes: Vec<u8> =
                (0..3000).map(|n| u8::try_from(n * (file + 7) % 251).unwrap()).collect();
            archive.append_data(&mut header, format!("dir/file-{file}"), &bytes[..]).unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn settings(compression: Compression, span_size: u64) -> ZtocSettings {
        let settings = ZtocSettings::new(compression, "tool");
        ZtocSettings { span_size, misread: MisreadEntries::Refused, ..settings }
    }

    #[test]
    fn what_was_built_with_settings_is_like_them_and_unlike_others() {
        let plain = archive(200);
        for (layer, compression) in
            [(gzip(&plain), Compression::Gzip), (plain.clone(), Compression::Uncompressed)]
        {
            let other = match compression {
                Compression::Gzip => Compression::Uncompressed,
                Compression::Uncompressed => Compression::Gzip,
            };
            for span_size in [1, 1 << 10, 64 << 10, 4 << 20] {
                let own = settings(compression, span_size);
                let ztoc = Ztoc::build(&layer[..], own.clone()).unwrap();
                let reader = Reader::from_bytes(ztoc.encoded.to_vec()).unwrap();
                let size = layer.len() as u64;
                assert_eq!(reader.unlike_built(&own, size), None, "{compression} {span_size}");
                let limited = |limits| ZtocSettings { limits, ..own.clone() };
                let default = LayerLimits::DEFAULT;
                for (other, size) in [
                    (ZtocSettings { build_tool_identifier: "t".to_owned(), ..own.clone() }, size),
                    (ZtocSettings { compression: other, ..own.clone() }, size),
                    (ZtocSettings { span_size: span_size + 1, ..own.clone() }, size),
                    (limited(LayerLimits { entries: 199, ..default }), size),
                    (limited(LayerLimits { name: 5, ..default }), size),
                    (limited(LayerLimits { ztoc_size: 100, ..default }), size),
                    (limited(LayerLimits { uncompressed_size: 1000, ..default }), size),
                    (own.clone(), size + 1),
                ] {
                    assert!(reader.unlike_built(&other, size).is_some(), "{other:?} {size}");
                }
            }
        }
    }
}
