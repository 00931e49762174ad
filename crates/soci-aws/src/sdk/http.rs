//! The SDK's HTTP client.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// Connects by HTTPS with rustls on ring, through the proxies that `HTTPS_PROXY` and its kin name.
///
/// The SDK's own client loads the system's certificates as soon as a service's client is made, some
/// milliseconds and a megabyte. This one does so for the first request.
#[derive(Default)]
pub(super) struct LazyHttpClient {
    connectors: Mutex<Vec<(Timeouts, SharedHttpConnector)>>,
}

/// What a connector is made for: longest times to connect and to wait for an answer.
type Timeouts = (Option<Duration>, Option<Duration>);

impl HttpClient for LazyHttpClient {
    /// The connector of these settings. There are few: that of the services, and those of the
    /// providers of credentials.
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let timeouts = (settings.connect_timeout(), settings.read_timeout());
        let mut connectors = self.connectors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, connector)) = connectors.iter().find(|(known, _)| *known == timeouts) {
            return connector.clone();
        }
        let mut builder = Connector::builder()
            .connector_settings(settings.clone())
            .proxy_config(ProxyConfig::from_env());
        builder.set_sleep_impl(components.sleep_impl());
        let connector = builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).build();
        let connector = SharedHttpConnector::new(connector);
        connectors.push((timeouts, connector.clone()));
        connector
    }
}

impl fmt::Debug for LazyHttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyHttpClient").finish_non_exhaustive()
    }
}
