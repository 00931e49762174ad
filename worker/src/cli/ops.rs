//! The flags of the commands for those who operate the service.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use soci_config::{name, suffix};
use soci_manifest::Version;
use soci_push::event::Timestamp;
use soci_push::{EventTypes, TagFilter, TagFilters};

use super::values::{glob, letter_reason, queue_url, version};

/// Which pushes are work.
#[derive(Debug, Args)]
pub(crate) struct WorkArgs {
    /// Version of the SOCI indexes that the workers build
    #[arg(long, env = name::INDEX_VERSION, value_name = "VERSION", value_parser = version(), ignore_case = true, default_value = "v2")]
    pub(crate) index_version: Version,
    /// What the workers add to an image's tag for the converted image (V2)
    #[arg(long, env = name::OUTPUT_TAG_SUFFIX, value_name = "SUFFIX", value_parser = suffix,
        allow_hyphen_values = true, default_value = "-soci")]
    pub(crate) tag_suffix: String,
}

#[derive(Debug, Args)]
pub(crate) struct BackfillArgs {
    /// Only repositories whose name matches, `*` stands for anything; may be given several times
    /// [default: all]
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    pub(crate) repository: Vec<TagFilter>,
    /// Only images that match; may be given several times [default: the filters of the service,
    /// SOCI_REPOSITORY_IMAGE_TAG_FILTERS, or all]
    #[arg(long, value_name = "REPO:TAG")]
    pub(crate) filter: Vec<TagFilter>,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
    /// The filters of the service, if no other is given
    #[arg(long, env = name::FILTERS, value_name = "FILTERS", hide = true)]
    pub(crate) service_filters: Option<TagFilters>,
    /// Only images pushed since then (UTC)
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(crate) pushed_after: Option<Timestamp>,
    /// Enqueue nothing, only say what would be
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Most jobs to enqueue in a second [default: as fast as the queue takes them]
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<NonZeroU32>,
    /// Enqueue also what seems to be indexed; workers find out whether it is
    #[arg(long)]
    pub(crate) recheck: bool,
    /// Go on behind this repository, in the order of their names, after a run that was stopped
    #[arg(long, value_name = "NAME")]
    pub(crate) resume_after: Option<String>,
    /// Where the jobs go [default: the live queue, QUEUE_URL]
    #[arg(long, env = name::BACKFILL_QUEUE_URL, value_name = "URL", value_parser = queue_url)]
    pub(crate) queue_url: Option<String>,
    /// The queue for the jobs if no other is given
    #[arg(long, env = name::QUEUE_URL, value_name = "URL", value_parser = queue_url, hide = true)]
    pub(crate) live_queue_url: Option<String>,
    #[command(flatten)]
    pub(crate) wake: WakeArgs,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

impl BackfillArgs {
    /// With the filters of the service where no other is given.
    pub(crate) fn resolved(mut self) -> Self {
        if self.filter.is_empty()
            && let Some(filters) = &self.service_filters
        {
            self.filter = filters.as_slice().to_vec();
        }
        self
    }
}

/// How a worker is woken.
#[derive(Debug, Args)]
pub(crate) struct WakeArgs {
    /// Namespace of the stack's metrics, `soci-index-builder/STACK`: a worker that sleeps is woken at once, where it would
    /// notice after up to fifteen minutes
    #[arg(long, env = name::EMF_NAMESPACE, value_name = "NAME")]
    pub(crate) metrics_namespace: Option<String>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("messages").args(["from", "events"]).required(true))]
pub(crate) struct ReplayArgs {
    /// Queue to take the messages from
    #[arg(long, value_name = "URL", value_parser = queue_url)]
    pub(crate) from: Option<String>,
    /// File of events or jobs to enqueue, one JSON object a line; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
    /// Types of the events in the file that are taken, with commas between; others are skipped
    #[arg(long, env = name::EVENT_TYPES, value_name = "TYPES", default_value_t = EventTypes::default())]
    pub(crate) event_types: EventTypes,
    /// Queue to put the messages on
    #[arg(long, env = name::QUEUE_URL, value_name = "URL", value_parser = queue_url)]
    pub(crate) to: String,
    /// Most messages a second, at most 500 where SQS moves them by itself
    #[arg(long, value_name = "N")]
    pub(crate) max_rate: Option<NonZeroU32>,
    /// Only messages that failed for this reason, as `queue` lists them; may be given several times
    #[arg(long, value_name = "REASON", value_parser = letter_reason(), hide_possible_values = true, conflicts_with = "events")]
    pub(crate) reason: Vec<String>,
    /// Only events of images that match; may be given several times [default: all]
    #[arg(long, value_name = "REPO:TAG")]
    pub(crate) filter: Vec<TagFilter>,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
    #[command(flatten)]
    pub(crate) wake: WakeArgs,
    /// Change nothing, only count what would be put on the queue
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct QueueArgs {
    /// The live queue
    #[arg(long, env = name::QUEUE_URL, value_name = "URL", value_parser = queue_url)]
    pub(crate) queue_url: Option<String>,
    /// The queue of jobs that can wait
    #[arg(long, env = name::BACKFILL_QUEUE_URL, value_name = "URL", value_parser = queue_url)]
    pub(crate) backfill_queue_url: Option<String>,
    /// The queue of what failed for good
    #[arg(long, env = name::DEAD_LETTER_QUEUE_URL, value_name = "URL", value_parser = queue_url)]
    pub(crate) dead_letter_queue_url: Option<String>,
    /// Ask CloudWatch how old the oldest message of each queue is
    #[arg(long)]
    pub(crate) ages: bool,
    /// Messages of the dead-letter queue to look at, which hides them for a moment and counts as
    /// receiving them; 0 for none
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) peek: usize,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// A date, or a point in time as events have it.
fn date(text: &str) -> Result<Timestamp, &'static str> {
    let day = format!("{text}T00:00:00Z");
    let time = text.parse().or_else(|_| day.parse());
    time.map_err(|_| "a date is expected, like 2026-08-01 or 2026-08-01T12:34:56Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_or_points_in_time() {
        assert_eq!(date("2026-08-01").unwrap().to_string(), "2026-08-01T00:00:00Z");
        assert_eq!(date("2026-08-01T12:34:56Z").unwrap().to_string(), "2026-08-01T12:34:56Z");
        for broken in ["", "2026", "2026-13-01", "yesterday", "2026-08-01T12:34:56+01:00"] {
            assert!(date(broken).is_err(), "{broken}");
        }
    }
}
