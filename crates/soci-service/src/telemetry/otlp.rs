//! Traces over OTLP, as protobuf over HTTP.
//!
//! A thread of the SDK collects finished spans in a bounded queue and sends them in batches; what
//! does not fit is dropped. So a collector that is slow or down holds up nothing. Every request has a
//! time limit: one that a collector takes and never answers would end all sending.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::registry::LookupSpan;

use super::error::TelemetryError;
use crate::about::About;

/// What traces are called unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` say otherwise.
const SERVICE_NAME: &str = "soci-index-builder";

/// Where traces go. The SDK reads the rest from its own environment variables: headers, timeout,
/// resource attributes, sampler, sizes of batches (OpenTelemetry specification, "Environment
/// variable specification").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Otlp {
    /// The collector's base URL, to which `/v1/traces` is added; `None` leaves it to
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` and `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: Option<String>,
}

/// A provider that exports to the collector.
pub(super) fn provider(otlp: &Otlp) -> Result<SdkTracerProvider, TelemetryError> {
    provider_with(otlp, request_timeout())
}

/// The same, with the longest time that a request may take.
fn provider_with(otlp: &Otlp, timeout: Duration) -> Result<SdkTracerProvider, TelemetryError> {
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(timeout)
        .with_http_client(http_client(timeout)?);
    if let Some(base) = &otlp.endpoint {
        exporter = exporter.with_endpoint(format!("{}/v1/traces", base.trim_end_matches('/')));
    }
    let exporter = exporter.build().map_err(TelemetryError::Otlp)?;
    let exporter = ToldOnce { exporter, failing: AtomicBool::new(false) };
    let resource = resource();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// Turns spans into traces: a span without a parent begins one.
pub(super) fn layer<S>(provider: &SdkTracerProvider) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(SERVICE_NAME))
        .with_location(false)
        .with_threads(false)
        .with_filter(LevelFilter::INFO)
        .boxed()
}

/// Sends what is left, for at most `deadline`.
pub(super) async fn shut_down(provider: SdkTracerProvider, deadline: Duration) {
    // It blocks until the SDK's thread is done.
    let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(deadline)).await;
    if let Ok(Err(error)) = ended {
        tracing::warn!(%error, "the last traces were not sent");
    }
}

/// The environment's attributes over our own.
fn resource() -> Resource {
    let version = opentelemetry::KeyValue::new("service.version", About::THIS.version);
    let builder = Resource::builder().with_attribute(version);
    let named = std::env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty())
        || std::env::var("OTEL_RESOURCE_ATTRIBUTES")
            .is_ok_and(|attributes| attributes.contains("service.name="));
    if named { builder.build() } else { builder.with_service_name(SERVICE_NAME).build() }
}

/// How long a request may take: what the variables of the SDK say, in milliseconds, else its default
/// (OpenTelemetry specification, "OpenTelemetry Protocol Exporter").
fn request_timeout() -> Duration {
    let names = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
    let set = names.into_iter().find_map(|name| std::env::var(name).ok()?.parse().ok());
    set.map_or(Duration::from_secs(10), Duration::from_millis)
}

/// The HTTP client of the SDK's thread. It follows no redirect: headers of the exporter may hold a key
/// of the collector, which belongs to no other host.
fn http_client(timeout: Duration) -> Result<reqwest::blocking::Client, TelemetryError> {
    soci_registry::install_tls_provider();
    // A collector stands beside the worker most often, where the library's own rules would go through a proxy.
    let proxies = soci_registry::ProxyRules::of_this_process().map_err(TelemetryError::Proxy)?;
    let build = move || {
        let client = reqwest::blocking::Client::builder().timeout(timeout);
        let client = client.no_proxy().proxy(proxies.for_client());
        client.redirect(reqwest::redirect::Policy::none()).build()
    };
    // A blocking client cannot be made on a thread of a runtime.
    let made = std::thread::scope(|scope| scope.spawn(build).join());
    made.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        .map_err(TelemetryError::HttpClient)
}

/// The SDK's exporter, which says once that traces cannot be sent, and once that they are again.
#[derive(Debug)]
struct ToldOnce {
    exporter: SpanExporter,
    failing: AtomicBool,
}

impl opentelemetry_sdk::trace::SpanExporter for ToldOnce {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        if self.failing.swap(sent.is_err(), Ordering::Relaxed) != sent.is_err() {
            match &sent {
                Ok(()) => tracing::info!("traces are sent again"),
                Err(error) => tracing::warn!(%error, "traces cannot be sent"),
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests;
