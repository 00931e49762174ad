//! Checks one layer against its ztoc.

use bytes::Bytes;
use soci_oci::{Descriptor, Digest};
use soci_ztoc::{
    BLOCK_SIZE, Compression, Entry, FileType, GzipMembers, LayerLimits, MisreadEntries, Reader,
    Span, ZtocSettings,
};

use super::error::VerifyError;
use super::settings::VerifySettings;
use crate::budget::Budget;
use crate::error::{LayerError, StoreError};
use crate::event::{ImageEvent, OnImageEvent};
use crate::layer::{LayerProgress, build_layer};
use crate::pipeline::ReadOn;
use crate::store::ImageStore;

/// Files of each layer that are extracted.
const SAMPLE: usize = 8;

/// The same where layers are not read whole.
const QUICK_SAMPLE: usize = 2;

/// Largest span that is fetched for it, in bytes: a span is held until it is verified.
const MAX_SAMPLED_SPAN: u64 = 64 << 20;

/// Largest file that is extracted, in bytes.
const MAX_SAMPLED_FILE: i64 = 64 << 20;

/// What was checked of a layer.
#[derive(Clone, Debug)]
pub struct LayerCheck {
    /// The layer.
    pub layer: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its ztoc.
    pub ztoc: Digest,
    /// The size of the ztoc in bytes.
    pub ztoc_size: u64,
    /// Whether it was read whole, and its ztoc built again.
    pub rebuilt: bool,
    /// Its spans.
    pub spans: usize,
    /// Files in its table of contents.
    pub files: usize,
    /// Its gzip members; 0 if it is not compressed. If it was not read whole, 1 stands for any number.
    pub members: u64,
    /// Files that were extracted through ranged requests.
    pub extracted: usize,
    /// Compressed bytes that were fetched to extract them.
    pub bytes_fetched: u64,
}

/// What a check finds of a layer beside whether its ztoc is right.
#[derive(Clone, Copy)]
pub(super) struct Traits {
    pub(super) members: u64,
    pub(super) needs_xattrs: bool,
    pub(super) misread_entries: bool,
}

/// Builds the ztoc of a layer again, if that is not to be quick, and extracts some files with the one that is there.
pub(super) async fn check_layer<S: ImageStore>(
    store: &S,
    layer: &Descriptor,
    ztoc: &Descriptor,
    settings: &VerifySettings,
    budget: &Budget,
) -> Result<(LayerCheck, Traits), VerifyError> {
    let quick = settings.quick;
    let told = Told { layer: &layer.digest, on_event: &settings.on_event };
    // How much a quick check reads is not known.
    let size = if quick { 0 } else { layer.size };
    (told.on_event)(&ImageEvent::LayerStarted { layer: told.layer, size });
    let limit =
        usize::try_from(ztoc.size).unwrap_or(usize::MAX).min(LayerLimits::DEFAULT.ztoc_size);
    let bytes = store.blob_bytes(&ztoc.digest, limit).await;
    let bytes = bytes.map_err(|source| VerifyError::read("ztoc", ztoc.digest, source))?;
    let (layer_digest, ztoc_digest) = (layer.digest, ztoc.digest);
    let reader = Reader::parse(bytes, &LayerLimits::DEFAULT)
        .map_err(|source| VerifyError::Ztoc { ztoc: ztoc_digest, layer: layer_digest, source })?;
    let check = Check { store, layer, ztoc: ztoc_digest, reader: &reader, budget, told };
    check.size()?;
    let (members, sample) =
        if quick { (check.there().await?, QUICK_SAMPLE) } else { (check.whole().await?, SAMPLE) };
    let (extracted, bytes_fetched) = check.files(sample, quick).await?;
    (told.on_event)(&ImageEvent::LayerDone { layer: told.layer });
    let traits = Traits {
        members,
        needs_xattrs: reader.needs_xattrs(),
        misread_entries: reader.has_misread_entries(),
    };
    let check = LayerCheck {
        layer: layer_digest,
        size: layer.size,
        ztoc: ztoc_digest,
        ztoc_size: ztoc.size,
        rebuilt: !quick,
        spans: reader.span_count(),
        files: reader.entry_count(),
        members,
        extracted,
        bytes_fetched,
    };
    Ok((check, traits))
}

