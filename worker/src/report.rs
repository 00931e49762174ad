//! Results for people and for programs.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use soci_indexer::{CopyReport, Verification};
use soci_manifest::LayerPrefetch;
use soci_text::size;

mod end;
mod failure;
mod forecast;
mod index;
mod table;

pub(crate) use end::{ImageResult, IndexEnd, IndexResult, NothingToIndex};
pub(crate) use failure::Failure;
pub(crate) use forecast::{Forecast, Speed, Together};
use table::Column::{Number, Text};
pub(crate) use table::{Column, Table, table};

fn prefetch_json(prefetch: &LayerPrefetch) -> Value {
    json!({
        "digest": prefetch.layer.to_string(),
        "artifact": prefetch.artifact.digest().to_string(),
        "spans": prefetch.artifact.spans().iter().map(|range| [range.start(), range.end()]).collect::<Vec<_>>(),
    })
}

/// The line that tells what is prefetched of a layer.
fn prefetch_text(prefetch: &LayerPrefetch) -> String {
    let spans = prefetch.artifact.span_count();
    let noun = if spans == 1 { "span" } else { "spans" };
    format!("  {}  prefetch of {spans} {noun}\n", prefetch.layer.short())
}

/// The object of a command that ended before it came to any image.
pub(crate) fn failed_json(reason: &str, detail: &str) -> Value {
    json!({ "outcome": "failed", "reason": reason, "detail": detail, "image": null })
}

/// The one object that `verify --json` prints, of a failure as well after so much time.
pub(crate) fn verify_json(
    image: &str,
    result: Result<&Verification, &Failure>,
    elapsed: Duration,
) -> Value {
    let verification = result.ok();
    let failure = result.err();
    json!({
        "outcome": if verification.is_some() { "verified" } else { "failed" },
        "reason": failure.map(|failure| failure.code),
        "detail": failure.map(|failure| failure.detail.as_str()),
        "image": image,
        "quick": verification.is_some_and(|v| v.quick),
        "indexes": verification.map_or(&[][..], |v| &v.indexes)
            .iter().map(ToString::to_string).collect::<Vec<_>>(),
        "layers": verification.map_or(&[][..], |v| &v.layers).iter().map(|layer| json!({
            "digest": layer.layer.to_string(),
            "size": layer.size,
            "ztoc": layer.ztoc.to_string(),
            "spans": layer.spans,
            "files": layer.files,
            "members": layer.rebuilt.then_some(layer.members),
            "rebuilt": layer.rebuilt,
            "ztoc_size": layer.ztoc_size,
            "extracted": layer.extracted,
            "bytes_fetched": layer.bytes_fetched,
        })).collect::<Vec<_>>(),
        "prefetch": verification.map_or(&[][..], |v| &v.prefetch).iter().map(prefetch_json).collect::<Vec<_>>(),
        "warnings": verification.map_or(&[][..], |v| &v.misread)
            .iter().map(ToString::to_string).collect::<Vec<_>>(),
        "seconds": seconds(elapsed),
    })
}

/// What `verify` prints for people.
pub(crate) fn verify_text(image: &str, verification: &Verification) -> String {
    let quick = if verification.quick { " in part" } else { "" };
    let mut text = format!("verified{quick} {image}\n");
    let rows = verification.layers.iter().map(|layer| {
        [
            layer.layer.short(),
            size(layer.size),
            layer.ztoc.short(),
            layer.spans.to_string(),
            layer.files.to_string(),
            layer.extracted.to_string(),
            size(layer.bytes_fetched),
        ]
    });
    let head = [
        Text("layer"),
        Number("size"),
        Text("ztoc"),
        Number("spans"),
        Number("files"),
        Number("extracted"),
        Number("fetched"),
    ];
    text.push_str(&table(head, rows));
    text.push_str(&fetched_text(verification));
    text.extend(verification.prefetch.iter().map(prefetch_text));
    for index in &verification.indexes {
        let _ = writeln!(text, "  SOCI index {index}");
    }
    for misread in &verification.misread {
        let _ = writeln!(text, "  warning: {misread}");
    }
    text
}

/// What a check has fetched, and why that may be more than there is.
fn fetched_text(verification: &Verification) -> String {
    let sum = |of: &dyn Fn(&soci_indexer::LayerCheck) -> u64| -> u64 {
        verification.layers.iter().map(of).sum()
    };
    let layers = sum(&|layer| if layer.rebuilt { layer.size } else { 0 });
    let (ztocs, spans) = (sum(&|layer| layer.ztoc_size), sum(&|layer| layer.bytes_fetched));
    let all = size(layers + ztocs + spans);
    let (ztocs, spans) = (size(ztocs), size(spans));
    if verification.quick {
        return format!(
            "  quick: fetched {all}: ztocs {ztocs}, spans of two files of each layer {spans}; no ztoc was built again\n"
        );
    }
    let layers = size(layers);
    format!(
        "  fetched {all}: layers {layers}, ztocs {ztocs}, and {spans} of the layers again, as files are extracted by whole spans\n"
    )
}

/// The one object that `copy --json` prints. `place` is the destination without a tag; what was read and how long it took
/// counts where it failed, too.
pub(crate) fn copy_json(
    image: &str,
    destination: &str,
    place: &str,
    result: Result<&CopyReport, &Failure>,
    (bytes_read, elapsed): (u64, Duration),
) -> Value {
    let copied = result.ok();
    let failure = result.err();
    json!({
        "outcome": match result {
            Ok(copied) if copied.already_there => "already-there",
            Ok(_) => "copied",
            Err(_) => "failed",
        },
        "reason": failure.map(|failure| failure.code),
        "detail": failure.map(|failure| failure.detail.as_str()),
        "image": image,
        "image_digest": copied.map(|copied| copied.image.to_string()),
        "destination": destination,
        "copy": copied.map(|copied| format!("{place}@{}", copied.digest)),
        "digest": copied.map(|copied| copied.digest.to_string()),
        "media_type": copied.map(|copied| copied.media_type.as_str()),
        "tag": copied.and_then(|copied| copied.tag.as_ref()).map(ToString::to_string),
        "bytes_read": bytes_read,
        "seconds": seconds(elapsed),
    })
}

/// What `copy` prints: the copy by its digest and nothing else, so that a script takes it as it is.
pub(crate) fn copy_text(place: &str, copied: &CopyReport) -> String {
    format!("{place}@{}\n", copied.digest)
}

/// Prints one line.
pub(crate) fn line(line: impl std::fmt::Display) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}

/// Prints text that ends with its last line.
pub(crate) fn text(text: impl std::fmt::Display) -> std::io::Result<()> {
    write!(std::io::stdout(), "{text}")
}

/// Tells an error on standard error. Nobody is left to tell if that fails.
pub(crate) fn complain(message: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "error: {message}");
}

/// Tells on standard error what is going on.
pub(crate) fn note(message: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

/// Tells a warning on standard error.
pub(crate) fn warn(message: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "warning: {message}");
}

/// The exit code after the result of a command that worked was printed. Whoever closed the pipe has
/// read enough, as `head` does.
pub(crate) fn printed(result: std::io::Result<()>) -> ExitCode {
    ExitCode::from(result.map_or_else(|error| unprinted(&error), |()| 0))
}

/// The exit code of a result that was not printed, which is told unless it was read far enough.
pub(crate) fn unprinted(error: &std::io::Error) -> u8 {
    if error.kind() == ErrorKind::BrokenPipe {
        return 0;
    }
    complain(format_args!("the result cannot be printed: {error}"));
    1
}

/// Seconds to the millisecond.
pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
