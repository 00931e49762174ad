//! Tells what there is of an image's SOCI indexes. Only reads, and nothing of a layer but whether it is there.
//!
//! - The image's documents are gathered as for indexing, and the digest counts: a converted image (V2) under the usual tag
//!   is this image's only if it is what this very image is converted to ([`soci_manifest::Plan::found_in`]), and a SOCI
//!   index V1 only if its subject is one of the image's manifests.
//! - Each SOCI index is read, and of the ztocs that it names as many as [`MOST_ZTOCS`] and [`MOST_ZTOC_BYTES`] allow, one
//!   after the other: nothing else knows how many spans and files they have. So it takes a request for each document, one
//!   for each ztoc, one for each list of referrers, and one or two for the tag of the converted image.
//! - Documents do not say when they were made, and an index has the same bytes whoever built it. So neither is told here;
//!   what is told is the name that the builder gave itself.
//! - Why a layer has no ztoc is not in an index either. What the layer's own descriptor says is told, else that it is
//!   unknown.

mod missing;

use std::collections::HashMap;

use soci_manifest::format::{self, DEFAULT_MIN_LAYER_SIZE, PREFETCH_MEDIA_TYPE};
use soci_manifest::{
    Generation, IndexPlan, LayerDecision, LeftOutPlatform, Plan, PrefetchArtifact, SkipReason,
    Version, unmarked_soci_index,
};
use soci_oci::{Descriptor, Digest, Index, Manifest, Platform, Tag, TagOrDigest, media_type};
use soci_ztoc::{LayerLimits, Reader};

use crate::error::{IndexError, StoreError};
use crate::existing::usable;
use crate::gather::gather;
use crate::index::{output_tag, within};
use crate::options::{ImageName, Options};
use crate::outlook::{Outlook, outlook};
use crate::referrers_lists;
use crate::store::ImageStore;
use missing::layers_there;

/// Most SOCI indexes of one manifest that are looked at (V1).
const MOST_INDEXES: usize = 16;

/// Most ztocs that are read.
pub const MOST_ZTOCS: usize = 64;

/// Most bytes of ztocs that are read together: those of some eight GiB of unpacked layers with the usual span size.
pub const MOST_ZTOC_BYTES: u64 = 64 << 20;

/// What there is of an image's SOCI indexes.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Digest of the image.
    pub image: Digest,
    /// Media type of its manifest or image index.
    pub media_type: String,
    /// Why it gets no index, if nothing of it can be indexed.
    pub nothing: Option<SkipReason>,
    /// The converted image that is this image's (V2).
    pub converted: Option<ConvertedImage>,
    /// What the tag of the converted image names, if that is another image's.
    pub of_another: Option<ConvertedImage>,
    /// The manifests that can be indexed, in the order of the image, with their SOCI indexes.
    pub manifests: Vec<InspectedManifest>,
    /// Platforms that cannot be indexed, beside others.
    pub left_out: Vec<LeftOutPlatform>,
    /// What could not be looked at.
    pub warnings: Vec<String>,
}

/// A converted image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvertedImage {
    /// The tag that it was found by; none if it was named by its digest.
    pub tag: Option<Tag>,
    /// Digest of its image index.
    pub digest: Digest,
}

/// One of the image's manifests.
#[derive(Clone, Debug)]
pub struct InspectedManifest {
    /// The platform, if anything tells it.
    pub platform: Option<Platform>,
    /// Digest of the manifest as the image names it.
    pub digest: Digest,
    /// Its SOCI indexes, that of the converted image first.
    pub indexes: Vec<InspectedIndex>,
    /// Its layers from the base up, without what an index has of them.
    pub layers: Vec<InspectedLayer>,
}

/// A SOCI index.
#[derive(Clone, Debug)]
pub struct InspectedIndex {
    /// Its digest.
    pub digest: Digest,
    /// How it is tied to the image.
    pub version: Version,
    /// The name that its builder gave itself.
    pub build_tool: Option<String>,
    /// The releases of soci-snapshotter that it is for, as far as it says: one that names its span size is for the newer ones.
    pub generation: Generation,
    /// The layers of its manifest from the base up.
    pub layers: Vec<InspectedLayer>,
}

/// A layer, and what an index has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedLayer {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its ztoc.
    pub ztoc: Option<InspectedZtoc>,
    /// Why it has none, as far as its descriptor tells.
    pub why_not: Option<LayerDecision>,
    /// Whether the store does not have it, so that nobody can start the image; none where that is not known. Not of layers
    /// whose descriptor says that they are elsewhere.
    pub missing: Option<bool>,
}

