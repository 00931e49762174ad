//! The bodies of the fuzz targets: what may be done with bytes that somebody else made up, and
//! what must hold then. Ordinary tests run them on the golden layers and on damaged ones.

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress};

use crate::inflate::{Inflate, Status};
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

/// How a deflate stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// With its last block, behind so many bytes.
    Complete(usize),
    /// In the middle.
    CutShort,
    /// With something that is not valid.
    Corrupt,
    /// Not within [`MOST_INFLATED`].
    Long,
}

/// What inflates one stream after the other: to make these anew for each takes longer than most streams do.
struct Inflaters {
    ours: Inflate,
    zlib: Decompress,
    /// What zlib-rs writes to at once.
    buffer: Vec<u8>,
    expected: Vec<u8>,
    found: Vec<u8>,
}

thread_local! {
    static INFLATERS: RefCell<Inflaters> = RefCell::new(Inflaters {
        ours: Inflate::new(),
        zlib: Decompress::new(false),
        buffer: vec![0; 1 << 16],
        expected: Vec::new(),
        found: Vec::new(),
    });
}

/// Output of a deflate stream after which no more of it is looked at.
const MOST_INFLATED: usize = 1 << 22;

/// Inflates a deflate stream with this crate's code and with zlib-rs: in one piece and in small ones, and from each place at
/// which it can be entered.
///
/// # Panics
/// If there is a difference in what comes out, in where the stream ends, or in whether it is valid.
pub fn inflate(stream: &[u8]) {
    INFLATERS.with_borrow_mut(|inflaters| inflaters.compare(stream));
}

impl Inflaters {
    fn compare(&mut self, stream: &[u8]) {
        let expected = self.with_zlib(stream);
        for (piece, stop_every) in
            [(usize::MAX, None), (1, None), (41, Some(1)), (usize::MAX, Some(3000))]
        {
            let found = self.with_ours(stream, piece, stop_every);
            let pieces = format_args!("pieces of {piece}, stops {stop_every:?}");
            if matches!(expected, Ending::Complete(_)) || matches!(found, Ending::Complete(_)) {
                assert_eq!(found, expected, "{pieces}");
                assert!(self.found == self.expected, "{pieces}");
            } else {
                // What of the last symbols comes out before something is found wrong is no matter.
                let common = self.found.len().min(self.expected.len());
                assert!(self.found[..common] == self.expected[..common], "{pieces}");
            }
        }
    }

    fn with_zlib(&mut self, stream: &[u8]) -> Ending {
        let Self { zlib, buffer, expected: output, .. } = self;
        zlib.reset(false);
        output.clear();
        loop {
            let before = (zlib.total_in(), zlib.total_out());
            let from = usize::try_from(before.0).unwrap_or(usize::MAX).min(stream.len());
            let status = zlib.decompress(&stream[from..], buffer, FlushDecompress::None);
            let produced = usize::try_from(zlib.total_out() - before.1).unwrap_or(0);
            output.extend_from_slice(&buffer[..produced.min(buffer.len())]);
            return match status {
                Ok(flate2::Status::StreamEnd) => {
                    Ending::Complete(usize::try_from(zlib.total_in()).unwrap_or(usize::MAX))
                }
                Err(_) => Ending::Corrupt,
                Ok(_) if output.len() > MOST_INFLATED => Ending::Long,
                Ok(_) if before == (zlib.total_in(), zlib.total_out()) => Ending::CutShort,
                Ok(_) => continue,
            };
        }
    }

    /// With stops, it is left and entered again at each.
    fn with_ours(&mut self, stream: &[u8], piece: usize, stop_every: Option<u64>) -> Ending {
        let Self { ours: inflate, found: output, .. } = self;
        inflate.enter(&[], 0, 0);
        output.clear();
        let mut at = 0_usize;
        loop {
            let end = at.saturating_add(piece).min(stream.len());
            let stop_at = stop_every.unwrap_or(u64::MAX);
            let Ok((taken, status)) = inflate.run(&stream[at..end], stop_at) else {
                return Ending::Corrupt;
            };
            at += taken;
            output.extend_from_slice(inflate.output());
            if output.len() > MOST_INFLATED {
                return Ending::Long;
            }
            match status {
                Status::NeedsInput if at == stream.len() => return Ending::CutShort,
                Status::NeedsInput | Status::Full => {}
                Status::End => {
                    while inflate.take_unread().is_some() {
                        at -= 1;
                    }
                    return Ending::Complete(at);
                }
                Status::Boundary => {
                    let window = inflate.window();
                    let known = &output[output.len() - output.len().min(window.len())..];
                    assert!(window.ends_with(known), "the window");
                    let unread = inflate.unread_bits();
                    at -= unread as usize / 8;
                    let bits = unread.to_le_bytes()[0] % 8;
                    let value = if bits == 0 { 0 } else { stream[at - 1] >> (8 - bits) };
                    inflate.enter(known, bits, value);
                }
            }
        }
    }
}

fn slice(layer: &[u8], start: u64, end: u64) -> Option<&[u8]> {
    layer.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}
