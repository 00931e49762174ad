//! The flags of `wait`.

use std::time::Duration;

use clap::Args;
use soci_config::bytes;

use super::values::age;
use super::{ConnectionArgs, LoginArgs, ResultArgs};

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
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
}

const EXIT_CODES: &str = "\
Standard output has one line, REPOSITORY@DIGEST: what to deploy.

Exit codes:
  0  the index is there
  1  it cannot be told: the image is not there, access is refused, the registry does not answer
  2  a mistake on the command line
  3  the image gets no index; the line names the image itself
  4  the index did not come in time; no line";
