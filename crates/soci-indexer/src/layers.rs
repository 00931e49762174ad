//! Builds and stores the ztocs of an image's layers, several at once.
//!
//! A layer that no ztoc describes is left out, and the others are indexed ([`left_out`] says which are meant): it is
//! pulled whole, as it would be without an index. The reference fails on the image for most of these, and so does this
//! with strict settings. A layer that is broken for whoever unpacks it fails the image in any case, so it is read to its
//! end; but where an index that is there leaves it out, too, it is read only until it shows why ([`Purpose`]).
//!
//! A layer that is not there is broken for its platforms only.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use soci_manifest::{
    BuiltZtoc, Compression, LayerDecision, LayerKey, LayerToBuild, Plan, Version, WhyLeftOut,
};
use soci_oci::{Digest, Tag};
use soci_registry::BlobSource;
use soci_ztoc::{BuildError, MisreadEntries, TarError, ZtocSettings};
use tokio::task::JoinSet;

use crate::error::{IndexError, LayerError};
use crate::event::{ImageEvent, OnImageEvent};
use crate::layer::{BuiltLayer, LayerProgress, build_layer};
use crate::options::Options;
use crate::pipeline::ReadOn;
use crate::publish::{Sending, push_blob};
use crate::report::{LayerReport, ReusedLayer};
use crate::reuse::{Offers, OwnZtoc, Wanted};
use crate::store::ImageStore;

/// What became of an image's layers.
#[derive(Debug, Default)]
pub(crate) struct LayersRead {
    /// Those that have a ztoc, which is stored.
    pub(crate) built: Vec<(LayerKey, LayerReport)>,
    /// Those whose ztoc was there.
    pub(crate) reused: Vec<(LayerKey, ReusedLayer)>,
    /// Those that get no ztoc, which showed when they were read.
    pub(crate) left_out: HashMap<LayerKey, LayerDecision>,
    /// Those that are not there.
    pub(crate) missing: HashSet<Digest>,
    /// The error of the first of them.
    pub(crate) first_missing: Option<IndexError>,
    /// Bytes that were read of them.
    pub(crate) bytes: u64,
    /// Whether a ztoc had to be written, of those that were built or had been elsewhere.
    pub(crate) wrote: bool,
}

impl LayersRead {
    pub(crate) fn is_empty(&self) -> bool {
        self.built.is_empty()
            && self.reused.is_empty()
            && self.left_out.is_empty()
            && self.missing.is_empty()
    }

    pub(crate) fn has(&self, layer: &LayerKey) -> bool {
        self.left_out.contains_key(layer)
            || self.missing.contains(&layer.digest)
            || self.built.iter().any(|(key, _)| key == layer)
            || self.reused.iter().any(|(key, _)| key == layer)
    }

    pub(crate) fn ztocs(&self) -> HashMap<LayerKey, BuiltZtoc> {
        let built = self.built.iter().map(|(key, layer)| (*key, layer.ztoc, layer.ztoc_size));
        let reused = self.reused.iter().map(|(key, layer)| (*key, layer.ztoc, layer.ztoc_size));
        built
            .chain(reused)
            .map(|(key, digest, size)| (key, BuiltZtoc { digest, size, without_xattrs: false }))
            .collect()
    }

    /// Puts them in the order of the image.
    pub(crate) fn sort_as(&mut self, plan: &Plan) {
        let order: HashMap<_, _> =
            plan.layers_to_build().into_iter().map(|layer| layer.key).zip(0..).collect();
        let place = |key: &LayerKey| order.get(key).copied().unwrap_or(usize::MAX);
        self.built.sort_by_key(|(key, _)| place(key));
        self.reused.sort_by_key(|(key, _)| place(key));
    }

    /// Takes over what is offered of the ztocs of layers, and builds and stores the others, the largest first so that none
    /// is left alone at the end. The first failure ends the others.
    pub(crate) async fn build<S: ImageStore>(
        &mut self,
        store: &S,
        mut layers: Vec<LayerToBuild>,
        options: &Options,
        offers: &Offers,
        purpose: Purpose,
    ) -> Result<(), IndexError> {
        layers.sort_by_key(|layer| std::cmp::Reverse(layer.size));
        let mut tasks = JoinSet::new();
        for layer in layers {
            let (store, options, offers) = (store.clone(), options.clone(), offers.clone());
            tasks.spawn(build_and_store(store, layer, options, offers, purpose));
        }
        while let Some(joined) = tasks.join_next().await {
            match joined {
                // An error drops the set, and with it the tasks of all other layers.
                Ok(result) => match result? {
                    (key, LayerEnd::Built { report, wrote }) => {
                        self.bytes += report.size;
                        self.wrote |= wrote;
                        self.built.push((key, report));
                    }
                    (key, LayerEnd::Reused { report, wrote }) => {
                        self.wrote |= wrote;
                        self.reused.push((key, report));
                    }
                    (key, LayerEnd::LeftOut { decision, read }) => {
                        self.bytes += read;
                        self.left_out.insert(key, decision);
                    }
                    (key, LayerEnd::Missing(error)) => {
                        self.missing.insert(key.digest);
                        self.first_missing.get_or_insert(error);
                    }
                },
                Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
                // Tasks are only cancelled when the set is dropped.
                Err(_) => {}
            }
        }
        Ok(())
    }
}

