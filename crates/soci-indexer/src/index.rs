//! Indexes one image, from its name to the pushed result.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use soci_manifest::{
    Assembly, BuiltZtoc, Image, ImageLimits, LayerKey, LayerToBuild, Missing, MissingKind, Plan,
    Planned, Version,
};
use soci_oci::{Digest, Tag, TagOrDigest, referrers};
use soci_registry::{BlobSource, MANIFEST_LIMIT, Manifest};
use tokio::task::JoinSet;

use crate::error::{IndexError, LayerError};
use crate::event::ImageEvent;
use crate::existing;
use crate::layer::build_layer;
use crate::options::{ImageName, Options, OutputTag};
use crate::publish::{publish, push_blob};
use crate::report::{LayerReport, Report};
use crate::source_tag::SourceTag;
use crate::store::ImageStore;

/// Documents fetched at once.
const PARALLEL_DOCUMENTS: usize = 8;

/// Builds the SOCI index of an image and writes it to the image's store. Doing it again does
/// nothing and gives the same result. [`IndexError::Nothing`] says that the image needs no index.
pub async fn index_image<S: ImageStore>(
    store: &S,
    name: &ImageName,
    options: &Options,
) -> Result<Report, IndexError> {
    let started = Instant::now();
    if i64::try_from(options.settings.span_size).is_err() {
        return Err(IndexError::SpanSize(options.settings.span_size));
    }
    let source = SourceTag::of(name, options);
    let root = fetch_root(store, name, source).await?;
    let image = gather(store, &root, options.image_limits).await?;
    let plan = match image.plan(&options.settings, &options.platforms)? {
        Planned::Build(plan) => plan,
        Planned::Skip(reason) => return Err(IndexError::Nothing { image: root.digest, reason }),
    };
    let tag = match plan.version() {
        Version::V1 => None,
        Version::V2 => {
            let tag = output_tag(name, root.digest, &options.output)?;
            if referrers::is_tag(tag.as_str()) {
                return Err(IndexError::ReservedTag { tag });
            }
            Some(tag)
        }
    };
    let report = |assembly: &Assembly, layers: Vec<LayerReport>| Report {
        already_there: true,
        image: root.digest,
        version: plan.version(),
        index: assembly.root.digest,
        indexes: assembly.indexes.clone(),
        tag: tag.clone(),
        bytes_read: layers.iter().map(|layer| layer.size).sum(),
        layers,
        skipped: plan.skipped_layers(),
        elapsed: started.elapsed(),
    };

    if let Some(assembly) = look_for_result(store, &plan, &root, tag.as_ref(), options).await? {
        let report = report(&assembly, Vec::new());
        if assembly.root.digest == root.digest && has_suffix(name, &options.output) {
            // The result of an earlier run was given as the image.
            return Ok(Report { tag: name.tag.clone(), ..report });
        }
        if let Some(source) = source.filter(|source| source.is_replaced()) {
            source.after(store, assembly.root.digest).await?;
        }
        // The manifests are there; only the tag may not be, on an image that was converted before.
        let written = publish(store, assembly, tag.as_ref()).await?;
        return Ok(Report { already_there: !written, elapsed: started.elapsed(), ..report });
    }

    let layers = build_layers(store, &plan, options).await?;
    let ztocs = layers
        .iter()
        .map(|(key, layer)| (*key, BuiltZtoc { digest: layer.ztoc, size: layer.ztoc_size }));
    let assembly = plan.assemble(&ztocs.collect())?;
    let report = report(&assembly, layers.into_iter().map(|(_, layer)| layer).collect());
    if let Some(source) = source {
        source.after(store, assembly.root.digest).await?;
    }
    let written = publish(store, assembly, tag.as_ref()).await?;
    // What was built on purpose counts as made, be it equal to what was there.
    let already_there = !written && !options.force;
    Ok(Report { already_there, elapsed: started.elapsed(), ..report })
}

