//! The flags of `ls`.

use std::num::NonZeroUsize;

use clap::Args;
use soci_config::suffix;
use soci_oci::Tag;

use super::{ConnectionArgs, LoginArgs};

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// The repository: REGISTRY/REPOSITORY
    #[arg(value_name = "REPOSITORY")]
    pub(crate) repository: String,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) login: LoginArgs,
    /// What is added to an image's tag for the converted image (v2)
    #[arg(long, value_name = "SUFFIX", value_parser = suffix, allow_hyphen_values = true, default_value = "-soci")]
    pub(crate) tag_suffix: String,
    /// Most images to look at
    #[arg(long, value_name = "N", default_value = "100")]
    pub(crate) limit: NonZeroUsize,
    /// Go on behind this tag, in the order of their names
    #[arg(long, value_name = "TAG")]
    pub(crate) after: Option<Tag>,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
