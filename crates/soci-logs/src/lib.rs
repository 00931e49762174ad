//! Log lines that machines read, the same for the worker and the Lambda functions.
//!
//! An event becomes one JSON object on one line, with all its members at the top and each name once.
//! CloudWatch Logs Insights asks for `repository` or `message_id` by such a name and finds it
//! whichever program wrote the line. `tracing_subscriber` does not write such lines: it nests the
//! fields of spans, and the libraries that do not repeat a name that an event shares with its spans.
//!
//! [`install`] makes a process log, and caps what libraries say. [`EmfLines`] writes metrics as such lines.

mod colours;
mod emf;
mod process;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::error::Error;
use std::fmt;
use std::io::Write as _;

use serde_json::{Map, Value};
use soci_text::error_chain;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

pub use colours::stderr_colours;
pub use emf::{ENQUEUED, EmfDirective, EmfLines, EmfMetric, EmfNamespace, EmfNamespaceError};
pub use process::{OWN_CRATES, capped, install};

/// Writes each event as one JSON object on a line: `timestamp` (RFC 3339), `level`, `target`, then
/// the fields of the event, `message` among them, and those of the spans around it. Of fields that
/// share a name the first counts; an inner span comes before an outer one.
#[derive(Debug)]
pub struct JsonLines<W> {
    writer: W,
    spans: bool,
}

impl<W> JsonLines<W> {
    /// Writes to `writer`, each line in one call.
    pub fn new(writer: W) -> Self {
        Self { writer, spans: true }
    }

    /// Leaves out the fields of spans, where those around every event are a library's own.
    #[must_use]
    pub fn without_spans(self) -> Self {
        Self { spans: false, ..self }
    }
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id).filter(|_| self.spans) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().replace(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = Map::new();
        line.insert("timestamp".to_owned(), now().into());
        line.insert("level".to_owned(), metadata.level().as_str().into());
        line.insert("target".to_owned(), metadata.target().into());
        let mut fields = Fields::default();
        event.record(&mut fields);
        add(&mut line, fields.0);
        // From the inside out, and none is put where a name is taken: the nearest wins.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(Fields(fields)) = span.extensions().get::<Fields>() {
                add(&mut line, fields.clone());
            }
        }
        let line = format!("{}\n", Value::Object(line));
        // There is nowhere left to tell that nothing can be told.
        let _ = self.writer.make_writer_for(metadata).write_all(line.as_bytes());
    }
}

/// The fields of an event or a span.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put(field, error_chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

fn add(line: &mut Map<String, Value>, fields: Map<String, Value>) {
    for (name, value) in fields {
        line.entry(name).or_insert(value);
    }
}

fn now() -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::testing::{WrittenLines, caught_by};

    fn logged(
        kind: impl FnOnce(JsonLines<WrittenLines>) -> JsonLines<WrittenLines>,
        log: impl FnOnce(),
    ) -> String {
        let lines = WrittenLines::default();
        let layer = kind(JsonLines::new(lines.clone())).with_filter(LevelFilter::INFO);
        let subscriber = tracing_subscriber::registry().with(layer);
        let _guard = caught_by(subscriber);
        log();
        lines.text()
    }

    #[test]
    fn a_json_line_has_the_fields_of_the_event_and_of_its_spans() {
        let text = logged(
            |lines| lines,
            || {
                let job = tracing::info_span!(
                    "job",
                    repository = "r/app",
                    message_id = "m-1",
                    tag = tracing::field::Empty
                );
                job.record("tag", "v1");
                let _job = job.entered();
                let _layer = tracing::info_span!("layer", digest = "sha256:00").entered();
                tracing::info!(outcome = "indexed", seconds = 1.5, "job ended\nwell");
                tracing::debug!("not logged");
            },
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1, "{text}");
        let line: Value = serde_json::from_str(lines[0]).unwrap();
        for (name, value) in [
            ("level", "INFO"),
            ("message", "job ended\nwell"),
            ("outcome", "indexed"),
            ("repository", "r/app"),
            ("message_id", "m-1"),
            ("tag", "v1"),
            ("digest", "sha256:00"),
        ] {
            assert_eq!(line[name], value, "{text}");
        }
        assert_eq!(line["seconds"], 1.5);
        let time = line["timestamp"].as_str().unwrap();
        assert!(OffsetDateTime::parse(time, &Rfc3339).is_ok(), "{time}");
    }

    #[test]
    fn the_event_comes_before_its_spans() {
        let text = logged(
            |lines| lines,
            || {
                let _outer = tracing::info_span!("outer", a = 1, b = 1, c = 1).entered();
                let _inner = tracing::info_span!("inner", b = 2, c = 2).entered();
                tracing::info!(c = 3, "event");
            },
        );
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&line["a"], &line["b"], &line["c"]),
            (&1.into(), &2.into(), &3.into()),
            "{text}"
        );
        for name in ["\"a\"", "\"b\"", "\"c\""] {
            assert_eq!(text.matches(name).count(), 1, "{text}");
        }
    }

    #[test]
    fn spans_can_be_left_out() {
        let text = logged(JsonLines::without_spans, || {
            let _span = tracing::info_span!("invocation", request = "r-1").entered();
            tracing::info!(outcome = "queued", "event");
        });
        assert!(text.contains(r#""outcome":"queued""#) && !text.contains("r-1"), "{text}");
    }
}
