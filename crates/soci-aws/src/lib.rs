//! What the service needs of AWS.
//!
//! - [`sdk::load`] reads the SDK's configuration; everything else is made from it.
//! - [`SqsQueue`] is a [`soci_queue::Queue`] on SQS.
//! - [`EcrCredentials`] is a [`soci_registry::CredentialProvider`] for ECR.
//! - [`Catalogue`] lists what is in ECR.
//! - [`CloudWatch`] knows how old the oldest message of a queue is.

mod call_failure;
mod cloudwatch;
pub mod ecr;
pub mod sdk;
mod sqs;

pub use cloudwatch::CloudWatch;
pub use ecr::{Catalogue, EcrCredentials, EcrError};
pub use sqs::{MoveError, MoveProgress, QueueUrl, QueueUrlError, SqsQueue};
