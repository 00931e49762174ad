//! Prefetch artifacts: which spans of a layer a snapshotter fetches before it mounts the layer.
//!
//! Source: soci-snapshotter v0.16.1, `soci/prefetch.go` and `soci/soci_index.go` (`buildPrefetchLayer`,
//! `normalizePrefetchSpans`). Who builds an index names files. A file belongs to the last layer that has an entry of its
//! name, and stands for the spans of its data. Spans that overlap or touch are one range. A layer with any gets one
//! artifact, a small JSON document; SOCI indexes list those of their layers behind the ztocs.
//!
//! The names are compared byte by byte: an archive whose names begin with `./` has none of the files, links are
//! not followed, and what a later layer deletes is still found below. Snapshotters before 0.13 take an artifact for its
//! layer's ztoc, so only the newer [`Generation`](crate::Generation) has them.

mod file;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::Deserialize;
use soci_oci::{Annotations, Descriptor, Digest};

use crate::format::{IMAGE_LAYER_DIGEST, PREFETCH_MEDIA_TYPE};
use crate::plan::{IndexPlan, LayerKey};

pub use file::PrefetchFile;

/// The version that prefetch artifacts name.
const VERSION: &str = "1.0";

/// The prefetch artifact of a layer.
///
/// Clones share their content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefetchArtifact {
    spans: Arc<[RangeInclusive<u32>]>,
    digest: Digest,
    bytes: Arc<[u8]>,
}

/// A layer with its prefetch artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerPrefetch {
    /// The layer.
    pub layer: Digest,
    /// What is prefetched of it.
    pub artifact: PrefetchArtifact,
}

/// Why bytes are no prefetch artifact.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrefetchError {
    /// It is not the JSON that it should be.
    #[error("it cannot be read")]
    Json(#[from] serde_json::Error),
    /// Snapshotters know one version.
    #[error("it has version {0:?}, and snapshotters read 1.0 only")]
    Version(String),
    /// A range ends before it begins.
    #[error("a range of spans goes from {start} to {end}")]
    Range {
        /// The first span.
        start: u32,
        /// The last span.
        end: u32,
    },
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    version: String,
    #[serde(default)]
    prefetch_spans: Option<Vec<SpanRange>>,
}

#[derive(Deserialize)]
struct SpanRange {
    #[serde(default)]
    start_span: u32,
    #[serde(default)]
    end_span: u32,
}

impl PrefetchArtifact {
    /// Largest artifact that is worth reading, in bytes: more than two thousand ranges, of which a layer of 16 GiB with
    /// spans of 4 MiB cannot have more.
    pub const MAX_BYTES: usize = 128 << 10;

    /// The artifact for spans, in any order; `None` without any.
    pub fn new(spans: Vec<RangeInclusive<u32>>) -> Option<Self> {
        let spans = merged(spans);
        if spans.is_empty() {
            return None;
        }
        let mut json = format!(r#"{{"version":"{VERSION}","prefetch_spans":["#);
        for (place, range) in spans.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let (start, end) = (range.start(), range.end());
            // Writing to a string does not fail.
            let _ = write!(json, r#"{comma}{{"start_span":{start},"end_span":{end}}}"#);
        }
        json.push_str("]}");
        let bytes = json.into_bytes();
        Some(Self { spans: spans.into(), digest: Digest::sha256_of(&bytes), bytes: bytes.into() })
    }

    /// Reads an artifact, whoever wrote it.
    pub fn decode(bytes: &[u8]) -> Result<Self, PrefetchError> {
        let Document { version, prefetch_spans } = serde_json::from_slice(bytes)?;
        if version != VERSION {
            return Err(PrefetchError::Version(soci_text::clip(&version)));
        }
        let mut spans = Vec::new();
        for SpanRange { start_span: start, end_span: end } in prefetch_spans.unwrap_or_default() {
            if end < start {
                return Err(PrefetchError::Range { start, end });
            }
            spans.push(start..=end);
        }
        Ok(Self { spans: spans.into(), digest: Digest::sha256_of(bytes), bytes: bytes.into() })
    }

    /// The spans, as they stand there.
    pub fn spans(&self) -> &[RangeInclusive<u32>] {
        &self.spans
    }

    /// How many spans that is.
    pub fn span_count(&self) -> u64 {
        let count = |range: &RangeInclusive<u32>| u64::from(range.end() - range.start()) + 1;
        self.spans.iter().map(count).sum()
    }

    /// The digest of its bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn descriptor(&self, layer: &Digest) -> Descriptor {
        let layer = (IMAGE_LAYER_DIGEST.to_owned(), layer.to_string());
        Descriptor {
            annotations: Annotations::from([layer]),
            ..Descriptor::new(PREFETCH_MEDIA_TYPE, self.digest, self.bytes.len() as u64)
        }
    }
}