/// The image's own manifest or image index, if its tag is as it should be.
async fn fetch_root<S: ImageStore>(
    store: &S,
    name: &ImageName,
    source: Option<SourceTag<'_>>,
) -> Result<Manifest, IndexError> {
    let Some(source) = source else { return fetch(store, &name.target).await };
    match tokio::join!(source.before(store), fetch(store, &name.target)) {
        (Ok(()), root) => root,
        // A repository that holds neither may be the wrong one, which is more than a lost tag, so
        // then the missing image is the error.
        (Err(IndexError::TagGone { .. }), Err(error)) | (Err(error), _) => Err(error),
    }
}

/// A manifest with the media type that it has, be it not the one that was stated.
async fn fetch<S: ImageStore>(store: &S, target: &TagOrDigest) -> Result<Manifest, IndexError> {
    let target = || target.clone();
    let manifest = store.manifest(&target()).await;
    let manifest = manifest.map_err(|source| IndexError::Read { target: target(), source })?;
    let manifest = manifest.ok_or_else(|| IndexError::NotFound { target: target() })?;
    let media_type = soci_oci::root_media_type(&manifest.media_type, &manifest.bytes)
        .map_err(|source| IndexError::NotADocument { target: target(), source })?;
    Ok(Manifest { media_type, ..manifest })
}

/// Fetches every document of an image.
async fn gather<S: ImageStore>(
    store: &S,
    root: &Manifest,
    limits: ImageLimits,
) -> Result<Image, IndexError> {
    let mut image = Image::new(&root.media_type, root.digest, &root.bytes, limits)?;
    loop {
        let missing = image.missing()?;
        if missing.is_empty() {
            return Ok(image);
        }
        let documents: Vec<(Missing, Bytes)> = stream::iter(missing)
            .map(|missing| async {
                let bytes = fetch_document(store, &missing).await?;
                Ok::<_, IndexError>((missing, bytes))
            })
            .buffered(PARALLEL_DOCUMENTS)
            .try_collect()
            .await?;
        for (missing, bytes) in documents {
            image.supply(&missing, &bytes)?;
        }
    }
}

async fn fetch_document<S: ImageStore>(store: &S, missing: &Missing) -> Result<Bytes, IndexError> {
    let digest = missing.descriptor.digest;
    let target = TagOrDigest::Digest(digest);
    match missing.kind {
        MissingKind::Manifest => Ok(fetch(store, &target).await?.bytes),
        MissingKind::Config => {
            let bytes = store.blob_bytes(&digest, MANIFEST_LIMIT).await;
            bytes.map_err(|source| IndexError::Read { target, source })
        }
    }
}

/// The tag that the converted image gets.
fn output_tag(name: &ImageName, digest: Digest, output: &OutputTag) -> Result<Tag, IndexError> {
    let suffix = match output {
        OutputTag::Tag(tag) => return Ok(tag.clone()),
        OutputTag::Suffix(suffix) => suffix,
    };
    let text = match &name.tag {
        Some(tag) => format!("{tag}{suffix}"),
        None => format!("{}-{}{suffix}", digest.algorithm().as_str(), digest.hex()),
    };
    text.parse().map_err(|source| IndexError::OutputTag { text, source })
}

/// Whether the image's own tag ends as tags of results do.
fn has_suffix(name: &ImageName, output: &OutputTag) -> bool {
    match (output, &name.tag) {
        (OutputTag::Suffix(suffix), Some(tag)) => tag.as_str().ends_with(suffix.as_str()),
        _ => false,
    }
}

