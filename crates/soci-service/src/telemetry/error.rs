//! Why logs or traces cannot be set up.

/// Why logs or traces cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The level is no filter.
    #[error("{level:?} is not a log level or filter, such as info or warn,soci_registry=debug")]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Traces cannot be exported with these settings.
    #[error("traces cannot be sent over OTLP")]
    Otlp(#[source] opentelemetry_otlp::ExporterBuildError),
    /// Traces are sent over HTTP, and the HTTP client cannot be set up.
    #[error("the HTTP client for traces cannot be set up (are CA certificates installed?)")]
    HttpClient(#[source] reqwest::Error),
    /// A variable does not hold the URL of a proxy.
    #[error("traces cannot be sent")]
    Proxy(#[source] soci_registry::SetupError),
    /// Something else in the process logs already.
    #[error("logs have been set up before")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}
