//! What indexing an image would do, without doing it: nothing is written, and no layer is read but for its last bytes.
//!
//! It goes the way of `index.rs` up to where the first layer would be read. A ztoc that would be taken over is looked at as
//! it would be then, so what is said of it holds. What only shows when a layer is read is not foreseen: that it gets no ztoc
//! after all, or that it is broken.

use futures_util::stream::{self, StreamExt as _};
use soci_manifest::{LayerToBuild, LeftOutPlatform, Plan, Planned, SkippedLayer, Version};
use soci_oci::{Digest, Tag, TagOrDigest, referrers};

use crate::error::IndexError;
use crate::existing::Found;
use crate::gather::{Gathered, gather};
use crate::index::{look_for_result, output_tag};
use crate::layers::{offers, ztoc_settings};
use crate::options::{ImageName, Options};
use crate::output::{OutputPlace, WithOutput, kept_tag};
use crate::output_tag::OutputTag;
use crate::report::ReusedLayer;
use crate::reuse::Reuse;
use crate::store::ImageStore;

/// Layers that are looked at at once.
const LAYERS_AT_ONCE: usize = 8;

/// What indexing an image would do.
#[derive(Clone, Debug)]
pub struct IndexForecast {
    /// Whether the result is there, so that nothing would be written.
    pub already_there: bool,
    /// Digest of the image's manifest or image index.
    pub image: Digest,
    /// Version of the SOCI indexes.
    pub version: Version,
    /// The result, if it is there: V2 the converted image index, perhaps without its tag, V1 the first SOCI index.
    pub index: Option<Digest>,
    /// The tag of the converted image (V2).
    pub tag: Option<Tag>,
    /// The layers that get a ztoc, in the order of the image.
    pub layers: Vec<LayerForecast>,
    /// The layers that get none, and why.
    pub skipped: Vec<SkippedLayer>,
    /// The platforms that get no SOCI index though the image has them, and why.
    pub left_out_platforms: Vec<LeftOutPlatform>,
}

impl IndexForecast {
    /// Bytes of the layers that would be read to their end.
    pub fn bytes_to_read(&self) -> u64 {
        let read = |layer: &&LayerForecast| matches!(layer.work, LayerWork::Read);
        self.layers.iter().filter(read).map(|layer| layer.size).sum()
    }
}

/// What would be done about a layer.
#[derive(Clone, Debug)]
pub struct LayerForecast {
    /// Digest of the layer.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What would be done.
    pub work: LayerWork,
}

/// What is done to have the ztoc of a layer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LayerWork {
    /// It is read to its end, and its ztoc built.
    Read,
    /// The result that is there has no ztoc of it. It is read up to the place that says why, or to its end if none does.
    LookInto,
    /// Its ztoc is taken over from elsewhere.
    Reuse(ReusedLayer),
    /// The result that is there has its ztoc.
    There,
}

impl LayerWork {
    /// A stable name: `read`, `look-into`, `reuse` or `there`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::LookInto => "look-into",
            Self::Reuse(_) => "reuse",
            Self::There => "there",
        }
    }
}

