//! Which scheme a registry on this machine speaks.
//!
//! Registries for tests and development run on `localhost` without TLS, and docker, containerd and crane use them
//! without being told: they ask by https, and where that is not spoken by http. So do we, for this machine only
//! (`reach::is_this_machine`), where nobody stands in between:
//!
//! - A registry is asked for `/v2/`, by https and without credentials, until it is settled. Any answer settles https; so does a
//!   certificate that is not trusted, or an alert: what sends those speaks TLS.
//! - What breaks off, is silent, or answers with something else is asked by http, and so is a port that is not
//!   open if the user named none, as the two have different ones. An answer settles http.
//! - Otherwise nothing is settled, and the request itself says by https what is wrong.
//!
//! What is settled is remembered as long as the client lives.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, Method};
use reqwest::Url;

use crate::exchange::{HttpExchange, Payload, Registry};
use crate::reach::is_this_machine;

/// Registries remembered before all are forgotten.
const MAX_REGISTRIES: usize = 256;

/// What is known of registries on this machine, by their URL with https: whether they speak plain http.
#[derive(Debug, Default)]
pub(crate) struct LoopbackSchemes(Mutex<HashMap<Url, bool>>);

impl LoopbackSchemes {
    /// Whether the registry at `base` is known to speak plain http.
    pub(crate) fn is_plain(&self, base: &Url) -> bool {
        self.known(base).unwrap_or_default()
    }

    fn known(&self, base: &Url) -> Option<bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(base).copied()
    }

    fn note(&self, base: &Url, plain: bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REGISTRIES {
            known.clear();
        }
        known.insert(base.clone(), plain);
    }

    /// The registry as it is to be spoken to, if that is by another scheme than `registry` says.
    pub(crate) async fn settle(
        &self,
        http: &HttpExchange,
        registry: &Registry,
    ) -> Option<Registry> {
        let base = &registry.base;
        if base.scheme() != "https" || !is_this_machine(base) {
            return None;
        }
        let plain = Registry { name: registry.name.clone(), base: plain_url(base)? };
        let speaks_plain = match self.known(base) {
            Some(known) => known,
            None => match Box::pin(answers(http, registry)).await {
                Ok(()) => {
                    self.note(base, false);
                    false
                }
                Err(error) if error.may_lack_tls(base.port().is_none()) => {
                    let plain = Box::pin(answers(http, &plain)).await.is_ok();
                    if plain {
                        self.note(base, true);
                    }
                    plain
                }
                Err(error) => {
                    if error.speaks_tls() {
                        self.note(base, false);
                    }
                    false
                }
            },
        };
        speaks_plain.then_some(plain)
    }
}

/// The same URL with http.
pub(crate) fn plain_url(url: &Url) -> Option<Url> {
    let mut plain = url.clone();
    plain.set_scheme("http").is_ok().then_some(plain)
}

async fn answers(http: &HttpExchange, registry: &Registry) -> Result<(), crate::error::Error> {
    let url = registry.base.join("v2/").unwrap_or_else(|_| registry.base.clone());
    http.exchange(registry, &Method::GET, &url, HeaderMap::new(), &Payload::None).await?;
    Ok(())
}
