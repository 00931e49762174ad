//! Metrics as log lines that CloudWatch reads (CloudWatch user guide, "Specification: Embedded
//! metric format").

use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use soci_jobs::JobEnd;
use soci_queue::Backlog;

use crate::event::{Event, EventSink, QueueKind};
use crate::job_in_hand::JobInHand;

/// A namespace of CloudWatch for metrics of one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmfNamespace(String);

/// A text that is no [`EmfNamespace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "up to 255 letters, digits, blanks and . - _ / # : are expected, not beginning with a colon or AWS/"
)]
pub struct EmfNamespaceError;

impl FromStr for EmfNamespace {
    type Err = EmfNamespaceError;

    /// Takes what CloudWatch takes (API reference, `PutMetricData`; user guide, "Namespaces"). It
    /// drops the lines of all others without a word, those under `AWS/`, which are its own, too.
    fn from_str(text: &str) -> Result<Self, EmfNamespaceError> {
        let known = |c: u8| c.is_ascii_alphanumeric() || b".-_/#: ".contains(&c);
        let ok = !text.trim().is_empty() && text.len() <= 255 && text.bytes().all(known);
        if !ok || text.starts_with(':') || text.starts_with("AWS/") {
            return Err(EmfNamespaceError);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Writes one line of metrics for every job that ends and for every count of a queue.
///
/// A job has `Jobs`, `JobSeconds`, `LayerBytes` and `QueueSeconds`, in all and by `Outcome`, and
/// `JobsDone`, which is 0 for one that comes again; a queue has `MessagesVisible`, `MessagesInFlight` and `MessagesDelayed` by `Lane`. Everything else on a
/// line is there to be searched and costs no metric.
pub struct Emf {
    namespace: EmfNamespace,
    writer: Mutex<Box<dyn Write + Send>>,
}

impl Emf {
    /// Writes to stdout.
    pub fn new(namespace: EmfNamespace) -> Self {
        Self::to(namespace, std::io::stdout())
    }

    /// Writes to `writer`, each line in one call.
    pub fn to(namespace: EmfNamespace, writer: impl Write + Send + 'static) -> Self {
        let writer: Box<dyn Write + Send> = Box::new(writer);
        Self { namespace, writer: Mutex::new(writer) }
    }

    fn write(&self, directives: &[Directive<'_>], members: Map<String, Value>) {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let line = document(&self.namespace.0, millis, directives, members);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // Jobs do not stop because nobody reads their metrics.
        let _ = writer.write_all(line.as_bytes()).and_then(|()| writer.flush());
    }
}

impl fmt::Debug for Emf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emf").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// Metrics, and the sets of members by which they are told apart.
struct Directive<'a> {
    dimensions: &'a [&'a [&'a str]],
    metrics: &'a [Metric],
}

struct Metric {
    name: &'static str,
    unit: &'static str,
    value: Value,
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
            Metric { name: "Jobs", unit: "Count", value: 1.into() },
            Metric { name: "JobSeconds", unit: "Seconds", value: elapsed.as_secs_f64().into() },
            Metric { name: "LayerBytes", unit: "Bytes", value: bytes.into() },
            Metric { name: "QueueSeconds", unit: "Seconds", value: queued.as_secs_f64().into() },
        ];
        let done =
            [Metric { name: "JobsDone", unit: "Count", value: u8::from(end.is_over()).into() }];
        let directives = [
            Directive { dimensions: &[&[], &["Outcome"]], metrics: &metrics },
            Directive { dimensions: &[&[]], metrics: &done },
        ];
        self.write(&directives, members);
    }

    fn counted(&self, queue: QueueKind, backlog: Backlog) {
        let members = Map::from_iter([("Lane".to_owned(), queue.label().into())]);
        let count = |name, value: u64| Metric { name, unit: "Count", value: value.into() };
        let metrics = [
            count("MessagesVisible", backlog.visible),
            count("MessagesInFlight", backlog.in_flight),
            count("MessagesDelayed", backlog.delayed),
        ];
        self.write(&[Directive { dimensions: &[&["Lane"]], metrics: &metrics }], members);
    }
}

/// One line: the metadata, then what it refers to.
fn document(
    namespace: &str,
    millis: u128,
    directives: &[Directive<'_>],
    members: Map<String, Value>,
) -> String {
    let mut root = Map::new();
    let directive = |directive: &Directive<'_>| {
        let metrics = directive.metrics.iter();
        let definitions: Vec<Value> =
            metrics.map(|metric| json!({ "Name": metric.name, "Unit": metric.unit })).collect();
        json!({
            "Namespace": namespace, "Dimensions": directive.dimensions, "Metrics": definitions,
        })
    };
    let timestamp = u64::try_from(millis).unwrap_or(u64::MAX);
    let described: Vec<Value> = directives.iter().map(directive).collect();
    root.insert(
        "_aws".to_owned(),
        json!({ "Timestamp": timestamp, "CloudWatchMetrics": described }),
    );
    root.extend(members);
    let metrics = directives.iter().flat_map(|directive| directive.metrics);
    root.extend(metrics.map(|metric| (metric.name.to_owned(), metric.value.clone())));
    format!("{}\n", Value::Object(root))
}

#[cfg(test)]
mod tests;
