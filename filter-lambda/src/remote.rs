//! AWS's side of the [shortcut](crate::Shortcut).

use aws_sdk_lambda::error::SdkError;
use aws_sdk_lambda::operation::RequestId as _;
use aws_sdk_lambda::operation::invoke::InvokeError as SdkInvokeError;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;

use soci_aws::sdk::SdkConfig;
use soci_aws::{Catalogue, EcrError};
use soci_oci::Digest;
use soci_push::event::PushEvent;

use crate::dispatch::{IndexFunction, Manifests};
use crate::size::FetchedManifest;

/// The status with which Lambda takes an asynchronous invocation (AWS Lambda API reference,
/// `Invoke`).
const ACCEPTED: i32 = 202;

/// Manifests in ECR, from its API: one call for all of an image index.
#[derive(Clone, Debug)]
pub struct EcrManifests {
    catalogue: Catalogue,
    region: Option<String>,
}

impl EcrManifests {
    /// Manifests in the registries of the configuration's region.
    pub fn new(config: &SdkConfig) -> Self {
        let region = config.region().map(ToString::to_string);
        Self { catalogue: Catalogue::new(config), region }
    }
}

/// Manifests were not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestsError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] EcrError),
    /// The push was in another region, whose registry this client does not reach.
    #[error("the image was pushed in region {0}, which is not this function's")]
    Elsewhere(String),
}

impl Manifests for EcrManifests {
    type Error = ManifestsError;

    async fn fetch(
        &self,
        push: &PushEvent,
        digests: &[Digest],
    ) -> Result<Vec<FetchedManifest>, ManifestsError> {
        let region = push.region.as_str();
        if self.region.as_deref().is_some_and(|own| own != region) {
            return Err(ManifestsError::Elsewhere(region.to_owned()));
        }
        let (account, name) = (Some(&push.account), push.repository.name());
        let found = self.catalogue.manifests(account, name, digests).await?;
        let fetched = |manifest: soci_aws::ecr::RawManifest| FetchedManifest {
            digest: manifest.digest,
            // Without one it is none that can be read, which is what the reader then says.
            media_type: manifest.media_type.unwrap_or_default(),
            bytes: manifest.body.into_bytes(),
        };
        Ok(found.into_iter().map(fetched).collect())
    }
}

/// A function that is invoked asynchronously.
#[derive(Clone, Debug)]
pub struct LambdaFunction {
    client: aws_sdk_lambda::Client,
    function: String,
}

impl LambdaFunction {
    /// The function with this ARN, or this name in the client's account and region.
    pub fn new(client: aws_sdk_lambda::Client, function: impl Into<String>) -> Self {
        Self { client, function: function.into() }
    }
}

/// A function was not invoked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvokeError {
    /// The call failed.
    #[error("Lambda did not invoke {function}")]
    Call {
        /// The function.
        function: String,
        /// Why.
        source: Box<SdkError<SdkInvokeError>>,
    },
    /// Lambda answered something else than that it has taken the event.
    #[error("Lambda did not invoke {function}, and answered with status {status}")]
    Status {
        /// The function.
        function: String,
        /// The status.
        status: i32,
    },
}

impl IndexFunction for LambdaFunction {
    type Error = InvokeError;

    async fn invoke(&self, event: &str) -> Result<String, InvokeError> {
        let call = self.client.invoke();
        let call = call.function_name(&self.function).invocation_type(InvocationType::Event);
        let function = || self.function.clone();
        match call.payload(Blob::new(event)).send().await {
            Ok(output) if output.status_code() == ACCEPTED => {
                Ok(output.request_id().unwrap_or_default().to_owned())
            }
            Ok(output) => {
                Err(InvokeError::Status { function: function(), status: output.status_code() })
            }
            Err(source) => {
                Err(InvokeError::Call { function: function(), source: Box::new(source) })
            }
        }
    }
}
