//! Log lines.

use std::io::IsTerminal as _;

use soci_logs::JsonLines;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use super::error::TelemetryError;

/// Shape of the log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// [`LogFormat::Text`] on a terminal, [`LogFormat::Json`] everywhere else.
    #[default]
    Auto,
    /// One JSON object a line, with the fields of the event and of the spans around it as members,
    /// so that CloudWatch Logs Insights can ask for `repository` or `message_id`. Where a name is
    /// repeated, the event comes before its spans and an inner span before an outer one.
    Json,
    /// Lines for people.
    Text,
}

/// A [`LogFormat`] that has been decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// [`LogFormat::Json`].
    Json,
    /// [`LogFormat::Text`].
    Text,
}

impl LogFormat {
    /// What it stands for in this process. A container without a terminal has its stderr in a pipe.
    pub fn resolve(self) -> LogOutput {
        match self {
            Self::Text => LogOutput::Text,
            Self::Auto if std::io::stderr().is_terminal() => LogOutput::Text,
            Self::Json | Self::Auto => LogOutput::Json,
        }
    }
}

/// What a level lets through.
pub(super) fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    let level = if level.trim().is_empty() { "info" } else { level };
    EnvFilter::try_new(level)
        .map_err(|source| TelemetryError::Level { level: level.to_owned(), source })
}

/// Writes events to a writer.
pub(super) fn layer<S, W>(
    output: LogOutput,
    writer: W,
    colours: bool,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    match output {
        LogOutput::Text => {
            tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours).boxed()
        }
        LogOutput::Json => JsonLines::new(writer).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use soci_logs::testing::{WrittenLines, caught_by};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn logged(output: LogOutput, log: impl FnOnce()) -> String {
        let lines = WrittenLines::default();
        let writer = lines.clone();
        let layer = layer(output, move || writer.clone(), false);
        let subscriber =
            tracing_subscriber::registry().with(layer.with_filter(filter("").unwrap()));
        let _guard = caught_by(subscriber);
        log();
        lines.text()
    }

    #[test]
    fn a_text_line_is_for_people() {
        let text = logged(LogOutput::Text, || tracing::warn!(repository = "r/app", "slow"));
        assert!(text.contains("WARN") && text.contains("slow repository=\"r/app\""), "{text}");
    }

    #[test]
    fn a_level_that_is_none_names_itself() {
        let error = filter("loud=very").unwrap_err();
        assert!(error.to_string().contains("loud=very"));
    }
}
