//! What `index --dry-run` prints of an image, and how long indexing it may take.
//!
//! The time is an estimate from the bytes that are to be read, at the rate for a core that `docs/COST.md` counts with. A
//! registry that is slower, or a network, makes it longer; nothing is measured for it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use soci_indexer::{IndexForecast, LayerForecast, LayerWork};
use soci_manifest::SkippedLayer;
use soci_oci::Digest;
use soci_text::size;

use super::Column::{Number, Text};
use super::end::{ImageResult, left_out_json, skipped_json};
use super::{seconds, table};

/// Compressed bytes that one core reads, checks and indexes in a second (`docs/COST.md`, "1,000 images a day of 2 GB").
const RATE: u64 = 100_000_000;

/// How fast this machine is taken to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Speed {
    /// Layers that are worked on at once: no more than cores.
    pub(crate) cores: usize,
}

impl Speed {
    /// The time for layers of these sizes in bytes, each on a core of its own. That cores without a layer help with the last
    /// large ones (`soci-indexer`'s `cores.rs`) is left out, as it depends on the layers: what is said is rather too long.
    pub(crate) fn estimate(self, layers: impl Iterator<Item = u64>) -> Duration {
        let (mut largest, mut sum) = (0, 0u64);
        for layer in layers {
            largest = largest.max(layer);
            sum = sum.saturating_add(layer);
        }
        let share = sum / u64::try_from(self.cores.max(1)).unwrap_or(u64::MAX);
        Duration::from_millis(largest.max(share) / (RATE / 1000))
    }

    fn text(self) -> String {
        let cores = if self.cores == 1 {
            "a core".to_owned()
        } else {
            format!("each of {} cores", self.cores)
        };
        format!(
            "an estimate from {}/s for {cores}; a slow registry or network takes longer",
            size(RATE)
        )
    }
}

/// What indexing an image would do, and how long it may take.
#[derive(Debug)]
pub(crate) struct Forecast {
    pub(crate) found: IndexForecast,
    pub(crate) speed: Speed,
    /// The layers that are read for an earlier image of the same call, and reused for this one.
    pub(crate) read_before: HashSet<Digest>,
}

impl Forecast {
    fn is_read_before(&self, layer: &LayerForecast) -> bool {
        self.read_before.contains(&layer.digest)
    }

    /// What is done about a layer, by its name.
    fn work(&self, layer: &LayerForecast) -> &'static str {
        if self.is_read_before(layer) { "reuse" } else { layer.work.name() }
    }

    fn count(&self, work: &str) -> usize {
        self.found.layers.iter().filter(|layer| self.work(layer) == work).count()
    }

    /// The sizes of the layers that are read.
    fn read(&self) -> impl Iterator<Item = u64> {
        let read = |layer: &&LayerForecast| self.work(layer) == "read";
        self.found.layers.iter().filter(read).map(|layer| layer.size)
    }

    fn time(&self) -> Duration {
        self.speed.estimate(self.read())
    }

    fn layers_json(&self) -> impl Iterator<Item = Value> {
        self.found.layers.iter().map(|layer| {
            let reused = match &layer.work {
                LayerWork::Reuse(reused) => Some(reused),
                _ => None,
            };
            json!({
                "digest": layer.digest.to_string(),
                "size": layer.size,
                "work": self.work(layer),
                "ztoc": reused.map(|reused| reused.ztoc.to_string()),
                "ztoc_size": reused.map(|reused| reused.ztoc_size),
            })
        })
    }

    /// What is done about a layer, for people.
    fn told(&self, layer: &LayerForecast) -> String {
        match &layer.work {
            _ if self.is_read_before(layer) => "reuse what is read for an earlier image".to_owned(),
            LayerWork::Reuse(reused) => format!("reuse ztoc {}", reused.ztoc.short()),
            LayerWork::LookInto => "look whether it still gets no ztoc".to_owned(),
            other => other.name().to_owned(),
        }
    }
}

impl ImageResult for Forecast {
    fn is_there(&self) -> bool {
        self.found.already_there
    }

