//! The subscriber of a process, and what libraries may say through it.
//!
//! At their low levels libraries write what passes through them. Of those that these programs are linked
//! with, the AWS SDK writes requests and answers with their bodies at `trace` (among them the token that
//! `GetAuthorizationToken` gives, and receipts of messages), errors with the raw answer in them at `debug`
//! and `warn`, and names of access keys at `info`; `lambda_runtime` writes events at `trace`,
//! `opentelemetry` a collector's answers at `debug`, hyper and h2 heads and frames at `debug` and `trace`.
//!
//! So no filter decides about libraries. `LOG_LEVEL` and `RUST_LOG` choose among what the crates of this
//! workspace say; a library is heard at `error`, at which none of them writes what it carries, and at more
//! only if it stands in a list here, beside the reason. This is a list of what may be said and not of what
//! may not: a library that comes new or names its modules anew is silent before anybody thinks of it.
//!
//! The cap lies around all other layers of the subscriber. So it holds for log lines and traces alike, for
//! events and for spans, and for a layer that somebody adds. [`install`] is the one way to a subscriber of
//! a process; a test looks for others in the sources.

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer, Registry};

/// The crates of this workspace as the targets of their events name them. These alone are free to say
/// what a filter asks for.
pub const OWN_CRATES: [&str; 26] = [
    "filter_lambda",
    "index_lambda",
    "soci_announce",
    "soci_aws",
    "soci_config",
    "soci_faults",
    "soci_filter_lambda",
    "soci_index_builder",
    "soci_index_lambda",
    "soci_indexer",
    "soci_jobs",
    "soci_lambda",
    "soci_logs",
    "soci_manifest",
    "soci_oci",
    "soci_push",
    "soci_queue",
    "soci_registry",
    "soci_registry_server",
    "soci_retry",
    "soci_sandbox",
    "soci_service",
    "soci_startup",
    "soci_text",
    "soci_webhook",
    "soci_ztoc",
];

/// The lowest level at which a library is heard.
const FOREIGN: Level = Level::ERROR;

/// Libraries that are heard at more, by the targets of their events.
const FOREIGN_AT: [(&str, Level); 1] = [
    // That spans were dropped, and how many. Its warnings repeat no span and no answer.
    ("opentelemetry_sdk", Level::WARN),
];

/// Makes `layers` the subscriber of this process, with libraries capped. Fails if there is one already.
pub fn install(layers: Vec<Box<dyn Layer<Registry> + Send + Sync>>) -> Result<(), TryInitError> {
    capped(layers).try_init()
}

/// What [`install`] installs, for tests that need it on one thread.
pub fn capped(
    layers: Vec<Box<dyn Layer<Registry> + Send + Sync>>,
) -> impl Subscriber + Send + Sync {
    Registry::default().with(layers).with(filter_fn(may_be_said))
}

/// Whether an event or a span may reach any layer, whatever their filters ask for.
fn may_be_said(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    // `soci_registry::auth` is of the crate `soci_registry`; `soci_registry_x` is not.
    let named = target.split("::").next().unwrap_or(target);
    if OWN_CRATES.contains(&named) {
        return true;
    }
    let more = FOREIGN_AT.iter().find(|(library, _)| *library == named);
    *metadata.level() <= more.map_or(FOREIGN, |(_, level)| *level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JsonLines;
    use crate::testing::{WrittenLines, caught_by};

    /// What is logged by layers that ask for everything.
    fn logged(log: impl FnOnce()) -> String {
        let lines = WrittenLines::default();
        let layer = JsonLines::new(lines.clone()).boxed();
        let _guard = caught_by(capped(vec![layer]));
        log();
        lines.text()
    }

    #[test]
    fn own_crates_say_everything_and_libraries_only_errors() {
        let text = logged(|| {
            tracing::trace!(target: "soci_registry::auth", "own trace");
            tracing::trace!(target: "filter_lambda", "program trace");
            tracing::error!(target: "aws_smithy_runtime::client", "foreign error");
            tracing::warn!(target: "aws_smithy_runtime::client", "SECRET");
            tracing::trace!(target: "hyper::proto", "SECRET");
            tracing::trace!(target: "soci_registry_of_somebody", "SECRET");
            tracing::info!(target: "log", "SECRET");
            tracing::warn!(target: "opentelemetry_sdk", "spans dropped");
            tracing::info!(target: "opentelemetry_sdk", "SECRET");
        });
        for said in ["own trace", "program trace", "foreign error", "spans dropped"] {
            assert!(text.contains(said), "{said}: {text}");
        }
        assert!(!text.contains("SECRET"), "{text}");
    }

    #[test]
    fn the_spans_of_libraries_are_capped_as_their_events_are() {
        let text = logged(|| {
            let span =
                tracing::info_span!(target: "aws_sdk_sqs::operation", "call", body = "SECRET");
            let _span = span.entered();
            let _own =
                tracing::debug_span!(target: "soci_jobs", "job", repository = "r/app").entered();
            tracing::info!(target: "soci_jobs", "within");
        });
        assert!(text.contains("within") && text.contains("r/app"), "{text}");
        assert!(!text.contains("SECRET"), "{text}");
    }
}
