//! What the service needs of AWS.
//!
//! - [`sdk::load`] reads the SDK's configuration; everything else is made from it.
//! - [`SqsQueue`] is a [`soci_queue::Queue`] on SQS.
//! - [`EcrCredentials`] is a [`soci_registry::CredentialProvider`] for the ECR of a region.
//! - `AwsCredentialProvider`, with the feature `commands`, is one for ECR everywhere.
//! - [`Catalogue`] lists what is in ECR.
//! - [`EcrApi`](ecr::EcrApi) is a [`soci_registry::OwnApi`].
//! - [`EventBus`] takes announcements of ended images ([`soci_announce::Destination`]).
//! - [`CloudWatch`] knows how old the oldest message of a queue is.

mod call_failure;
mod cloudwatch;
mod credentials_failure;
pub mod ecr;
mod eventbridge;
mod passing_codes;
pub mod sdk;
mod sqs;

pub use cloudwatch::CloudWatch;
#[cfg(feature = "commands")]
pub use ecr::AwsCredentialProvider;
pub use ecr::{Catalogue, EcrCredentials, EcrError};
pub use eventbridge::{EventBus, EventBusName, EventBusNameError};
pub use sqs::{MoveError, MoveProgress, QueueUrl, QueueUrlError, SqsQueue};
