//! The HTTP clients: one for all servers, and others for registries with certificates of their own.
//!
//! What a registry's folder holds (`tls`) counts for requests on behalf of that registry. So it has up to two
//! clients: one with its authorities and its client certificate, for its own host and port, and one with its
//! authorities alone, for wherever it leads. Connections of different clients are never shared.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Certificate, Url};

use crate::algorithms::install_tls_provider;
use crate::error::Error;
use crate::proxy::{ProxyRules, ProxyUse};
use crate::reach::HostTable;
use crate::resolve::Resolver;
use crate::setup::SetupError;
use crate::tls::{self, HostCertificates, TlsOptions};

/// Registries remembered before all are forgotten; each costs as much as its certificates.
const MAX_REGISTRIES: usize = 256;

/// What every client is made of.
#[derive(Clone)]
pub(crate) struct ClientSetup {
    pub(crate) user_agent: String,
    pub(crate) connect_timeout: Duration,
    /// Whether no server is spoken to by TLS.
    pub(crate) plain_http: bool,
    pub(crate) hosts: Arc<HostTable>,
    /// `None` for no proxy at all.
    pub(crate) proxies: Option<ProxyRules>,
    pub(crate) tls: TlsOptions,
}

/// The clients of one process.
pub(crate) struct HttpClients {
    pub(crate) default: reqwest::Client,
    setup: ClientSetup,
    authorities: Vec<Certificate>,
    /// By host and port; `None` for the default.
    registries: Mutex<HashMap<String, Option<RegistryClients>>>,
    /// Something came through a proxy.
    proxy_worked: AtomicBool,
}

/// The clients of a registry with certificates of its own.
#[derive(Clone)]
struct RegistryClients {
    own: reqwest::Client,
    elsewhere: reqwest::Client,
}

impl HttpClients {
    pub(crate) fn new(setup: ClientSetup) -> Result<Self, Error> {
        let (default, authorities) = match with_trust(setup.builder(), &setup.tls) {
            // A container without CA certificates can still speak http.
            Err(_) if setup.plain_http => {
                let bare = setup.builder().tls_certs_only([]).build();
                (bare.map_err(|source| Error::Setup { source })?, Vec::new())
            }
            made => made?,
        };
        Ok(Self {
            default,
            setup,
            authorities,
            registries: Mutex::default(),
            proxy_worked: AtomicBool::new(false),
        })
    }

    /// The client for a request to `url` on behalf of the registry at `registry`, which users call `name`.
    pub(crate) fn get(
        &self,
        registry: &Url,
        name: &str,
        url: &Url,
    ) -> Result<reqwest::Client, Error> {
        let dirs = &self.setup.tls.certs_dirs;
        if dirs.is_empty() || registry.scheme() != "https" {
            return Ok(self.default.clone());
        }
        let host = registry.host_str().unwrap_or_default();
        let host = match registry.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let mut registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        let known = if let Some(known) = registries.get(&host) {
            known.clone()
        } else {
            let found = self.registry(dirs, &[&host, name])?;
            if registries.len() >= MAX_REGISTRIES {
                registries.clear();
            }
            registries.insert(host, found.clone());
            found
        };
        Ok(match known {
            None => self.default.clone(),
            Some(clients) if url.origin() == registry.origin() => clients.own,
            Some(clients) => clients.elsewhere,
        })
    }

    fn registry(&self, dirs: &[PathBuf], names: &[&str]) -> Result<Option<RegistryClients>, Error> {
        let Some(found) = HostCertificates::find(dirs, names)? else { return Ok(None) };
        let builder = || {
            let authorities = self.authorities.iter().chain(&found.authorities);
            self.setup.builder().tls_certs_merge(authorities.cloned())
        };
        let elsewhere = builder().build().map_err(|source| Error::Setup { source })?;
        let own = match found.identity {
            // What was fine without it is not with it: a key of a kind that cannot be used.
            Some((identity, path)) => builder()
                .identity(identity)
                .build()
                .map_err(|source| SetupError::BadIdentity { path, source })?,
            None => elsewhere.clone(),
        };
        Ok(Some(RegistryClients { own, elsewhere }))
    }

    /// The proxy that a request to `url` goes through.
    pub(crate) fn proxy(&self, url: &Url) -> Option<ProxyUse> {
        let server = self.setup.proxies.as_ref()?.for_url(url)?.clone();
        Some(ProxyUse { server, worked: self.proxy_worked.load(Ordering::Relaxed) })
    }

    /// Notes that an answer came through a proxy.
    pub(crate) fn proxy_works(&self) {
        self.proxy_worked.store(true, Ordering::Relaxed);
    }
}

impl ClientSetup {
    fn builder(&self) -> reqwest::ClientBuilder {
        plain_builder(self.proxies.as_ref())
            .user_agent(&self.user_agent)
            .dns_resolver(Arc::new(Resolver::new(Arc::clone(&self.hosts))))
            .connect_timeout(self.connect_timeout)
            .tls_danger_accept_invalid_certs(self.tls.insecure_skip_verify)
    }
}

/// An HTTP client for servers that are no registries, which goes by the same authorities and the proxies of the
/// environment. It follows no redirects and repeats nothing.
pub fn http_client(tls: &TlsOptions, connect_timeout: Duration) -> Result<reqwest::Client, Error> {
    let proxies = ProxyRules::of_this_process()?;
    let builder = plain_builder(Some(&proxies))
        .connect_timeout(connect_timeout)
        .tls_danger_accept_invalid_certs(tls.insecure_skip_verify);
    Ok(with_trust(builder, tls)?.0)
}

fn plain_builder(proxies: Option<&ProxyRules>) -> reqwest::ClientBuilder {
    install_tls_provider();
    // The library's own rules for proxies differ from everybody else's, and are switched off.
    let builder = reqwest::Client::builder().no_proxy();
    let builder = match proxies {
        Some(rules) => builder.proxy(rules.for_client()),
        None => builder,
    };
    // Redirects are followed where it is known which host may see which header.
    builder
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
}

/// The client that trusts the system's authorities and those of `tls`, which come with it.
fn with_trust(
    builder: reqwest::ClientBuilder,
    tls: &TlsOptions,
) -> Result<(reqwest::Client, Vec<Certificate>), Error> {
    let mut authorities = tls::environment(|name| std::env::var_os(name))?;
    for file in &tls.ca_files {
        authorities.extend(tls::authorities(file, "--ca-file")?);
    }
    let client = builder.tls_certs_merge(authorities.iter().cloned()).build();
    Ok((client.map_err(|source| Error::Setup { source })?, authorities))
}
