//! The stages of the campaign.

mod credentials;
mod http_clients;
mod kills;
mod messages;
mod pushes;
mod queues;
mod registry;
mod soak;
mod undisturbed;

pub(crate) use credentials::credentials;
pub(crate) use http_clients::http_clients;
pub(crate) use kills::kills;
pub(crate) use messages::messages;
pub(crate) use pushes::pushes;
pub(crate) use queues::{SHARES as QUEUE_SHARES, queues};
pub(crate) use registry::{RegistryStage, registry_faults};
pub(crate) use soak::soak;
pub(crate) use undisturbed::undisturbed;
