//! `index --dry-run`: what would be done with each image. Nothing is written: an output that does not exist is not made
//! for it, and then nothing is there.
//!
//! Images are held against what is there now. A layer that an earlier image of the same call would have had read is not
//! read again for a later one in the same place, so it counts once.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use soci_indexer::{
    LayerWork, Options, OutputPlace, OutputTag, Reuse, ReuseScope, forecast_index,
    forecast_index_to,
};
use soci_oci::Digest;

use super::super::location::{Location, OutputLocation};
use super::super::place::{OpenImage, OpenOutput, is_layout};
use super::images::Wanted;
use super::work::{Work, ended};
use crate::report::{Forecast, IndexResult, Speed, Together};

/// Says what would be done with each image.
pub(super) async fn run(work: &Work<'_>, images: Vec<Wanted>) -> ExitCode {
    let (several, mut together, mut seen) = (images.len() > 1, Together::default(), HashSet::new());
    let code = work
        .run(images, async |location: Location| {
            let place = place(work, &location);
            let mut found = forecast(work, location).await;
            if let Ok(Ok(found)) = &mut found {
                // Where every layer is built, it is built for each image.
                if !work.args.force && !work.args.no_reuse {
                    count_once(found, &place, &mut seen);
                }
                together.add(found);
            }
            found
        })
        .await;
    if several && !work.args.told.quiet && !work.args.told.json {
        work.progress.say(together.text());
    }
    code
}

/// Where the ztocs of an image are shared: the registry, or the layout.
fn place(work: &Work<'_>, location: &Location) -> String {
    match (&work.output, location) {
        (Some(OutputLocation::Registry { repository, .. }), _) => repository.registry().to_owned(),
        (None, Location::Registry(reference)) => reference.repository.registry().to_owned(),
        (Some(OutputLocation::Layout { path, .. }), _) | (None, Location::Layout { path, .. }) => {
            path.display().to_string()
        }
    }
}

/// Takes out the layers that an earlier image has had read.
fn count_once(forecast: &mut Forecast, place: &str, seen: &mut HashSet<(String, Digest)>) {
    for layer in &forecast.found.layers {
        if matches!(layer.work, LayerWork::Read) && !seen.insert((place.to_owned(), layer.digest)) {
            forecast.read_before.insert(layer.digest);
        }
    }
}

async fn forecast(work: &Work<'_>, location: Location) -> IndexResult<Forecast> {
    let client = work.client()?;
    let OpenImage { store, name, repository } = OpenImage::open(location, client).await?;
    let mut options = work.options.clone();
    let found = match &work.output {
        None => forecast_index(&store, &name, &options).await,
        Some(OutputLocation::Layout { kind, path, name: named }) if !is_layout(*kind, path) => {
            if let Some(tag) = named.as_ref().and_then(|named| named.parse().ok()) {
                options.output = OutputTag::Tag(tag);
            }
            let nothing = Reuse::new(ReuseScope::Never);
            let options = Options { force: true, reuse: nothing, ..options };
            forecast_index(&store, &name, &options).await
        }
        Some(output) => {
            let output = OpenOutput::open(output.clone(), client).await?;
            if let Some(tag) = &output.tag {
                options.output = OutputTag::Tag(tag.clone());
            }
            let image_tag = output.tag.or_else(|| name.tag.clone()).or(output.default_tag);
            let place = OutputPlace { mount_from: repository, image_tag };
            forecast_index_to(&store, &output.store, &place, &name, &options).await
        }
    };
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let cores = work.args.budget.concurrency.map_or(cores, |layers| layers.min(cores)).get();
    let forecast = |found| Forecast { found, speed: Speed { cores }, read_before: HashSet::new() };
    ended(found.map(forecast), &name)
}
