//! Credentials for all that is ECR's, as commands on single images need them.
//!
//! - Only a host that AWS documents for ECR is asked about ([`EcrHost`]), and its name says the region. For
//!   any other registry nothing of AWS is touched, not even its configuration read.
//! - What is configured for a host in docker's or podman's files comes first. That is for whoever puts
//!   the providers in order.
//! - The configuration is read once. Its region is the one that the environment or the profile names,
//!   else that of the first registry; the calls that ECR gets go to the registry's.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_config::Region as AwsRegion;
use soci_push::event::Region;
use soci_registry::{
    CredentialProvider, Credentials, CredentialsError, CredentialsFuture, Granted, TlsOptions,
};
use tokio::sync::OnceCell;

use super::credentials::EcrCredentials;
use super::hosts::EcrHost;
use super::public::{self, PublicRegistry};
use crate::sdk::{self, SdkConfig};

/// Regions that are remembered before all are forgotten, which costs each of them another token.
const MAX_REGIONS: usize = 64;

/// Gives the credentials for ECR's registries in every region, and for ECR Public, from the credentials
/// of AWS that the environment, a profile, a task or an instance has. Other registries get
/// [`Credentials::Anonymous`], and AWS hears nothing of them.
///
/// A private registry for which there are no credentials is an error, as it cannot be used without.
#[derive(Default)]
pub struct AwsCredentialProvider {
    config: OnceCell<SdkConfig>,
    tls: TlsOptions,
    regions: Mutex<HashMap<Region, EcrCredentials>>,
    public: OnceCell<PublicRegistry>,
}

impl AwsCredentialProvider {
    /// One that trusts AWS's servers as these options say.
    pub fn trusting(tls: TlsOptions) -> Self {
        Self { tls, ..Self::default() }
    }

    /// One with this configuration instead of that of the environment.
    pub fn with_config(config: SdkConfig) -> Self {
        Self { config: OnceCell::new_with(Some(config)), ..Self::default() }
    }

    async fn granted(
        &self,
        registry: &str,
        repository: &str,
        refused: Option<&Credentials>,
    ) -> Result<Granted, CredentialsError> {
        if public::is_public(registry) {
            let make = || async { PublicRegistry::new(self.config(public::REGION).await) };
            return Ok(self.public.get_or_init(make).await.granted(refused).await);
        }
        let Some(host) = EcrHost::parse(registry).filter(EcrHost::is_documented) else {
            return Ok(Credentials::Anonymous.into());
        };
        let credentials = self.region(host.region).await;
        match refused {
            None => credentials.credentials(registry, repository).await,
            Some(refused) => credentials.credentials_after(registry, repository, refused).await,
        }
    }

    async fn region(&self, region: Region) -> EcrCredentials {
        let config = self.config(region.as_str()).await;
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        if regions.len() >= MAX_REGIONS && !regions.contains_key(&region) {
            regions.clear();
        }
        let here = AwsRegion::new(region.as_str().to_owned());
        let make = || EcrCredentials::new(&config.to_builder().region(here).build());
        regions.entry(region).or_insert_with(make).clone()
    }

    async fn config(&self, region: &str) -> &SdkConfig {
        self.config.get_or_init(|| sdk::load_in(region, self.tls.clone())).await
    }
}

impl CredentialProvider for AwsCredentialProvider {
    fn credentials<'a>(&'a self, registry: &'a str, repository: &'a str) -> CredentialsFuture<'a> {
        Box::pin(self.granted(registry, repository, None))
    }

    fn credentials_after<'a>(
        &'a self,
        registry: &'a str,
        repository: &'a str,
        refused: &'a Credentials,
    ) -> CredentialsFuture<'a> {
        Box::pin(self.granted(registry, repository, Some(refused)))
    }
}

impl fmt::Debug for AwsCredentialProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsCredentialProvider").finish_non_exhaustive()
    }
}