/// A ztoc, and what was read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedZtoc {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it was read, or why not.
    pub read: ZtocRead,
    /// Bytes between its checkpoints, if they are known.
    pub span_size: Option<u64>,
    /// How many spans are prefetched, if any are named.
    pub prefetched_spans: Option<u64>,
    /// Whether it says that the layer has no extended attributes.
    pub without_xattrs: bool,
}

/// What a ztoc tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZtocRead {
    /// Its spans and files.
    Read {
        /// How many spans it has.
        spans: usize,
        /// How many entries its table of contents has.
        files: usize,
    },
    /// It was not read, as it or all of them are too large.
    NotRead,
    /// It is named, and is not there or not what it should be.
    Broken,
}

impl Inspection {
    /// Whether every manifest that can be indexed has a SOCI index.
    pub fn is_complete(&self) -> bool {
        !self.manifests.is_empty() && self.manifests.iter().all(|m| !m.indexes.is_empty())
    }

    /// Whether any manifest has a SOCI index.
    pub fn is_indexed(&self) -> bool {
        self.manifests.iter().any(|manifest| !manifest.indexes.is_empty())
    }

    /// The layers that are not there, once each, in the order of the image.
    pub fn missing_layers(&self) -> Vec<Digest> {
        let mut missing = Vec::new();
        for layer in self.manifests.iter().flat_map(|manifest| &manifest.layers) {
            if layer.missing == Some(true) && !missing.contains(&layer.digest) {
                missing.push(layer.digest);
            }
        }
        missing
    }

    /// Whether a layer that is not there keeps the image from being started with an index: one of a manifest that has an
    /// index, or one of each manifest. Where a platform lacks a layer, the others are as good as ever.
    pub fn lacks_layers(&self) -> bool {
        let with_index = |manifest: &&InspectedManifest| !manifest.indexes.is_empty();
        self.manifests.iter().filter(with_index).any(InspectedManifest::lacks_layers)
            || !self.manifests.is_empty()
                && self.manifests.iter().all(InspectedManifest::lacks_layers)
    }

    /// Whether a ztoc that an index names cannot be used.
    pub fn is_broken(&self) -> bool {
        let layers = self.manifests.iter().flat_map(|m| &m.indexes).flat_map(|i| &i.layers);
        layers.flat_map(|layer| &layer.ztoc).any(|ztoc| ztoc.read == ZtocRead::Broken)
    }
}

impl InspectedManifest {
    /// Whether a layer of it is not there.
    pub fn lacks_layers(&self) -> bool {
        self.layers.iter().any(|layer| layer.missing == Some(true))
    }
}

/// Looks at an image. Of `options` the tag of the result, the limits and the budget count.
pub async fn inspect_image<S: ImageStore>(
    store: &S,
    name: &ImageName,
    options: &Options,
) -> Result<Inspection, IndexError> {
    look_at(store, name, options, MOST_ZTOCS).await
}

/// Looks at an image, and into so many ztocs and what is prefetched of their layers. With none, nor is it asked whether
/// layers are there.
pub(crate) async fn look_at<S: ImageStore>(
    store: &S,
    name: &ImageName,
    options: &Options,
    most_ztocs: usize,
) -> Result<Inspection, IndexError> {
    let gathered = gather(store, name, None, options).await?;
    let root = gathered.root;
    let mut inspection = Inspection {
        image: root.digest,
        media_type: root.media_type.clone(),
        nothing: None,
        converted: None,
        of_another: None,
        manifests: Vec::new(),
        left_out: Vec::new(),
        warnings: Vec::new(),
    };
    inspection.warnings.extend(unmarked("the image index", &root.bytes));
    let plan = match outlook(&gathered.image)? {
        Outlook::Plan(plan) => plan,
        Outlook::Nothing(reason) => {
            inspection.nothing = Some(reason);
            return Ok(inspection);
        }
    };
    inspection.left_out = plan.left_out_platforms().to_vec();
    let (_memory, limit) = options.budget.result_documents(gathered.image.supplied_bytes()).await;
    let mut there = HashMap::new();
    if most_ztocs > 0 {
        let warning;
        (there, warning) = layers_there(store, &plan).await;
        inspection.warnings.extend(warning);
    }
    let ztocs = HashMap::new();
    let mut look = Look { store, limit, ztocs, there, most_ztocs, bytes_left: MOST_ZTOC_BYTES };
    let listed = look.converted(name, &root, &plan, options, &mut inspection).await?;
    for (index, v2) in plan.indexes().iter().zip(listed) {
        let mut manifest = InspectedManifest {
            platform: index.platform.clone(),
            digest: index.image.digest,
            indexes: Vec::new(),
            layers: layers_of(index)
                .map(|(layer, why_not)| look.inspected(layer, why_not))
                .collect(),
        };
        if let Some(digest) = v2 {
            manifest.indexes.extend(look.index(Version::V2, digest, index, None).await?);
        }
        let (known, warning) = look.referring(index, manifest.indexes.is_empty()).await?;
        if let Some(warning) = warning
            && !inspection.warnings.contains(&warning)
        {
            inspection.warnings.push(warning);
        }
        for digest in known {
            let subject = Some(index.image.digest);
            manifest.indexes.extend(look.index(Version::V1, digest, index, subject).await?);
        }
        inspection.manifests.push(manifest);
    }
    Ok(inspection)
}

