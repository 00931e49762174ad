//! Traces over OTLP, as protobuf over HTTP.
//!
//! A thread of the SDK collects finished spans in a bounded queue and sends them in batches; what
//! does not fit is dropped. So a collector that is slow or down holds up nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::registry::LookupSpan;

use super::TelemetryError;
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

/// A provider that exports to the collector, on the runtime that this is called on.
pub(super) fn provider(otlp: &Otlp) -> Result<SdkTracerProvider, TelemetryError> {
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(Sender::new()?);
    if let Some(base) = &otlp.endpoint {
        exporter = exporter.with_endpoint(format!("{}/v1/traces", base.trim_end_matches('/')));
    }
    let exporter = exporter.build().map_err(TelemetryError::Otlp)?;
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
    // It blocks until the SDK's thread is done, and that thread needs this runtime to send.
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

/// Sends on the service's runtime, since the SDK's thread has none.
#[derive(Debug)]
struct Sender {
    client: reqwest::Client,
    runtime: Handle,
    /// Whether the last request failed; a collector that is down is told of once.
    failing: std::sync::Arc<AtomicBool>,
}

impl Sender {
    fn new() -> Result<Self, TelemetryError> {
        // The HTTP library takes the process's provider. One that is installed already serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(TelemetryError::HttpClient)?;
        Ok(Self { client, runtime: Handle::current(), failing: AtomicBool::new(false).into() })
    }
}

type Sent<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Sender {
    fn send_bytes<'a, 'b>(&'a self, request: Request<Bytes>) -> Sent<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        let client = self.client.clone();
        let failing = self.failing.clone();
        let sent = self.runtime.spawn(async move {
            let sent = client.send_bytes(request).await;
            let failed = !sent.as_ref().is_ok_and(|response| response.status().is_success());
            if failing.swap(failed, Ordering::Relaxed) != failed {
                match &sent {
                    _ if !failed => tracing::info!("traces are sent again"),
                    Ok(response) => {
                        let status = response.status().as_u16();
                        tracing::warn!(status, "the trace collector refuses traces");
                    }
                    Err(error) => tracing::warn!(%error, "traces cannot be sent"),
                }
            }
            sent
        });
        Box::pin(async move { sent.await? })
    }
}

#[cfg(test)]
mod tests;
