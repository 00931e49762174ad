//! What runs in this process.

use std::net::SocketAddr;

use soci_indexer::Budget;
use soci_registry::Client;

/// What runs in this process.
pub(super) struct Running {
    pub(super) registry: SocketAddr,
    pub(super) page: SocketAddr,
    pub(super) client: Client,
    pub(super) budget: Budget,
}