/// Fails if a blob of the image is not there. It is not read.
pub(super) async fn check_there<S: ImageStore>(
    store: &S,
    what: &'static str,
    blob: &Descriptor,
) -> Result<(), VerifyError> {
    let Descriptor { digest, size, .. } = blob;
    let there = store.sees_image_blob(digest, *size).await;
    if there.map_err(|source| VerifyError::read(what, *digest, source))? {
        return Ok(());
    }
    Err(VerifyError::NotFound { what, target: (*digest).into() })
}

/// A layer with its open ztoc.
struct Check<'a, S> {
    store: &'a S,
    layer: &'a Descriptor,
    ztoc: Digest,
    reader: &'a Reader<Bytes>,
    budget: &'a Budget,
    told: Told<'a>,
}

impl<S: ImageStore> Check<'_, S> {
    fn mismatch(&self, reason: String) -> VerifyError {
        VerifyError::Mismatch { ztoc: self.ztoc, layer: self.layer.digest, reason }
    }

    fn size(&self) -> Result<(), VerifyError> {
        let (expected, found) = (self.reader.compressed_size(), self.layer.size);
        if expected != found {
            return Err(self.mismatch(format!("it is for {expected} bytes, not {found}")));
        }
        Ok(())
    }

    /// Looks whether the layer is there. Returns what stands for its gzip members.
    async fn there(&self) -> Result<u64, VerifyError> {
        check_there(self.store, "layer", self.layer).await?;
        Ok(u64::from(self.reader.compression() == Compression::Gzip))
    }

    /// Reads the whole layer, verified, and builds its ztoc again. Returns how many gzip members it has.
    async fn whole(&self) -> Result<u64, VerifyError> {
        let settings = ZtocSettings {
            compression: self.reader.compression(),
            span_size: self.reader.span_size(),
            build_tool_identifier: self.reader.build_tool_identifier().to_owned(),
            members: GzipMembers::Any,
            misread: MisreadEntries::Listed,
            limits: LayerLimits::DEFAULT,
        };
        let Descriptor { digest, size, .. } = self.layer;
        let built = build_layer(
            self.store,
            digest,
            *size,
            settings,
            self.budget,
            ReadOn::ToTheEnd,
            &self.told,
        )
        .await;
        let built = match built {
            Ok(built) => built.ztoc,
            Err(LayerError::Build(error)) => return Err(self.mismatch(error.to_string())),
            Err(LayerError::Read(source)) => {
                return Err(VerifyError::read("layer", *digest, source));
            }
            Err(error @ LayerError::WrongBytes { .. }) => {
                return Err(VerifyError::read("layer", *digest, StoreError::own(error)));
            }
            Err(error @ LayerError::Memory { .. }) => {
                return Err(VerifyError::Memory { layer: *digest, source: error });
            }
            Err(LayerError::Interrupted) => return Err(VerifyError::Interrupted),
        };
        if Digest::from_sha256(built.encoded.sha256()) == self.ztoc {
            return Ok(built.members);
        }
        let ztoc = built.encoded.to_vec();
        let difference = Reader::parse(ztoc, &LayerLimits::DEFAULT).ok();
        let difference = difference.and_then(|built| difference_between(self.reader, &built));
        Err(self.mismatch(difference.unwrap_or_else(|| "their encoding differs".to_owned())))
    }

    /// Extracts some files, spread over the layer. If `counted`, what is fetched for that is told.
    async fn files(&self, most: usize, counted: bool) -> Result<(usize, u64), VerifyError> {
        let candidates: Vec<usize> = (0..self.reader.entry_count())
            .filter(|index| self.reader.entry(*index).is_some_and(|entry| is_sampled(&entry)))
            .collect();
        let sample = candidates.len().min(most);
        let (mut extracted, mut fetched) = (0, 0);
        for number in 0..sample {
            // Evenly, the last one included: the ends of layers are where offsets go wrong.
            let index = candidates[(number + 1) * candidates.len() / sample - 1];
            let Some(entry) = self.reader.entry(index) else { continue };
            if let Some(bytes) = self.file(&entry).await? {
                extracted += 1;
                fetched += bytes;
                if counted {
                    self.told.read(bytes);
                }
            }
        }
        Ok((extracted, fetched))
    }

    /// Extracts a file together with its header; returns the compressed bytes fetched for it, or
    /// nothing if a span of it is too large to be held.
    async fn file(&self, entry: &Entry<'_>) -> Result<Option<u64>, VerifyError> {
        let name = || String::from_utf8_lossy(entry.name).into_owned();
        let failed = |source| VerifyError::Extract {
            file: name(),
            ztoc: self.ztoc,
            layer: self.layer.digest,
            source,
        };
        let end = entry.offset.saturating_add(entry.size.unsigned_abs());
        let Some(start) = entry.offset.checked_sub(BLOCK_SIZE as u64) else {
            return Err(self.mismatch(format!("there is no header in front of {:?}", name())));
        };
        let mut extraction = self.reader.extraction_at(start..end).map_err(failed)?;
        let mut header = Vec::with_capacity(BLOCK_SIZE);
        let mut fetched = 0;
        while let Some(span) = extraction.next_span() {
            if span.end - span.start > MAX_SAMPLED_SPAN {
                return Ok(None);
            }
            let range = self.store.blob_range(&self.layer.digest, span.start..span.end).await;
            let bytes =
                range.map_err(|source| VerifyError::read("layer", self.layer.digest, source))?;
            fetched += bytes.len() as u64;
            let mut sink = |data: &[u8]| {
                let missing = BLOCK_SIZE - header.len();
                header.extend_from_slice(&data[..data.len().min(missing)]);
                Ok::<_, std::convert::Infallible>(())
            };
            extraction.push(&bytes, &mut sink).map_err(|error| match error {
                soci_ztoc::FetchError::Extract(source) => failed(source),
                soci_ztoc::FetchError::Fetch(never) => match never {},
            })?;
        }
        extraction.finish().map_err(failed)?;
        let header: Option<&[u8; BLOCK_SIZE]> = header.as_slice().try_into().ok();
        if !header.is_some_and(soci_ztoc::is_header) {
            return Err(self.mismatch(format!("there is no header in front of {:?}", name())));
        }
        Ok(Some(fetched))
    }
}