/// The result, if the store holds it already.
async fn look_for_result<S: ImageStore>(
    store: &S,
    plan: &Plan,
    root: &Manifest,
    tag: Option<&Tag>,
    options: &Options,
) -> Result<Option<Assembly>, IndexError> {
    if options.force {
        return Ok(None);
    }
    let tagged = match tag {
        Some(tag) => {
            let target = TagOrDigest::Tag(tag.clone());
            let tagged = store.manifest(&target).await;
            tagged.map_err(|source| IndexError::Read { target, source })?
        }
        None => None,
    };
    let known = match options.known_result {
        Some(known) if tag.is_some() && tagged.as_ref().is_none_or(|t| t.digest != known) => {
            let target = TagOrDigest::Digest(known);
            let known = existing::usable(store.manifest(&target).await);
            known.map_err(|source| IndexError::Read { target, source })?.flatten()
        }
        _ => None,
    };
    let roots: Vec<(Digest, &[u8])> = tagged
        .iter()
        .chain(&known)
        .chain([root])
        .map(|root| (root.digest, &root.bytes[..]))
        .collect();
    let found = existing::find(store, plan, &options.settings, &roots).await;
    found.map_err(|source| IndexError::Read { target: TagOrDigest::Digest(root.digest), source })
}

/// Builds and stores the ztocs of all layers, the largest first so that none is left alone at the
/// end. The first failure ends the others.
async fn build_layers<S: ImageStore>(
    store: &S,
    plan: &Plan,
    options: &Options,
) -> Result<Vec<(LayerKey, LayerReport)>, IndexError> {
    let order = plan.layers_to_build();
    let bytes = order.iter().map(|layer| layer.size).sum();
    (options.on_event)(&ImageEvent::Planned { layers: order.len(), bytes });
    let mut queue = order.clone();
    queue.sort_by_key(|layer| std::cmp::Reverse(layer.size));
    let mut tasks = JoinSet::new();
    for layer in queue {
        tasks.spawn(build_and_store(store.clone(), layer, options.clone()));
    }
    let mut built = HashMap::new();
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok(result) => {
                let (key, report) = result?;
                built.insert(key, report);
            }
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            // Tasks are only cancelled when the set is dropped.
            Err(_) => {}
        }
    }
    Ok(order.iter().filter_map(|layer| built.remove_entry(&layer.key)).collect())
}

/// Builds the ztoc of one layer and stores it at once, so that it need not be held until the last
/// layer is done.
async fn build_and_store<S: ImageStore>(
    store: S,
    layer: LayerToBuild,
    options: Options,
) -> Result<(LayerKey, LayerReport), IndexError> {
    let LayerToBuild { key, size, .. } = layer;
    let digest = key.digest;
    let settings = soci_ztoc::ZtocSettings {
        compression: key.compression,
        span_size: options.settings.span_size,
        build_tool_identifier: options.settings.build_tool_identifier.clone(),
        limits: options.layer_limits,
    };
    let failed = |source| IndexError::Layer { digest, size, source };
    // Held until the ztoc is stored, so that finished ones do not pile up behind a slow upload.
    let _slot = options.budget.slot().await.ok_or_else(|| failed(LayerError::Interrupted))?;
    let share = options.budget.share(size).await;
    let tell = |event| (options.on_event)(&event);
    tell(ImageEvent::LayerStarted { layer: &digest, size });
    let on_bytes = |bytes| tell(ImageEvent::LayerRead { layer: &digest, bytes });
    let built =
        build_layer(&store, &digest, size, settings, share, on_bytes).await.map_err(failed)?;
    let ztoc = built.ztoc;
    let report = LayerReport {
        digest,
        size,
        ztoc: Digest::from_sha256(ztoc.encoded.sha256()),
        ztoc_size: ztoc.encoded.size(),
        files: ztoc.files,
        spans: ztoc.spans,
        elapsed: built.elapsed,
    };
    let pieces: Vec<Bytes> = ztoc.encoded.into_pieces().into_iter().map(Bytes::from).collect();
    push_blob(&store, "ztoc", &report.ztoc, &BlobSource::from(pieces)).await?;
    tell(ImageEvent::LayerDone { layer: &digest });
    tracing::debug!(layer = %digest, ztoc = %report.ztoc, files = report.files, "ztoc built");
    Ok((key, report))
}