/// The layers of a manifest, with why they have no ztoc where that is known. Those that are smaller than the usual
/// minimum are mostly left out for that.
fn layers_of(index: &IndexPlan) -> impl Iterator<Item = (&Descriptor, Option<LayerDecision>)> {
    index.layers().map(|(layer, decision)| {
        let why_not = match decision {
            LayerDecision::Build(_) if layer.size < DEFAULT_MIN_LAYER_SIZE => {
                Some(LayerDecision::TooSmall)
            }
            LayerDecision::Build(_) => None,
            decision => Some(decision),
        };
        (layer, why_not)
    })
}

/// What is read of one image.
struct Look<'a, S> {
    store: &'a S,
    /// Bytes that a document may have.
    limit: usize,
    /// What was read of ztocs.
    ztocs: HashMap<Digest, (ZtocRead, Option<u64>)>,
    /// Whether layers are there, as far as it is known.
    there: HashMap<Digest, bool>,
    most_ztocs: usize,
    bytes_left: u64,
}

impl<S: ImageStore> Look<'_, S> {
    fn inspected(&self, layer: &Descriptor, why_not: Option<LayerDecision>) -> InspectedLayer {
        let Descriptor { digest, size, .. } = *layer;
        let elsewhere = media_type::is_nondistributable(&layer.media_type);
        let there = if elsewhere { Some(true) } else { self.there.get(&digest).copied() };
        InspectedLayer { digest, size, ztoc: None, why_not, missing: there.map(|there| !there) }
    }

    /// The SOCI index that the converted image lists for each of the plan's manifests.
    async fn converted(
        &self,
        name: &ImageName,
        root: &soci_registry::VerifiedManifest,
        plan: &Plan,
        options: &Options,
        inspection: &mut Inspection,
    ) -> Result<Vec<Option<Digest>>, IndexError> {
        let none = || vec![None; plan.indexes().len()];
        if plan.version() == Version::V1 {
            return Ok(none());
        }
        // A converted image is its own result.
        let listed = Index::decode(&root.bytes).ok().and_then(|root| plan.found_in(&root));
        if let Some(listed) = listed {
            let tag = name.tag.clone();
            inspection.converted = Some(ConvertedImage { tag, digest: root.digest });
            return Ok(listed);
        }
        let Ok(tag) = output_tag(name, root.digest, &options.output) else { return Ok(none()) };
        let target = TagOrDigest::Tag(tag.clone());
        let found = usable(within(self.store.manifest_within(&target, self.limit).await));
        let found = found.map_err(|source| IndexError::Read { target, source })?.flatten();
        let Some(found) = found.filter(|found| found.digest != root.digest) else {
            return Ok(none());
        };
        let listed = Index::decode(&found.bytes).ok().and_then(|found| plan.found_in(&found));
        let converted = ConvertedImage { tag: Some(tag), digest: found.digest };
        if let Some(listed) = listed {
            inspection.converted = Some(converted);
            Ok(listed)
        } else {
            inspection.warnings.extend(unmarked("what has the tag of the result", &found.bytes));
            inspection.of_another = Some(converted);
            Ok(none())
        }
    }

    /// The SOCI indexes V1 that refer to a manifest, or what to say where the list cannot be read. Where there is a
    /// converted image, nobody needs it; elsewhere a list that nobody may read is not one that is empty.
    async fn referring(
        &self,
        index: &IndexPlan,
        alone: bool,
    ) -> Result<(Vec<Digest>, Option<String>), IndexError> {
        let referrers = match referrers_lists::referrers(self.store, index.image.digest).await {
            Ok(referrers) => referrers,
            Err(error) if alone && !error.reason().is_permanent() => return Err(error),
            Err(error) => {
                let error = chain(&error);
                let warning = format!("SOCI indexes V1 are not looked for: {error}");
                return Ok((Vec::new(), Some(warning)));
            }
        };
        let pages = referrers.pages.iter().filter_map(|page| Index::decode(page).ok());
        let entries = pages.flat_map(|page| page.manifests().to_vec());
        let soci = entries.filter(|entry| entry.artifact_type == Version::V1.artifact_type());
        Ok((soci.map(|entry| entry.digest).take(MOST_INDEXES).collect(), None))
    }

    /// A SOCI index, if it is there and what it should be.
    async fn index(
        &mut self,
        version: Version,
        digest: Digest,
        plan: &IndexPlan,
        subject: Option<Digest>,
    ) -> Result<Option<InspectedIndex>, IndexError> {
        let target = TagOrDigest::Digest(digest);
        let failed = |source| IndexError::Read { target: target.clone(), source };
        let found = usable(self.store.manifest_within(&target, self.limit).await);
        let found = found.map_err(failed)?.flatten();
        let Some(index) = found.and_then(|found| Manifest::decode(&found.bytes).ok()) else {
            return Ok(None);
        };
        if subject.is_some() && index.subject.as_ref().map(|subject| subject.digest) != subject {
            return Ok(None);
        }
        let mut layers = Vec::new();
        for (layer, why_not) in layers_of(plan) {
            let mut layer = self.inspected(layer, why_not);
            layer.ztoc = self.ztoc(&index, layer.digest).await.map_err(failed)?;
            if layer.ztoc.is_some() {
                layer.why_not = None;
            }
            layers.push(layer);
        }
        let says =
            |annotation| index.layers().iter().any(|e| e.annotations.contains_key(annotation));
        Ok(Some(InspectedIndex {
            digest,
            version,
            build_tool: index.annotations.get(format::BUILD_TOOL_IDENTIFIER).cloned(),
            generation: if says(format::SPAN_SIZE) { Generation::Newer } else { Generation::Older },
            layers,
        }))
    }

    /// The ztoc that a SOCI index names for a layer.
    async fn ztoc(
        &mut self,
        index: &Manifest,
        layer: Digest,
    ) -> Result<Option<InspectedZtoc>, StoreError> {
        let text = layer.to_string();
        let of_layer =
            |entry: &&Descriptor| entry.annotations.get(format::IMAGE_LAYER_DIGEST) == Some(&text);
        let mut entries = index.layers().iter().filter(of_layer);
        let artifact = entries.clone().find(|entry| entry.media_type == PREFETCH_MEDIA_TYPE);
        let Some(entry) = entries.find(|entry| entry.media_type != PREFETCH_MEDIA_TYPE) else {
            return Ok(None);
        };
        let (read, span_size) = self.read(entry).await?;
        let annotated = entry.annotations.get(format::SPAN_SIZE).and_then(|size| size.parse().ok());
        Ok(Some(InspectedZtoc {
            digest: entry.digest,
            size: entry.size,
            read,
            span_size: span_size.or(annotated),
            prefetched_spans: match artifact {
                Some(artifact) if self.most_ztocs > 0 => self.prefetched(artifact).await?,
                _ => None,
            },
            without_xattrs: entry.annotations.contains_key(format::DISABLE_XATTRS),
        }))
    }

    async fn read(&mut self, entry: &Descriptor) -> Result<(ZtocRead, Option<u64>), StoreError> {
        if let Some(known) = self.ztocs.get(&entry.digest) {
            return Ok(*known);
        }
        let left = self.bytes_left.checked_sub(entry.size);
        let found = match (left, usize::try_from(entry.size)) {
            (Some(left), Ok(size)) if self.ztocs.len() < self.most_ztocs => {
                self.bytes_left = left;
                let bytes = usable(self.store.blob_bytes(&entry.digest, size).await)?;
                let limits = LayerLimits::DEFAULT;
                match bytes.and_then(|bytes| Reader::parse(bytes, &limits).ok()) {
                    Some(ztoc) => {
                        let (spans, files) = (ztoc.span_count(), ztoc.entry_count());
                        (ZtocRead::Read { spans, files }, Some(ztoc.span_size()))
                    }
                    None => (ZtocRead::Broken, None),
                }
            }
            _ => (ZtocRead::NotRead, None),
        };
        self.ztocs.insert(entry.digest, found);
        Ok(found)
    }

    async fn prefetched(&self, artifact: &Descriptor) -> Result<Option<u64>, StoreError> {
        let limit = usize::try_from(artifact.size).unwrap_or(usize::MAX);
        let limit = limit.min(PrefetchArtifact::MAX_BYTES);
        let bytes = usable(self.store.blob_bytes(&artifact.digest, limit).await)?;
        let artifact = bytes.and_then(|bytes| PrefetchArtifact::decode(&bytes).ok());
        Ok(artifact.map(|artifact| artifact.span_count()))
    }
}

/// What is said of an image index that lists a SOCI index without saying so.
fn unmarked(what: &str, root: &[u8]) -> Option<String> {
    let soci_index = unmarked_soci_index(&Index::decode(root).ok()?)?;
    Some(format!(
        "{what} lists SOCI index {soci_index} without its artifactType, so no client takes it for one: some tools drop that \
         when they copy, as skopeo does; index the copy, or copy with `copy`"
    ))
}

/// An error in one line.
fn chain(error: &IndexError) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
