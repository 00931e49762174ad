//! Host names, looked up by the system, with errors that name them.
//!
//! - Which of the addresses may be asked is decided by `reach`, here and not before, so that the
//!   connection goes to an address that was looked at.
//! - `localhost` and the names below it are this machine without being looked up (RFC 6761, 6.3): who takes them for that
//!   must not be led elsewhere by a name server.
//! - The names that were found are remembered, because a failure to find one of those again is
//!   likely to pass.
//! - A look-up is a call of the C library on a thread of its own, which nothing can stop: it lasts as
//!   long as the name servers are silent, whether or not anybody waits for it still. So no more than
//!   [`MAX_LOOKUPS`] are under way; others wait for their turn within the time for connecting. A
//!   program that ends leaves its look-ups behind.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use crate::reach::{HostTable, is_local_name};

/// Most look-ups at once, and so most threads that wait for name servers.
const MAX_LOOKUPS: usize = 32;

/// The system's resolver.
#[derive(Debug)]
pub(crate) struct Resolver {
    hosts: Arc<HostTable>,
    turns: Arc<Semaphore>,
}

/// A name that has no address.
#[derive(Debug, thiserror::Error)]
#[error("the host name {host} cannot be resolved")]
pub(crate) struct ResolveError {
    /// The name.
    pub(crate) host: String,
    /// Whether it had an address before.
    pub(crate) known: bool,
    /// What the system says.
    source: std::io::Error,
}

impl ResolveError {
    /// What the system says, without the name of its function.
    pub(crate) fn why(&self) -> String {
        let said = self.source.to_string();
        said.strip_prefix("failed to lookup address information: ").unwrap_or(&said).to_owned()
    }
}

impl Resolver {
    /// A resolver that goes by what `hosts` says of a name, and notes there what it finds.
    pub(crate) fn new(hosts: Arc<HostTable>) -> Self {
        Self { hosts, turns: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (hosts, turns) = (Arc::clone(&self.hosts), Arc::clone(&self.turns));
        Box::pin(async move {
            let host = name.as_str().to_owned();
            match look_up(host.clone(), turns).await {
                Ok(addresses) => Ok(Box::new(hosts.found(&host, addresses)?.into_iter()) as Addrs),
                Err(source) => {
                    let known = hosts.is_known(&host);
                    Err(ResolveError { host, known, source }.into())
                }
            }
        })
    }
}

async fn look_up(host: String, turns: Arc<Semaphore>) -> std::io::Result<Vec<SocketAddr>> {
    if is_local_name(&host) {
        return Ok(vec![(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()]);
    }
    let turn = turns.acquire_owned().await.map_err(std::io::Error::other)?;
    let look_up = move || {
        // Given back when the look-up ends, not when nobody waits for it any more.
        let _turn = turn;
        Ok((host.as_str(), 0).to_socket_addrs()?.collect())
    };
    tokio::task::spawn_blocking(look_up).await.map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    use reqwest::Url;

    use super::*;
    use crate::reach::Zone;
    use crate::redact::RequestLine;
    use crate::{Client, Error};

    #[tokio::test]
    async fn a_name_that_was_found_once_is_known() {
        let resolver = Resolver::new(Arc::default());
        // The top-level domain `invalid` never exists (RFC 6761, 6.4).
        let lost = || resolver.resolve("lost.invalid".parse().unwrap());
        let error = lost().await.err().unwrap();
        let error = error.downcast_ref::<ResolveError>().unwrap();
        assert_eq!(error.to_string(), "the host name lost.invalid cannot be resolved");
        assert!(!error.known);
        assert!(resolver.resolve("localhost".parse().unwrap()).await.unwrap().next().is_some());
        assert!(resolver.hosts.is_known("localhost"));
        resolver.hosts.found("lost.invalid", Vec::new()).unwrap();
        let error = lost().await.err().unwrap();
        assert!(error.downcast_ref::<ResolveError>().unwrap().known);
    }

    #[tokio::test]
    async fn a_connection_goes_to_no_address_that_may_not_be_asked() {
        let client = Client::builder().plain_http(true).proxies(false).build().unwrap();
        let http = &client.transport.http;
        http.reach.hosts.led_to("localhost", Zone::Network);
        let url = Url::parse("http://localhost:1/").unwrap();
        let source = http.clients.default.get(url.clone()).send().await.unwrap_err();
        let error = Error::transport(RequestLine::new(&http::Method::GET, &url), source);
        assert!(matches!(error, Error::TargetRefused { .. }), "{error:?}");
        assert!(error.to_string().contains("localhost has the address"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_that_nobody_waits_for_keeps_its_turn() {
        let turns = Arc::new(Semaphore::new(1));
        let waiting = Arc::clone(&turns).acquire_owned().await.unwrap();
        let second = look_up("lost.invalid".to_owned(), Arc::clone(&turns));
        let second = tokio::time::timeout(std::time::Duration::from_secs(1), second);
        assert!(second.await.is_err());
        drop(waiting);
        assert!(look_up("lost.invalid".to_owned(), turns).await.is_err());
    }

    #[tokio::test]
    async fn names_of_this_machine_are_not_looked_up() {
        let no_turns = || Arc::new(Semaphore::new(0));
        for name in ["localhost", "LOCALHOST.", "registry.localhost", "a.b.localhost"] {
            let found = look_up(name.to_owned(), no_turns()).await.unwrap();
            assert!(found.iter().all(|address| address.ip().is_loopback()), "{name}");
        }
        for name in ["localhost.example", "notlocalhost"] {
            assert!(!is_local_name(name), "{name}");
        }
    }
}
