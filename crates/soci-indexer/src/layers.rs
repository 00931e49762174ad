//! Builds and stores the ztocs of an image's layers, several at once.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use soci_manifest::{BuiltZtoc, LayerKey, LayerToBuild, Plan};
use soci_oci::Digest;
use soci_registry::BlobSource;
use soci_ztoc::BuildError;
use tokio::task::JoinSet;

use crate::error::{IndexError, LayerError};
use crate::event::{ImageEvent, OnImageEvent};
use crate::layer::{BuiltLayer, LayerProgress, build_layer};
use crate::options::Options;
use crate::publish::{Sending, push_blob};
use crate::report::LayerReport;
use crate::store::ImageStore;

/// What became of an image's layers.
#[derive(Debug, Default)]
pub(crate) struct LayersRead {
    /// Those that have a ztoc, which is stored.
    pub(crate) built: Vec<(LayerKey, LayerReport)>,
    /// Those that turned out to have several gzip members.
    pub(crate) left_out: HashSet<LayerKey>,
    /// Bytes that were read of them.
    pub(crate) bytes: u64,
}

impl LayersRead {
    pub(crate) fn is_empty(&self) -> bool {
        self.built.is_empty() && self.left_out.is_empty()
    }

    pub(crate) fn has(&self, layer: &LayerKey) -> bool {
        self.left_out.contains(layer) || self.built.iter().any(|(key, _)| key == layer)
    }

    pub(crate) fn ztocs(&self) -> HashMap<LayerKey, BuiltZtoc> {
        let built = self.built.iter();
        built
            .map(|(key, layer)| {
                (
                    *key,
                    BuiltZtoc { digest: layer.ztoc, size: layer.ztoc_size, without_xattrs: false },
                )
            })
            .collect()
    }

    /// Puts them in the order of the image.
    pub(crate) fn sort_as(&mut self, plan: &Plan) {
        let order: HashMap<_, _> =
            plan.layers_to_build().into_iter().map(|layer| layer.key).zip(0..).collect();
        self.built.sort_by_key(|(key, _)| order.get(key).copied().unwrap_or(usize::MAX));
    }

    /// Builds and stores the ztocs of layers, the largest first so that none is left alone at the
    /// end. The first failure ends the others.
    pub(crate) async fn build<S: ImageStore>(
        &mut self,
        store: &S,
        mut layers: Vec<LayerToBuild>,
        options: &Options,
        sending: Sending,
    ) -> Result<(), IndexError> {
        layers.sort_by_key(|layer| std::cmp::Reverse(layer.size));
        let mut tasks = JoinSet::new();
        for layer in layers {
            tasks.spawn(build_and_store(store.clone(), layer, options.clone(), sending));
        }
        while let Some(joined) = tasks.join_next().await {
            match joined {
                // An error drops the set, and with it the tasks of all other layers.
                Ok(result) => match result? {
                    (key, LayerEnd::Built(report)) => {
                        self.bytes += report.size;
                        self.built.push((key, report));
                    }
                    (key, LayerEnd::LeftOut { read }) => {
                        self.bytes += read;
                        self.left_out.insert(key);
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

/// What became of a layer.
enum LayerEnd {
    /// Its ztoc is built and stored.
    Built(LayerReport),
    /// It has several gzip members, which showed after so many bytes.
    LeftOut { read: u64 },
}

/// Builds the ztoc of one layer and stores it at once, so that it need not be held until the last
/// layer is done.
async fn build_and_store<S: ImageStore>(
    store: S,
    layer: LayerToBuild,
    options: Options,
    sending: Sending,
) -> Result<(LayerKey, LayerEnd), IndexError> {
    let LayerToBuild { key, size, .. } = layer;
    let digest = key.digest;
    let settings = soci_ztoc::ZtocSettings {
        compression: key.compression,
        span_size: options.settings.span_size,
        build_tool_identifier: options.settings.build_tool_identifier.clone(),
        members: options.settings.generation.members(),
        limits: options.layer_limits,
    };
    let failed = |source| IndexError::Layer { digest, size, source };
    let tell = |event| (options.on_event)(&event);
    // Held until the ztoc is stored, so that finished ones do not pile up behind a slow upload.
    let _slot = options.budget.slot().await.ok_or_else(|| failed(LayerError::Interrupted))?;
    tell(ImageEvent::LayerWaits { layer: &digest });
    let progress = ToldLayer::new(&digest, size, &options.on_event);
    let built = build_layer(&store, &digest, size, settings, &options.budget, &progress).await;
    if let Err(LayerError::Build(BuildError::SeveralMembers { offset })) = built {
        let read = progress.bytes();
        let unread = size.saturating_sub(read);
        tell(ImageEvent::LayerLeftOut { layer: &digest, unread });
        tracing::debug!(layer = %digest, offset, "left out for its second gzip member");
        return Ok((key, LayerEnd::LeftOut { read }));
    }
    let built = built.map_err(failed)?;
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
    let pieces: Vec<Bytes> = ztoc.encoded.into_pieces().into_iter().map(Bytes::from).collect();
    push_blob(&store, "ztoc", &report.ztoc, &BlobSource::from(pieces), sending).await?;
    tell(ImageEvent::LayerDone { layer: &digest });
    tracing::debug!(layer = %digest, ztoc = %report.ztoc, files = report.files, "ztoc built");
    Ok((key, LayerEnd::Built(report)))
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