/// What layers are read for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose {
    pub(crate) sending: Sending,
    /// How far one is read that is left out.
    pub(crate) read_on: ReadOn,
    /// Whether the other platforms are indexed if one is not there.
    pub(crate) may_be_missing: bool,
}

/// What became of a layer.
enum LayerEnd {
    /// Its ztoc is built and stored, which had to be written or not.
    Built { report: LayerReport, wrote: bool },
    /// Its ztoc was there, or in another repository and had to be written.
    Reused { report: ReusedLayer, wrote: bool },
    /// It gets none, which showed after so many bytes.
    LeftOut { decision: LayerDecision, read: u64 },
    /// It is not there.
    Missing(IndexError),
}

/// Whether a layer is left out for why it has no ztoc, rather than failing the image. The older generation's own rule is
/// no leniency: its ztoc would do harm.
fn left_out(error: &BuildError, strict: bool) -> Option<LayerDecision> {
    let why = match error {
        BuildError::SeveralMembers { .. } => return Some(LayerDecision::SeveralMembers),
        _ if strict => return None,
        BuildError::TrailingBytes { .. } => WhyLeftOut::TrailingBytes,
        BuildError::Tar { source: TarError::UnsupportedType(b'g'), .. } => WhyLeftOut::GlobalHeader,
        BuildError::Tar { source: TarError::UnsupportedType(kind), .. } => {
            WhyLeftOut::EntryType(*kind)
        }
        BuildError::Tar { source: TarError::SparseFile, .. } => WhyLeftOut::SparseFile,
        BuildError::Tar { source: TarError::SizeOverNext, .. } => WhyLeftOut::SizeOverNext,
        error if error.is_limit() => WhyLeftOut::Limit,
        _ => return None,
    };
    Some(LayerDecision::LeftOut(why))
}

/// What may be taken over for the layers `rest` of a plan. `near` is the tag whose neighbours are looked at, `named` what SOCI
/// indexes of the image name, beside how many bytes its own documents have.
pub(crate) async fn offers<S: ImageStore>(
    store: &S,
    plan: &Plan,
    rest: &[LayerToBuild],
    near: Option<&Tag>,
    (named, documents): (HashMap<Digest, BuiltZtoc>, u64),
    options: &Options,
) -> Offers {
    let suffix = match plan.version() {
        Version::V1 => Some(""),
        Version::V2 => options.output.suffix(),
    };
    let wanted = Wanted { plan, layers: rest, near, suffix, documents };
    let settings = |compression| ztoc_settings(options, compression);
    Offers::find(store, wanted, named, &options.reuse, settings, &options.budget).await
}

/// What the ztocs of layers are built with.
pub(crate) fn ztoc_settings(options: &Options, compression: Compression) -> ZtocSettings {
    let strict = options.settings.strict;
    ZtocSettings {
        compression,
        span_size: options.settings.span_size,
        build_tool_identifier: options.settings.build_tool_identifier.clone(),
        members: options.settings.generation.members(),
        // With strict settings the reference's bytes, be they of use or not.
        misread: if strict { MisreadEntries::Listed } else { MisreadEntries::Refused },
        limits: options.layer_limits,
    }
}

