//! The client and how it is made. Its operations are in the modules below, one per kind of
//! content.

pub(crate) mod blob;
pub(crate) mod manifest;
pub(crate) mod push;
pub(crate) mod referrers;
mod upload;

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Method};
use soci_oci::Repository;
use tokio::time::Instant;

use crate::auth::credentials::{Anonymous, CredentialProvider};
use crate::auth::{Authorizer, Scope};
use crate::error::Error;
use crate::exchange::{HttpExchange, Payload, Registry};
use crate::lacking::Lacking;
use crate::observer::Observer;
use crate::policy::{RetryPolicy, Timeouts, Transfer};
use crate::put_limit::PutLimit;
use crate::reach::{HostTable, Reach};
use crate::resolve::Resolver;
use crate::transport::{Call, Transport};
use crate::upload_habits::UploadHabits;

/// Limit of a manifest, an image index and a page of referrers, in bytes. The OCI distribution
/// specification asks registries to take at least as much, and most take no more.
pub const MANIFEST_LIMIT: usize = 4 << 20;

/// A client of any number of registries. Clones share connections, credentials and tokens.
#[derive(Clone)]
pub struct Client {
    pub(crate) transport: Arc<Transport>,
}

impl Client {
    /// A builder with the defaults of every part: https, anonymous, no observer.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// The transfer settings the client was built with.
    pub fn transfer(&self) -> Transfer {
        self.transport.transfer
    }

    /// A call that reads `path`, which follows `/v2/<name>/`.
    fn read<'a>(
        registry: &'a Registry,
        repository: &Repository,
        method: Method,
        path: &str,
    ) -> Result<Call<'a>, Error> {
        Ok(Call {
            scope: Scope::pull(repository.name()),
            ..Self::write(registry, repository, method, path)?
        })
    }

    /// A call that writes `path`, which follows `/v2/<name>/`.
    fn write<'a>(
        registry: &'a Registry,
        repository: &Repository,
        method: Method,
        path: &str,
    ) -> Result<Call<'a>, Error> {
        let path = format!("/v2/{}/{path}", repository.name());
        let url = registry.base.join(&path).map_err(|_| Error::Url { url: path })?;
        Ok(Call {
            registry,
            scope: Scope::push(repository.name()),
            method,
            url,
            headers: HeaderMap::new(),
            payload: Payload::None,
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("plain_http", &self.transport.http.plain_http)
            .field("transfer", &self.transport.transfer)
            .field("retry", &self.transport.retry)
            .finish_non_exhaustive()
    }
}

/// Settings of a [`Client`].
#[derive(Clone)]
#[must_use]
pub struct ClientBuilder {
    plain_http: bool,
    credentials: Arc<dyn CredentialProvider>,
    user_agent: String,
    retry: RetryPolicy,
    transfer: Transfer,
    timeouts: Timeouts,
    proxies: bool,
    observer: Option<Arc<dyn Observer>>,
    put_limit: Option<Arc<dyn PutLimit>>,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            plain_http: false,
            credentials: Arc::new(Anonymous),
            user_agent: concat!("oci-registry-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            retry: RetryPolicy::default(),
            transfer: Transfer::default(),
            timeouts: Timeouts::default(),
            proxies: true,
            observer: None,
            put_limit: None,
        }
    }
}

impl ClientBuilder {
    /// Speaks http instead of https with every registry, and follows redirects to plain http.
    pub fn plain_http(mut self, plain_http: bool) -> Self {
        self.plain_http = plain_http;
        self
    }

    /// Where credentials come from.
    pub fn credentials(mut self, credentials: Arc<dyn CredentialProvider>) -> Self {
        self.credentials = credentials;
        self
    }

    /// The `User-Agent`, `product/version`. The product is also the OAuth 2.0 client id.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// How failed requests are repeated.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// How blobs are split into parallel requests.
    pub fn transfer(mut self, transfer: Transfer) -> Self {
        self.transfer = transfer;
        self
    }

    /// How long to wait for a silent or slow server.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Whether the proxies of the environment (`HTTPS_PROXY`, `NO_PROXY` and their kin) are used;
    /// they are by default.
    pub fn proxies(mut self, proxies: bool) -> Self {
        self.proxies = proxies;
        self
    }

    /// Who is told of requests and retries.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Who holds manifest PUTs back; nobody does by default.
    pub fn put_limit(mut self, limit: Arc<dyn PutLimit>) -> Self {
        self.put_limit = Some(limit);
        self
    }

    /// The client. Fails if the system's CA certificates cannot be loaded, unless only plain
    /// http is spoken, or if the user agent is no header value.
    pub fn build(self) -> Result<Client, Error> {
        // The HTTP library takes the process's provider. One that is installed already serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let hosts = Arc::new(HostTable::default());
        let http = match self.http_client(&hosts).build() {
            Ok(http) => http,
            // A container without CA certificates can still speak http.
            Err(_) if self.plain_http => {
                let bare = self.http_client(&hosts).tls_certs_only([]).build();
                bare.map_err(|source| Error::Setup { source })?
            }
            Err(source) => return Err(Error::Setup { source }),
        };
        let product = self.user_agent.split('/').next().unwrap_or_default().to_owned();
        Ok(Client {
            transport: Arc::new(Transport {
                http: HttpExchange {
                    client: http,
                    plain_http: self.plain_http,
                    reach: Reach::new(self.plain_http, hosts),
                    timeouts: self.timeouts,
                    observer: self.observer,
                },
                retry: self.retry,
                transfer: self.transfer,
                put_limit: self.put_limit,
                authorizer: Authorizer::new(self.credentials, product),
                lacking: Lacking::default(),
                upload_habits: UploadHabits::default(),
                started: Instant::now(),
            }),
        })
    }

    fn http_client(&self, hosts: &Arc<HostTable>) -> reqwest::ClientBuilder {
        let builder = reqwest::Client::builder();
        let builder = if self.proxies { builder } else { builder.no_proxy() };
        builder
            .user_agent(&self.user_agent)
            // Redirects are followed where it is known which host may see which header.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .dns_resolver(Arc::new(Resolver::new(Arc::clone(hosts))))
            .referer(false)
            .connect_timeout(self.timeouts.connect)
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("plain_http", &self.plain_http)
            .finish_non_exhaustive()
    }
}