/// What [`index_image`](crate::index_image) would do in a process that has indexed nothing yet. The errors are those that it
/// gives before it reads a layer, but for settings that no image can be indexed with.
pub async fn forecast_index<S: ImageStore>(
    store: &S,
    name: &ImageName,
    options: &Options,
) -> Result<IndexForecast, IndexError> {
    // Without work of its own a process offers nothing that would have to be written for it.
    let options = &Options { reuse: Reuse::new(options.reuse.scope()), ..options.clone() };
    let Gathered { root, image, memory: _memory } = gather(store, name, None, options).await?;
    let plan = match image.plan(&options.settings, &options.platforms)? {
        Planned::Build(plan) => plan,
        Planned::Skip(reason) => return Err(IndexError::Nothing { image: root.digest, reason }),
    };
    let tag = match plan.version() {
        Version::V1 => None,
        Version::V2 => Some(output_tag(name, root.digest, &options.output)?),
    };
    if let Some(tag) = tag.clone().filter(|tag| referrers::is_tag(tag.as_str())) {
        return Err(IndexError::ReservedTag { tag });
    }
    let forecast = |plan: &Plan, layers| IndexForecast {
        already_there: false,
        image: root.digest,
        version: plan.version(),
        index: None,
        tag: tag.clone(),
        layers,
        skipped: plan.skipped_layers(),
        left_out_platforms: plan.left_out_platforms().to_vec(),
    };
    let layers = plan.layers_to_build();
    if options.force {
        return Ok(forecast(
            &plan,
            layers.iter().map(|layer| told(layer, LayerWork::Read)).collect(),
        ));
    }
    let documents = image.supplied_bytes();
    let (found, named) =
        look_for_result(store, &plan, &root, documents, tag.as_ref(), options).await?;
    if let Some(Found { assembly, left_out, missing, .. }) = found {
        let index = assembly.root.digest;
        // Given as the image itself, it needs no tag of its own.
        let itself = index == root.digest && options.output.is_of_result(name.tag.as_ref());
        let tagged = match &tag {
            Some(tag) if !itself => {
                let target = || TagOrDigest::Tag(tag.clone());
                let tagged = store.tagged(tag).await;
                tagged.map_err(|source| IndexError::Read { target: target(), source })?
                    == Some(index)
            }
            _ => true,
        };
        let plan = if missing.is_empty() { Some(plan) } else { plan.without_missing(&missing) };
        let plan = plan.ok_or(soci_manifest::ImageError::NothingPlanned)?;
        let work = |layer: &LayerToBuild| {
            let out = left_out.iter().any(|out| out.key == layer.key);
            if out { LayerWork::LookInto } else { LayerWork::There }
        };
        let layers = plan.layers_to_build().iter().map(|layer| told(layer, work(layer))).collect();
        let forecast = forecast(&plan, layers);
        return Ok(IndexForecast { already_there: tagged, index: Some(index), ..forecast });
    }
    let near = if plan.version() == Version::V1 { name.tag.as_ref() } else { tag.as_ref() };
    let offers = offers(store, &plan, &layers, near, (named, documents), options).await;
    let layers = stream::iter(&layers).map(|layer| {
        let offers = &offers;
        async move {
            let settings = ztoc_settings(options, layer.key.compression);
            let other = offers.other(store, layer, &settings, &options.budget).await;
            told(layer, other.map_or(LayerWork::Read, |(ztoc, _)| LayerWork::Reuse(ztoc)))
        }
    });
    Ok(forecast(&plan, layers.buffered(LAYERS_AT_ONCE).collect().await))
}

/// What [`index_image_to`](crate::index_image_to) would do, of which the copies of what the output lacks are not foretold.
pub async fn forecast_index_to<S: ImageStore, T: ImageStore>(
    source: &S,
    output: &T,
    place: &OutputPlace,
    name: &ImageName,
    options: &Options,
) -> Result<IndexForecast, IndexError> {
    let target = || name.target.clone();
    let root = source.manifest(&target()).await;
    let root = root.map_err(|source| IndexError::Read { target: target(), source })?;
    let root = root.ok_or_else(|| IndexError::NotFound { target: target() })?;
    let by_digest = ImageName { target: root.digest.into(), tag: name.tag.clone() };
    let mut options = options.clone();
    if let Some(tag) = kept_tag(&root, name, &options.output) {
        options.output = OutputTag::Tag(tag);
    }
    let on_event = options.on_event.clone();
    let store = WithOutput::new(source, output, place, &options.budget, on_event);
    forecast_index(&store, &by_digest, &options).await
}

fn told(layer: &LayerToBuild, work: LayerWork) -> LayerForecast {
    LayerForecast { digest: layer.key.digest, size: layer.size, work }
}