/// Takes over the ztoc of one layer if it is offered, or builds it and stores it at once, so that it need not be held until
/// the last layer is done.
async fn build_and_store<S: ImageStore>(
    store: S,
    layer: LayerToBuild,
    options: Options,
    offers: Offers,
    Purpose { sending, read_on, may_be_missing }: Purpose,
) -> Result<(LayerKey, LayerEnd), IndexError> {
    let LayerToBuild { key, size, .. } = layer;
    let digest = key.digest;
    let strict = options.settings.strict;
    let settings = ztoc_settings(&options, key.compression);
    let failed = |source| IndexError::Layer { digest, size, source };
    let tell = |event| (options.on_event)(&event);
    let reused = |report: ReusedLayer, wrote| {
        let (ztoc, from) = (report.ztoc, report.from);
        tell(ImageEvent::LayerReused { layer: &digest, size, from });
        let from = from.name();
        tracing::debug!(layer = %digest, %ztoc, from, "ztoc taken over");
        Ok((key, LayerEnd::Reused { report, wrote }))
    };
    if let Some(own) = offers.own(&store, &layer, &settings).await {
        return reused(own, false);
    }
    let claim = offers.claim(&store, &layer, &settings).await;
    if matches!(claim, Some((_, true)))
        && let Some(own) = offers.own(&store, &layer, &settings).await
    {
        return reused(own, false);
    }
    // Held until the ztoc is on its way, so that finished ones do not pile up behind slow uploads.
    let slot = options.budget.slot().await.ok_or_else(|| failed(LayerError::Interrupted))?;
    if let Some((other, wrote)) = offers.other(&store, &layer, &settings, &options.budget).await {
        return reused(other, wrote);
    }
    tell(ImageEvent::LayerWaits { layer: &digest });
    let progress = ToldLayer::new(&digest, size, &options.on_event);
    let attempt = || {
        build_layer(&store, &digest, size, settings.clone(), &options.budget, read_on, &progress)
    };
    let mut built = attempt().await;
    if let Some(pause) = options.ask_again_after.filter(|_| may_be_missing && is_missing(&built)) {
        tokio::time::sleep(pause).await;
        built = attempt().await;
    }
    if let Err(LayerError::Build(error)) = &built
        && let Some(decision) = left_out(error, strict)
    {
        let read = progress.bytes();
        let unread = size.saturating_sub(read);
        tell(ImageEvent::LayerLeftOut { layer: &digest, unread });
        // How the image ends tells of it, too, but not where in the layer it is.
        tracing::debug!(layer = %digest, %error, "left out");
        return Ok((key, LayerEnd::LeftOut { decision, read }));
    }
    let missing = may_be_missing && is_missing(&built);
    let built = match built.map_err(failed) {
        Err(error) if missing => {
            tell(ImageEvent::LayerLeftOut { layer: &digest, unread: size });
            return Ok((key, LayerEnd::Missing(error)));
        }
        built => built?,
    };
    let BuiltLayer { ztoc, memory: _memory, elapsed } = built;
    let report = LayerReport {
        digest,
        size,
        ztoc: Digest::from_sha256(ztoc.encoded.sha256()),
        ztoc_size: ztoc.encoded.size(),
        files: ztoc.files,
        spans: ztoc.spans,
        elapsed,
    };
    let _upload = options.budget.upload().await.ok_or_else(|| failed(LayerError::Interrupted))?;
    drop(slot);
    let pieces: Vec<Bytes> = ztoc.encoded.into_pieces().into_iter().map(Bytes::from).collect();
    let wrote = push_blob(&store, "ztoc", &report.ztoc, &BlobSource::from(pieces), sending).await?;
    let LayerReport { ztoc, ztoc_size, files, spans, .. } = report;
    let own = OwnZtoc { digest: ztoc, size: ztoc_size, files, spans, places: Vec::new() };
    options.reuse.remember(&store, digest, &settings, own);
    if let Some((claim, _)) = claim {
        claim.fulfil();
    }
    tell(ImageEvent::LayerDone { layer: &digest });
    tracing::debug!(layer = %digest, ztoc = %report.ztoc, files = report.files, "ztoc built");
    Ok((key, LayerEnd::Built { report, wrote }))
}

fn is_missing(built: &Result<BuiltLayer, LayerError>) -> bool {
    matches!(built, Err(LayerError::Read(error)) if error.is_not_found())
}

/// Tells of one layer as events of its image.
struct ToldLayer<'a> {
    layer: &'a Digest,
    size: u64,
    on_event: &'a OnImageEvent,
    /// Bytes read since it was last begun.
    read: AtomicU64,
}

impl<'a> ToldLayer<'a> {
    fn new(layer: &'a Digest, size: u64, on_event: &'a OnImageEvent) -> Self {
        Self { layer, size, on_event, read: AtomicU64::new(0) }
    }

    fn bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

impl LayerProgress for ToldLayer<'_> {
    fn started(&self) {
        (self.on_event)(&ImageEvent::LayerStarted { layer: self.layer, size: self.size });
    }

    fn read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
        (self.on_event)(&ImageEvent::LayerRead { layer: self.layer, bytes });
    }

    fn restarted(&self) {
        self.read.store(0, Ordering::Relaxed);
        (self.on_event)(&ImageEvent::LayerRestarted { layer: self.layer });
    }
}
