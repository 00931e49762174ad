//! Host names, looked up by the system, with errors that name them.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Most names remembered: a long-lived process meets many.
const MAX_KNOWN: usize = 4096;

/// The system's resolver. It remembers which names it has found, because a failure to find one of
/// those again is likely to pass.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    known: Arc<Mutex<HashSet<String>>>,
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

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let known = Arc::clone(&self.known);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let lookup = tokio::net::lookup_host((host.as_str(), 0)).await;
            let addresses = lookup.map(Iterator::collect::<Vec<SocketAddr>>);
            let mut names = known.lock().unwrap_or_else(PoisonError::into_inner);
            match addresses {
                Ok(addresses) => {
                    if names.len() >= MAX_KNOWN {
                        names.clear();
                    }
                    names.insert(host);
                    Ok(Box::new(addresses.into_iter()) as Addrs)
                }
                Err(source) => {
                    let known = names.contains(&host);
                    Err(ResolveError { host, known, source }.into())
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_was_found_once_is_known() {
        let resolver = Resolver::default();
        // The top-level domain `invalid` never exists (RFC 6761, 6.4).
        let lost = || resolver.resolve("lost.invalid".parse().unwrap());
        let error = lost().await.err().unwrap();
        let error = error.downcast_ref::<ResolveError>().unwrap();
        assert_eq!(error.to_string(), "the host name lost.invalid cannot be resolved");
        assert!(!error.known);
        assert!(resolver.resolve("localhost".parse().unwrap()).await.unwrap().next().is_some());
        assert!(resolver.known.lock().unwrap().contains("localhost"));
        resolver.known.lock().unwrap().insert("lost.invalid".to_owned());
        let error = lost().await.err().unwrap();
        assert!(error.downcast_ref::<ResolveError>().unwrap().known);
    }
}
