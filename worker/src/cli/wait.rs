//! The flags of `wait`.

use std::time::Duration;

use clap::Args;
use soci_config::bytes;

use super::values::age;
use super::{ConnectionArgs, LoginArgs, ResultArgs};

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The image: REGISTRY/REPOSITORY[:TAG][@DIGEST]
    #[arg(value_name = "REF")]
    pub(crate) image: String,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) login: LoginArgs,
    /// How long to wait
    #[arg(long, value_name = "TIME", value_parser = age, default_value = "15m")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    /// Smaller layers need no ztoc, as whoever makes the index is told: an image of such layers is not waited for
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "10MiB")]
    pub(crate) min_layer_size: u64,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress and no tries that are repeated: only the result
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
