//! What the service needs of AWS.
//!
//! - [`sdk::load`] reads the SDK's configuration; everything else is made from it.
//! - [`SqsQueue`] is a [`soci_queue::Queue`] on SQS.
//! - [`EcrCredentials`] is a [`soci_registry::CredentialProvider`] for ECR.
//! - [`Catalogue`] lists what is in ECR.

mod call_failure;
pub mod ecr;
pub mod sdk;
mod sqs;

pub use ecr::{Catalogue, EcrCredentials, EcrError};
pub use sqs::{MoveError, MoveProgress, QueueUrl, QueueUrlError, SqsQueue};
