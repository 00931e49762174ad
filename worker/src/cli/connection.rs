//! The flags of commands that speak to a registry: how it is reached, and whom TLS trusts.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct ConnectionArgs {
    /// Speak http instead of https with the registry; one on this machine that has no TLS needs no flag
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Trust the certificate authorities of this file, in PEM, beside the system's; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Vec<PathBuf>,
    /// Take every certificate, whoever it is of: whoever stands in between then sees credentials and images
    #[arg(long)]
    pub(crate) insecure_skip_verify: bool,
}
