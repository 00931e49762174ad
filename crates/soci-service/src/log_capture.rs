//! Catches what is logged, for tests.

use serde_json::Value;
use soci_logs::testing::{WrittenLines, caught_by};
use tracing::subscriber::DefaultGuard;

/// What was logged, one JSON object a line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(WrittenLines);

impl Log {
    /// Catches everything on this thread until the guard is dropped.
    pub(crate) fn start() -> (Self, DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(log.0.clone())
            .finish();
        (log, caught_by(subscriber))
    }

    /// All of it.
    pub(crate) fn text(&self) -> String {
        self.0.text()
    }

    /// The lines with such a field.
    pub(crate) fn lines_with(&self, field: &str) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| !line["fields"][field].is_null()).collect()
    }
}
