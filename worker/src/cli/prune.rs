//! The flags of `prune`.

use std::time::Duration;

use clap::{ArgGroup, Args};
use soci_config::suffix;
use soci_push::TagFilter;

use super::values::{age, glob};
use super::{ConnectionArgs, LoginArgs};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("where").args(["place", "repository"]).required(true))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct PruneArgs {
    /// The repository: REGISTRY/REPOSITORY
    #[arg(value_name = "REPOSITORY")]
    pub(crate) place: Option<String>,
    /// Instead of one repository all those in ECR whose name matches, `*` stands for anything; may be given several times
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    pub(crate) repository: Vec<TagFilter>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) login: LoginArgs,
    /// What is added to an image's tag for the converted image (v2)
    #[arg(long, value_name = "SUFFIX", value_parser = suffix, allow_hyphen_values = true, default_value = "-soci")]
    pub(crate) tag_suffix: String,
    /// Leave alone what is younger
    #[arg(long, value_name = "TIME", value_parser = age, default_value = "1d")]
    pub(crate) older_than: Duration,
    /// Delete also what has no known age, as everywhere but in ECR: make sure that no image is being indexed
    #[arg(long)]
    pub(crate) unknown_age: bool,
    /// Delete nothing, only say what would be
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Delete without asking
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
