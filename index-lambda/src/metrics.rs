//! What CloudWatch is told of messages, as metrics in log lines.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use soci_logs::{ENQUEUED, EmfDirective, EmfLines, EmfMetric};

use crate::work::{Delivery, Handled, Incoming};

/// Writes a line of metrics for every message of a queue that was looked at, and for every job that is handed over.
///
/// A message has `Jobs` by `Outcome`, as a worker's has. Not in all: that is what the alarm for workers that finish nothing
/// goes by. A message that is settled here, beside no worker, has `JobAgeSeconds` by `Lane`: it counts from when the job was
/// first sent, however often it was tried, and copies make SQS's own ages small. A job that is handed over has
/// `Enqueued`, which wakes a worker where none runs.
#[derive(Debug)]
pub struct FunctionMetrics(EmfLines);

impl FunctionMetrics {
    /// Writes these lines.
    pub fn new(lines: EmfLines) -> Self {
        Self(lines)
    }

    pub(crate) fn handled(&self, handled: &Handled, message: &Incoming<'_>) {
        let mut members = Map::new();
        let one = |name| [EmfMetric { name, unit: "Count", value: 1.into() }];
        let (jobs, enqueued) = (one("Jobs"), one(ENQUEUED));
        let age = SystemTime::now().duration_since(message.history.first_sent_at);
        let age = age.unwrap_or(Duration::ZERO).as_secs_f64();
        let age = [EmfMetric { name: "JobAgeSeconds", unit: "Seconds", value: age.into() }];
        let mut directives = Vec::new();
        if !message.from.is_empty() {
            let mut add = |name: &str, value: Value| members.insert(name.to_owned(), value);
            add("Outcome", handled.label().into());
            add("Reason", handled.outcome.why().map_or("", |why| why.reason).into());
            add("MessageId", message.id.into());
            if message.is_own {
                add("Lane", "live".into());
                directives.push(EmfDirective { dimensions: &[&["Lane"]], metrics: &age });
            }
            directives.push(EmfDirective { dimensions: &[&["Outcome"]], metrics: &jobs });
        }
        if matches!(handled.delivery, Delivery::HandedOver(_)) {
            directives.push(EmfDirective { dimensions: &[&[]], metrics: &enqueued });
        }
        if !directives.is_empty() {
            self.0.write(&directives, members);
        }
    }
}
