//! Logs on standard output, which Lambda takes to CloudWatch line by line.

use std::str::FromStr;

use soci_config::{VariableReader, name};
use soci_logs::JsonLines;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::{Layer as _, fmt};

/// Where `lambda_runtime` logs the failure of a handler, which the handler has logged with more.
/// A panic is on standard error before it gets there.
const LOGS_FAILURES_AGAIN: &str = "lambda_runtime::layers";

/// How logs look and what is in them.
#[derive(Clone, Debug)]
pub struct LogSettings {
    json: bool,
    targets: Targets,
}

impl LogSettings {
    /// Reads them; `None` if one is wrong, which the reader notes.
    pub fn read(reader: &mut VariableReader<'_>) -> Option<Self> {
        let json = reader.parsed(name::LOG_FORMAT, |text| match text.trim() {
            // Nothing in Lambda is a terminal.
            "json" | "auto" => Ok(true),
            "text" => Ok(false),
            _ => Err("auto, json or text is expected"),
        });
        let targets = reader.parsed(name::LOG_LEVEL, |text| targets_of(text.trim()));
        Some(Self { json: json?, targets: targets? })
    }
}

/// Begins to log. Does nothing the second time.
pub fn start_logging(settings: LogSettings) {
    let targets = settings.targets.with_target(LOGS_FAILURES_AGAIN, LevelFilter::OFF);
    let layer = if settings.json {
        // The only span is `lambda_runtime`'s, which repeats the identifier of the request.
        JsonLines::new(std::io::stdout).without_spans().boxed()
    } else {
        // CloudWatch shows no colours.
        fmt::layer().with_ansi(false).boxed()
    };
    let _ = soci_logs::install(vec![layer.with_filter(targets).boxed()]);
}

/// A word alone has to be a level: as the name of a target it would silence everything else.
fn targets_of(text: &str) -> Result<Targets, String> {
    let unclear =
        text.split(',').find(|part| !part.contains('=') && LevelFilter::from_str(part).is_err());
    if let Some(part) = unclear {
        return Err(format!("{part:?} is neither a level nor of the form target=level"));
    }
    Targets::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use soci_config::Program;
    use tracing::Level;

    use super::*;

    fn read(format: &str, level: &str) -> Result<LogSettings, soci_config::Problems> {
        let source = |name: &str| match name {
            name::LOG_FORMAT => Some(format.to_owned()),
            name::LOG_LEVEL => Some(level.to_owned()),
            _ => None,
        };
        let mut reader = VariableReader::new(Program::Filter, &source);
        let settings = LogSettings::read(&mut reader);
        reader.finish(settings)
    }

    #[test]
    fn formats_and_levels_are_those_that_are_documented() {
        assert!(read("", "").unwrap().json, "the default");
        assert!(read("auto", "warn").unwrap().json);
        assert!(!read("text", "info").unwrap().json);
        let targets = read("", "warn,soci_registry=debug").unwrap().targets;
        assert!(targets.would_enable("soci_registry::auth", &Level::DEBUG));
        assert!(!targets.would_enable("other", &Level::INFO));
    }

    #[test]
    fn what_is_neither_is_a_problem_with_its_name() {
        for (format, level, expected) in [
            ("xml", "info", name::LOG_FORMAT),
            ("json", "loud", name::LOG_LEVEL),
            ("json", "a=loud", name::LOG_LEVEL),
        ] {
            let problems = read(format, level).unwrap_err().0;
            assert_eq!(problems.len(), 1);
            assert_eq!(problems[0].name, expected);
        }
    }
}
