//! Finds out what an image's program needs to start, by reading that from the image.
//!
//! What is needed is told by `soci-startup`, which reads nothing itself. Here it gets the image's configuration, the
//! tables of contents of all layers, and the beginnings and tables of the files that it asks for. The ztocs are fetched
//! back one after the other; of files no more than their spans are read, each verified against its ztoc. Layers that
//! get no ztoc for their size are read whole, as a program's script is often in one; what is compressed in a way
//! that no ztoc describes is not seen.
//!
//! All memory that this takes is held beforehand, so that nothing waits while it holds some. Where there is not so
//! much, or the image has too many files, nothing is prefetched, which is said.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::ops::RangeInclusive;

use bytes::Bytes;
use soci_manifest::{BuiltZtoc, IndexPlan, LayerDecision, LayerKey};
use soci_oci::media_type::{LayerCompression, layer_compression};
use soci_oci::{Descriptor, Digest};
use soci_startup::{
    Effort, EntryKind, FileToInspect, Inspected, Inspector, MAX_FILES, MAX_INSPECTED, NeededFile,
    Place, RunConfig, Searched, Tree, TreeEntry, needed_files,
};
use soci_ztoc::{Compression, Entry, FileType, LayerLimits, Reader, Ztoc, ZtocSettings};

use crate::error::IndexError;
use crate::options::Options;
use crate::store::ImageStore;
use crate::stored::{ZTOC_FACTOR, mebibytes, read_blob, read_ztoc};

/// Memory for the names of an image's files, in bytes: some two hundred thousand files.
const TREE_MEMORY: usize = 32 << 20;

/// Largest layer without a ztoc that is read, in bytes.
const MAX_SMALL_LAYER: u64 = 16 << 20;

/// Memory for the ztocs of such layers together, in bytes.
const SMALL_ZTOCS: usize = 8 << 20;

/// Bytes of such layers that are read in all.
const MAX_SMALL_LAYERS: u64 = 64 << 20;

/// Bytes that such a layer may inflate to.
const MAX_SMALL_ARCHIVE: u64 = 256 << 20;

/// Memory for what is known of files: all that are found, and as many of the linker's configuration.
const INSPECTED_MEMORY: u64 = (2 * MAX_FILES * MAX_INSPECTED) as u64;

/// Longest span that is fetched, in bytes.
const MAX_SPAN: u64 = 16 << 20;

/// Bytes that are inflated in all to get at what files say: a span has to be inflated from its beginning.
const MAX_INFLATED: u64 = 2 << 30;

/// Memory for spans that may be wanted again, in bytes.
const SPAN_MEMORY: usize = 16 << 20;

/// Largest ztoc that all of this goes into beside, in bytes.
const BESIDE: u64 = TREE_MEMORY as u64
    + MAX_SMALL_LAYER
    + SMALL_ZTOCS as u64
    + INSPECTED_MEMORY
    + MAX_SPAN
    + SPAN_MEMORY as u64;

/// What a start needs of an image's layers.
#[derive(Debug, Default)]
pub(crate) struct StartupFiles {
    /// Paths of the files.
    pub(crate) paths: Vec<String>,
    /// Their spans, with the layer that each is of.
    pub(crate) spans: Vec<(Digest, RangeInclusive<u32>)>,
    /// Why nothing was found, if that has a reason.
    pub(crate) warning: Option<String>,
}

impl StartupFiles {
    fn without(reason: impl Into<String>) -> Self {
        Self { warning: Some(reason.into()), ..Self::default() }
    }
}