/// The ranges in order, with those that overlap or touch made one.
fn merged(mut spans: Vec<RangeInclusive<u32>>) -> Vec<RangeInclusive<u32>> {
    spans.sort_by_key(|range| (*range.start(), *range.end()));
    let mut merged: Vec<RangeInclusive<u32>> = Vec::new();
    for range in spans {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// What is prefetched of the layers of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefetch {
    /// By the image manifest's digest, and by the layer's.
    of: HashMap<Digest, BTreeMap<Digest, PrefetchArtifact>>,
}

impl Prefetch {
    /// Takes artifacts of an image manifest's layers as they are, in the place of all that it had.
    pub fn keep(&mut self, image: Digest, artifacts: BTreeMap<Digest, PrefetchArtifact>) {
        self.of.insert(image, artifacts);
    }

    /// Takes what spans of an image manifest's layers come to.
    pub fn insert(
        &mut self,
        image: Digest,
        spans: impl IntoIterator<Item = (Digest, RangeInclusive<u32>)>,
    ) {
        let mut of_layer: BTreeMap<Digest, Vec<_>> = BTreeMap::new();
        for (layer, range) in spans {
            of_layer.entry(layer).or_default().push(range);
        }
        let artifacts = of_layer
            .into_iter()
            .filter_map(|(layer, spans)| Some((layer, PrefetchArtifact::new(spans)?)))
            .collect();
        self.of.insert(image, artifacts);
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.of.values().all(BTreeMap::is_empty)
    }

    /// What a SOCI index lists.
    pub(crate) fn descriptors<'a>(
        &'a self,
        index: &'a IndexPlan,
    ) -> impl Iterator<Item = Descriptor> + 'a {
        let artifacts = self.of.get(&index.image.digest);
        let layers = artifacts.into_iter().flat_map(|artifacts| {
            index.keys().filter_map(|key| Some((key.digest, artifacts.get(&key.digest)?)))
        });
        layers.map(|(layer, artifact)| artifact.descriptor(&layer))
    }

    /// What SOCI indexes list of each layer, each once.
    pub(crate) fn listed(&self, indexes: &[IndexPlan]) -> Vec<LayerPrefetch> {
        let mut seen = HashSet::new();
        let listed = indexes.iter().flat_map(|index| {
            let artifacts = self.of.get(&index.image.digest);
            index.keys().filter_map(move |key| Some((key.digest, artifacts?.get(&key.digest)?)))
        });
        listed
            .filter(|(layer, artifact)| seen.insert((*layer, artifact.digest)))
            .map(|(layer, artifact)| LayerPrefetch { layer, artifact: artifact.clone() })
            .collect()
    }
}

/// The files that a ztoc has, of those that are looked for: the first entry of each name.
#[derive(Clone, Debug, Default)]
pub struct FilesOfLayer(HashMap<PrefetchFile, RangeInclusive<u32>>);

impl FilesOfLayer {
    /// Looks for files in an open ztoc.
    pub fn find<B: AsRef<[u8]>>(ztoc: &soci_ztoc::Reader<B>, files: &[PrefetchFile]) -> Self {
        let mut wanted: HashMap<&[u8], &PrefetchFile> =
            files.iter().map(|file| (file.name().as_bytes(), file)).collect();
        let mut found = HashMap::new();
        for entry in ztoc.entries() {
            if wanted.is_empty() {
                break;
            }
            if let Some(file) = wanted.remove(entry.name)
                && let Some(spans) = ztoc.prefetch_spans(&entry)
            {
                found.insert(file.clone(), spans);
            }
        }
        Self(found)
    }
}

impl IndexPlan {
    /// The spans of a file, with the digest of the last layer that has it, by what the layers' ztocs have.
    pub fn spans_of(
        &self,
        file: &PrefetchFile,
        found: &HashMap<LayerKey, FilesOfLayer>,
    ) -> Option<(Digest, RangeInclusive<u32>)> {
        let keys: Vec<LayerKey> = self.keys().collect();
        let in_layer = |key: &LayerKey| Some((key.digest, found.get(key)?.0.get(file)?.clone()));
        keys.iter().rev().find_map(in_layer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_overlap_or_touch_are_one_range() {
        for (spans, expected) in [
            (vec![3..=4, 0..=1], vec![0..=1, 3..=4]),
            (vec![2..=4, 0..=1], vec![0..=4]),
            (vec![0..=9, 2..=3], vec![0..=9]),
            (vec![5..=5, 5..=5], vec![5..=5]),
            (vec![0..=u32::MAX, 7..=8], vec![0..=u32::MAX]),
        ] {
            assert_eq!(merged(spans.clone()), expected, "{spans:?}");
        }
        assert_eq!(PrefetchArtifact::new(Vec::new()), None);
    }

    #[test]
    fn an_artifact_reads_as_it_was_written() {
        let artifact = PrefetchArtifact::new(vec![5..=5, 0..=2]).unwrap();
        let json = r#"{"version":"1.0","prefetch_spans":[{"start_span":0,"end_span":2},{"start_span":5,"end_span":5}]}"#;
        assert_eq!(artifact.bytes(), json.as_bytes());
        assert_eq!(artifact.span_count(), 4);
        assert_eq!(PrefetchArtifact::decode(json.as_bytes()).unwrap(), artifact);
    }

    #[test]
    fn what_is_no_artifact_says_why() {
        let error = |json: &str| PrefetchArtifact::decode(json.as_bytes()).unwrap_err();
        assert!(matches!(error("7"), PrefetchError::Json(_)));
        assert!(matches!(error("{}"), PrefetchError::Version(_)));
        assert!(matches!(error(r#"{"version":"1.1"}"#), PrefetchError::Version(_)));
        let backwards = r#"{"version":"1.0","prefetch_spans":[{"start_span":2,"end_span":1}]}"#;
        assert!(matches!(error(backwards), PrefetchError::Range { start: 2, end: 1 }));
        let negative = r#"{"version":"1.0","prefetch_spans":[{"start_span":-1}]}"#;
        assert!(matches!(error(negative), PrefetchError::Json(_)));
    }
}
