//! Metrics as log lines that CloudWatch reads (CloudWatch user guide, "Specification: Embedded
//! metric format").

use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

/// The metric that counts jobs put on a worker's queue, in all. SQS tells late of a queue that was idle; the alarm that wakes a
/// worker goes by this as well.
pub const ENQUEUED: &str = "Enqueued";

/// A namespace of CloudWatch for metrics of one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmfNamespace(String);

impl EmfNamespace {
    /// The namespace as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

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

/// Metrics, and the sets of members by which they are told apart.
#[derive(Clone, Copy, Debug)]
pub struct EmfDirective<'a> {
    /// Sets of names of members of the line. The empty set counts all together.
    pub dimensions: &'a [&'a [&'a str]],
    /// What is counted.
    pub metrics: &'a [EmfMetric],
}

/// One value of a metric.
#[derive(Clone, Debug)]
pub struct EmfMetric {
    /// Its name.
    pub name: &'static str,
    /// Its unit, as CloudWatch calls it.
    pub unit: &'static str,
    /// The value, a number.
    pub value: Value,
}

/// Writes lines of metrics.
pub struct EmfLines {
    namespace: EmfNamespace,
    writer: Mutex<Box<dyn Write + Send>>,
}

impl EmfLines {
    /// Writes to stdout.
    pub fn new(namespace: EmfNamespace) -> Self {
        Self::to(namespace, std::io::stdout())
    }

    /// Writes to `writer`, each line in one call.
    pub fn to(namespace: EmfNamespace, writer: impl Write + Send + 'static) -> Self {
        let writer: Box<dyn Write + Send> = Box::new(writer);
        Self { namespace, writer: Mutex::new(writer) }
    }

    /// Writes one line: the metadata, then what it refers to. Members that no directive names are
    /// there to be searched and cost no metric.
    pub fn write(&self, directives: &[EmfDirective<'_>], members: Map<String, Value>) {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let line = document(&self.namespace.0, millis, directives, members);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // No work stops because nobody reads its metrics.
        let _ = writer.write_all(line.as_bytes()).and_then(|()| writer.flush());
    }
}

impl fmt::Debug for EmfLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmfLines").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

fn document(
    namespace: &str,
    millis: u128,
    directives: &[EmfDirective<'_>],
    members: Map<String, Value>,
) -> String {
    let mut root = Map::new();
    let directive = |directive: &EmfDirective<'_>| {
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
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_those_that_cloudwatch_takes() {
        for text in ["SociIndexBuilder", "soci-index-builder/stack", "a b", "x:y", &"n".repeat(255)]
        {
            assert!(text.parse::<EmfNamespace>().is_ok(), "{text}");
        }
        for text in ["", " ", ":x", "AWS/ECS", "ä", "a\n", &"n".repeat(256)] {
            assert_eq!(text.parse::<EmfNamespace>(), Err(EmfNamespaceError), "{text}");
        }
    }
}