    fn outcome(&self) -> &'static str {
        if self.found.already_there { "already-indexed" } else { "would-index" }
    }

    fn json(forecast: Option<&Self>, skipped: &[SkippedLayer]) -> Value {
        let found = forecast.map(|forecast| &forecast.found);
        let skipped = found.map_or(skipped, |found| &found.skipped);
        let count = |work| forecast.map_or(0, |forecast| forecast.count(work));
        json!({
            "dry_run": true,
            "image_digest": found.map(|found| found.image.to_string()),
            "index": found.and_then(|found| found.index).map(|index| index.to_string()),
            "tag": found.and_then(|found| found.tag.as_ref()).map(ToString::to_string),
            "layers": forecast.iter().flat_map(|forecast| forecast.layers_json()).collect::<Vec<_>>(),
            "to_read": count("read"),
            "to_reuse": count("reuse"),
            "skipped_layers": skipped.iter().map(skipped_json).collect::<Vec<_>>(),
            "left_out_platforms": found.map_or(&[][..], |found| &found.left_out_platforms)
                .iter().map(left_out_json).collect::<Vec<_>>(),
            "bytes_to_read": forecast.map_or(0, |forecast| forecast.read().sum()),
            "estimate": forecast.map(|forecast| json!({
                "seconds": seconds(forecast.time()),
                "bytes_per_second_and_core": RATE,
                "cores": forecast.speed.cores,
            })),
        })
    }

    fn text(&self, image: &str) -> String {
        let found = &self.found;
        let outcome = if found.already_there { "already indexed" } else { "would index" };
        let mut text = format!("{outcome} {image}\n");
        let rows = found
            .layers
            .iter()
            .map(|layer| [layer.digest.short(), size(layer.size), self.told(layer)]);
        text.push_str(&table([Text("layer"), Number("size"), Text("what is done")], rows));
        for layer in &found.skipped {
            let (digest, shown) = (layer.digest.short(), size(layer.size));
            let _ = writeln!(text, "  {digest}  {shown}  no ztoc: {}", layer.decision);
        }
        for left_out in &found.left_out_platforms {
            let platform = left_out.platform.as_ref().map_or("-".to_owned(), ToString::to_string);
            let _ = writeln!(text, "  {platform:<16} left out: {}", left_out.reason);
        }
        match (&found.index, &found.tag) {
            (Some(index), Some(tag)) if found.already_there => {
                let _ = writeln!(text, "  image index {index} tagged {tag}");
            }
            (Some(index), Some(tag)) => {
                let _ = writeln!(text, "  image index {index} is there and would be tagged {tag}");
            }
            (Some(index), None) => {
                let _ = writeln!(text, "  attached to {}: {index}", found.image);
            }
            (None, Some(tag)) => {
                let _ = writeln!(text, "  the image index would be tagged {tag}");
            }
            (None, None) => {
                let _ = writeln!(text, "  the SOCI indexes would be attached to {}", found.image);
            }
        }
        if !found.already_there {
            let (read, all) =
                (self.read().sum(), found.layers.iter().map(|layer| layer.size).sum());
            let _ = match read {
                0 => writeln!(text, "  would read no layer"),
                _ => writeln!(
                    text,
                    "  would read {} of {} in about {} ({})",
                    size(read),
                    size(all),
                    about(self.time()),
                    self.speed.text()
                ),
            };
        }
        text.push_str("  nothing was written\n");
        text
    }
}

/// Several images together.
#[derive(Debug, Default)]
pub(crate) struct Together {
    bytes: u64,
    time: Duration,
}

impl Together {
    /// Counts one more.
    pub(crate) fn add(&mut self, forecast: &Forecast) {
        self.bytes += forecast.read().sum::<u64>();
        self.time += forecast.time();
    }

    /// What is said of them.
    pub(crate) fn text(&self) -> String {
        format!("together {} to read, in about {}", size(self.bytes), about(self.time))
    }
}

/// A time that is not known better.
fn about(time: Duration) -> String {
    match time.as_secs() {
        0 => "a second".to_owned(),
        seconds @ 1..120 => format!("{} s", seconds + 1),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_the_largest_layer_or_the_share_of_a_core() {
        let estimate = |cores, layers: &[u64]| Speed { cores }.estimate(layers.iter().copied());
        assert_eq!(estimate(2, &[]), Duration::ZERO);
        assert_eq!(estimate(2, &[1_000_000_000]), Duration::from_secs(10));
        assert_eq!(
            estimate(2, &[1_000_000_000, 1_000_000_000, 1_000_000_000]),
            Duration::from_secs(15)
        );
        assert_eq!(estimate(0, &[100_000_000]), Duration::from_secs(1));
    }

    #[test]
    fn times_are_as_rough_as_they_are_known() {
        let texts =
            [0, 900, 1000, 59_000, 150_000].map(|millis| about(Duration::from_millis(millis)));
        assert_eq!(texts, ["a second", "a second", "2 s", "60 s", "3 min"]);
    }
}
