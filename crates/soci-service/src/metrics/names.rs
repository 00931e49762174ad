//! The metrics: what each is called, and what it says.

use prometheus_client::registry::Unit;

/// In front of every name.
pub const PREFIX: &str = "soci_index_builder";

/// In front of the names of metrics that every process has.
pub const STANDARD_PREFIX: &str = "process";

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// A value of now.
    Gauge,
    /// Counts of values up to bounds, with their sum and number.
    Histogram,
    /// Always 1; its labels are the message.
    Info,
}

/// One metric. Names, units and labels are stable: dashboards and alarms depend on them.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The name without prefix, unit and `_total`.
    pub name: &'static str,
    /// The unit, which is the end of the name.
    pub unit: Option<Unit>,
    /// Kind of metric.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, without the full stop that the format adds.
    pub help: &'static str,
    /// Whether it is one that every process has, with a name that is the same everywhere and has no
    /// prefix: those of Prometheus' client libraries ("Writing client libraries", process metrics).
    pub standard: bool,
}

impl Definition {
    /// The name as it is scraped; a histogram's without `_bucket`, `_sum` or `_count`.
    pub fn full_name(&self) -> String {
        let unit = self.unit.as_ref().map(|unit| format!("_{}", unit.as_str()));
        let end = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        let prefix = if self.standard { STANDARD_PREFIX } else { PREFIX };
        format!("{prefix}_{}{}{end}", self.name, unit.unwrap_or_default())
    }
}

