//! What the service tells to the outside by itself: logs, metrics in the logs for CloudWatch
//! ([`Emf`]), and traces.
//!
//! Logs go to stderr; stdout belongs to what a command prints, and to [`Emf`].

mod emf;
mod error;
mod logs;
mod otlp;

use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::Layer as _;

pub use emf::Emf;
pub use error::TelemetryError;
pub use logs::{LogFormat, LogOutput};
pub use otlp::Otlp;

/// How the program logs and traces.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    /// Shape of the log lines.
    pub format: LogFormat,
    /// What is logged: directives of `tracing_subscriber::EnvFilter`, such as
    /// `info,soci_registry=debug`. Empty stands for `info`. What libraries say is capped by
    /// [`soci_logs::install`], whatever is asked for here.
    pub level: String,
    /// Where traces go; `None` for nowhere.
    pub otlp: Option<Otlp>,
}

/// Sets logs and traces up for the whole process. To be called on a tokio runtime if there is
/// `otlp`, which sends on it.
pub fn init(telemetry: &Telemetry) -> Result<Guard, TelemetryError> {
    let filter = logs::filter(&telemetry.level)?;
    let logs =
        logs::layer(telemetry.format.resolve(), std::io::stderr, soci_logs::stderr_colours());
    let provider = telemetry.otlp.as_ref().map(otlp::provider).transpose()?;
    let mut layers = vec![logs.with_filter(filter).boxed()];
    layers.extend(provider.as_ref().map(otlp::layer));
    soci_logs::install(layers).map_err(TelemetryError::Twice)?;
    Ok(Guard { provider })
}

/// Holds what has not been sent yet. Spans that are left when it is dropped are lost; see
/// [`Guard::flush`].
#[derive(Debug)]
#[must_use = "traces are lost unless it is flushed at the end"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Guard {
    /// Sends what is left, for at most this long, and ends tracing.
    pub async fn flush(self, deadline: Duration) {
        if let Some(provider) = self.provider {
            otlp::shut_down(provider, deadline).await;
        }
    }
}
