//! Serves a registry with a temporary folder until it is stopped:
//!
//! ```text
//! cargo run -p soci-registry-server --example serve
//! ```
//!
//! Prints host and port, on which nothing else is, in the first line.

use std::error::Error;

use soci_registry_server::{LocalRegistry, RegistryServerSettings};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (registry, mut pushes) =
        LocalRegistry::start(listener, RegistryServerSettings::default()).await?;
    println!("{}", registry.address());
    // Pushes are told for as long as the registry runs, and nobody wants to know of them.
    while pushes.recv().await.is_some() {}
    Ok(())
}
