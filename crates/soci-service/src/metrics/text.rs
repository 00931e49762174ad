//! The text formats that metrics are scraped in.

use std::collections::HashMap;
use std::fmt::Write as _;

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// OpenMetrics 1.0.0, which Prometheus asks for first.
    OpenMetrics,
    /// The format that Prometheus had before, which every scraper reads.
    Plain,
}

impl TextFormat {
    /// The format for a request's `Accept` header: OpenMetrics for those who name it.
    pub fn accepted(accept: Option<&str>) -> Self {
        let named = accept.unwrap_or_default().split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(OPEN_METRICS))
                && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        });
        if named { Self::OpenMetrics } else { Self::Plain }
    }

    /// The content type of the response.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

const OPEN_METRICS: &str = "application/openmetrics-text";

/// Rewrites OpenMetrics for scrapers that know the older format only: there, counters are named
/// with their `_total`, there are neither units nor infos, and no line marks the end.
pub(super) fn plain(open_metrics: &str) -> String {
    let kinds: HashMap<&str, &str> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let renamed = |name: &str| match kinds.get(name) {
        Some(&"counter") => format!("{name}_total"),
        Some(&"info") => format!("{name}_info"),
        _ => name.to_owned(),
    };
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let kind = if kind == "info" { "gauge" } else { kind };
            writeln!(text, "# TYPE {} {kind}", renamed(name))
        } else if let Some((name, help)) =
            line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '))
        {
            writeln!(text, "# HELP {} {help}", renamed(name))
        } else {
            writeln!(text, "{line}")
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_name_it() {
        // What Prometheus 3 sends, and 2.x when told to scrape the old format only.
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        let old = "text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(TextFormat::accepted(Some(prometheus)), TextFormat::OpenMetrics);
        assert_eq!(TextFormat::accepted(Some(old)), TextFormat::Plain);
        assert_eq!(TextFormat::accepted(Some("*/*")), TextFormat::Plain);
        assert_eq!(TextFormat::accepted(None), TextFormat::Plain);
        let refused = "application/openmetrics-text; q=0, text/plain";
        assert_eq!(TextFormat::accepted(Some(refused)), TextFormat::Plain);
    }

    #[test]
    fn the_older_format_names_counters_with_their_total() {
        let open = "# HELP a_jobs Jobs.\n# TYPE a_jobs counter\na_jobs_total{x=\"# EOF\"} 1\n\
                    # HELP a_b_seconds B.\n# TYPE a_b_seconds histogram\n# UNIT a_b_seconds seconds\n\
                    a_b_seconds_sum 1.0\n# HELP a_build Build.\n# TYPE a_build info\n\
                    a_build_info{v=\"1\"} 1\n# EOF\n";
        assert_eq!(
            plain(open),
            "# HELP a_jobs_total Jobs.\n# TYPE a_jobs_total counter\na_jobs_total{x=\"# EOF\"} 1\n\
             # HELP a_b_seconds B.\n# TYPE a_b_seconds histogram\na_b_seconds_sum 1.0\n\
             # HELP a_build_info Build.\n# TYPE a_build_info gauge\na_build_info{v=\"1\"} 1\n"
        );
    }
}