/// The files that the program of one platform needs to start, with the spans of those in layers that have a ztoc.
pub(crate) async fn startup_files<S: ImageStore>(
    store: &S,
    index: &IndexPlan,
    ztocs: &HashMap<LayerKey, BuiltZtoc>,
    config: &RunConfig,
    options: &Options,
) -> Result<StartupFiles, IndexError> {
    if config.arguments.is_empty() {
        return Ok(StartupFiles::without(
            "nothing is prefetched by itself: the image has neither an entry point nor a command",
        ));
    }
    let layers: Vec<Source> = index.layers().map(|layer| Source::of(layer, ztocs)).collect();
    let largest = layers.iter().filter_map(|layer| layer.ztoc).map(|ztoc| ztoc.size).max();
    let needed = BESIDE + largest.unwrap_or(0).saturating_mul(ZTOC_FACTOR);
    let most = options.budget.most_to_look_into();
    if needed > most {
        return Ok(StartupFiles::without(format!(
            "nothing is prefetched by itself: to find out what the program needs takes {} of memory, and there is {} \
             for that; raise --memory or MEMORY_BUDGET",
            mebibytes(needed),
            mebibytes(most),
        )));
    }
    let _memory = options.budget.to_look_into(needed).await;
    let mut image = Opened {
        store,
        layers,
        limits: options.layer_limits,
        small: HashMap::new(),
        small_bytes: 0,
        open: None,
        left_to_inflate: MAX_INFLATED,
        spans: HashMap::new(),
    };
    let tree = match image.tree().await? {
        Ok(tree) => tree,
        Err(reason) => {
            return Ok(StartupFiles::without(format!("nothing is prefetched by itself: {reason}")));
        }
    };
    let mut inspected = BTreeMap::new();
    let mut effort = Effort::default();
    let mut files = loop {
        match needed_files(config, &tree, &inspected, &mut effort) {
            Searched::Found(files) => break files,
            Searched::Inspect(need) => {
                let found = image.inspect(need).await?;
                inspected.insert(need.place, found);
            }
        }
    };
    drop(tree);
    let paths = files.iter().map(|file| file.path.clone()).collect();
    // So that each ztoc is opened once more at most.
    files.sort_by_key(|file| file.place);
    let mut spans = Vec::new();
    for NeededFile { place, .. } in files {
        if image.layers[place.layer].ztoc.is_none() {
            continue;
        }
        let layer = image.layers[place.layer].digest;
        let reader = image.reader(place.layer).await?;
        let range = reader.and_then(|reader| reader.prefetch_spans(&reader.entry(place.entry)?));
        spans.extend(range.map(|range| (layer, range)));
    }
    Ok(StartupFiles { paths, spans, warning: None })
}

/// A layer, and how to get at its table of contents.
struct Source {
    digest: Digest,
    size: u64,
    /// The ztoc that the store holds.
    ztoc: Option<BuiltZtoc>,
    /// How to read the layer itself, if it is small enough.
    small: Option<Compression>,
}

impl Source {
    fn of(
        (layer, decision): (&Descriptor, LayerDecision),
        ztocs: &HashMap<LayerKey, BuiltZtoc>,
    ) -> Self {
        let Descriptor { digest, size, .. } = *layer;
        let ztoc = match decision {
            LayerDecision::Build(compression) => {
                ztocs.get(&LayerKey { digest, compression }).copied()
            }
            _ => None,
        };
        let small = match layer_compression(&layer.media_type) {
            _ if decision != LayerDecision::TooSmall || size > MAX_SMALL_LAYER => None,
            Ok(LayerCompression::Gzip) => Some(Compression::Gzip),
            Ok(LayerCompression::None | LayerCompression::Unknown) => {
                Some(Compression::Uncompressed)
            }
            _ => None,
        };
        Self { digest, size, ztoc, small }
    }
}

/// The layers of an image while they are looked into.
struct Opened<'a, S> {
    store: &'a S,
    layers: Vec<Source>,
    limits: LayerLimits,
    /// The ztocs of layers that get none, empty for those that have none, by the layer's digest.
    small: HashMap<Digest, Bytes>,
    /// Bytes of these layers that were read.
    small_bytes: u64,
    /// The ztoc that was wanted last, with its layer's place.
    open: Option<(usize, Reader<Bytes>)>,
    /// Bytes that may still be inflated.
    left_to_inflate: u64,
    /// Compressed spans that were fetched, by layer and number.
    spans: HashMap<(usize, usize), Bytes>,
}

