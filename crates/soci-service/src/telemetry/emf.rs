//! What CloudWatch is told of jobs and queues, as metrics in log lines.

use std::time::Duration;

use serde_json::{Map, Value};
use soci_jobs::JobEnd;
use soci_logs::{EmfDirective, EmfLines, EmfMetric};
use soci_queue::Backlog;

use crate::event::{Event, EventSink, QueueKind};
use crate::job_in_hand::JobInHand;

/// Writes one line of metrics for every job that ends and for every count of a queue.
///
/// A job has `Jobs`, `JobSeconds`, `LayerBytes` and `QueueSeconds`, in all and by `Outcome`, and
/// `JobsDone`, which is 0 for one that comes again. By `Lane` it has `JobAgeSeconds`, which counts from when the job was
/// first sent, however often it was tried. A queue has `MessagesVisible`, `MessagesInFlight` and `MessagesDelayed` by `Lane`. Everything else on a
/// line is there to be searched and costs no metric.
#[derive(Debug)]
pub struct Emf(EmfLines);

impl Emf {
    /// Writes these lines.
    pub fn new(lines: EmfLines) -> Self {
        Self(lines)
    }
}

impl EventSink for Emf {
    fn event(&self, event: &Event<'_>) {
        match *event {
            Event::JobEnded { job, end, elapsed, .. } => self.job_ended(job, end, elapsed),
            Event::Counted { queue, backlog } => self.counted(queue, backlog),
            _ => {}
        }
    }
}

impl Emf {
    fn job_ended(&self, job: &JobInHand, end: &JobEnd, elapsed: Duration) {
        let mut members = Map::new();
        let mut add = |name: &str, value: Value| members.insert(name.to_owned(), value);
        add("Outcome", end.label().into());
        add("Reason", end.reason().into());
        add("Lane", job.queue.label().into());
        add("MessageId", job.message_id.as_str().into());
        if let Some(image) = job.image() {
            add("Repository", image.repository.as_str().into());
            add("Digest", image.digest.to_string().into());
            add("Tag", image.tag.as_deref().into());
        }
        let queued = job.received_at.duration_since(job.sent_at).unwrap_or_default();
        let bytes = job.bytes_read();
        let metrics = [
            EmfMetric { name: "Jobs", unit: "Count", value: 1.into() },
            EmfMetric { name: "JobSeconds", unit: "Seconds", value: elapsed.as_secs_f64().into() },
            EmfMetric { name: "LayerBytes", unit: "Bytes", value: bytes.into() },
            EmfMetric { name: "QueueSeconds", unit: "Seconds", value: queued.as_secs_f64().into() },
        ];
        let done =
            [EmfMetric { name: "JobsDone", unit: "Count", value: u8::from(end.is_over()).into() }];
        let age = queued + elapsed;
        let age =
            [EmfMetric { name: "JobAgeSeconds", unit: "Seconds", value: age.as_secs_f64().into() }];
        let directives = [
            EmfDirective { dimensions: &[&[], &["Outcome"]], metrics: &metrics },
            EmfDirective { dimensions: &[&[]], metrics: &done },
            EmfDirective { dimensions: &[&["Lane"]], metrics: &age },
        ];
        self.0.write(&directives, members);
    }

    fn counted(&self, queue: QueueKind, backlog: Backlog) {
        let members = Map::from_iter([("Lane".to_owned(), queue.label().into())]);
        let count = |name, value: u64| EmfMetric { name, unit: "Count", value: value.into() };
        let metrics = [
            count("MessagesVisible", backlog.visible),
            count("MessagesInFlight", backlog.in_flight),
            count("MessagesDelayed", backlog.delayed),
        ];
        self.0.write(&[EmfDirective { dimensions: &[&["Lane"]], metrics: &metrics }], members);
    }
}

#[cfg(test)]
mod tests;
