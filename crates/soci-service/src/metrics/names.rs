//! The metrics: what each is called, and what it says.

use prometheus_client::registry::Unit;

/// In front of every name.
pub const PREFIX: &str = "soci_index_builder";

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
        format!("{PREFIX}_{}{}{end}", self.name, unit.unwrap_or_default())
    }
}

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal $(($unit:ident))? [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub(super) const $constant: Definition = Definition {
                name: $name,
                unit: metrics!(@unit $($unit)?),
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )*

        /// All of them.
        pub const ALL: &[Definition] = &[$($constant),*];
    };
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
    LAYER_READ: Counter "layer_read" (Bytes) []
        "Bytes of layers that were read";
    QUEUE_MESSAGES: Gauge "queue_messages" ["lane", "state"]
        "Messages of a queue (live, backfill, dead-letters) when it was last counted: visible, in_flight or delayed";
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
    DRAINING: Gauge "draining" []
        "1 once the service has been told to stop, else 0";
    RESIDENT_MEMORY: Gauge "resident_memory" (Bytes) []
        "Memory of the process that is in RAM";
    PEAK_MEMORY: Gauge "resident_memory_peak" (Bytes) []
        "The most memory that the process had in RAM";
    START_TIME: Gauge "start_time" (Seconds) []
        "When the process began, in seconds since 1970";
    BUILD: Info "build" ["version", "commit"]
        "The release that runs";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

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