impl<S: ImageStore> Opened<'_, S> {
    /// The tree of all files, or why there is none.
    async fn tree(&mut self) -> Result<Result<Tree, String>, IndexError> {
        let mut tree = Tree::new(TREE_MEMORY);
        for layer in 0..self.layers.len() {
            self.read_if_small(layer).await?;
            let Some(reader) = self.reader(layer).await? else { continue };
            let entries = || {
                reader.entries().map(|entry| TreeEntry {
                    name: entry.name,
                    entry: entry.index,
                    kind: kind(&entry),
                })
            };
            if let Err(error) = tree.add_layer(layer, entries) {
                return Ok(Err(error.to_string()));
            }
        }
        Ok(Ok(tree))
    }

    /// Builds the ztoc of a layer that gets none, for its table of contents.
    async fn read_if_small(&mut self, layer: usize) -> Result<(), IndexError> {
        let Source { digest, size, small, .. } = self.layers[layer];
        let Some(compression) = small else { return Ok(()) };
        if self.small.contains_key(&digest) || self.small_bytes + size > MAX_SMALL_LAYERS {
            return Ok(());
        }
        self.small_bytes += size;
        self.small.insert(digest, Bytes::new());
        let bytes = read_blob(self.store, &digest, size).await?;
        let limits = LayerLimits {
            ztoc_size: SMALL_ZTOCS,
            uncompressed_size: MAX_SMALL_ARCHIVE,
            ..self.limits
        };
        let settings = ZtocSettings { limits, ..ZtocSettings::new(compression, "") };
        // What no ztoc can describe is not seen, and its image is indexed all the same.
        let built = tokio::task::spawn_blocking(move || Ztoc::build(&bytes[..], settings)).await;
        let held: usize = self.small.values().map(Bytes::len).sum();
        match built {
            Ok(Ok(ztoc)) if held as u64 + ztoc.encoded.size() <= SMALL_ZTOCS as u64 => {
                self.small.insert(digest, ztoc.encoded.to_vec().into());
            }
            Ok(Ok(_)) => tracing::debug!(layer = %digest, "one small layer too many to look into"),
            Ok(Err(error)) => tracing::debug!(layer = %digest, %error, "not looked into"),
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            Err(_) => {}
        }
        Ok(())
    }

    /// The ztoc of a layer, if there is one.
    async fn reader(&mut self, layer: usize) -> Result<Option<&Reader<Bytes>>, IndexError> {
        let open = self.open.as_ref().is_some_and(|(place, _)| *place == layer);
        if !open {
            // Before the next one is there.
            self.open = None;
            let Source { digest, ztoc, .. } = self.layers[layer];
            let reader = match (ztoc, self.small.get(&digest).filter(|ztoc| !ztoc.is_empty())) {
                (Some(ztoc), _) => read_ztoc(self.store, &digest, ztoc).await?,
                (None, Some(small)) => Reader::parse(small.clone(), &self.limits)
                    .map_err(|source| IndexError::Ztoc { digest, layer: digest, source })?,
                (None, None) => return Ok(None),
            };
            self.open = Some((layer, reader));
        }
        Ok(self.open.as_ref().map(|(_, reader)| reader))
    }

    /// Finds out what a file is. What cannot be read of it makes it something else.
    async fn inspect(&mut self, need: FileToInspect) -> Result<Inspected, IndexError> {
        let mut inspector = Inspector::new(need.size);
        while let Some(range) = inspector.wants() {
            let Some(bytes) = self.data(need.place, range).await? else { break };
            inspector.push(&bytes);
        }
        Ok(inspector.finish().unwrap_or(Inspected::Other(Vec::new())))
    }

    /// A part of a file's data; `None` if it cannot be had.
    async fn data(
        &mut self,
        place: Place,
        range: std::ops::Range<u64>,
    ) -> Result<Option<Vec<u8>>, IndexError> {
        let (store, layer) = (self.store.clone(), self.layers[place.layer].digest);
        self.reader(place.layer).await?;
        let Some((_, reader)) = &self.open else { return Ok(None) };
        let spans = &mut self.spans;
        let Some(entry) = reader.entry(place.entry).filter(|entry| !entry.is_sparse()) else {
            return Ok(None);
        };
        let archive =
            entry.offset.saturating_add(range.start)..entry.offset.saturating_add(range.end);
        let end = archive.end;
        let Ok(mut extraction) = reader.extraction_at(archive) else { return Ok(None) };
        let begin = extraction.next_span().map_or(end, |span| span.uncompressed_start);
        let Some(left) = self.left_to_inflate.checked_sub(end - begin.min(end)) else {
            return Ok(None);
        };
        self.left_to_inflate = left;
        let mut data = Vec::new();
        while let Some(span) = extraction.next_span() {
            let length = span.end - span.start;
            if length > MAX_SPAN {
                return Ok(None);
            }
            let key = (place.layer, span.index);
            let bytes = match spans.get(&key) {
                Some(bytes) => bytes.clone(),
                None if length == 0 => Bytes::new(),
                None => match store.blob_range_only(&layer, span.range()).await {
                    Ok(bytes) => bytes,
                    // Where no part of a layer can be read, nothing is prefetched either.
                    Err(source) if !source.is_transient() => return Ok(None),
                    Err(source) => {
                        let target = soci_oci::TagOrDigest::Digest(layer);
                        return Err(IndexError::Read { target, source });
                    }
                },
            };
            let pushed = extraction.push(&bytes, &mut |piece: &[u8]| {
                data.extend_from_slice(piece);
                Ok::<_, Infallible>(())
            });
            if let Err(error) = pushed {
                tracing::debug!(%layer, %error, "a span cannot be looked into");
                return Ok(None);
            }
            let held: usize = spans.values().map(Bytes::len).sum();
            if held + bytes.len() > SPAN_MEMORY {
                spans.clear();
            }
            spans.insert(key, bytes);
        }
        Ok(Some(data))
    }
}

fn kind<'a>(entry: &Entry<'a>) -> EntryKind<'a> {
    match entry.kind {
        FileType::Regular => EntryKind::File { size: entry.size.max(0).cast_unsigned() },
        FileType::Directory => EntryKind::Folder,
        FileType::Symlink => EntryKind::Symlink(entry.linkname),
        FileType::HardLink => EntryKind::HardLink(entry.linkname),
        _ => EntryKind::Other,
    }
}
