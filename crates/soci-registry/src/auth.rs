//! Authentication: credentials, the challenges of a 401, tokens and their renewal.

pub(crate) mod auth_files;
mod auth_keys;
pub(crate) mod challenge;
pub(crate) mod credentials;
pub(crate) mod docker_config;
mod endpoint;
mod header;
mod helper;
mod object;
mod scope;
mod session;
mod token;

pub(crate) use scope::Scope;
pub(crate) use session::{Authorizer, Refusal};
