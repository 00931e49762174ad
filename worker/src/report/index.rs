//! What `index` prints: of each image one object, or a text for people.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use soci_indexer::{IndexError, LayerReport, Report, ReusedLayer};
use soci_jobs::reasons;
use soci_manifest::{SkipReason, SkippedLayer};
use soci_oci::Digest;
use soci_text::size;

use crate::process::MISTAKE;

use super::{prefetch_json, prefetch_text, seconds, table};

/// How indexing an image came out for the command: an image that needs no index is no failure.
pub(crate) type IndexResult = Result<Report, NothingToIndex>;

/// Why an image needs no index.
#[derive(Clone, Debug)]
pub(crate) struct NothingToIndex {
    pub(crate) image: Digest,
    pub(crate) reason: SkipReason,
}

impl NothingToIndex {
    /// Its code, as the service has it.
    pub(crate) fn code(&self) -> &'static str {
        let Self { image, reason } = self.clone();
        IndexError::Nothing { image, reason }.reason().code()
    }

    fn skipped(&self) -> &[SkippedLayer] {
        match &self.reason {
            SkipReason::NothingToIndex { layers, .. } => layers,
            _ => &[],
        }
    }
}

/// Why an image was not indexed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexFailure {
    /// A code of those that the service has.
    pub(crate) code: &'static str,
    /// The same for people.
    pub(crate) detail: String,
    /// The exit code of a command that ends with it.
    pub(crate) exit: u8,
}

impl IndexFailure {
    /// A failure in general.
    pub(crate) fn new(code: &'static str, detail: String) -> Self {
        Self { code, detail, exit: 1 }
    }

    /// What names the image is no name of one.
    pub(crate) fn mistake(detail: String) -> Self {
        Self { code: reasons::MALFORMED, detail, exit: MISTAKE }
    }
}

/// How one image ended.
#[derive(Debug)]
pub(crate) struct IndexEnd<'a> {
    /// The image as it was named.
    pub(crate) image: &'a str,
    /// Where the result went instead, as it was named.
    pub(crate) output: Option<&'a str>,
    pub(crate) result: Result<IndexResult, IndexFailure>,
    /// How long it took.
    pub(crate) elapsed: Duration,
}

impl IndexEnd<'_> {
    /// The one object of an image that `index --json` prints.
    pub(crate) fn json(&self) -> Value {
        let report = self.result.as_ref().ok().and_then(|result| result.as_ref().ok());
        let nothing = self.result.as_ref().ok().and_then(|result| result.as_ref().err());
        let failure = self.result.as_ref().err();
        let outcome = match (report, nothing) {
            (Some(report), _) if report.already_there => "already-indexed",
            (Some(_), _) => "indexed",
            (None, Some(_)) => "skipped",
            (None, None) => "failed",
        };
        let image = report.map(|report| report.image).or(nothing.map(|nothing| nothing.image));
        let layers = report.map_or(&[][..], |report| &report.layers);
        let reused = report.map_or(&[][..], |report| &report.reused);
        let skipped = report.map(|report| &report.skipped[..]);
        let skipped = skipped.or(nothing.map(NothingToIndex::skipped)).unwrap_or_default();
        json!({
            "outcome": outcome,
            "reason": nothing.map(NothingToIndex::code).or(failure.map(|failure| failure.code)),
            "detail": nothing.map(|nothing| nothing.reason.to_string())
                .or(failure.map(|failure| failure.detail.clone())),
            "image": self.image,
            "output": self.output,
            "image_digest": image.map(|image| image.to_string()),
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
            "left_out_platforms": report.map_or(&[][..], |report| &report.left_out_platforms).iter().map(|left_out| json!({
                "platform": left_out.platform.as_ref().map(ToString::to_string),
                "image_manifest": left_out.image.map(|image| image.to_string()),
                "reason": left_out.reason,
                "code": left_out.code,
            })).collect::<Vec<_>>(),
            "unlike_reference": report.map(Report::unlike_reference).unwrap_or_default(),
            "prefetch": report.map_or(&[][..], |report| &report.prefetch).iter().map(prefetch_json).collect::<Vec<_>>(),
            "prefetch_files": report.map_or(&[][..], |report| &report.prefetch_files),
            "warnings": report.map_or(&[][..], |report| &report.warnings),
            "bytes_read": report.map_or(0, |report| report.bytes_read),
            "seconds": seconds(self.elapsed),
        })
    }

    /// What is printed for people; nothing of a failure, which is told elsewhere.
    pub(crate) fn text(&self) -> String {
        let image = match self.output {
            Some(output) => format!("{} to {output}", self.image),
            None => self.image.to_owned(),
        };
        match &self.result {
            Ok(Ok(report)) if report.already_there => {
                report_text("already indexed", &image, report)
            }
            Ok(Ok(report)) => report_text("indexed", &image, report),
            Ok(Err(nothing)) => format!("skipped {image}\n  {}\n", nothing.reason),
            Err(_) => String::new(),
        }
    }
}

/// A layer without a ztoc.
pub(super) fn skipped_json(layer: &SkippedLayer) -> Value {
    json!({
        "digest": layer.digest.to_string(),
        "size": layer.size,
        "reason": layer.decision.to_string(),
        "code": layer.decision.code(),
    })
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
        let head = ["layer", "size", "ztoc", "ztoc size", "files", "spans", "time"];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_an_object_with_all_keys() {
        let end = IndexEnd {
            image: "r/i:1",
            output: None,
            result: Err(IndexFailure::new("image-gone", "no".to_owned())),
            elapsed: Duration::from_millis(1500),
        };
        let value = end.json();
        assert_eq!((&value["outcome"], &value["reason"]), (&"failed".into(), &"image-gone".into()));
        assert_eq!((&value["detail"], &value["seconds"]), (&"no".into(), &1.5.into()));
        let keys = [
            "image",
            "output",
            "index",
            "indexes",
            "tag",
            "layers",
            "built",
            "reused",
            "bytes_read",
        ];
        assert!(keys.iter().all(|key| value.get(key).is_some()));
        assert_eq!(end.text(), "");
    }
}
