//! What `index` prints of an image that has its index.

use std::fmt::Write as _;

use serde_json::{Value, json};
use soci_indexer::{LayerReport, Report, ReusedLayer};
use soci_manifest::{SkippedLayer, Version};
use soci_oci::Digest;
use soci_text::size;

use super::Column::{Number, Text};
use super::end::{ImageResult, left_out_json, skipped_json};
use super::{prefetch_json, prefetch_text, seconds, table};

impl ImageResult for Report {
    fn is_there(&self) -> bool {
        self.already_there
    }

    fn outcome(&self) -> &'static str {
        if self.already_there { "already-indexed" } else { "indexed" }
    }

    fn deploy(&self) -> Option<Digest> {
        Some(match self.version {
            Version::V1 => self.image,
            Version::V2 => self.index,
        })
    }

    fn json(report: Option<&Self>, skipped: &[SkippedLayer]) -> Value {
        let layers = report.map_or(&[][..], |report| &report.layers);
        let reused = report.map_or(&[][..], |report| &report.reused);
        let skipped = report.map_or(skipped, |report| &report.skipped);
        json!({
            "image_digest": report.map(|report| report.image.to_string()),
            "index": report.map(|report| report.index.to_string()),
            "indexes": report.map_or(&[][..], |report| &report.indexes).iter().map(|index| json!({
                "platform": index.platform.as_ref().map(ToString::to_string),
                "image_manifest": index.image_manifest.to_string(),
                "soci_index": index.digest.to_string(),
            })).collect::<Vec<_>>(),
            "tag": report.and_then(|report| report.tag.as_ref()).map(ToString::to_string),
            "built": layers.len(),
            "reused": reused.len(),
            "layers": layers.iter().map(layer_json).collect::<Vec<_>>(),
            "reused_layers": reused.iter().map(reused_json).collect::<Vec<_>>(),
            "skipped_layers": skipped.iter().map(skipped_json).collect::<Vec<_>>(),
            "left_out_platforms": report.map_or(&[][..], |report| &report.left_out_platforms).iter().map(left_out_json).collect::<Vec<_>>(),
            "unlike_reference": report.map(Report::unlike_reference).unwrap_or_default(),
            "prefetch": report.map_or(&[][..], |report| &report.prefetch).iter().map(prefetch_json).collect::<Vec<_>>(),
            "prefetch_files": report.map_or(&[][..], |report| &report.prefetch_files),
            "warnings": report.map_or(&[][..], |report| &report.warnings),
            "bytes_read": report.map_or(0, |report| report.bytes_read),
        })
    }

    fn text(&self, image: &str) -> String {
        let outcome = if self.already_there { "already indexed" } else { "indexed" };
        report_text(outcome, image, self)
    }
}

fn layer_json(layer: &LayerReport) -> Value {
    json!({
        "digest": layer.digest.to_string(),
        "size": layer.size,
        "ztoc": layer.ztoc.to_string(),
        "ztoc_size": layer.ztoc_size,
        "files": layer.files,
        "spans": layer.spans,
        "seconds": seconds(layer.elapsed),
    })
}

fn reused_json(layer: &ReusedLayer) -> Value {
    json!({
        "digest": layer.digest.to_string(),
        "size": layer.size,
        "ztoc": layer.ztoc.to_string(),
        "ztoc_size": layer.ztoc_size,
        "files": layer.files,
        "spans": layer.spans,
        "from": layer.from.name(),
    })
}

fn report_text(outcome: &str, image: &str, report: &Report) -> String {
    let mut text = format!("{outcome} {image}\n");
    if !(report.layers.is_empty() && report.reused.is_empty()) {
        let built = report.layers.iter().map(|layer| {
            [
                layer.digest.short(),
                size(layer.size),
                layer.ztoc.short(),
                size(layer.ztoc_size),
                layer.files.to_string(),
                layer.spans.to_string(),
                format!("{:.1} s", seconds(layer.elapsed)),
            ]
        });
        let reused = report.reused.iter().map(|layer| {
            [
                layer.digest.short(),
                size(layer.size),
                layer.ztoc.short(),
                size(layer.ztoc_size),
                layer.files.to_string(),
                layer.spans.to_string(),
                "reused".to_owned(),
            ]
        });
        let rows = built.chain(reused);
        let head = [
            Text("layer"),
            Number("size"),
            Text("ztoc"),
            Number("ztoc size"),
            Number("files"),
            Number("spans"),
            Number("time"),
        ];
        text.push_str(&table(head, rows));
    }
    for layer in &report.skipped {
        let (digest, shown) = (layer.digest.short(), size(layer.size));
        let _ = writeln!(text, "  {digest}  {shown}  no ztoc: {}", layer.decision);
    }
    for left_out in &report.left_out_platforms {
        let platform = left_out.platform.as_ref().map_or("-".to_owned(), ToString::to_string);
        let _ = writeln!(text, "  {platform:<16} left out: {}", left_out.reason);
    }
    for unlike in report.unlike_reference() {
        let _ = writeln!(text, "  unlike soci-snapshotter: {unlike}");
    }
    text.extend(report.prefetch.iter().map(prefetch_text));
    for file in &report.prefetch_files {
        let _ = writeln!(text, "  prefetched: {file}");
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "  warning: {warning}");
    }
    for index in &report.indexes {
        let platform = index.platform.as_ref().map_or("-".to_owned(), ToString::to_string);
        let _ = writeln!(text, "  {platform:<16} SOCI index {}", index.digest);
    }
    match &report.tag {
        Some(tag) => {
            let _ = writeln!(text, "  image index {} tagged {tag}", report.index);
        }
        None => {
            let _ = writeln!(text, "  attached to {}", report.image);
        }
    }
    let _ =
        writeln!(text, "  read {} in {:.1} s", size(report.bytes_read), seconds(report.elapsed));
    text
}
