//! The SDK's configuration, the same for every client.

mod http;

use std::time::Duration;

#[cfg(feature = "commands")]
use aws_config::environment::EnvironmentVariableRegionProvider;
#[cfg(feature = "commands")]
use aws_config::meta::region::RegionProviderChain;
#[cfg(feature = "commands")]
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, ConfigLoader};

pub use aws_config::SdkConfig;
use soci_registry::TlsOptions;

/// Longest time to open a connection, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time from sending a request to having read its answer. A long poll adds what it waits.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest time of a call, retries and the pauses between them included.
pub const CALL_TIMEOUT: Duration = Duration::from_mins(1);

/// What the clients call themselves in the `User-Agent` that CloudTrail records.
const APP_NAME: &str = "soci-index-builder";

/// Reads the configuration the way all of AWS's tools do: environment variables (`AWS_REGION`,
/// `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_SQS` and so on, `AWS_MAX_ATTEMPTS`, `AWS_RETRY_MODE`),
/// then the profile. Credentials come from the environment, the profile, a web identity, the
/// container's endpoint or the instance's, in this order. A failed call is tried three times in
/// all where nothing else is configured.
///
/// Credentials and trusted certificates are loaded by the first call that needs them, not here and
/// not by making a client, so a process that makes no call pays for neither. A region that is
/// configured nowhere is asked of the instance, which takes seconds where there is none.
pub async fn load() -> SdkConfig {
    load_trusting(TlsOptions::default()).await
}

/// The same, by which AWS's servers are trusted as these options say.
pub async fn load_trusting(tls: TlsOptions) -> SdkConfig {
    loader(tls).load().await
}

/// The same for somebody who knows a region that does if neither environment nor profile names one: the
/// instance is not asked.
#[cfg(feature = "commands")]
pub(crate) async fn load_in(region: &str, tls: TlsOptions) -> SdkConfig {
    let named = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .or_else(aws_config::Region::new(region.to_owned()));
    loader(tls).region(named).load().await
}

fn loader(tls: TlsOptions) -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build();
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http::LazyHttpClient::new(tls, CONNECT_TIMEOUT))
        .timeout_config(timeouts);
    // The name is valid, as a test shows; without one the calls are the same.
    match AppName::new(APP_NAME) {
        Ok(name) => loader.app_name(name),
        Err(_) => loader,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_application_is_valid() {
        assert!(AppName::new(APP_NAME).is_ok());
    }
}
