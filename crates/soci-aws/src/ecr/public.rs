//! Credentials for ECR Public.
//!
//! Everybody may read there, more often with credentials than without, and nobody may write without.
//! So AWS's credentials are used where there are some, and nothing that goes wrong with them keeps
//! anybody from reading: the registry is then asked without, and the reason is in the log.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_ecrpublic::Client;
use aws_sdk_ecrpublic::config::{Builder, Region};
use aws_sdk_ecrpublic::types::AuthorizationData;
use soci_registry::{Credentials, Granted};
use tokio::time::Instant;

use super::EcrError;
use super::token::{EcrToken, TokenApi, TokenFuture, TokenSource};
use crate::credentials_failure::CredentialsFailure;
use crate::sdk::SdkConfig;

/// The registry's names, the second with both versions of IP ("Amazon ECR Public endpoints" in the AWS
/// general reference, and the list of the ECR credential helper).
const HOSTS: [&str; 2] = ["public.ecr.aws", "ecr-public.aws.com"];

/// Where tokens are given, whatever region the caller is in ("Public registry authentication" in the
/// Amazon ECR Public user guide).
pub(super) const REGION: &str = "us-east-1";

/// Whether a registry is ECR Public.
pub(super) fn is_public(registry: &str) -> bool {
    HOSTS.contains(&registry)
}

/// Tokens for ECR Public.
pub(super) struct PublicRegistry(TokenSource);

/// `GetAuthorizationToken` of ECR Public.
struct PublicTokens {
    client: Client,
}

impl TokenApi for PublicTokens {
    fn obtain(&self) -> TokenFuture<'_> {
        Box::pin(async {
            let answer = self.client.get_authorization_token().send().await?;
            let data = answer.authorization_data.as_ref();
            let token = data.and_then(AuthorizationData::authorization_token);
            let ends = data.and_then(AuthorizationData::expires_at);
            Ok(EcrToken::read(token, ends, None, SystemTime::now())?)
        })
    }
}

impl PublicRegistry {
    pub(super) fn new(config: &SdkConfig) -> Self {
        let settings = Builder::from(config).region(Region::new(REGION)).build();
        Self(TokenSource::new(Arc::new(PublicTokens { client: Client::from_conf(settings) })))
    }

    /// The credentials; none where there is no token.
    pub(super) async fn granted(&self, refused: Option<&Credentials>) -> Granted {
        match self.0.token(Instant::now(), refused).await {
            Ok((token, until)) => {
                let valid_for = until.saturating_duration_since(Instant::now());
                Granted { credentials: token.credentials, valid_for: Some(valid_for) }
            }
            Err(error) => {
                if !is_nobody(&error) {
                    let error: &dyn Error = &*error;
                    tracing::warn!(error, "ECR Public is asked without credentials");
                }
                let valid_for = error.transient.then_some(Duration::from_mins(5));
                Granted { credentials: Credentials::Anonymous, valid_for }
            }
        }
    }
}

/// Whether there are just no credentials of AWS, which is as good as any other way to read.
fn is_nobody(error: &EcrError) -> bool {
    matches!(error.source.downcast_ref(), Some(CredentialsFailure::Missing { profile: None }))
}