/// What differs first between a ztoc and the one that was built in its place.
fn difference_between<A: AsRef<[u8]>, B: AsRef<[u8]>>(
    theirs: &Reader<A>,
    built: &Reader<B>,
) -> Option<String> {
    let counts = [
        ("spans", theirs.span_count(), built.span_count()),
        ("files", theirs.entry_count(), built.entry_count()),
    ];
    for (what, theirs, built) in counts {
        if theirs != built {
            return Some(format!("it has {theirs} {what} instead of {built}"));
        }
    }
    if theirs.uncompressed_size() != built.uncompressed_size() {
        let (theirs, built) = (theirs.uncompressed_size(), built.uncompressed_size());
        return Some(format!("its archive has {theirs} bytes instead of {built}"));
    }
    if let Some((span, _)) = theirs.spans().zip(built.spans()).find(|(a, b)| a != b) {
        let Span { index, start, end, .. } = span;
        return Some(format!("span {index} (bytes {start} to {end}) differs"));
    }
    let entries = theirs.entries().zip(built.entries()).enumerate();
    for (index, (theirs, built)) in entries {
        if theirs != built {
            let name = String::from_utf8_lossy(built.name).into_owned();
            return Some(format!("entry {index} ({name:?}) differs"));
        }
    }
    (0..theirs.span_count())
        .find(|index| theirs.checkpoint_window(*index) != built.checkpoint_window(*index))
        .map(|index| format!("the window of checkpoint {index} differs"))
}

fn is_sampled(entry: &Entry<'_>) -> bool {
    entry.kind == FileType::Regular
        && (1..=MAX_SAMPLED_FILE).contains(&entry.size)
        && !entry.is_sparse()
}

/// Tells how the check of a layer gets on.
#[derive(Clone, Copy)]
struct Told<'a> {
    layer: &'a Digest,
    on_event: &'a OnImageEvent,
}

impl LayerProgress for Told<'_> {
    /// It was said before, as the ztoc is read first.
    fn started(&self) {}

    fn read(&self, bytes: u64) {
        (self.on_event)(&ImageEvent::LayerRead { layer: self.layer, bytes });
    }

    fn restarted(&self) {
        (self.on_event)(&ImageEvent::LayerRestarted { layer: self.layer });
    }
}
