//! The flags of `healthcheck` and `status`, which ask the worker on this machine.

use clap::Args;
use soci_config::{Environment, Source, name};

#[derive(Debug, Args)]
pub(crate) struct HealthcheckArgs {
    /// Where the worker serves its status page [env: HTTP_ADDRESS] [default: as for `worker`]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) http_address: Option<String>,
}

impl Source for HealthcheckArgs {
    fn get(&self, name: &str) -> Option<String> {
        let given = self.http_address.clone().filter(|_| name == name::HTTP_ADDRESS);
        given.or_else(|| Environment.get(name))
    }
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) site: HealthcheckArgs,
    /// Print it anew every two seconds until interrupted
    #[arg(long, conflicts_with = "json")]
    pub(crate) watch: bool,
    /// Print it as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
