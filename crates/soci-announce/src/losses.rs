//! What CloudWatch is told of announcements, as a metric in log lines.

use serde_json::Map;
use soci_logs::{EmfDirective, EmfLines, EmfMetric};

use crate::outbox::{DeliveryEnd, OutboxObserver};

/// Writes a line with the metric `AnnouncementsLost` whenever announcements are dropped or given up. Those that arrive
/// cost no line.
#[derive(Debug)]
pub struct LossLines(EmfLines);

impl LossLines {
    /// Writes these lines.
    pub fn new(lines: EmfLines) -> Self {
        Self(lines)
    }
}

impl OutboxObserver for LossLines {
    fn ended(&self, destination: &'static str, end: DeliveryEnd, announcements: u64) {
        if end == DeliveryEnd::Delivered {
            return;
        }
        let members = [("Destination", destination), ("End", end.label())];
        let members = members.map(|(name, value)| (name.to_owned(), value.into()));
        let lost =
            [EmfMetric { name: "AnnouncementsLost", unit: "Count", value: announcements.into() }];
        let directives = [EmfDirective { dimensions: &[&[]], metrics: &lost }];
        self.0.write(&directives, Map::from_iter(members));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use soci_logs::testing::WrittenLines;

    use super::*;

    #[test]
    fn only_losses_make_a_line() {
        let written = WrittenLines::default();
        let lines = LossLines::new(EmfLines::to("soci/test".parse().unwrap(), written.clone()));
        lines.ended("eventbridge", DeliveryEnd::Delivered, 5);
        assert_eq!(written.text(), "");
        lines.ended("eventbridge", DeliveryEnd::GivenUp, 2);
        let line: Value = serde_json::from_str(&written.text()).unwrap();
        assert_eq!((&line["AnnouncementsLost"], &line["End"]), (&2.into(), &"given-up".into()));
        let metrics = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(
            (&metrics["Namespace"], &metrics["Dimensions"][0]),
            (&"soci/test".into(), &Value::Array(Vec::new()))
        );
    }
}