macro_rules! metrics {
    ($($($standard:literal)? $constant:ident: $kind:ident $name:literal $(($unit:ident))? [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub(super) const $constant: Definition = Definition {
                name: $name,
                unit: metrics!(@unit $($unit)?),
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
                standard: metrics!(@standard $($standard)?),
            };
        )*

        /// All of them.
        pub const ALL: &[Definition] = &[$($constant),*];
    };
    (@standard) => { false };
    (@standard $standard:literal) => { true };
    (@unit) => { None };
    (@unit $unit:ident) => { Some(Unit::$unit) };
}

metrics! {
    JOBS: Counter "jobs" ["outcome", "reason"]
        "Jobs that ended, by outcome and by the reason where an outcome has several";
    JOB_SECONDS: Histogram "job" (Seconds) ["outcome"]
        "Time from a message's receive to the end of its job";
    JOB_AGE: Histogram "job_age" (Seconds) ["lane"]
        "Time from the first sending of a job to its receive, at every receive";
    OLDEST_JOB: Gauge "oldest_job_age" (Seconds) []
        "Time since the oldest job that this process holds was first sent, 0 without one";
    STATE: Gauge "state" ["state"]
        "1 for what the service is doing, 0 for every other state";
    QUEUE_AWAY_SINCE: Gauge "queue_unreachable_since" (Seconds) []
        "When the first receive of the live queue was made that has not been answered since, in seconds since 1970, 0 if it answers";
    OUTAGE: Gauge "outage" []
        "1 while different images fail alike for what is of the registry, else 0";
    OUTAGE_SINCE: Gauge "outage_since" (Seconds) []
        "When that began, in seconds since 1970, 0 without one";
    JOBS_WAITING: Gauge "jobs_waiting" []
        "Jobs in hand that wait for another job and have no slot";
    IMAGES_IN_FLIGHT: Gauge "images_in_flight" []
        "Images that are being worked on";
    LAYERS_IN_FLIGHT: Gauge "layers_in_flight" []
        "Layers that are being read";
    LAYERS_BUILT: Counter "layers_built" []
        "Layers whose ztoc was built and stored";
    LAYERS_REUSED: Counter "layers_reused" ["from"]
        "Layers that were not read, as their ztoc was there, by whose work it is: `process`, this one's, or `repository`, that a SOCI index there names";
    LAYERS_LEFT_OUT: Counter "layers_left_out" ["reason"]
        "Layers that got no ztoc in an index that was built or found, by why, small ones not counted";
    PLATFORMS_LEFT_OUT: Counter "platforms_left_out" ["reason"]
        "Platforms that got no index beside others that have one, built or found, by why";
    LAYER_READ: Counter "layer_read" (Bytes) []
        "Bytes of layers that were read";
    QUEUE_MESSAGES: Gauge "queue_messages" ["lane", "state"]
        "Messages of a queue (live, backfill, dead-letters) when it was last counted: visible, in_flight or delayed";
    QUEUE_COUNTED: Gauge "queue_counted" (Seconds) ["lane"]
        "When the messages of a queue were last counted, in seconds since 1970";
    OLDEST_MESSAGE: Gauge "oldest_message_sent" (Seconds) ["lane"]
        "When the oldest message of a queue was sent, in seconds since 1970; only where the queue tells";
    QUEUE_FAILURES: Counter "queue_failures" ["queue", "operation"]
        "Calls of a queue that failed";
    HEARTBEATS: Counter "heartbeats" ["result"]
        "Extensions of a message's visibility timeout: ok or failed";
    REGISTRY_REQUESTS: Counter "registry_requests" ["method", "target", "status"]
        "Requests to registries; the status is error where no response came";
    REGISTRY_SECONDS: Histogram "registry_request" (Seconds) ["method", "target"]
        "Time from sending a request to a registry to the head of its response";
    REGISTRY_RETRIES: Counter "registry_retries" ["reason"]
        "Operations on registries that failed in passing and were tried again";
    ANNOUNCEMENTS: Counter "announcements" ["destination", "end"]
        "Announcements of ended images, by where they go and what became of them: delivered, dropped or given-up";
    DRAINING: Gauge "draining" []
        "1 once the service has been told to stop, else 0";
    RESIDENT_MEMORY: Gauge "resident_memory" (Bytes) []
        "Memory of the process that is in RAM";
    PEAK_MEMORY: Gauge "resident_memory_peak" (Bytes) []
        "The most memory that the process had in RAM";
    START_TIME: Gauge "start_time" (Seconds) []
        "When the process began, in seconds since 1970";
    "process" CPU_TIME: Counter "cpu" (Seconds) []
        "Processor time that the process has used";
    "process" OPEN_FILES: Gauge "open_fds" []
        "Files and sockets that the process has open";
    "process" MAX_FILES: Gauge "max_fds" []
        "How many it may have open";
    "process" STANDARD_RESIDENT: Gauge "resident_memory" (Bytes) []
        "Memory of the process that is in RAM, under its usual name";
    "process" VIRTUAL_MEMORY: Gauge "virtual_memory" (Bytes) []
        "Addresses that the process has mapped";
    "process" THREADS: Gauge "threads" []
        "Threads of the process";
    "process" STANDARD_START: Gauge "start_time" (Seconds) []
        "When the process began, in seconds since 1970, under its usual name";
    BUILD: Info "build" ["version", "commit"]
        "The release that runs";
}

/// The table as `docs/METRICS.md` has it.
#[cfg(test)]
fn markdown() -> String {
    use std::fmt::Write as _;

    let mut text =
        String::from("| metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n");
    for definition in ALL {
        let kind = format!("{:?}", definition.kind).to_lowercase();
        let labels: Vec<_> = definition.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, help) = (definition.full_name(), definition.help);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{name}` | {kind} | {} | {help} |", labels.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Print the table anew with `UPDATE_DOCS=1 cargo test -p soci-service --lib`.
    #[test]
    fn the_documentation_has_the_table_as_it_is() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/METRICS.md");
        let (begin, end) = ("<!-- metrics -->\n", "<!-- end of metrics -->");
        let text = std::fs::read_to_string(path).unwrap();
        let (head, rest) = text.split_once(begin).unwrap();
        let (table, tail) = rest.split_once(end).unwrap();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, format!("{head}{begin}{}{end}{tail}", markdown())).unwrap();
            return;
        }
        assert_eq!(table, markdown(), "run UPDATE_DOCS=1 cargo test -p soci-service --lib");
        // What is said of metrics elsewhere in the file is said of metrics that there are.
        let names: HashSet<String> = ALL.iter().map(Definition::full_name).collect();
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for prose in [head, tail] {
            let mentions = prose.split(|c| !word(c)).filter(|name| name.starts_with(PREFIX));
            for name in mentions.filter(|name| name.len() > PREFIX.len()) {
                let family = name.trim_end_matches("_bucket").trim_end_matches("_count");
                assert!(names.contains(family), "docs/METRICS.md names {name}");
            }
        }
    }

    #[test]
    fn every_metric_has_a_name_of_its_own_and_a_unit_that_ends_it() {
        let names: HashSet<String> = ALL.iter().map(Definition::full_name).collect();
        assert_eq!(names.len(), ALL.len());
        for name in &names {
            assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{name}");
        }
        assert!(names.contains("soci_index_builder_layer_read_bytes_total"));
        assert!(names.contains("soci_index_builder_job_seconds"));
        assert!(names.contains("soci_index_builder_build_info"));
    }
}
