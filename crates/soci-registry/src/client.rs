//! The client and how it is made. Its operations are in the modules below, one per kind of
//! content.

pub(crate) mod blob;
mod delete;
pub(crate) mod manifest;
pub(crate) mod push;
pub(crate) mod referrers;
pub(crate) mod tags;
mod upload;

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Method};
use soci_oci::Repository;
use tokio::time::Instant;

use crate::auth::credentials::{Anonymous, CredentialProvider};
use crate::auth::{Authorizer, Scope};
use crate::clients::{ClientSetup, HttpClients};
use crate::error::Error;
use crate::exchange::{HttpExchange, Payload, Registry};
use crate::lacking::Lacking;
use crate::loopback::LoopbackSchemes;
use crate::observer::Observer;
use crate::policy::{RetryPolicy, Timeouts, Transfer};
use crate::proxy::ProxyRules;
use crate::put_limit::PutLimit;
use crate::reach::{HostTable, Reach};
use crate::registry_table::RegistryTable;
use crate::tls::TlsOptions;
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

/// Where the rules for proxies come from.
#[derive(Clone)]
enum Proxies {
    Environment,
    Given(Box<ProxyRules>),
    None,
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
    proxies: Proxies,
    tls: TlsOptions,
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
            proxies: Proxies::Environment,
            tls: TlsOptions::default(),
            observer: None,
            put_limit: None,
        }
    }
}

impl ClientBuilder {
    /// Speaks http instead of https with every registry, and follows redirects to plain http. A registry on
    /// this machine is spoken to by http without it if it does not speak https.
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
        self.proxies = if proxies { Proxies::Environment } else { Proxies::None };
        self
    }

    /// Goes by these rules for proxies instead of those of the environment.
    pub fn proxy_rules(mut self, rules: ProxyRules) -> Self {
        self.proxies = Proxies::Given(Box::new(rules));
        self
    }

    /// Whom TLS trusts beside the system's authorities, and which certificates the client has.
    pub fn tls(mut self, tls: TlsOptions) -> Self {
        self.tls = tls;
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

    /// The client. Fails if CA certificates cannot be loaded, unless only plain http is spoken, if a proxy is
    /// named by what is no URL, or if the user agent is no header value.
    pub fn build(self) -> Result<Client, Error> {
        let hosts = Arc::new(HostTable::default());
        let proxies = match self.proxies {
            Proxies::Environment => Some(ProxyRules::of_this_process()?),
            Proxies::Given(rules) => Some(*rules),
            Proxies::None => None,
        };
        let product = self.user_agent.split('/').next().unwrap_or_default().to_owned();
        let clients = HttpClients::new(ClientSetup {
            user_agent: self.user_agent,
            connect_timeout: self.timeouts.connect,
            plain_http: self.plain_http,
            hosts: Arc::clone(&hosts),
            proxies,
            tls: self.tls,
        })?;
        Ok(Client {
            transport: Arc::new(Transport {
                http: HttpExchange {
                    clients,
                    plain_http: self.plain_http,
                    reach: Reach::new(self.plain_http, hosts),
                    timeouts: self.timeouts,
                    observer: self.observer,
                },
                loopback: LoopbackSchemes::default(),
                retry: self.retry,
                transfer: self.transfer,
                put_limit: self.put_limit,
                authorizer: Authorizer::new(self.credentials, product),
                lacking: Lacking::default(),
                upload_habits: UploadHabits::default(),
                found_breadths: RegistryTable::default(),
                started: Instant::now(),
            }),
        })
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("plain_http", &self.plain_http)
            .finish_non_exhaustive()
    }
}
